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
