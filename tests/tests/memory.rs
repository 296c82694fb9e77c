//! Memory while ClickHouse stands still and Kafka is full: it stays under the limit, nothing is dropped, and
//! it goes on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; a failure is repeated by its printed seed"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use weir_tests::{ClickHouse, Kafka, Metrics, Pace, Record, Weir, free_port, generate, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 6;
/// About 86 MB, and 320,000 spans.
const SEGMENTS: u64 = 20_000;
const SPANS: u64 = SEGMENTS * 16;
/// `service.memory.limit`: about half of the input once it is decoded.
const LIMIT: u64 = 128 << 20;
/// The memory on top of it while nothing moves: the allocator's reserve, and copies
/// for the inserts that are tried again and again.
const OVERHEAD: u64 = 96 << 20;

fn config(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, database: &str, metrics: &str) -> String {
    format!(
        "receivers:
  skywalking_kafka:
    brokers: [\"{}\"]
    topics: {{segments: {topic}}}
    group_id: {topic}
    initial_offset: earliest
    queue: {{max_bytes: 12MiB}}
processors:
  aggregate: {{window: {{tumbling: 7s}}}}
exporters:
  clickhouse:
    endpoint: \"{}\"
    database: {database}
    retry: {{initial_interval: 100ms, max_interval: 500ms}}
    # The budget must be what bounds memory, not the exporter's queue.
    queue: {{max_bytes: 1GiB}}
service:
  memory: {{limit: {LIMIT}}}
  telemetry: {{metrics: {{address: \"{metrics}\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [aggregate], exporters: [clickhouse]}}
",
        kafka.bootstrap(),
        clickhouse.url(),
    )
}

async fn generated(topic: &str) -> Result<Vec<Record>> {
    let records = Arc::new(Mutex::new(Vec::new()));
    let (made, topic) = (Arc::clone(&records), topic.to_owned());
    generate(SEGMENTS, Pace::Unlimited, move |encoded| {
        let mut made = made.lock().unwrap();
        for range in encoded.records.iter() {
            let number = i32::try_from(made.len())?;
            made.push(Record {
                topic: topic.clone(),
                partition: number % PARTITIONS,
                offset: 0,
                timestamp_ms: 0,
                key: None,
                value: Some(encoded.arena[range.start as usize..range.end as usize].to_vec()),
            });
        }
        Ok(())
    })
    .await?;
    let records = std::mem::take(&mut *records.lock().unwrap());
    Ok(records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_under_the_limit_while_clickhouse_stands_still_and_every_row_is_stored_once()
-> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::start()?);
    let (topic, database) = (unique("memory"), clickhouse.database().await?);
    kafka.create_topic(&topic, PARTITIONS, &[("retention.ms", "-1")]).await?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    let weir = Weir::start(&config(kafka, &clickhouse, &topic, &database, &metrics), &[], &[])?;
    let sum = async |name: &str| -> f64 {
        let found = Metrics::scrape(&metrics).await.ok();
        found.and_then(|found| found.sum(name, &[])).unwrap_or(0.0)
    };
    wait_until("the partitions", TIMEOUT, async || {
        Ok((sum("weir_kafka_assigned_partitions").await >= f64::from(PARTITIONS)).then_some(()))
    })
    .await?;
    let idle = weir.peak_memory_bytes()?;
    kafka.produce_all(&generated(&topic).await?).await?;
    // Full: lanes wait for the budget, and every partition with unread records is paused because its inbox is
    // full. (Lanes do not get equal shares of the budget: one of them can have read its whole partition.)
    wait_until("everything to be full", TIMEOUT, async || {
        let now = Metrics::scrape(&metrics).await?;
        let of = |name: &str, labels: &[(&str, &str)]| now.sum(name, labels).unwrap_or(0.0);
        let stands = |partition: i32| {
            let labels = [("partition", &*partition.to_string())];
            of("weir_kafka_paused", &labels) > 0.0 || of("weir_kafka_lag", &labels) == 0.0
        };
        let full = of("weir_memory_waits_total", &[]) > 0.0
            && of("weir_kafka_lag", &[]) > 0.0
            && (0..PARTITIONS).all(stands);
        Ok(full.then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    let used = sum("weir_memory_used_bytes").await;
    ensure!(used > 0.0 && used <= LIMIT as f64, "{used} bytes of events");
    let stalled = weir.peak_memory_bytes()?;
    if stalled > idle + LIMIT + OVERHEAD {
        bail!("{stalled} bytes at the peak, {idle} when idle: more than {LIMIT} and {OVERHEAD} on top");
    }
    clickhouse.fault(json!({"mode": "ok"})).await?;
    let count = format!("SELECT count() AS n FROM {database}.events");
    wait_until("every span", TIMEOUT, async || {
        Ok((clickhouse.number(&count).await.unwrap_or(0) >= SPANS).then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    ensure!(sum("weir_memory_waits_total").await > 0.0, "the limit was met on the way");
    let peak = weir.peak_memory_bytes()?;
    println!("peak: idle {} MiB, stalled {} MiB, at the end {} MiB", idle >> 20, stalled >> 20, peak >> 20);
    // At full speed there are more copies, and the allocator keeps more.
    ensure!(peak <= idle + 3 * LIMIT, "{peak} bytes at the peak, {idle} when idle");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    let distinct = format!("SELECT uniqExact(segment_id, segment_span_id) AS n FROM {database}.events");
    assert_eq!((clickhouse.number(&count).await?, clickhouse.number(&distinct).await?), (SPANS, SPANS));
    Ok(())
}
