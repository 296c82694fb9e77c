//! Refused rows are kept, and `weir replay` sends them through again, once.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::{ClickHouse, Entry, Kafka, Record, Weir, storing, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);
const START: i64 = 1_700_000_000_000;

fn entry(n: i64, service: &str) -> Entry {
    Entry {
        id: format!("segment-{n}"),
        service: service.to_owned(),
        operation: "/pay".to_owned(),
        end_ms: START + n,
        duration_ms: 5,
        failed: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_rows_and_undecodable_records_are_replayed_once() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("letters"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
    // A table that refuses some rows, as one with a constraint does.
    clickhouse
        .query(&format!(
            "CREATE TABLE {database}.events (end_time DateTime64(9, 'UTC'), segment_id String, service LowCardinality(String), \
             attributes Map(LowCardinality(String), String), CONSTRAINT known CHECK service != 'stranger') ENGINE = MergeTree \
             ORDER BY end_time SETTINGS non_replicated_deduplication_window = 1000"
        ))
        .await?;
    let config = storing((kafka, &topic), (clickhouse, &database), "", "");
    let records: Vec<_> =
        (0..20).map(|n| entry(n, if n % 5 == 0 { "stranger" } else { "friend" }).record(&topic, 0)).collect();
    kafka.produce_all(&records).await?;
    let (key, value) = (Some(b"register-friend@1".to_vec()), Some(b"\xff\xff no segment".to_vec()));
    let undecodable =
        Record { topic: topic.clone(), partition: 0, offset: 0, timestamp_ms: 1_795_132_812_345, key, value };
    kafka.produce_all(std::slice::from_ref(&undecodable)).await?;
    let weir = Weir::start(&config, &[], &[])?;
    let stored = format!("SELECT count() AS n FROM {database}.events");
    wait_until("the rows that are taken", TIMEOUT, async || {
        Ok((clickhouse.number(&stored).await? >= 16).then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    let folder = weir.folder();
    let letters = folder.path().join("dead-letter");
    let lines = |name: &str| std::fs::read_to_string(letters.join(name)).unwrap_or_default().lines().count();
    wait_until("the letters", TIMEOUT, async || {
        Ok((lines("clickhouse.jsonl") == 4 && lines("skywalking_kafka.jsonl") == 1).then_some(()))
    })
    .await?;
    ensure!(clickhouse.number(&stored).await? == 16, "only what the table takes");

    let path = folder.path().join("weir.yaml");
    let replay = |more: &[&str]| -> Result<weir_tests::Outcome> {
        let arguments =
            ["replay", "--config", path.to_str().unwrap(), "--dead-letter", letters.to_str().unwrap()];
        Weir::run_command(&[&arguments, more].concat(), &[])
    };
    let dry = replay(&["--dry-run"])?;
    ensure!(dry.code == Some(0) && dry.stdout.contains("4 to send"), "{dry:?}");
    // Nothing has changed yet: the rows are refused again, with their reason.
    let refused = replay(&["--component", "clickhouse"])?;
    ensure!(refused.code == Some(1) && refused.stdout.contains("0 sent, 4 failed again"), "{refused:?}");
    clickhouse.query(&format!("ALTER TABLE {database}.events DROP CONSTRAINT known")).await?;
    let done = replay(&[])?;
    ensure!(done.code == Some(0) && done.stdout.contains("4 sent, 0 failed again"), "{done:?}");
    ensure!(done.stdout.contains("1 sent, 0 failed again"), "the record goes back to its topic: {done:?}");
    ensure!(clickhouse.number(&stored).await? == 20, "every row is stored");
    let distinct = format!("SELECT uniqExact(segment_id) AS n FROM {database}.events");
    ensure!(clickhouse.number(&distinct).await? == 20, "once");
    // The record came again, could not be decoded again, and is a letter again.
    wait_until("the record's second letter", TIMEOUT, async || {
        Ok((lines("skywalking_kafka.jsonl") == 2).then_some(()))
    })
    .await?;
    let read = kafka.read_all(&topic)?;
    let again = read.last().context("it is in the topic again")?;
    ensure!(again.offset > 20, "{again:?}");
    ensure!(Record { offset: 0, ..again.clone() } == undecodable, "with its key and its time: {again:?}");
    let nothing = replay(&["--component", "clickhouse"])?;
    ensure!(nothing.code == Some(0) && nothing.stdout.contains("clickhouse.jsonl: 0 sent"), "{nothing:?}");
    ensure!(clickhouse.number(&stored).await? == 20, "a second replay sends nothing");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
