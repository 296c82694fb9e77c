//! `filter` between Kafka and ClickHouse: what it keeps is stored once through crashes, what it drops is
//! acknowledged, and signals without conditions are not decoded for it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::stream::{Key, Stream, Value};
use weir_tests::{ClickHouse, Kafka, Metrics, Weir, free_port, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(180);
/// As many as the stream has services: one partition has nothing but what is dropped.
const PARTITIONS: i32 = 5;
const SEGMENTS: i64 = 6_000;

/// The stream's own rule for the segment `n`: service `n % 5`, operation `n / 5 % 3`.
fn stays(n: i64) -> bool {
    n % 5 != 4 && n / 5 % 3 != 1
}

fn config(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, database: &str, metrics: &str) -> String {
    format!(
        "receivers:
  skywalking_kafka:
    brokers: [\"{}\"]
    topics: {{segments: {topic}}}
    group_id: {topic}
    initial_offset: earliest
    commit_interval: 100ms
    properties: {{session.timeout.ms: \"2000\", heartbeat.interval.ms: \"300\"}}
processors:
  filter: {{traces: {{keep: [\"service <> 'service-4'\"], drop: [\"operation = 'operation-1'\"]}}}}
  aggregate: {{window: {{tumbling: 7s}}, out_of_orderness: 5s, idle_timeout: 3s}}
exporters:
  clickhouse:
    endpoint: \"{}\"
    database: {database}
    batch: {{timeout: 100ms, max_rows: 300}}
    max_inserts_per_second: 0
    retry: {{initial_interval: 100ms, max_interval: 1s}}
service:
  telemetry: {{metrics: {{address: \"{metrics}\"}}}}
  pipelines: {{main: {{receivers: [skywalking_kafka], processors: [filter, aggregate], exporters: [clickhouse]}}}}
",
        kafka.bootstrap(),
        clickhouse.url(),
    )
}

/// Ends the program at `place` three times, starts it again, and compares what is stored with the stream.
async fn crash_at(clickhouse: &ClickHouse, place: &str) -> Result<()> {
    let kafka = Kafka::shared()?;
    let (topic, database) = (unique(place), clickhouse.database().await?);
    kafka.create_topic(&topic, PARTITIONS, &[("retention.ms", "-1")]).await?;
    clickhouse.query(&format!("SYSTEM STOP MERGES {database}.window_results")).await?;
    let stream = Stream::new(SEGMENTS, PARTITIONS, 7);
    kafka.produce_all(&stream.records(&topic, 0..SEGMENTS)).await?;
    let mut folder = Arc::new(tempfile::tempdir()?);
    let port = free_port()?;
    let metrics = format!("127.0.0.1:{port}");
    let config = config(kafka, clickhouse, &topic, &database, &metrics);
    for count in [1, 2, 4] {
        let point = format!("{place}:{count}");
        let weir = Weir::start_in(folder, &config, &[], &[("WEIR_FAILPOINT", &point)])?;
        folder = weir.folder();
        let outcome = weir.wait(TIMEOUT).await?;
        ensure!(outcome.code.is_none(), "{point}: ended with {:?}\n{}", outcome.code, outcome.stderr);
    }
    let weir = Weir::start_in(folder, &config, &[], &[])?;
    // Nothing holds the offsets of the partition of which everything is dropped.
    let end = kafka.end_offsets(&topic)?[4];
    let wait = wait_until("the offsets behind what was dropped", TIMEOUT, async || {
        Ok((kafka.committed(&topic, &topic)?[4] == Some(end)).then_some(()))
    });
    wait.await?;
    kafka.produce_all(&stream.closing(&topic)).await?;

    let closing = u64::from(PARTITIONS.unsigned_abs());
    let kept = (0..SEGMENTS).filter(|n| stays(*n)).count() as u64;
    let count = format!("SELECT count() AS n FROM {database}.events");
    let wait = wait_until("what is kept to be stored", TIMEOUT, async || {
        Ok((clickhouse.number(&count).await.unwrap_or(0) >= kept + closing).then_some(()))
    });
    wait.await?;
    let reference = stream.windows("aggregate", 7_000, 7_000).into_iter();
    let reference: BTreeMap<Key, Value> = reference
        .filter(|((_, _, service, operation), _)| service != "service-4" && operation != "operation-1")
        .collect();
    let wait = wait_until("every window", TIMEOUT, async || {
        let found = windows(clickhouse, &database, stream.end_ms()).await.unwrap_or_default();
        Ok((found.len() >= reference.len()).then_some(()))
    });
    wait.await?;
    let counted = Metrics::scrape(&metrics).await?;
    ensure!(counted.sum("weir_filter_dropped_rows_total", &[("signal", "traces")]).unwrap_or(0.0) > 0.0);
    ensure!(weir.terminate(TIMEOUT).await?.code == Some(0));

    let wrong = format!(
        "SELECT count() AS n FROM {database}.events WHERE service = 'service-4' OR operation = 'operation-1'"
    );
    ensure!(clickhouse.number(&wrong).await? == 0, "{place}: something that is dropped is stored");
    let twice =
        format!("SELECT segment_id FROM {database}.events GROUP BY segment_id HAVING count() > 1 LIMIT 5");
    let twice = clickhouse.query(&twice).await?;
    ensure!(twice.is_empty(), "{place}: stored twice: {twice:?}");
    ensure!(clickhouse.number(&count).await? == kept + closing, "{place}: more than was kept");
    let found = windows(clickhouse, &database, stream.end_ms()).await?;
    ensure!(found == reference, "{place}: windows differ: {found:?}\n{reference:?}");
    Ok(())
}

/// The windows without `FINAL`; one that is stored twice has its counts twice.
async fn windows(clickhouse: &ClickHouse, database: &str, before: i64) -> Result<BTreeMap<Key, Value>> {
    let sql = format!(
        "SELECT operator, toUnixTimestamp64Milli(window_start) AS start, service, operation, sum(count) AS events, \
         sum(error_count) AS errors, max(max_duration_ns) AS longest, min(min_duration_ns) AS shortest \
         FROM {database}.window_results WHERE toUnixTimestamp64Milli(window_start) < {before} GROUP BY ALL"
    );
    let rows = clickhouse.query(&sql).await?.into_iter();
    Ok(rows
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let whole = |name: &str| row[name].as_i64().unwrap_or(i64::MIN);
            let key = (text("operator"), whole("start"), text("service"), text("operation"));
            let counts = (whole("events").unsigned_abs(), whole("errors").unsigned_abs());
            (key, (counts.0, counts.1, whole("longest"), whole("shortest")))
        })
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_place_stores_what_a_filter_keeps_once_and_nothing_else() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let at = |place| crash_at(&clickhouse, place);
    let all = tokio::time::timeout(Duration::from_secs(400), async {
        tokio::try_join!(
            at("before-export"),
            at("after-answer"),
            at("after-export"),
            at("before-commit"),
            at("after-commit"),
        )
    });
    all.await??;
    Ok(())
}
