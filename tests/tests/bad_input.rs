//! Bad input: each kind gives a counter and a clear log line, and none stops the lane.

use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message;
use serde_json::Value;
use weir_proto::skywalking::{KeyStringValuePair, SegmentObject, SpanObject};
use weir_tests::{ClickHouse, Kafka, Metrics, Weir, free_port, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(90);

/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

fn span(id: i32) -> SpanObject {
    SpanObject {
        span_id: id,
        parent_span_id: -1,
        start_time: START,
        end_time: START + 20,
        operation_name: "/pay".into(),
        ..SpanObject::default()
    }
}

fn segment(id: &str, spans: Vec<SpanObject>) -> SegmentObject {
    SegmentObject {
        trace_id: format!("trace-{id}"),
        trace_segment_id: id.into(),
        spans,
        service: "shop".into(),
        service_instance: "shop-1".into(),
        ..SegmentObject::default()
    }
}

#[tokio::test]
async fn bad_records_are_counted_and_kept_and_the_lane_goes_on() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("bad"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "67108864")]).await?;

    let many_keys =
        (0..10_000).map(|n| KeyStringValuePair { key: format!("key.{n}"), value: n.to_string() }).collect();
    let with = |id: &str, change: &dyn Fn(&mut SpanObject)| {
        let mut one = span(0);
        change(&mut one);
        segment(id, vec![one]).encode_to_vec()
    };
    let mut invalid_utf8 = segment("utf8", vec![span(0)]).encode_to_vec();
    let at = invalid_utf8.windows(4).position(|bytes| bytes == b"/pay").context("the operation")?;
    invalid_utf8[at] = 0xff;
    let mut truncated = segment("truncated", vec![span(0)]).encode_to_vec();
    truncated.truncate(truncated.len() - 3);
    let huge = with("huge", &|span| {
        span.tags = vec![KeyStringValuePair { key: "blob".into(), value: "x".repeat(50 << 20) }];
    });
    // (the record, how many rows it gives)
    let records: Vec<(Vec<u8>, u64)> = vec![
        (with("first", &|_| {}), 1),
        (b"\xff\xff\xff not protobuf".to_vec(), 0),
        (truncated, 0),
        (invalid_utf8, 1),
        (Vec::new(), 0),
        (segment("no-spans", Vec::new()).encode_to_vec(), 0),
        (with("negative", &|span| (span.start_time, span.end_time) = (-5_000, -4_000)), 1),
        (with("absurd", &|span| (span.start_time, span.end_time) = (i64::MIN, i64::MAX)), 1),
        (with("backwards", &|span| span.end_time = START - 1_000), 1),
        (with("many-keys", &|span| span.tags.clone_from(&many_keys)), 1),
        (with("enums", &|span| (span.span_type, span.span_layer) = (7, 99)), 1),
        (huge, 1),
        (with("last", &|_| {}), 1),
    ];
    let rows: u64 = records.iter().map(|(_, rows)| rows).sum();
    for (record, _) in &records {
        kafka.produce(&topic, Some(0), Some(b"k"), Some(record)).await?;
    }

    let port = free_port()?;
    let config = format!(
        "receivers:\n  skywalking_kafka: {{brokers: [\"{}\"], topics: {{segments: {topic}}}, group_id: {topic}, initial_offset: earliest}}\n\
         processors:\n  aggregate: {{window: {{tumbling: 1s}}, out_of_orderness: 0s}}\n\
         exporters:\n  clickhouse: {{endpoint: \"{}\", database: {database}}}\n\
         service:\n  telemetry: {{metrics: {{address: \"127.0.0.1:{port}\"}}}}\n  pipelines:\n    main: {{receivers: [skywalking_kafka], processors: [aggregate], exporters: [clickhouse]}}\n",
        kafka.bootstrap(),
        clickhouse.url(),
    );
    let weir = Weir::start(&config, &[], &[])?;
    let count = format!("SELECT count() AS n FROM {database}.events");
    wait_until("every valid span", TIMEOUT, async || {
        Ok((clickhouse.number(&count).await.unwrap_or(0) >= rows).then_some(()))
    })
    .await?;
    assert_eq!(clickhouse.number(&count).await?, rows);

    // What is odd but valid is stored as it is.
    let one = async |segment: &str, column: &str| -> Result<Value> {
        let sql = format!("SELECT {column} AS v FROM {database}.events WHERE segment_id = '{segment}'");
        Ok(clickhouse.query(&sql).await?.first().context("a row")?["v"].clone())
    };
    assert_eq!(one("many-keys", "length(attributes)").await?, 10_000);
    assert_eq!(one("huge", "length(attributes['blob'])").await?, 50 << 20);
    assert_eq!(one("enums", "concat(kind, ' ', layer)").await?, "unknown(7) unknown(99)");
    assert_eq!(one("backwards", "duration_ns").await?, 0);

    // Each bad record is counted, logged with its place, and in the dead letters.
    let metrics = Metrics::scrape(&format!("127.0.0.1:{port}")).await?;
    let counted = |name: &str| metrics.sum(name, &[]).unwrap_or_default();
    assert_eq!(one("utf8", "operation").await?, "\\xffpay");
    assert_eq!(counted("weir_receiver_escaped_texts_total"), 1.0);
    assert_eq!(counted("weir_receiver_rejected_records_total"), 2.0);
    assert_eq!(counted("weir_receiver_empty_records_total"), 2.0);
    assert_eq!(counted("weir_dead_letters_total"), 2.0);
    assert!(counted("weir_aggregate_future_events_total") >= 1.0, "the absurd time is kept out of windows");
    let folder = weir.folder();
    let letters = std::fs::read_to_string(folder.path().join("dead-letter/skywalking_kafka.jsonl"))?;
    let offsets: Vec<Value> = letters
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["offset"].clone()))
        .collect::<Result<_>>()?;
    assert_eq!(offsets, [1, 2]);
    assert!(weir.log().iter().any(|line| line.contains("not UTF-8") && line.contains("operationName")));
    assert!(
        weir.log().iter().any(|line| line.contains(&topic) && line.contains("protobuf")),
        "{:?}",
        weir.log()
    );

    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
