//! The `clickhouse` exporter and the real engine: what is inserted is read back, whatever happens on the way.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, StringViewArray,
    StructArray, TimestampNanosecondArray, UInt8Array, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use serde_json::{Value, json};
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{check_exporter, check_exporter_contract, context};
use weir_component::{Context, ExportError, Settings, SystemClock, Telemetry};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_clickhouse::FACTORY;
use weir_pdata::{
    Ack, Demand, Encoded, EventBatch, Format, Origin, Outcome, Projection, Signal, decode, schema,
};
use weir_tests::{ClickHouse, decode_segments, recorded, wait_until};

/// For what the server does in its own time.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
const SECOND: i64 = 1_000_000_000;
/// 2025-06-05 01:58:25 UTC.
const NOON: i64 = 1_749_088_705 * SECOND;

fn exporter(url: &str, database: &str, more: &str) -> BuiltExporter {
    counted_exporter(url, database, more).0
}

/// An exporter and its metrics.
fn counted_exporter(url: &str, database: &str, more: &str) -> (BuiltExporter, Telemetry) {
    let text = format!(
        "receivers: {{r: }}\nexporters:\n  clickhouse:\n    endpoint: {url}\n    database: {database}\n    \
         retry: {{initial_interval: 5ms, max_interval: 50ms}}\n    batch: {{timeout: 10ms}}\n    {more}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [clickhouse]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let clock = Arc::new(SystemClock);
    let context = Context { clock, ..context("clickhouse", &std::env::temp_dir()) };
    let telemetry = context.telemetry.clone();
    ((FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context).unwrap(), telemetry)
}

/// Exports through the helper and expects that everything is delivered; returns the dead letters.
async fn deliver(url: &str, database: &str, more: &str, batches: Vec<EventBatch>) -> String {
    let BuiltExporter { exporter, helper } = exporter(url, database, more);
    check_exporter(exporter, helper, batches, Outcome::Done).await
}

fn batch(signal: Signal, columns: Vec<(&str, ArrayRef)>) -> EventBatch {
    let columns = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    EventBatch::columns(signal, columns, Origin::lane("test/0".into(), 0..1), Ack::none())
}

fn texts<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

/// As decoders build it: a dictionary of views.
fn words<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    let plain: DictionaryArray<Int32Type> = values.into_iter().collect();
    let views = arrow::compute::cast(plain.values(), &DataType::Utf8View).unwrap();
    Arc::new(DictionaryArray::new(plain.keys().clone(), views))
}

fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

fn list(entries: StructArray, lengths: &[usize]) -> ListArray {
    let item = Arc::new(Field::new("item", arrow::array::Array::data_type(&entries).clone(), true));
    ListArray::new(item, OffsetBuffer::from_lengths(lengths.iter().copied()), Arc::new(entries), None)
}

/// Attribute lists of texts, a list for each element.
fn attributes(rows: &[&[(&str, &str)]]) -> ListArray {
    let all: Vec<(&str, &str)> = rows.concat();
    let plain: DictionaryArray<Int32Type> = all.iter().map(|(key, _)| Some(*key)).collect();
    let views = arrow::compute::cast(plain.values(), &DataType::Utf8View).unwrap();
    let keys: ArrayRef = Arc::new(DictionaryArray::new(plain.keys().clone(), views));
    let mut values = BinaryViewBuilder::new();
    all.iter().for_each(|(_, value)| values.append_value(value));
    let columns: Vec<ArrayRef> =
        vec![keys, Arc::new(UInt8Array::from(vec![0; all.len()])), Arc::new(values.finish())];
    let entries = StructArray::new(schema::attribute_entry(), columns, None);
    list(entries, &rows.iter().map(|row| row.len()).collect::<Vec<_>>())
}

/// Two spans with a value in every column.
fn full_spans() -> EventBatch {
    let link = schema::link();
    let link_columns = link.iter().map(|field| texts([Some(field.name().as_str())])).collect();
    let links = list(StructArray::new(link, link_columns, None), &[1, 0]);
    let event_columns: Vec<ArrayRef> = vec![
        times(&[NOON + 1, -7]),
        texts([Some("exception"), None]),
        Arc::new(attributes(&[&[("stack", "at a\n\nat b"), ("stack", "again")], &[]])),
    ];
    let events = list(StructArray::new(schema::span_event(), event_columns, None), &[2, 0]);
    let resource =
        DictionaryArray::new(Int32Array::from(vec![0, 0]), Arc::new(attributes(&[&[("host.name", "h1")]])));
    batch(
        Signal::Traces,
        vec![
            ("time", times(&[NOON, NOON + 123_456_789])),
            ("end_time", times(&[NOON + SECOND, NOON + 2 * SECOND])),
            ("duration_ns", Arc::new(Int64Array::from(vec![SECOND, i64::MAX]))),
            ("trace_id", words([Some("t"), Some("t")])),
            ("span_id", texts([Some("s.0"), Some("s.1")])),
            ("parent_span_id", texts([None, Some("s.0")])),
            ("segment_id", words([Some("s"), Some("s")])),
            ("segment_span_id", Arc::new(Int32Array::from(vec![0, 1]))),
            ("service", words([Some("pay"), Some("支付")])),
            ("service_instance", words([Some("i"), None])),
            ("operation", texts([Some("/pay"), Some("")])),
            ("kind", words([Some("server"), Some("unknown(7)")])),
            ("status", words([Some("ok"), Some("error")])),
            ("status_message", texts([None, Some("no\n\nmoney")])),
            ("peer", texts([None, Some("db:3306")])),
            ("component", words([Some("Tomcat"), None])),
            ("component_id", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("layer", words([Some("Http"), Some("Database")])),
            ("skip_analysis", Arc::new(BooleanArray::from(vec![false, true]))),
            ("size_limited", Arc::new(BooleanArray::from(vec![None, Some(true)]))),
            ("trace_state", texts([Some("a=b"), None])),
            ("flags", Arc::new(UInt32Array::from(vec![1, u32::MAX]))),
            ("scope_name", texts([Some("lib"), None])),
            ("scope_version", texts([Some("1"), None])),
            ("links", Arc::new(links)),
            ("events", Arc::new(events)),
            ("resource", Arc::new(resource)),
            ("customer.id", Arc::new(Int64Array::from(vec![Some(42), None]))),
            ("attributes", Arc::new(attributes(&[&[("k", "v"), ("k", "w"), ("empty", "")], &[]]))),
        ],
    )
}

#[tokio::test]
async fn spans_come_back_with_every_value() -> Result<()> {
    spans_come_back_with_every_value_in(ClickHouse::shared()?).await
}

async fn spans_come_back_with_every_value_in(clickhouse: &ClickHouse) -> Result<()> {
    let database = clickhouse.database().await?;
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![full_spans()]).await, "");

    let all = format!("SELECT *, end_time, span_id, parent_span_id FROM {database}.events ORDER BY time");
    let rows = clickhouse.query(&all).await?;
    let mut expected = json!({
        "time": "2025-06-05 01:58:25.000000000", "end_time": "2025-06-05 01:58:26.000000000", "duration_ns": SECOND, "_before_ns": 0,
        "trace_id": "t", "span_id": "s.0", "parent_span_id": "", "segment_id": "s", "segment_span_id": 0,
        "own_span_id": "s.0", "own_parent_span_id": "", "parent_segment_id": "", "parent_segment_span_id": -1,
        "service": "pay", "service_instance": "i", "operation": "/pay", "kind": "server", "status": "ok",
        "status_message": "", "peer": "", "component": "Tomcat", "component_id": 1, "layer": "Http",
        "skip_analysis": false, "size_limited": false, "trace_state": "a=b", "flags": 1, "scope_name": "lib",
        "scope_version": "1",
        "links": [{
            "trace_id": "trace_id", "span_id": "span_id", "ref_type": "ref_type", "parent_service": "parent_service",
            "parent_service_instance": "parent_service_instance", "parent_endpoint": "parent_endpoint",
            "network_address": "network_address"
        }],
        "events": [
            {"time": "2025-06-05 01:58:25.000000001", "name": "exception", "attributes": {"stack": "again"}},
            {"time": "1970-01-01 00:00:00.000000000", "name": "", "attributes": {"time": "-7"}}
        ],
        "resource": {"host.name": "h1"},
        "attributes": {"k": "w", "empty": "", "customer.id": "42"}, "_source": "test/0", "_offset": 0
    });
    for name in ["business_id", "business_code", "business_scenario"] {
        expected[name] = json!("");
    }
    assert_eq!(rows[0], expected);
    assert_eq!(rows[1]["duration_ns"], json!(i64::MAX));
    assert_eq!((&rows[1]["service"], &rows[1]["status_message"]), (&json!("支付"), &json!("no\n\nmoney")));
    assert_eq!((&rows[1]["flags"], &rows[1]["attributes"]), (&json!(u32::MAX), &json!({})));
    // JSON shows the last of repeated keys. The table has all of them, in order.
    let repeated = clickhouse
        .query(&format!(
            "SELECT attributes['k'] AS first, mapKeys(attributes) AS keys, arrayMap(event -> tupleElement(event, 'attributes'), events)[1]['stack'] AS stack, \
             links.parent_service AS parents FROM {database}.events WHERE span_id = 's.0'"
        ))
        .await?;
    assert_eq!(
        repeated,
        [
            json!({"first": "v", "keys": ["k", "k", "empty", "customer.id"], "stack": "at a\n\nat b", "parents": ["parent_service"]})
        ]
    );
    Ok(())
}

/// Span ids are stored in parts in a table that Weir creates, as texts in one of the former layout, and read
/// alike in both.
#[tokio::test]
async fn span_ids_read_alike_in_both_layouts_of_the_table() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let records = recorded("skywalking-segments")?;
    let values: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    let encoded = Encoded::concat(Format::SkyWalkingSegment, values)?;
    let decoded = |demand: &Demand| {
        let columns = decode(&encoded, &Projection::of(demand)).columns;
        EventBatch::columns(Signal::Traces, columns, Origin::lane("kafka/0".into(), 0..90), Ack::none())
    };
    let texts = decoded(&Demand::everything());
    let asked = exporter(clickhouse.url(), "none", "").exporter.demand();
    let parts = decoded(&asked);
    assert!(parts.as_columns().unwrap().column_by_name("span_id").is_none(), "nobody reads the texts");
    let created = clickhouse.database().await?;
    let former = clickhouse.database().await?;
    clickhouse
        .query(&format!(
            "CREATE TABLE {former}.events (time DateTime64(9, 'UTC'), trace_id String, span_id String, parent_span_id String, \
             segment_id String, segment_span_id Int32, service LowCardinality(String), operation LowCardinality(String), \
             attributes Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY (service, operation, time)"
        ))
        .await?;
    let mut seen = Vec::new();
    for database in [&created, &former] {
        for batch in [&texts, &parts] {
            let batches = vec![batch.clone(), full_spans()];
            assert_eq!(deliver(clickhouse.url(), database, "", batches).await, "");
            let ids = format!(
                "SELECT segment_id, segment_span_id, span_id, parent_span_id, count() AS n FROM {database}.events \
                 GROUP BY ALL ORDER BY ALL"
            );
            seen.push(clickhouse.query(&ids).await?);
            clickhouse.query(&format!("TRUNCATE TABLE {database}.events")).await?;
        }
    }
    assert!(seen[0].len() > 100 && seen[0].iter().any(|row| row["parent_span_id"] == ""));
    assert!(seen.iter().all(|ids| *ids == seen[0]));
    // The independent decoder of SkyWalking's own classes says the same.
    let mut expected = Vec::new();
    for segment in decode_segments(&records)? {
        let id = segment["traceSegmentId"].as_str().unwrap();
        for span in segment["spans"].as_array().unwrap() {
            expected.push(format!("{id}.{}", span["spanId"].as_i64().unwrap_or_default()));
        }
    }
    let mut ids: Vec<_> = seen[0].iter().map(|row| row["span_id"].as_str().unwrap().to_owned()).collect();
    ids.retain(|id| !["s.0", "s.1"].contains(&id.as_str()));
    expected.sort();
    ids.sort();
    assert_eq!(ids, expected);
    Ok(())
}

/// The end of spans is computed in a table that Weir creates, stored in one of the former layout, and reads
/// alike in both.
#[tokio::test]
async fn ends_of_spans_read_alike_in_both_layouts_of_the_table() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let (created, former) = (clickhouse.database().await?, clickhouse.database().await?);
    clickhouse
        .query(&format!(
            "CREATE TABLE {former}.events (time DateTime64(9, 'UTC'), end_time DateTime64(9, 'UTC'), duration_ns Int64, \
             operation String, attributes Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY time"
        ))
        .await?;
    // As usual; before the beginning; beyond what tables have, where clamped times are no duration apart.
    let spans = [
        ("usual", NOON, SECOND, NOON + SECOND),
        ("backwards", NOON, 0, NOON - 3 * SECOND),
        ("early", -5 * SECOND, 2 * SECOND, -3 * SECOND),
        ("late", NOON, i64::MAX - NOON, i64::MAX),
    ];
    // Together, and each in a batch of its own: one of them has nothing but usual ends.
    let batches = || {
        let batch_of = |spans: &[(&str, i64, i64, i64)]| {
            let of = |part: fn(&(&str, i64, i64, i64)) -> i64| spans.iter().map(part).collect::<Vec<_>>();
            let names: StringViewArray = spans.iter().map(|span| Some(span.0)).collect();
            batch(
                Signal::Traces,
                vec![
                    ("time", times(&of(|span| span.1))),
                    ("end_time", times(&of(|span| span.3))),
                    ("duration_ns", Arc::new(Int64Array::from(of(|span| span.2)))),
                    ("operation", Arc::new(names)),
                ],
            )
        };
        [vec![batch_of(&spans)], spans.iter().map(|span| batch_of(&[*span])).collect()]
    };
    let mut seen = Vec::new();
    for database in [&created, &former] {
        for batches in batches() {
            assert_eq!(deliver(clickhouse.url(), database, "", batches).await, "");
            let ends = format!(
                "SELECT operation, toUnixTimestamp64Nano(end_time) AS end, attributes['end_time'] AS own \
                 FROM {database}.events ORDER BY ALL"
            );
            seen.push(clickhouse.query(&ends).await?);
            clickhouse.query(&format!("TRUNCATE TABLE {database}.events")).await?;
        }
    }
    let last = i64::from(u32::MAX) * SECOND + 999_999_999;
    let expected = [
        json!({"operation": "backwards", "end": NOON - 3 * SECOND, "own": ""}),
        json!({"operation": "early", "end": 0, "own": (-3 * SECOND).to_string()}),
        json!({"operation": "late", "end": last, "own": i64::MAX.to_string()}),
        json!({"operation": "usual", "end": NOON + SECOND, "own": ""}),
    ];
    for rows in seen {
        assert_eq!(rows, expected);
    }
    Ok(())
}

/// The statements of `docs/data-model.md`, for the day of these spans.
#[tokio::test]
async fn a_table_of_the_former_layout_is_moved_as_the_documentation_says() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let page = include_str!("../../docs/data-model.md");
    let statements = page.split("```sql\n").find_map(|text| text.strip_prefix("RENAME")).unwrap();
    let (rename, copy) = statements.split("```").next().unwrap().split_once("INSERT").unwrap();
    let database = clickhouse.database().await?;
    let spans = || vec![full_spans()];
    assert_eq!(deliver(clickhouse.url(), &database, "", spans()).await, "");
    // The former layout had texts in the place of parts, and another key.
    clickhouse
        .query(&format!(
            "CREATE TABLE {database}.f ENGINE = MergeTree ORDER BY (service, operation, toStartOfMinute(time), time) AS \
             SELECT * EXCEPT (own_span_id, own_parent_span_id, parent_segment_id, parent_segment_span_id, _before_ns), \
             toString(span_id) AS span_id, toString(parent_span_id) AS parent_span_id, \
             end_time + INTERVAL 0 NANOSECOND AS end_time FROM {database}.events"
        ))
        .await?;
    clickhouse.query(&format!("EXCHANGE TABLES {database}.f AND {database}.events")).await?;
    clickhouse.query(&format!("DROP TABLE {database}.f")).await?;
    assert_eq!(deliver(clickhouse.url(), &database, "", spans()).await, "");
    let rows = async |table: &str| {
        let all =
            "SELECT * EXCEPT (end_time, span_id, parent_span_id), end_time, span_id, parent_span_id FROM";
        clickhouse.query(&format!("{all} {database}.{table} ORDER BY time, _offset")).await
    };
    let before = rows("events").await?;
    assert_eq!((before.len(), &before[3]["parent_span_id"]), (4, &json!("s.0")));
    let run = async |sql: &str| {
        let sql = sql.replace("events_former", &format!("{database}.events_former"));
        let sql =
            sql.replace(" events ", &format!(" {database}.events ")).replace("2026-11-30", "2025-06-05");
        clickhouse.query(sql.trim().trim_end_matches(';')).await
    };
    run(&format!("RENAME{}", rename.split(';').next().unwrap())).await?;
    // What is exported next makes the table; here it is nothing that the copy brings.
    let other = batch(Signal::Traces, vec![("time", times(&[NOON])), ("operation", texts([Some("other")]))]);
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![other]).await, "");
    clickhouse.query(&format!("TRUNCATE TABLE {database}.events")).await?;
    run(&format!("INSERT{copy}")).await?;
    let mut after = clickhouse
        .query(&format!(
            "SELECT * EXCEPT (own_span_id, own_parent_span_id, parent_segment_id, parent_segment_span_id, _before_ns), \
             end_time, span_id, parent_span_id FROM {database}.events ORDER BY time, _offset"
        ))
        .await?;
    assert_eq!(after, before);
    after.retain(|row| row["span_id"] == "s.1");
    assert_eq!(after.len(), 2);
    let stored = format!("SELECT count() FROM {database}.events WHERE own_span_id = ''");
    assert_eq!(clickhouse.number(&stored).await?, 4, "ids that are made of parts are not stored");
    Ok(())
}

#[tokio::test]
async fn the_recorded_agents_spans_are_all_there() -> Result<()> {
    the_recorded_agents_spans_are_all_there_in(ClickHouse::shared()?).await
}

async fn the_recorded_agents_spans_are_all_there_in(clickhouse: &ClickHouse) -> Result<()> {
    let database = clickhouse.database().await?;
    let records = recorded("skywalking-segments")?;
    let values: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    let encoded = Encoded::concat(Format::SkyWalkingSegment, values)?;
    let decoded = decode(&encoded, &Projection::everything());
    let (spans, columns) = (decoded.columns.num_rows() as u64, decoded.columns);
    assert!(spans > 100, "{spans}");
    let origin = Origin::lane("kafka/0".into(), 0..90);
    let batch = EventBatch::columns(Signal::Traces, columns, origin, Ack::none());
    assert_eq!(deliver(clickhouse.url(), &database, "compression: none", vec![batch]).await, "");
    assert_eq!(clickhouse.number(&format!("SELECT uniq(span_id) FROM {database}.events")).await?, spans);
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, spans);
    Ok(())
}

#[tokio::test]
async fn what_the_recorded_agents_measure_is_all_there() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let (mut points, mut whole, mut events) = (0, 0_i64, 0_u64);
    for (topic, format) in
        [("skywalking-metrics", Format::SkyWalkingJvm), ("skywalking-meters", Format::SkyWalkingMeters)]
    {
        let records = recorded(topic)?;
        let values: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
        let columns = decode(&Encoded::concat(format, values)?, &Projection::everything()).columns;
        points += columns.num_rows() as u64;
        let sum = |name: &str| columns.column_by_name(name).map(Arc::clone);
        whole += sum("value_int")
            .and_then(|array| arrow::compute::sum(array.as_primitive::<arrow::datatypes::Int64Type>()))
            .unwrap_or(0);
        events += sum("count")
            .and_then(|array| arrow::compute::sum(array.as_primitive::<arrow::datatypes::UInt64Type>()))
            .unwrap_or(0);
        let origin = Origin::lane(topic.into(), 0..90);
        let batch = EventBatch::columns(Signal::Metrics, columns, origin, Ack::none());
        assert_eq!(deliver(clickhouse.url(), &database, "", vec![batch]).await, "");
    }
    assert!(points > 1_000 && whole > 0 && events > 0, "{points} {whole} {events}");
    let table = format!("{database}.metrics");
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {table}")).await?, points);
    let sums = format!("SELECT sum(value_int) AS whole, sum(count) AS events FROM {table}");
    assert_eq!(clickhouse.query(&sums).await?, [json!({"whole": whole, "events": events})]);
    let histograms = format!(
        "SELECT count() FROM {table} WHERE metric_type = 'histogram' AND arraySum(bucket_counts) = count AND length(bounds) + 1 = length(bucket_counts)"
    );
    assert!(clickhouse.number(&histograms).await? > 0);
    Ok(())
}

fn windows(firing: i32, count: i64) -> EventBatch {
    batch(
        Signal::Windows,
        vec![
            ("operator", words([Some("aggregate"), Some("aggregate"), Some("aggregate")])),
            ("window_start", times(&[NOON, NOON, NOON])),
            ("window_end", times(&[NOON + 7 * SECOND; 3])),
            ("window_size_ms", Arc::new(Int64Array::from(vec![7_000; 3]))),
            ("service", words([Some("pay"), Some("pay"), Some("pay")])),
            ("operation", words([Some("/pay"), Some("/pay"), Some("/pay")])),
            ("zone", words([Some("eu"), Some("us"), None])),
            ("firing", Arc::new(Int32Array::from(vec![firing; 3]))),
            ("count", Arc::new(Int64Array::from(vec![count; 3]))),
            ("error_count", Arc::new(Int64Array::from(vec![0; 3]))),
            ("success_rate", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(1.0)]))),
            ("avg_duration_ns", Arc::new(Float64Array::from(vec![1.5; 3]))),
            ("max_duration_ns", Arc::new(Int64Array::from(vec![Some(9), None, Some(8)]))),
            ("traffic_rate", Arc::new(Float64Array::from(vec![0.25; 3]))),
            ("slow_calls", Arc::new(Int64Array::from(vec![Some(2), None, None]))),
        ],
    )
}

#[tokio::test]
async fn of_a_window_the_last_firing_counts_and_its_keys_keep_it_apart() -> Result<()> {
    of_a_window_the_last_firing_counts_and_its_keys_keep_it_apart_in(ClickHouse::shared()?).await
}

async fn of_a_window_the_last_firing_counts_and_its_keys_keep_it_apart_in(
    clickhouse: &ClickHouse,
) -> Result<()> {
    let database = clickhouse.database().await?;
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![windows(1, 8)]).await, "");
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![windows(0, 5)]).await, "");
    let rows = clickhouse
        .query(&format!(
            "SELECT labels, firing, shard, count, success_rate, max_duration_ns, p99_duration_ns, measures, window_end \
             FROM {database}.window_results FINAL ORDER BY labels['zone']"
        ))
        .await?;
    let row = |labels: Value, rate: Value, max: Value, measures: Value| {
        json!({
            "labels": labels, "firing": 1, "shard": 0, "count": 8, "success_rate": rate, "max_duration_ns": max,
            "p99_duration_ns": null, "measures": measures, "window_end": "2025-06-05 01:58:32.000000000"
        })
    };
    assert_eq!(
        rows,
        [
            row(json!({}), json!(1), json!(8), json!({})),
            row(json!({"zone": "eu"}), json!(0.5), json!(9), json!({"slow_calls": 2})),
            row(json!({"zone": "us"}), json!(null), json!(null), json!({})),
        ]
    );
    Ok(())
}

#[tokio::test]
async fn alarms_and_logs_come_back() -> Result<()> {
    alarms_and_logs_come_back_in(ClickHouse::shared()?).await
}

async fn alarms_and_logs_come_back_in(clickhouse: &ClickHouse) -> Result<()> {
    let database = clickhouse.database().await?;
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let map = |key: &str, value: &str| {
        let mut map = MapBuilder::new(Some(names.clone()), StringBuilder::new(), StringBuilder::new());
        map.keys().append_value(key);
        map.values().append_value(value);
        map.append(true).unwrap();
        Arc::new(map.finish())
    };
    let alarm = batch(
        Signal::Alarms,
        vec![
            ("time", times(&[NOON])),
            ("rule", words([Some("slow")])),
            ("severity", words([Some("high")])),
            ("state", words([Some("firing")])),
            ("service", words([Some("pay")])),
            ("operation", words([None])),
            ("labels", map("zone", "eu")),
            ("annotations", map("owner", "payments")),
            ("runbook", texts([Some("https://wiki/pay")])),
            ("measure", words([Some("max_duration_ns")])),
            ("value", Arc::new(Float64Array::from(vec![2.5]))),
            ("threshold", Arc::new(Float64Array::from(vec![None::<f64>]))),
            ("window_start", times(&[NOON - 7 * SECOND])),
            ("message", texts([Some("too 慢")])),
            ("fingerprint", texts([Some("f")])),
            ("starts_at", times(&[NOON])),
            ("ends_at", Arc::new(TimestampNanosecondArray::from(vec![None::<i64>]).with_timezone("UTC"))),
            ("rule_epoch", Arc::new(Int64Array::from(vec![3]))),
        ],
    );
    let log = batch(
        Signal::Logs,
        vec![
            ("time", times(&[NOON])),
            ("severity_number", Arc::new(Int32Array::from(vec![17]))),
            ("severity_text", words([Some("ERROR")])),
            ("body", texts([Some("a\n\nb")])),
            ("service", words([Some("pay")])),
            ("attributes", Arc::new(attributes(&[&[("k", "v")]]))),
        ],
    );
    assert_eq!(deliver(clickhouse.url(), &database, "ttl: 36500d", vec![alarm, log]).await, "");
    let alarms = clickhouse
        .query(&format!("SELECT * EXCEPT (window_start, window_end, starts_at) FROM {database}.alarms"))
        .await?;
    assert_eq!(
        alarms,
        [json!({
            "time": "2025-06-05 01:58:25.000000000", "rule": "slow", "severity": "high", "state": "firing",
            "annotations": {"owner": "payments"}, "runbook": "https://wiki/pay",
            "service": "pay", "operation": "", "labels": {"zone": "eu"}, "measure": "max_duration_ns", "value": 2.5,
            "threshold": null, "message": "too 慢", "fingerprint": "f", "ends_at": null, "rule_epoch": 3
        })]
    );
    let logs = clickhouse
        .query(&format!(
            "SELECT severity_number, severity_text, body, service, attributes FROM {database}.logs"
        ))
        .await?;
    assert_eq!(
        logs,
        [
            json!({"severity_number": 17, "severity_text": "ERROR", "body": "a\n\nb", "service": "pay", "attributes": {"k": "v"}})
        ]
    );
    Ok(())
}

fn spans_at(nanos: &[i64]) -> EventBatch {
    let ids: ArrayRef =
        Arc::new((0..nanos.len()).map(|row| Some(format!("s{row}"))).collect::<StringViewArray>());
    batch(Signal::Traces, vec![("time", times(nanos)), ("span_id", ids)])
}

#[tokio::test]
async fn absurd_times_are_counted_and_age_as_the_times_they_are_stored_as() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let absurd = [-1, i64::MIN, -2_208_988_800 * SECOND, i64::MAX, 7_258_118_400 * SECOND];
    let (built, telemetry) = counted_exporter(clickhouse.url(), &database, "ttl: 1000d");
    built.exporter.export(&[spans_at(&absurd)]).await?;
    let metrics = telemetry.encode();
    assert!(metrics.contains("weir_clickhouse_moved_values_total{exporter=\"clickhouse\"} 5"), "{metrics}");
    // Those of 1970 are past their time to live: the server removes them when it gets round to it.
    let partitions =
        format!("SELECT _partition_id AS p, count() AS n FROM {database}.events GROUP BY p ORDER BY p");
    wait_until("the rows of 1970 to be gone", TIMEOUT, async || {
        let left = clickhouse.query(&partitions).await?;
        Ok((left == [json!({"p": "21060207", "n": 2})]).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_absurd_time_is_stored_with_its_own_value() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let absurd = [-1, i64::MIN, -2_208_988_800 * SECOND, i64::MAX, 7_258_118_400 * SECOND];
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![spans_at(&absurd)]).await, "");
    let partitions = clickhouse
        .query(&format!(
            "SELECT _partition_id AS p, count() AS n FROM {database}.events GROUP BY p ORDER BY p"
        ))
        .await?;
    assert_eq!(partitions, [json!({"p": "19700101", "n": 3}), json!({"p": "21060207", "n": 2})]);
    let kept = clickhouse
        .query(&format!("SELECT attributes['time'] AS time FROM {database}.events ORDER BY span_id"))
        .await?;
    let expected: Vec<Value> = absurd.iter().map(|nanos| json!({"time": nanos.to_string()})).collect();
    assert_eq!(kept, expected);
    Ok(())
}

#[tokio::test]
async fn more_days_than_one_insert_may_touch_are_inserted_in_parts() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let days: Vec<i64> = (0..150).map(|day| NOON + day * 86_400 * SECOND).collect();
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![spans_at(&days)]).await, "");
    assert_eq!(clickhouse.number(&format!("SELECT uniq(span_id) FROM {database}.events")).await?, 150);
    Ok(())
}

#[tokio::test]
async fn a_table_of_ones_own_takes_what_it_has_columns_for() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    clickhouse
        .query(&format!(
            "CREATE TABLE {database}.spans (time DateTime64(3), end_time DateTime, service Enum8('pay' = 1, '支付' = 2), \
             duration_ns UInt64, flags UInt8, `customer.id` Nullable(UInt32), size_limited UInt8 DEFAULT 9, \
             twice UInt64 MATERIALIZED duration_ns * 2, site String DEFAULT 'here', rest String ALIAS site, \
             attributes Map(String, String)) ENGINE = MergeTree ORDER BY time"
        ))
        .await?;
    let more = "tables: {traces: spans}\n    create_schema: false";
    assert_eq!(deliver(clickhouse.url(), &database, more, vec![full_spans()]).await, "");
    let rows = clickhouse
        .query(&format!(
            "SELECT * EXCEPT attributes, attributes['flags'] AS moved, attributes['span_id'] AS span, \
             attributes['resource.host.name'] AS host FROM {database}.spans ORDER BY time"
        ))
        .await?;
    assert_eq!(
        rows[0],
        json!({
            "time": "2025-06-05 01:58:25.000", "end_time": "2025-06-05 01:58:26", "service": "pay", "duration_ns": SECOND,
            "flags": 1, "customer.id": 42, "size_limited": 0, "site": "here", "moved": "", "span": "s.0", "host": "h1"
        })
    );
    assert_eq!(rows[1]["time"], json!("2025-06-05 01:58:25.123"));
    assert_eq!((&rows[1]["flags"], &rows[1]["moved"]), (&json!(0), &json!("4294967295")));
    Ok(())
}

#[tokio::test]
async fn a_missing_table_is_retried_and_the_reason_tells_what_to_do() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let built = exporter(clickhouse.url(), &database, "create_schema: false");
    let error = built.exporter.export(&[full_spans()]).await.unwrap_err();
    assert!(matches!(error, ExportError::Retryable { .. }));
    assert!(error.to_string().contains("set create_schema: true"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_database_is_created_too_and_its_name_may_be_anything() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = weir_tests::unique("own-db");
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![full_spans()]).await, "");
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM `{database}`.events")).await?, 2);
    Ok(())
}

#[tokio::test]
async fn tables_changed_while_running_are_looked_at_again() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let built = exporter(clickhouse.url(), &database, "");
    built.exporter.export(&[full_spans()]).await?;
    clickhouse.query(&format!("ALTER TABLE {database}.events DROP COLUMN peer")).await?;
    built.exporter.export(&[spans_at(&[NOON]), full_spans()]).await?;
    let peers = format!("SELECT count() FROM {database}.events WHERE attributes['peer'] = 'db:3306'");
    assert_eq!(clickhouse.number(&peers).await?, 1);

    clickhouse.query(&format!("DROP TABLE {database}.events")).await?;
    built.exporter.export(&[full_spans()]).await?;
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, 2);
    Ok(())
}

#[tokio::test]
async fn the_contract_of_exporters_is_kept() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let built = exporter(clickhouse.url(), &database, "");
    check_exporter_contract(built.exporter, vec![full_spans(), windows(0, 1), spans_at(&[NOON])]).await;
    Ok(())
}

#[tokio::test]
async fn whatever_fails_on_the_way_rows_are_stored_once() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    // From the very first request on: the table does not exist yet.
    let mut expected = 0;
    for (at, fault) in [
        json!({"mode": "http500", "code": 252, "times": 2}),
        json!({"mode": "cut", "times": 2, "match": "INSERT"}),
        json!({"mode": "cut", "times": 1, "match": "INSERT", "after_bytes": 200}),
        json!({"mode": "lost_answer", "times": 2, "match": "INSERT"}),
        json!({"mode": "exception_in_200", "code": 241, "times": 2, "match": "INSERT"}),
        json!({"mode": "http500", "code": 999, "times": 1, "match": "DESCRIBE"}),
        json!({"mode": "http500", "code": 242, "times": 3, "match": "INSERT"}),
        json!({"mode": "delay", "delay_ms": 1500, "times": 1, "match": "INSERT"}),
    ]
    .into_iter()
    .enumerate()
    {
        clickhouse.fault(fault.clone()).await?;
        let times: Vec<i64> = (0..5).map(|row| NOON + row).collect();
        let mut spans = spans_at(&times);
        let position = i64::try_from(at)? * 5;
        spans.origin = Origin::lane("kafka/0".into(), position..position + 5);
        let dead = deliver(clickhouse.url(), &database, "timeout: 1s", vec![spans]).await;
        assert_eq!(dead, "", "{fault}");
        expected += 5;
        let stored = clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?;
        assert_eq!(stored, expected, "{fault}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unreachable_server_is_no_error_at_the_start_and_costs_no_row() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    let exporter = exporter(clickhouse.url(), &database, "").exporter;
    exporter.start().await?;
    for batch in [full_spans(), windows(0, 1), full_spans()] {
        let error = exporter.export(&[batch]).await.unwrap_err();
        assert!(matches!(error, ExportError::Retryable { .. }), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
    clickhouse.fault(json!({"mode": "ok"})).await?;
    exporter.export(&[full_spans()]).await?;
    exporter.export(&[windows(0, 1)]).await?;
    exporter.stop().await;
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, 2);
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.window_results")).await?, 3);
    Ok(())
}

/// A server, and a database in it whose `events` have a time, an id, and this.
async fn table_with(more: &str) -> Result<(ClickHouse, String)> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    clickhouse.query(&format!("CREATE DATABASE IF NOT EXISTS {database}")).await?;
    let columns = format!("time DateTime64(9), span_id String, {more}");
    let create = format!("CREATE TABLE {database}.events ({columns}) ENGINE = MergeTree ORDER BY time");
    clickhouse.query(&create).await?;
    Ok((clickhouse, database))
}

/// The reason and the row of each dead letter.
fn letters(dead: &str) -> Vec<(String, Value)> {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let letter = |line: &str| {
        let letter = read(line);
        (letter["reason"].as_str().unwrap().to_owned(), read(letter["row"].as_str().unwrap()))
    };
    dead.lines().map(letter).collect()
}

#[tokio::test]
async fn rows_that_the_server_refuses_are_dead_lettered_with_its_reason() -> Result<()> {
    let (clickhouse, database) = table_with("CONSTRAINT short CHECK length(span_id) < 3").await?;
    let times: Vec<i64> = (0..12).map(|row| NOON + row).collect();
    let dead = deliver(clickhouse.url(), &database, "", vec![spans_at(&times)]).await;
    let letters = letters(&dead);
    let ids: Vec<_> = letters.iter().map(|(_, row)| row["span_id"].clone()).collect();
    assert_eq!(ids, ["s10", "s11"]);
    assert!(letters[0].0.contains("Code: 469."), "{}", letters[0].0);
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, 10);
    Ok(())
}

/// 3000 spans, of which this many are stored: how many requests that takes, and how many letters there are.
async fn refused(
    columns: &str,
    more: (&str, fn(usize) -> &'static str),
    stored: u64,
) -> Result<(u64, usize)> {
    refused_of(3_000, columns, more, stored).await
}

async fn refused_of(
    rows: i64,
    columns: &str,
    more: (&str, fn(usize) -> &'static str),
    stored: u64,
) -> Result<(u64, usize)> {
    let (clickhouse, database) = table_with(columns).await?;
    let numbers: Vec<i64> = (0..rows).map(|row| NOON + row).collect();
    let spans = spans_at(&numbers);
    let columns = spans.as_columns().unwrap();
    let value: ArrayRef =
        Arc::new((0..numbers.len()).map(|row| Some((more.1)(row))).collect::<StringViewArray>());
    let (time, id) = (Arc::clone(columns.column(0)), Arc::clone(columns.column(1)));
    let spans = batch(Signal::Traces, vec![("time", time), ("span_id", id), (more.0, value)]);
    let before = clickhouse.stats().await?.requests;
    let dead = tokio::time::timeout(TIMEOUT, deliver(clickhouse.url(), &database, "", vec![spans])).await?;
    let requests = clickhouse.stats().await?.requests - before;
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, stored);
    assert_eq!(
        clickhouse.number(&format!("SELECT uniqExact(span_id) FROM {database}.events")).await?,
        stored
    );
    Ok((requests, letters(&dead).len()))
}

#[tokio::test]
async fn many_refused_rows_cost_few_requests() -> Result<()> {
    let kinds = |row: usize| ["server", "client", "internal"][row % 3];
    let columns = "kind Enum8('server' = 1, 'client' = 2), attributes Map(String, String)";
    let (requests, letters) = refused(columns, ("kind", kinds), 2_000).await?;
    assert!(letters == 1_000 && requests < 40, "an Enum: {requests} requests, {letters} letters");
    let codes = |row: usize| if row % 10 == 3 { "a long one" } else { "ok" };
    let (requests, letters) = refused("peer FixedString(4)", ("peer", codes), 2_700).await?;
    assert!(letters == 300 && requests < 40, "a FixedString: {requests} requests, {letters} letters");
    // Of values that are all different. The text is one that must be told from SQL.
    let peers = |_: usize| "it's\\ 支\n";
    let check = "peer String, CONSTRAINT c CHECK NOT (span_id LIKE '%7' AND peer LIKE 'it\\'s%')";
    let (requests, letters) = refused(check, ("peer", peers), 2_700).await?;
    assert!(letters == 300 && requests < 40, "a constraint: {requests} requests, {letters} letters");
    // Of a column that the table computes: texts that are no numbers, and empty ones.
    // A number that is too large wraps around.
    let codes = |row: usize| ["200", "it's none", "404", "7", "", "70000", "2", "3", "4", "5"][row % 10];
    for computed in
        ["MATERIALIZED toUInt16(peer)", "DEFAULT if(peer = '7', 0, toUInt16(attributes['code'] || peer))"]
    {
        let columns = format!("peer String, attributes Map(String, String), code UInt16 {computed}");
        let (requests, letters) = refused(&columns, ("peer", codes), 2_400).await?;
        assert!(letters == 600 && requests < 40, "{computed}: {requests} requests, {letters} letters");
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_the_tables_expressions_refuse_are_told_apart_whatever_the_reason() -> Result<()> {
    // One row in ten, and all values are different.
    let value = "if(endsWith(span_id, '7'), span_id, substring(span_id, 2))";
    let bad = "endsWith(span_id, '7')";
    let normal = std::time::Instant::now();
    assert_eq!(refused("peer String", ("peer", |_| "x"), 3_000).await?.1, 0);
    let normal = normal.elapsed();
    for (cause, requests_at_most) in [
        // The server tells which, in one question.
        (format!("code UInt16 DEFAULT CAST({value}, 'UInt16')"), 40),
        (format!("code UInt8 MATERIALIZED throwIf({bad})"), 40),
        (format!("code UInt32 MATERIALIZED intDiv(1, NOT {bad})"), 40),
        (format!("code UInt32 MATERIALIZED 1 % (NOT {bad})"), 40),
        (format!("CONSTRAINT number CHECK CAST({value}, 'UInt16') >= 0"), 40),
        // It tells which may be, and these are tried.
        (
            format!(
                "day DateTime MATERIALIZED parseDateTimeBestEffort(if({bad}, span_id, '2024-01-02 03:04:05'))"
            ),
            400,
        ),
    ] {
        let begun = std::time::Instant::now();
        let columns = format!("peer String, {cause}");
        let (requests, letters) = refused(&columns, ("peer", |_| "x"), 2_700).await?;
        println!("{cause}: {requests} requests, {:?}; without bad rows {normal:?}", begun.elapsed());
        assert!(
            letters == 300 && requests <= requests_at_most,
            "{cause}: {requests} requests, {letters} letters"
        );
    }
    // Groups are tried.
    let columns = format!("peer String, code String MATERIALIZED toString(range(if({bad}, 1000000000, 1)))");
    let (requests, letters) = refused_of(600, &columns, ("peer", |_| "x"), 540).await?;
    assert!(letters == 60 && requests <= 1_000, "any other: {requests} requests, {letters} letters");
    Ok(())
}

#[tokio::test]
async fn a_table_that_refuses_every_row_is_found_out_soon() -> Result<()> {
    // The server tells neither the column nor the row of an expression that fails. Of a text that is too
    // short it says another code.
    for expression in [
        "CAST(peer, 'UInt16')",
        "toUInt16(attributes['none'])",
        "intDiv(1, length(peer) - 4)",
        "throwIf(peer = 'none')",
    ] {
        let columns =
            format!("peer String, attributes Map(String, String), code UInt16 DEFAULT {expression}");
        let (requests, letters) = refused(&columns, ("peer", |_| "none"), 0).await?;
        assert!(letters == 3_000 && requests < 120, "{expression}: {requests} requests, {letters} letters");
    }
    Ok(())
}

/// A table with a view that cannot read every row, one that can and forgets, and one that can and remembers.
async fn table_with_views() -> Result<(ClickHouse, String)> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    let remembers = "SETTINGS non_replicated_deduplication_window = 100";
    for sql in [
        format!(
            "CREATE TABLE {database}.events (time DateTime64(9), span_id String) ENGINE = MergeTree ORDER BY time {remembers}"
        ),
        format!("CREATE TABLE {database}.codes (code UInt16) ENGINE = MergeTree ORDER BY code {remembers}"),
        format!(
            "CREATE TABLE {database}.ids (span_id String) ENGINE = MergeTree ORDER BY span_id {remembers}"
        ),
        format!(
            "CREATE MATERIALIZED VIEW {database}.to_codes TO {database}.codes AS SELECT \
                 toUInt16(if(span_id = 's77', 'ok', '1')) AS code FROM {database}.events"
        ),
        format!(
            "CREATE MATERIALIZED VIEW {database}.to_ids TO {database}.ids AS SELECT span_id FROM {database}.events"
        ),
    ] {
        clickhouse.query(&sql).await?;
    }
    Ok((clickhouse, database))
}

#[tokio::test]
async fn rows_that_a_view_refuses_are_in_the_table_once() -> Result<()> {
    let (clickhouse, database) = table_with_views().await?;
    let (BuiltExporter { exporter, helper }, telemetry) = counted_exporter(clickhouse.url(), &database, "");
    let times: Vec<i64> = (0..200).map(|row| NOON + row).collect();
    let first = tokio::time::timeout(
        TIMEOUT,
        check_exporter(exporter, helper, vec![spans_at(&times)], Outcome::Done),
    );
    assert_eq!(first.await?, "", "a replay would store them again");
    let metrics = telemetry.encode();
    let counted = "weir_clickhouse_rows_refused_by_views_total{exporter=\"clickhouse\"} 200";
    assert!(metrics.contains(counted), "{metrics}");
    // The next insert, which the view can read, is not held up.
    let other = batch(Signal::Traces, vec![("time", times_of(5)), ("span_id", texts([Some("a"); 5]))]);
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![other]).await, "");
    for (table, rows) in [("events", 205), ("codes", 5), ("ids", 205)] {
        let stored = clickhouse.number(&format!("SELECT count() FROM {database}.{table}")).await?;
        assert_eq!(stored, rows, "{table}");
    }
    Ok(())
}

fn times_of(rows: i64) -> ArrayRef {
    times(&(0..rows).map(|row| NOON + row).collect::<Vec<_>>())
}

#[tokio::test]
async fn an_insert_too_large_for_a_proxy_is_split() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    let exporter = exporter(clickhouse.url(), &database, "").exporter;
    exporter.export(&[spans_at(&[NOON])]).await?;
    clickhouse.fault(json!({"mode": "page", "match": "INSERT", "larger_than": 4000})).await?;
    let times: Vec<i64> = (0..2_000).map(|row| NOON + row).collect();
    let delivered = deliver(clickhouse.url(), &database, "compression: none", vec![spans_at(&times)]);
    assert_eq!(tokio::time::timeout(TIMEOUT, delivered).await?, "");
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, 2_001);
    // Another page of a proxy is no reason to give rows up.
    clickhouse.fault(json!({"mode": "page", "match": "INSERT", "status": 403, "times": 2})).await?;
    assert_eq!(deliver(clickhouse.url(), &database, "", vec![spans_at(&[NOON])]).await, "");
    Ok(())
}

#[tokio::test]
async fn a_table_is_created_by_a_user_who_may_not_create_databases() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    clickhouse.fault(json!({"mode": "http500", "code": 497, "match": "CREATE DATABASE"})).await?;
    let delivered = deliver(clickhouse.url(), &database, "", vec![full_spans()]);
    assert_eq!(tokio::time::timeout(TIMEOUT, delivered).await?, "");
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, 2);
    Ok(())
}

#[tokio::test]
async fn columns_that_take_no_values_any_more_or_others_are_looked_at_again() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let built = exporter(clickhouse.url(), &database, "");
    built.exporter.export(&[full_spans()]).await?;
    let alter = async |what: &str| clickhouse.query(&format!("ALTER TABLE {database}.events {what}")).await;
    alter("MODIFY COLUMN layer String MATERIALIZED 'x'").await?;
    built.exporter.export(&[full_spans()]).await?;
    alter("DROP COLUMN scope_name").await?;
    alter("ADD COLUMN scope_name String ALIAS 'y'").await?;
    built.exporter.export(&[full_spans()]).await?;
    for name in ["layer", "scope_name"] {
        let moved = format!("SELECT count() FROM {database}.events WHERE mapContains(attributes, '{name}')");
        assert!(clickhouse.number(&moved).await? > 0, "{name}");
    }
    alter("DROP COLUMN status_message").await?;
    alter("ADD COLUMN status_message UInt32").await?;
    built.exporter.export(&[full_spans()]).await?;
    let moved =
        format!("SELECT count() FROM {database}.events WHERE startsWith(attributes['status_message'], 'no')");
    assert_eq!(clickhouse.number(&moved).await?, 1);
    Ok(())
}

/// So many spans, which have this column too.
fn many_spans(rows: usize, more: (&str, &str)) -> EventBatch {
    let numbers: Vec<i64> = (0..rows).map(|row| NOON + i64::try_from(row).unwrap()).collect();
    let value: ArrayRef = Arc::new((0..rows).map(|_| Some(more.1)).collect::<StringViewArray>());
    let spans = spans_at(&numbers);
    let columns = spans.as_columns().unwrap();
    let (time, id) = (Arc::clone(columns.column(0)), Arc::clone(columns.column(1)));
    batch(Signal::Traces, vec![("time", time), ("span_id", id), (more.0, value)])
}

#[tokio::test]
async fn large_batches_wait_as_blocks_and_go_together_with_small_ones() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let exporter = exporter(clickhouse.url(), &database, "").exporter;
    let large = many_spans(1_000, ("peer", "db:3306"));
    assert!(exporter.prepare(large.clone()).as_columns().is_some(), "the table is not known yet");
    exporter.export(&[full_spans()]).await?;
    let large = exporter.prepare(large);
    let other = exporter.prepare(many_spans(600, ("status_message", "late")));
    assert!(large.as_columns().is_none() && other.as_columns().is_none());
    assert_eq!((large.len(), large.memory() < 50_000), (1_000, true), "{} bytes", large.memory());
    let together = [spans_at(&[1]).into(), spans_at(&[2]).into(), large, other, spans_at(&[3]).into()];
    for _ in 0..2 {
        exporter.export_outgoing(&together).await?;
    }
    let count = format!("SELECT count() FROM {database}.events");
    assert_eq!(clickhouse.number(&count).await?, 2 + 1_603, "a repeated insert is left out");
    for (condition, rows) in [
        ("peer = 'db:3306' AND span_id NOT LIKE 's.%'", 1_000),
        ("status_message = 'late' AND peer = ''", 600),
        ("time < 10", 3),
        ("span_id = 's599'", 2),
    ] {
        assert_eq!(clickhouse.number(&format!("{count} WHERE {condition}")).await?, rows, "{condition}");
    }
    Ok(())
}

#[tokio::test]
async fn an_insert_that_is_repeated_in_other_blocks_is_left_out() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let exporter = exporter(clickhouse.url(), &database, "").exporter;
    exporter.export(&[spans_at(&[1])]).await?;
    let all = many_spans(3_000, ("peer", "db:3306"));
    let part = |from: usize, rows: usize| {
        let mut batch = all.clone().with_columns(all.as_columns().unwrap().slice(from, rows));
        batch.origin.identity = Some("main/0-3000".into());
        exporter.prepare(batch)
    };
    exporter.export_outgoing(&[part(0, 1_000), part(1_000, 100), part(1_100, 1_900)]).await?;
    exporter.export_outgoing(&[part(0, 600), part(600, 2_400)]).await?;
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.events")).await?, 1 + 3_000);
    Ok(())
}

#[tokio::test]
async fn blocks_of_a_table_that_changed_are_made_again() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let exporter = exporter(clickhouse.url(), &database, "").exporter;
    exporter.export(&[spans_at(&[NOON])]).await?;
    let large = exporter.prepare(many_spans(1_000, ("peer", "db:3306")));
    clickhouse.query(&format!("ALTER TABLE {database}.events DROP COLUMN peer")).await?;
    exporter.export_outgoing(&[large]).await?;
    let peers = format!("SELECT count() FROM {database}.events WHERE attributes['peer'] = 'db:3306'");
    assert_eq!(clickhouse.number(&peers).await?, 1_000);
    Ok(())
}

#[tokio::test]
async fn rows_of_blocks_that_the_server_refuses_are_dead_lettered_alone() -> Result<()> {
    let columns = "attributes Map(String, String), CONSTRAINT good CHECK span_id NOT IN ('s77', 's1999')";
    let (clickhouse, database) = table_with(columns).await?;
    let BuiltExporter { exporter, helper } = exporter(clickhouse.url(), &database, "");
    exporter.export(&[spans_at(&[NOON])]).await?;
    let large = many_spans(2_000, ("peer", "db:3306"));
    assert!(exporter.prepare(large.clone()).as_columns().is_none());
    let dead = check_exporter(exporter, helper, vec![large], Outcome::Done).await;
    let letters = letters(&dead);
    let mut ids: Vec<_> = letters.iter().map(|(_, row)| row["span_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["s1999", "s77"]);
    assert_eq!(letters[0].1["attributes"]["peer"], "db:3306");
    let stored = format!("SELECT count() FROM {database}.events WHERE attributes['peer'] = 'db:3306'");
    assert_eq!(clickhouse.number(&stored).await?, 1_998);
    Ok(())
}

#[tokio::test]
async fn a_window_that_comes_again_when_the_table_has_forgotten_it_is_stored_once() -> Result<()> {
    a_window_that_comes_again_when_the_table_has_forgotten_it_is_stored_once_in(ClickHouse::shared()?).await
}

async fn a_window_that_comes_again_when_the_table_has_forgotten_it_is_stored_once_in(
    clickhouse: &ClickHouse,
) -> Result<()> {
    let database = clickhouse.database().await?;
    let BuiltExporter { exporter, .. } = exporter(clickhouse.url(), &database, "");
    let window = |rows: std::ops::Range<usize>| {
        let mut batch = windows(0, 5);
        batch.origin = Origin::derived("aggregate".into(), Some("aggregate/1749088712000/0/0".into()));
        let columns = batch.as_columns().unwrap().slice(rows.start, rows.len());
        batch.with_columns(columns)
    };
    // Of three groups two are there: one with a label, and one with another.
    exporter.export(&[window(0..2)]).await?;
    clickhouse
        .query(&format!(
            "ALTER TABLE {database}.window_results MODIFY SETTING non_replicated_deduplication_window = 0"
        ))
        .await?;
    for _ in 0..2 {
        exporter.export(&[window(0..3)]).await?;
    }
    let rows = format!(
        "SELECT labels['zone'] AS zone, count() AS n FROM {database}.window_results GROUP BY zone ORDER BY zone"
    );
    let once = |zone: &str| json!({"zone": zone, "n": 1});
    assert_eq!(clickhouse.query(&rows).await?, [once(""), once("eu"), once("us")]);
    // Another firing is another window.
    let mut again = windows(1, 6);
    again.origin = Origin::derived("aggregate".into(), Some("aggregate/1749088712000/0/1".into()));
    exporter.export(&[again]).await?;
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.window_results")).await?, 6);
    Ok(())
}

#[tokio::test]
async fn the_oldest_engine_takes_and_finds_all_that_the_newest_does() -> Result<()> {
    let clickhouse = ClickHouse::start_oldest()?;
    spans_come_back_with_every_value_in(&clickhouse).await?;
    the_recorded_agents_spans_are_all_there_in(&clickhouse).await?;
    of_a_window_the_last_firing_counts_and_its_keys_keep_it_apart_in(&clickhouse).await?;
    alarms_and_logs_come_back_in(&clickhouse).await?;
    a_window_that_comes_again_when_the_table_has_forgotten_it_is_stored_once_in(&clickhouse).await
}

#[tokio::test]
async fn what_the_server_is_too_old_for_is_refused_at_the_start() -> Result<()> {
    let (old, new) = (ClickHouse::start_oldest()?, ClickHouse::shared()?);
    let start = async |clickhouse: &ClickHouse, more: &str| {
        exporter(clickhouse.url(), "default", more).exporter.start().await.map_err(|error| error.to_string())
    };
    assert_eq!(start(&old, "").await, Ok(()));
    assert_eq!(start(new, "async_insert: true").await, Ok(()));
    let refused = start(&old, "async_insert: true").await.unwrap_err();
    assert!(refused.contains("ClickHouse 23.10") && refused.contains("remove `async_insert`"), "{refused}");
    let refused = start(new, "settings: {insert_quorom: 2}").await.unwrap_err();
    assert!(refused.contains("no setting `insert_quorom`"), "{refused}");
    Ok(())
}

/// Inserts texts at the same time, which a server then writes together; gives all texts that the table has.
async fn queue(clickhouse: &ClickHouse, table: &str, texts: &[&str]) -> Result<Value> {
    let insert = async |text: &str| {
        let settings = [
            ("async_insert", "1"),
            ("wait_for_async_insert", "1"),
            ("async_insert_deduplicate", "1"),
            ("insert_deduplicate", "1"),
            ("async_insert_use_adaptive_busy_timeout", "0"),
            ("async_insert_busy_timeout_max_ms", "1000"),
            ("insert_deduplication_token", text),
        ];
        let statement = format!("INSERT INTO {table} FORMAT TabSeparated");
        clickhouse.insert(&statement, &settings, text.as_bytes().to_vec()).await
    };
    match texts {
        [one, two, three] => {
            let inserted = tokio::join!(insert(one), insert(two), insert(three));
            inserted.0.and(inserted.1).and(inserted.2)?;
        }
        texts => {
            for text in texts {
                insert(text).await?;
            }
        }
    }
    let rows = clickhouse.query(&format!("SELECT arraySort(groupArray(s)) AS all FROM {table}")).await?;
    Ok(rows[0]["all"].clone())
}

/// The conduct of a real server of 24.8, which is the reason that the exporter refuses `async_insert` with
/// servers before 26.2. When this changes, [`FACTORY`]'s limit is to be looked at.
#[tokio::test]
async fn the_queue_of_an_older_server_does_not_leave_out_what_comes_twice() -> Result<()> {
    let clickhouse = ClickHouse::start_real()?;
    let started = exporter(clickhouse.url(), "default", "async_insert: true").exporter.start().await;
    let refused = started.map_err(|error| error.to_string()).unwrap_err();
    assert!(refused.contains("ClickHouse 24.8") && refused.contains("remove `async_insert`"), "{refused}");

    let database = clickhouse.database().await?;
    let table = format!("{database}.texts");
    let remembers = "SETTINGS non_replicated_deduplication_window = 100";
    clickhouse
        .query(&format!("CREATE TABLE {table} (s String) ENGINE = MergeTree ORDER BY s {remembers}"))
        .await?;
    let pair = [("async_insert", "1"), ("deduplicate_blocks_in_dependent_materialized_views", "1")];
    let together =
        clickhouse.insert(&format!("INSERT INTO {table} FORMAT TabSeparated"), &pair, b"x".to_vec()).await;
    assert!(together.unwrap_err().to_string().contains("Code: 344."));

    // Alone what comes twice is left out, and with others it is not.
    assert_eq!(queue(&clickhouse, &table, &["a"]).await?, json!(["a"]));
    assert_eq!(queue(&clickhouse, &table, &["a"]).await?, json!(["a"]));
    let all = queue(&clickhouse, &table, &["a", "b", "c"]).await?;
    assert_ne!(all, json!(["a", "b", "c"]), "the queue leaves out what comes twice");
    clickhouse.query("SYSTEM FLUSH LOGS").await?;
    let log = "SELECT count() FROM system.asynchronous_insert_log WHERE table = 'texts' AND status = 'Ok'";
    assert_eq!(clickhouse.number(log).await?, 5);
    Ok(())
}

#[tokio::test]
async fn a_real_server_takes_and_finds_all_that_the_engine_does() -> Result<()> {
    let clickhouse = ClickHouse::start_real()?;
    spans_come_back_with_every_value_in(&clickhouse).await?;
    the_recorded_agents_spans_are_all_there_in(&clickhouse).await?;
    of_a_window_the_last_firing_counts_and_its_keys_keep_it_apart_in(&clickhouse).await?;
    alarms_and_logs_come_back_in(&clickhouse).await?;
    a_window_that_comes_again_when_the_table_has_forgotten_it_is_stored_once_in(&clickhouse).await
}

#[tokio::test]
async fn an_attribute_with_a_column_goes_there_from_the_first_batch_on_and_when_it_gets_one() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    clickhouse
        .query(&format!(
            "CREATE TABLE {database}.events (time DateTime64(9, 'UTC'), span_id String, `http.status_code` LowCardinality(String), \
             `resource.host.name` String, `attr.status` String, unit String, resource Map(LowCardinality(String), String), \
             attributes Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY time"
        ))
        .await?;
    let spans = |rows: usize| {
        let pairs: Vec<(&str, &str)> = vec![
            ("a", "1"),
            ("http.status_code", "200"),
            ("http.status_code", "500"),
            ("status", "s"),
            ("unit", "u"),
        ];
        let lists: Vec<&[(&str, &str)]> =
            (0..rows).map(|row| if row % 2 == 0 { &pairs[..] } else { &pairs[..1] }).collect();
        let ids: ArrayRef =
            Arc::new((0..rows).map(|row| Some(format!("s{row}"))).collect::<StringViewArray>());
        let hosts = Arc::new(attributes(&[&[("host.name", "h1"), ("zone", "z")]]));
        let resource = DictionaryArray::new(Int32Array::from(vec![0; rows]), hosts);
        batch(
            Signal::Traces,
            vec![
                ("time", times(&vec![NOON; rows])),
                ("span_id", ids),
                ("resource", Arc::new(resource)),
                ("attributes", Arc::new(attributes(&lists))),
            ],
        )
    };
    // Of the first batches of a program nobody knows the table, later ones are prepared for it.
    let BuiltExporter { exporter, .. } = exporter(clickhouse.url(), &database, "");
    exporter.export(&[spans(600)]).await?;
    exporter.export_outgoing(&[exporter.prepare(spans(600))]).await?;
    let rows = format!(
        "SELECT `http.status_code` AS code, `attr.status` AS status, unit, `resource.host.name` AS host, mapKeys(attributes) AS keys, \
         attributes['http.status_code'] AS second, mapKeys(resource) AS resource, count() AS n \
         FROM {database}.events GROUP BY ALL ORDER BY code"
    );
    let row = |code: &str, status: &str, unit: &str, keys: Value, second: &str| {
        json!({"code": code, "status": status, "unit": unit, "host": "h1", "keys": keys, "second": second,
               "resource": ["zone"], "n": 600})
    };
    let expected =
        [row("", "", "", json!(["a"]), ""), row("200", "s", "u", json!(["a", "http.status_code"]), "500")];
    assert_eq!(clickhouse.query(&rows).await?, expected);

    clickhouse.query(&format!("ALTER TABLE {database}.events ADD COLUMN a String")).await?;
    wait_until("values in the new column", TIMEOUT, async || {
        exporter.export(&[spans(2)]).await?;
        let filled =
            format!("SELECT countIf(a = '1' AND NOT mapContains(attributes, 'a')) FROM {database}.events");
        Ok((clickhouse.number(&filled).await? > 0).then_some(()))
    })
    .await
}
