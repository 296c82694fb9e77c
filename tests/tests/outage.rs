//! Servers that cannot be reached: Weir says so, keeps trying, loses nothing.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use weir_tests::{
    ClickHouse, Kafka, Record, SHORT_SESSION, Weir, decode_segments, recorded, storing, unique, wait_until,
};

const TIMEOUT: Duration = Duration::from_secs(60);

fn config(kafka: &Kafka, topic: &str, clickhouse: &ClickHouse, database: &str) -> String {
    storing((kafka, topic), (clickhouse, database), SHORT_SESSION, "retry: {max_interval: 1s}")
}

/// The recorded segments, for this topic, and how many spans they have.
fn segments(topic: &str) -> Result<(Vec<Record>, u64)> {
    let records: Vec<Record> = recorded("skywalking-segments")?
        .into_iter()
        .map(|record| Record { topic: topic.to_owned(), ..record })
        .collect();
    let spans = decode_segments(&records)?
        .iter()
        .filter_map(|segment| segment["spans"].as_array())
        .map(Vec::len)
        .sum::<usize>();
    Ok((records, spans as u64))
}

/// The recorded segments in a topic of their own, and a database for them: topic, database, spans.
async fn produced(kafka: &Kafka, clickhouse: &ClickHouse, name: &str) -> Result<(String, String, u64)> {
    let (topic, database) = (unique(name), clickhouse.database().await?);
    kafka.create_topic(&topic, 3, &[]).await?;
    let (records, spans) = segments(&topic)?;
    kafka.produce_all(&records).await?;
    Ok((topic, database, spans))
}

async fn all_stored_once(clickhouse: &ClickHouse, database: &str, spans: u64) -> Result<()> {
    let count = format!("SELECT count() AS n FROM {database}.events");
    wait_until("every span", TIMEOUT, async || {
        Ok((clickhouse.number(&count).await.unwrap_or(0) >= spans).then_some(()))
    })
    .await?;
    assert_eq!(clickhouse.number(&count).await?, spans);
    let distinct = format!("SELECT uniqExact(span_id) AS n FROM {database}.events");
    assert_eq!(clickhouse.number(&distinct).await?, spans);
    Ok(())
}

#[tokio::test]
async fn kafka_that_is_down_at_start_is_waited_for() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::start()?, ClickHouse::shared()?);
    let (topic, database, spans) = produced(&kafka, clickhouse, "late").await?;
    kafka.stop()?;
    let mut weir = Weir::start(&config(&kafka, &topic, clickhouse, &database), &[], &[])?;
    weir.wait_for_log(kafka.bootstrap(), TIMEOUT).await?;
    kafka.start_again()?;
    all_stored_once(clickhouse, &database, spans).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn clickhouse_that_is_down_is_retried_until_every_row_is_stored() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::start()?);
    let (topic, database) = (unique("down"), clickhouse.database().await?);
    kafka.create_topic(&topic, 3, &[]).await?;
    let (records, spans) = segments(&topic)?;
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    let mut weir = Weir::start(&config(kafka, &topic, &clickhouse, &database), &[], &[])?;
    kafka.produce_all(&records).await?;
    weir.wait_for_log("retrying", TIMEOUT).await?;
    for order in [
        json!({"mode": "http500", "code": 252, "times": 2, "match": "INSERT"}),
        json!({"mode": "exception_in_200", "code": 241, "times": 1, "match": "INSERT"}),
        json!({"mode": "lost_answer", "times": 1, "match": "INSERT"}),
    ] {
        clickhouse.fault(order).await?;
        // Each fault meets a fresh run of the same input.
        let before = clickhouse.stats().await?.faults;
        wait_until("the fault to be met", TIMEOUT, async || {
            Ok((clickhouse.stats().await?.faults > before).then_some(()))
        })
        .await?;
    }
    clickhouse.fault(json!({"mode": "ok"})).await?;
    all_stored_once(&clickhouse, &database, spans).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn stopping_while_clickhouse_is_down_commits_nothing_and_the_next_start_delivers() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::start()?);
    let (topic, database, spans) = produced(kafka, &clickhouse, "stopped").await?;
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    let config = config(kafka, &topic, &clickhouse, &database) + "  shutdown_timeout: 2s\n";
    let mut weir = Weir::start(&config, &[], &[])?;
    weir.wait_for_log("retrying", TIMEOUT).await?;
    weir.terminate(TIMEOUT).await?;
    assert!(kafka.committed(&topic, &topic)?.iter().all(|offset| offset.is_none_or(|offset| offset == 0)));
    clickhouse.fault(json!({"mode": "ok"})).await?;
    let weir = Weir::start(&config, &[], &[])?;
    all_stored_once(&clickhouse, &database, spans).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_the_next_start_delivers() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::start()?);
    let (topic, database, spans) = produced(kafka, &clickhouse, "twice").await?;
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    let config = config(kafka, &topic, &clickhouse, &database);
    let mut weir = Weir::start(&config, &[], &[])?;
    weir.wait_for_log("export failed, retrying", TIMEOUT).await?;
    weir.signal("TERM")?;
    weir.wait_for_log("a second signal ends at once", TIMEOUT).await?;
    weir.signal("TERM")?;
    assert_eq!(weir.wait(TIMEOUT).await?.code, Some(130));
    clickhouse.fault(json!({"mode": "ok"})).await?;
    let weir = Weir::start(&config, &[], &[])?;
    all_stored_once(&clickhouse, &database, spans).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
