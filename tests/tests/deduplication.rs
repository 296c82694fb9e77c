//! The duties of ClickHouse for exactly-once, and Weir's words when it fails in them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use weir_tests::{ClickHouse, Entry, Kafka, Record, SHORT_SESSION, Weir, storing, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

fn config(kafka: &Kafka, topic: &str, clickhouse: &ClickHouse, database: &str, more: &str) -> String {
    storing((kafka, topic), (clickhouse, database), SHORT_SESSION, more)
}

fn records(topic: &str, partitions: i32) -> Vec<Record> {
    let entry = |n: i32| Entry {
        id: format!("segment-{n}"),
        service: "shop".to_owned(),
        operation: "/pay".to_owned(),
        end_ms: 1_700_000_000_000 + i64::from(n),
        duration_ms: 5,
        failed: false,
    };
    (0..600).map(|n| entry(n).record(topic, n % partitions)).collect()
}

#[tokio::test]
async fn a_table_that_keeps_repeats_is_told_and_what_to_change() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("keeps"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
    kafka.produce_all(&records(&topic, 1)).await?;
    clickhouse
        .query(&format!(
            "CREATE TABLE {database}.events (end_time DateTime64(9, 'UTC'), segment_id String, \
             attributes Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY end_time"
        ))
        .await?;
    let mut weir = Weir::start(&config(kafka, &topic, clickhouse, &database, ""), &[], &[])?;
    let line = weir.wait_for_log("the table keeps inserts that come twice", TIMEOUT).await?;
    ensure!(line.contains("non_replicated_deduplication_window"), "{line}");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_view_that_counts_repeats_is_told() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("views"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
    kafka.produce_all(&records(&topic, 1)).await?;
    let remembers = "SETTINGS non_replicated_deduplication_window = 100";
    for sql in [
        format!(
            "CREATE TABLE {database}.events (end_time DateTime64(9, 'UTC'), segment_id String) ENGINE = MergeTree ORDER BY end_time {remembers}"
        ),
        format!(
            "CREATE TABLE {database}.per_day (day Date, n UInt64) ENGINE = SummingMergeTree ORDER BY day"
        ),
        format!(
            "CREATE MATERIALIZED VIEW {database}.days TO {database}.per_day AS SELECT toDate(end_time) AS day, count() AS n FROM {database}.events GROUP BY day"
        ),
        format!(
            "CREATE MATERIALIZED VIEW {database}.own ENGINE = SummingMergeTree ORDER BY tuple() AS SELECT count() AS n FROM {database}.events"
        ),
        format!(
            "CREATE TABLE {database}.safe (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple() {remembers}"
        ),
        format!(
            "CREATE MATERIALIZED VIEW {database}.right TO {database}.safe AS SELECT count() AS n FROM {database}.events"
        ),
    ] {
        clickhouse.query(&sql).await?;
    }
    let mut weir = Weir::start(&config(kafka, &topic, clickhouse, &database, ""), &[], &[])?;
    for what in
        [format!("{database}.per_day, of the view {database}.days"), format!("the view {database}.own")]
    {
        let line = weir.wait_for_log(&what, TIMEOUT).await?;
        ensure!(line.contains("keeps inserts that come twice"), "{line}");
    }
    let log = weir.log();
    let mut told = log.iter().filter(|line| line.contains("keeps inserts that come twice"));
    ensure!(
        !told.any(|line| line.contains(".safe") || line.contains("table\":\"events")),
        "{}",
        log.join("\n")
    );
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_range_that_went_in_parts_is_repeated_in_the_same_parts() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("parts"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
    let entry = |n: i32| Entry {
        id: format!("segment-{n}"),
        service: "shop".to_owned(),
        operation: if n % 5 == 0 { "/refused" } else { "/pay" }.to_owned(),
        end_ms: 1_700_000_000_000 + i64::from(n),
        duration_ms: 5,
        failed: false,
    };
    kafka.produce_all(&(0..600).map(|n| entry(n).record(&topic, 0)).collect::<Vec<_>>()).await?;
    clickhouse
        .query(&format!(
            "CREATE TABLE {database}.events (end_time DateTime64(9, 'UTC'), segment_id String, operation Enum8('/pay' = 1)) \
             ENGINE = MergeTree ORDER BY end_time SETTINGS non_replicated_deduplication_window = 100"
        ))
        .await?;
    let config = config(kafka, &topic, clickhouse, &database, "batch: {timeout: 100ms}");
    // It ends after the server has taken the good rows.
    let weir = Weir::start(&config, &[], &[("WEIR_FAILPOINT", "after-answer:1")])?;
    let folder = weir.folder();
    ensure!(weir.wait(TIMEOUT).await?.code.is_none(), "it was killed");
    let (rows, good) = (format!("SELECT count() AS n FROM {database}.events"), "operation = '/pay'");
    ensure!(clickhouse.number(&rows).await? > 0);
    // Meanwhile the cause is repaired.
    clickhouse.query(&format!("ALTER TABLE {database}.events MODIFY COLUMN operation String")).await?;
    let weir = Weir::start_in(folder.clone(), &config, &[], &[])?;
    wait_until("every segment to be committed", TIMEOUT, async || {
        let committed: i64 = kafka.committed(&topic, &topic).unwrap_or_default().into_iter().flatten().sum();
        Ok((committed >= 600).then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    assert_eq!(clickhouse.number(&format!("{rows} WHERE {good}")).await?, 480, "each good segment once");
    let letters =
        std::fs::read_to_string(folder.path().join("dead-letter/clickhouse.jsonl")).unwrap_or_default();
    assert_eq!(clickhouse.number(&rows).await? + letters.lines().count() as u64, 600, "the others, too");
    Ok(())
}

/// The engine in a Python process has no queue of asynchronous inserts (`SYSTEM FLUSH ASYNC INSERT QUEUE`:
/// "it is not initialized"), so that it makes these inserts at once. A real server that has one can be had up
/// to 25.5 only, and what the queue of such a server does is in `clickhouse_exporter.rs`. The queue of 26.2
/// and newer, which Weir needs, is not tried here.
#[tokio::test]
async fn asynchronous_inserts_are_deduplicated_too() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("async"), clickhouse.database().await?);
    kafka.create_topic(&topic, 3, &[("retention.ms", "-1")]).await?;
    kafka.produce_all(&records(&topic, 3)).await?;
    let config = config(kafka, &topic, clickhouse, &database, "async_insert: true, batch: {timeout: 100ms}");
    for count in ["after-answer:1", "after-answer:2"] {
        let weir = Weir::start(&config, &[], &[("WEIR_FAILPOINT", count)])?;
        ensure!(weir.wait(TIMEOUT).await?.code.is_none(), "it ends after the server has answered");
    }
    let weir = Weir::start(&config, &[], &[])?;
    let count = format!("SELECT count() AS n FROM {database}.events");
    wait_until("every segment to be repeated and committed", TIMEOUT, async || {
        let committed: i64 = kafka.committed(&topic, &topic).unwrap_or_default().into_iter().flatten().sum();
        Ok((committed >= 600).then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    ensure!(clickhouse.number(&count).await? == 600, "every segment once");
    Ok(())
}

/// Makes a table forget the inserts that it has seen.
async fn forget(clickhouse: &ClickHouse, database: &str) -> Result<()> {
    for value in ["1", "100000"] {
        let setting = format!("MODIFY SETTING non_replicated_deduplication_window = {value}");
        clickhouse.query(&format!("ALTER TABLE {database}.events {setting}")).await?;
        // The window of one part is taken up by this one.
        let row = format!("INSERT INTO {database}.events (time, service) VALUES ({value}, 'other')");
        clickhouse.query(&row).await?;
    }
    Ok(())
}

/// Waits until the group has committed so many records.
async fn committed(kafka: &Kafka, topic: &str, records: i64) -> Result<()> {
    wait_until("everything to be committed", TIMEOUT, async || {
        let committed: i64 = kafka.committed(topic, topic).unwrap_or_default().into_iter().flatten().sum();
        Ok((committed >= records).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_range_that_is_repeated_when_the_table_has_forgotten_it_is_stored_once() -> Result<()> {
    const DAY_MS: i64 = 86_400_000;
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("forgotten"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
    let mut records = Vec::new();
    for n in 0..600 {
        let end_ms = 1_700_000_000_000 + i64::from(n % 3) * DAY_MS;
        let (service, operation) = ("shop".to_owned(), "/pay".to_owned());
        // Every segment twice, as an agent sends it that had no answer: these are two records.
        let id = format!("segment-{}", n / 2);
        records
            .push(Entry { id, service, operation, end_ms, duration_ms: 5, failed: false }.record(&topic, 0));
    }
    kafka.produce_all(&records).await?;
    let config = config(kafka, &topic, clickhouse, &database, "batch: {timeout: 100ms}");
    let shop = format!("SELECT count() AS n FROM {database}.events WHERE service = 'shop'");

    // All of the first range is stored, and nobody has written that down.
    let weir = Weir::start(&config, &[], &[("WEIR_FAILPOINT", "after-answer:1")])?;
    ensure!(weir.wait(TIMEOUT).await?.code.is_none(), "it ends after the server has answered");
    let first = clickhouse.number(&shop).await?;
    ensure!(first > 0, "something is stored");
    forget(clickhouse, &database).await?;
    // An insert over several days is made day by day: as if it had ended in the middle.
    clickhouse.query(&format!("ALTER TABLE {database}.events DROP PARTITION '2023-11-15'")).await?;
    ensure!((1..first).contains(&clickhouse.number(&shop).await?), "of the first range something is missing");

    let weir = Weir::start(&config, &[], &[])?;
    committed(kafka, &topic, 600).await.with_context(|| weir.log().join("\n"))?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    ensure!(clickhouse.number(&shop).await? == 600, "every record once: {}", clickhouse.number(&shop).await?);
    let places = format!(
        "SELECT count() AS n, uniqExact(_offset) AS offsets, min(_offset) AS first, max(_offset) AS last, any(_source) AS source, \
         uniqExact(_source) AS sources FROM {database}.events WHERE service = 'shop'"
    );
    let rows = clickhouse.query(&places).await?;
    let row = &rows[0];
    assert_eq!(
        (&row["n"], &row["offsets"], &row["first"], &row["last"]),
        (&600.into(), &600.into(), &0.into(), &599.into())
    );
    let source = row["source"].as_str().context("a source")?;
    // Behind the topic's name is which one of that name it is.
    let (group_and_topic, rest) = source.split_once('@').context("a topic")?;
    ensure!(group_and_topic.ends_with(&format!("/{topic}/{topic}")), "{source}");
    ensure!(rest.ends_with("/0/main/clickhouse"), "{source}");
    ensure!(row["sources"] == 1, "{row}");
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_does_not_store_what_another_has_stored() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::start()?);
    let (topic, database) = (unique("cut"), clickhouse.database().await?);
    kafka.create_topic(&topic, 2, &[("retention.ms", "-1")]).await?;
    kafka.produce_all(&records(&topic, 2)).await?;
    let config =
        config(kafka, &topic, &clickhouse, &database, "batch: {timeout: 100ms}, max_inserts_per_second: 0");
    clickhouse.fault(json!({"mode": "http500", "code": 241, "times": 1_000_000, "match": "INSERT"})).await?;
    let mut first = Weir::start(&config, &[], &[])?;
    first.wait_for_log("export failed, retrying", TIMEOUT).await?;
    // Wherever it is with the next try.
    first.signal("STOP")?;
    let before = first.log().len();

    clickhouse.fault(json!({"mode": "ok"})).await?;
    let second = Weir::start(&config, &[], &[])?;
    committed(kafka, &topic, 600).await.with_context(|| second.log().join("\n"))?;
    let count = format!("SELECT count() AS n FROM {database}.events WHERE service = 'shop'");
    ensure!(clickhouse.number(&count).await? == 600, "the second has stored everything");
    forget(&clickhouse, &database).await?;

    first.signal("CONT")?;
    let lost = first.wait_for_log_after(before, "\"lost\":true", TIMEOUT).await?;
    // What it has begun it gives up; then it takes its part of the partitions again.
    let lost = first.log().iter().position(|line| *line == lost).context("the line")?;
    first.wait_for_log_after(lost, "partitions assigned", TIMEOUT).await?;
    assert_eq!(first.terminate(TIMEOUT).await?.code, Some(0));
    assert_eq!(second.terminate(TIMEOUT).await?.code, Some(0));
    let now = clickhouse.number(&count).await?;
    ensure!(now == 600, "every record once: {now}");
    Ok(())
}
