//! What ClickHouse has to do for exactly-once, and what Weir says when it does not.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
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
    let log = weir.log().join("\n");
    ensure!(!log.contains(".safe") && !log.contains("table\":\"events"), "{log}");
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
