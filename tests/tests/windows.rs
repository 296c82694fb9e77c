//! The same input through 1, 3 and 16 partitions, live and as a backlog, in batches of 1 and 4096 records,
//! gives the same windows row by row, and they agree with SQL over the stored events.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; a failure is repeated by its printed seed"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use weir_tests::stream::{Key, Stream, Value};
use weir_tests::{ClickHouse, Kafka, Weir, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
const SEGMENTS: i64 = 8_000;
const SEED: u64 = 20_231_114;
/// Segments that are produced together while Weir reads.
const PART: i64 = 1_000;

/// One way of the input through Weir.
#[derive(Clone, Copy, Debug)]
struct Way {
    partitions: i32,
    live: bool,
    max_records: usize,
}

fn config(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, database: &str, way: Way) -> String {
    format!(
        "receivers:
  skywalking_kafka:
    brokers: [\"{}\"]
    topics: {{segments: {topic}}}
    group_id: {topic}
    initial_offset: earliest
    batch: {{max_records: {}}}
processors:
  aggregate:
    window: {{tumbling: 7s}}
    out_of_orderness: 5s
    idle_timeout: 1h
    measures:
      slow: count(where duration_ns > 500000000)
      ids: distinct(trace_id)
      nine_tenths: quantile(duration_ns, 0.9)
      failing: ratio(status = 'error')
  aggregate/sliding: {{window: {{sliding: 60s, slide: 5s}}, out_of_orderness: 5s, idle_timeout: 1h, group_by: [service]}}
  aggregate/errors: {{window: {{session: 500ms}}, out_of_orderness: 5s, idle_timeout: 1h, where: \"status = 'error'\"}}
exporters:
  clickhouse: {{endpoint: \"{}\", database: {database}, batch: {{timeout: 200ms}}, max_inserts_per_second: 0}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [aggregate, aggregate/sliding, aggregate/errors], exporters: [clickhouse]}}
",
        kafka.bootstrap(),
        way.max_records,
        clickhouse.url(),
    )
}

/// Sends the stream this way; returns every row of `window_results` that is over, as text, in order.
async fn windows(kafka: &Kafka, clickhouse: &ClickHouse, way: Way) -> Result<(String, Vec<String>)> {
    let stream = Stream::new(SEGMENTS, way.partitions, SEED);
    let (topic, database) = (unique("windows"), clickhouse.database().await?);
    // The records are of 2023: by default Kafka would delete them while they are read.
    kafka.create_topic(&topic, way.partitions, &[("retention.ms", "-1")]).await?;
    let start = || Weir::start(&config(kafka, clickhouse, &topic, &database, way), &[], &[]);
    let count = format!("SELECT count() AS n FROM {database}.events");
    let weir = if way.live {
        let weir = start()?;
        for from in (0..SEGMENTS).step_by(PART as usize) {
            let to = SEGMENTS.min(from + PART);
            kafka.produce_all(&stream.records(&topic, from..to)).await?;
            wait_until("what was produced", TIMEOUT, async || {
                Ok((clickhouse.number(&count).await.unwrap_or(0) >= to as u64).then_some(()))
            })
            .await?;
        }
        kafka.produce_all(&stream.closing(&topic)).await?;
        weir
    } else {
        kafka.produce_all(&stream.records(&topic, 0..SEGMENTS)).await?;
        kafka.produce_all(&stream.closing(&topic)).await?;
        start()?
    };
    // All operators fire when the closing segments come; ending in an orderly way delivers what has fired.
    let last = format!(
        "SELECT count() AS n FROM {database}.window_results FINAL WHERE operator = 'aggregate' \
         AND toUnixTimestamp64Milli(window_start) < {}",
        stream.end_ms()
    );
    let expected = stream.windows("aggregate", 7_000, 7_000).len() as u64;
    wait_until("every window", TIMEOUT, async || {
        Ok((clickhouse.number(&last).await.unwrap_or(0) >= expected).then_some(()))
    })
    .await
    .with_context(|| format!("{way:?}\n{}", weir.log().join("\n")))?;
    wait_until("every event", TIMEOUT, async || {
        Ok((clickhouse.number(&count).await.unwrap_or(0) >= stream.total()).then_some(()))
    })
    .await?;
    let outcome = weir.terminate(TIMEOUT).await?;
    ensure!(outcome.code == Some(0), "{way:?}: {:?}\n{}", outcome.code, outcome.stderr);
    ensure!(clickhouse.number(&count).await? == stream.total(), "{way:?}: not every segment is stored once");
    let sql = format!(
        "SELECT * FROM {database}.window_results FINAL WHERE toUnixTimestamp64Milli(window_start) < {} \
         ORDER BY operator, window_start, window_end, service, operation, toString(labels), firing",
        stream.end_ms()
    );
    let rows = clickhouse.query(&sql).await?.iter().map(ToString::to_string).collect();
    Ok((database, rows))
}

/// The tumbling windows by the stored events.
async fn from_events(clickhouse: &ClickHouse, database: &str, before: i64) -> Result<BTreeMap<Key, Value>> {
    let sql = format!(
        "SELECT intDiv(toUnixTimestamp64Milli(end_time), 7000) * 7000 AS start, service, operation, count() AS n, \
         countIf(status = 'error') AS errors, max(duration_ns) AS longest, min(duration_ns) AS shortest \
         FROM {database}.events WHERE toUnixTimestamp64Milli(end_time) < {before} GROUP BY start, service, operation"
    );
    let mut windows = BTreeMap::new();
    for row in clickhouse.query(&sql).await? {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let whole = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {row}"));
        let key = ("aggregate".to_owned(), whole("start")?, text("service"), text("operation"));
        let value = (
            whole("n")?.unsigned_abs(),
            whole("errors")?.unsigned_abs(),
            whole("longest")?,
            whole("shortest")?,
        );
        windows.insert(key, value);
    }
    Ok(windows)
}

/// The tumbling windows among stored rows.
fn tumbling(rows: &[String]) -> Result<BTreeMap<Key, Value>> {
    let mut windows = BTreeMap::new();
    for row in rows {
        let row: serde_json::Value = serde_json::from_str(row)?;
        if row["operator"] != "aggregate" {
            continue;
        }
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let whole = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {row}"));
        let seconds = text("window_start");
        let start = chrono_ms(&seconds).with_context(|| format!("window_start in {row}"))?;
        let key = (text("operator"), start, text("service"), text("operation"));
        let value = (
            whole("count")?.unsigned_abs(),
            whole("error_count")?.unsigned_abs(),
            whole("max_duration_ns")?,
            whole("min_duration_ns")?,
        );
        windows.insert(key, value);
    }
    Ok(windows)
}

/// `2023-11-14 22:13:20.000000000` in milliseconds. Every window here is of one day.
fn chrono_ms(text: &str) -> Option<i64> {
    let day = 1_699_920_000_000; // 2023-11-14
    let (date, time) = text.split_once(' ')?;
    let days: i64 = date.strip_prefix("2023-11-")?.parse().ok()?;
    let (clock, fraction) = time.split_once('.')?;
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let nanos: i64 = fraction.parse().ok()?;
    Some(day + (days - 14) * 86_400_000 + ((hours * 60 + minutes) * 60 + seconds) * 1000 + nanos / 1_000_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_the_same_whatever_the_partitions_the_pace_and_the_batches() -> Result<()> {
    println!("seed {SEED}");
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let mut ways = Vec::new();
    for partitions in [1, 3, 16] {
        for live in [false, true] {
            for max_records in [1, 4096] {
                ways.push(Way { partitions, live, max_records });
            }
        }
    }
    let mut first: Option<(Way, Vec<String>)> = None;
    for pair in ways.chunks(2) {
        let both =
            tokio::try_join!(windows(kafka, clickhouse, pair[0]), windows(kafka, clickhouse, pair[1]))?;
        for (way, (database, rows)) in pair.iter().zip([both.0, both.1]) {
            let stream = Stream::new(SEGMENTS, way.partitions, SEED);
            let events = from_events(clickhouse, &database, stream.end_ms()).await?;
            ensure!(tumbling(&rows)? == events, "{way:?}: windows and events disagree");
            ensure!(
                events == stream.windows("aggregate", 7_000, 7_000),
                "{way:?}: the events are not those sent"
            );
            let Some((known, expected)) = &first else {
                for operator in ["aggregate/sliding", "aggregate/errors"] {
                    let of = format!("\"operator\":\"{operator}\"");
                    ensure!(rows.iter().any(|row| row.contains(&of)), "{operator} has no windows");
                }
                first = Some((*way, rows));
                continue;
            };
            if rows != *expected {
                let at = rows
                    .iter()
                    .zip(expected)
                    .position(|(a, b)| a != b)
                    .unwrap_or(rows.len().min(expected.len()));
                bail!(
                    "{way:?} and {known:?} differ ({} and {} rows), first in row {at}:\n{:?}\n{:?}",
                    rows.len(),
                    expected.len(),
                    rows.get(at),
                    expected.get(at)
                );
            }
        }
    }
    Ok(())
}
