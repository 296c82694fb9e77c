//! Changes of a topic under a consumer: records deleted, transactions, created again, truncated.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::{ClickHouse, Entry, Kafka, Metrics, Record, Weir, free_port, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

/// A topic with one partition, a group of its name, and a database.
struct Way<'a> {
    kafka: &'a Kafka,
    clickhouse: &'a ClickHouse,
    topic: String,
    database: String,
    port: u16,
}

impl Way<'_> {
    async fn new<'a>(kafka: &'a Kafka, name: &str) -> Result<Way<'a>> {
        let clickhouse = ClickHouse::shared()?;
        let (topic, database) = (unique(name), clickhouse.database().await?);
        kafka.create_topic(&topic, 1, &[]).await?;
        Ok(Way { kafka, clickhouse, topic, database, port: free_port()? })
    }

    fn start(&self) -> Result<Weir> {
        let config = format!(
            "receivers:
  skywalking_kafka: {{brokers: [\"{brokers}\"], topics: {{segments: {topic}}}, group_id: {topic}, initial_offset: earliest,
    metadata_refresh: 1s, commit_interval: 100ms, properties: {{session.timeout.ms: 6000}}}}
exporters:
  clickhouse: {{endpoint: \"{clickhouse}\", database: {database}, batch: {{timeout: 200ms}}}}
service:
  telemetry: {{metrics: {{address: \"127.0.0.1:{port}\"}}}}
  pipelines: {{main: {{receivers: [skywalking_kafka], exporters: [clickhouse]}}}}
",
            brokers = self.kafka.bootstrap(),
            topic = self.topic,
            clickhouse = self.clickhouse.url(),
            database = self.database,
            port = self.port,
        );
        Weir::start(&config, &[], &[])
    }

    fn records(&self, name: &str, count: usize) -> Vec<Record> {
        let entry = |n: usize| Entry {
            id: format!("{name}-{n}"),
            service: "shop".into(),
            operation: "/pay".into(),
            end_ms: START + n as i64,
            duration_ms: 20,
            failed: false,
        };
        (0..count).map(|n| entry(n).record(&self.topic, 0)).collect()
    }

    /// Waits until this many segments of this name are stored, and tells if there are more, or one is stored
    /// twice.
    async fn stored(&self, name: &str, count: u64) -> Result<()> {
        let number = |what: &str| {
            let from = format!("{}.events WHERE startsWith(segment_id, '{name}-')", self.database);
            format!("SELECT {what} AS n FROM {from}")
        };
        let (all, different) = (number("count()"), number("uniqExact(segment_id)"));
        wait_until(&format!("{count} segments {name}"), TIMEOUT, async || {
            Ok((self.clickhouse.number(&different).await.unwrap_or(0) >= count).then_some(()))
        })
        .await?;
        assert_eq!(self.clickhouse.number(&all).await?, count, "{name}");
        Ok(())
    }

    async fn committed(&self, offset: i64) -> Result<()> {
        wait_until(&format!("the offset {offset} to be committed"), TIMEOUT, async || {
            Ok((self.kafka.committed(&self.topic, &self.topic)? == [Some(offset)]).then_some(()))
        })
        .await
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        Metrics::scrape(&format!("127.0.0.1:{}", self.port)).await?.sum(name, &[]).context("the metric")
    }
}

#[tokio::test]
async fn aborted_transactions_at_the_end_are_no_lag_and_not_lost() -> Result<()> {
    let way = Way::new(Kafka::shared()?, "transactions").await?;
    way.kafka.produce_transaction(&way.records("good", 5), true)?;
    way.kafka.produce_transaction(&way.records("bad", 40), false)?;
    let end = way.kafka.end_offsets(&way.topic)?.remove(0);
    assert_eq!(end, 5 + 1 + 40 + 1, "each transaction has a marker");
    let weir = way.start()?;
    way.stored("good", 5).await?;
    way.committed(end).await?;
    wait_until("no lag", TIMEOUT, async || Ok((way.metric("weir_kafka_lag").await? == 0.0).then_some(())))
        .await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));

    way.kafka.delete_records(&way.topic, 0, end).await?;
    let weir = way.start()?;
    way.kafka.produce_all(&way.records("later", 3)).await?;
    way.stored("later", 3).await?;
    way.committed(end + 3).await?;
    assert_eq!(way.metric("weir_kafka_lost_records_total").await?, 0.0);
    // The same while it runs.
    way.kafka.produce_transaction(&way.records("bad", 10), false)?;
    way.committed(end + 3 + 11).await?;
    way.kafka.delete_records(&way.topic, 0, end + 3 + 11).await?;
    way.kafka.produce_transaction(&way.records("last", 2), true)?;
    way.stored("last", 2).await?;
    assert_eq!(way.metric("weir_kafka_lost_records_total").await?, 0.0);
    assert!(!weir.log().iter().any(|line| line.contains("deleted before")), "{:?}", weir.log());
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn records_that_are_deleted_under_a_running_gateway_are_counted_as_lost() -> Result<()> {
    let way = Way::new(Kafka::shared()?, "retention").await?;
    way.kafka.produce_all(&way.records("first", 5)).await?;
    let mut weir = way.start()?;
    way.stored("first", 5).await?;
    way.committed(5).await?;
    // It does not get to read for a while.
    weir.signal("STOP")?;
    way.kafka.produce_all(&way.records("second", 100)).await?;
    way.kafka.delete_records(&way.topic, 0, 65).await?;
    weir.signal("CONT")?;
    way.committed(105).await?;
    let sql =
        format!("SELECT count() AS n FROM {}.events WHERE startsWith(segment_id, 'second-')", way.database);
    let stored = way.clickhouse.number(&sql).await?;
    let lost = way.metric("weir_kafka_lost_records_total").await?;
    // A fetch may have been on its way when it was stopped: what it brought is not lost.
    assert_eq!(lost + stored as f64, 100.0);
    assert!((40..50).contains(&stored), "what was deleted was not there to be read: {stored}");
    weir.wait_for_log("records were deleted before they were read", TIMEOUT).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_topic_that_is_created_again_is_stored_although_its_offsets_are_the_same() -> Result<()> {
    let way = Way::new(Kafka::shared()?, "again").await?;
    way.kafka.produce_all(&way.records("first", 5)).await?;
    let weir = way.start()?;
    way.stored("first", 5).await?;
    way.committed(5).await?;
    way.kafka.create_again(&way.topic, 1).await?;
    way.kafka.produce_all(&way.records("second", 5)).await?;
    way.stored("second", 5).await?;
    way.committed(5).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));

    // While it is down, and beyond what was committed.
    way.kafka.create_again(&way.topic, 1).await?;
    way.kafka.produce_all(&way.records("third", 9)).await?;
    let weir = way.start()?;
    way.stored("third", 9).await?;
    way.stored("first", 5).await?;
    way.stored("second", 5).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_truncated_partition_is_read_from_where_it_was_written_anew() -> Result<()> {
    let kafka = Kafka::start()?;
    let way = Way::new(&kafka, "truncated").await?;
    // A batch each, so that the log can be cut between them.
    for record in way.records("kept", 6) {
        kafka.produce_all(&[record]).await?;
    }
    let file = kafka.log_file(&way.topic, 0)?;
    let kept = std::fs::metadata(&file)?.len();
    for record in way.records("cut", 4) {
        kafka.produce_all(&[record]).await?;
    }
    let weir = way.start()?;
    way.stored("cut", 4).await?;
    way.committed(10).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));

    // As when a replica that lacks the last records becomes the leader: the topic is the same, offsets are
    // used again.
    kafka.stop()?;
    std::fs::OpenOptions::new().write(true).open(&file)?.set_len(kept)?;
    for index in ["index", "timeindex"] {
        std::fs::remove_file(file.with_extension(index))?;
    }
    kafka.start_again()?;
    kafka.produce_all(&way.records("new", 8)).await?;
    assert_eq!(kafka.end_offsets(&way.topic)?, [14]);
    let mut weir = way.start()?;
    way.stored("new", 8).await?;
    way.stored("kept", 6).await?;
    way.stored("cut", 4).await?;
    way.committed(14).await?;
    weir.wait_for_log("unclean leader election", TIMEOUT).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn partitions_of_which_one_has_too_long_a_text_are_not_committed_without_it() -> Result<()> {
    let kafka = Kafka::start()?;
    let clickhouse = ClickHouse::shared()?;
    let (topic, database) = (unique("long"), clickhouse.database().await?);
    kafka.create_topic(&topic, 2, &[]).await?;
    // As much as the broker takes: there is no room for what the gateway knows beside it.
    let windows: Vec<String> = (0..50).map(|n| format!("\"main/{n:0>71}\":5")).collect();
    let long = format!("{{\"v\":1,\"g\":1,\"w\":{{{}}}}}", windows.join(","));
    assert!((3950..=4096).contains(&long.len()), "{}", long.len());
    let short = "{\"v\":1,\"g\":1}";
    kafka.commit(&topic, &topic, &[(0, &long), (0, short)])?;
    let way = Way { kafka: &kafka, clickhouse, topic, database, port: free_port()? };
    let mut weir = way.start()?;
    weir.wait_for_log("larger than the brokers keep", TIMEOUT).await?;
    way.kafka.produce_all(&way.records("one", 5)).await?;
    // It tries again and again: several times what it takes to commit.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let texts = way.kafka.committed_texts(&way.topic, &way.topic)?;
    assert_eq!(texts[0].trim_end(), long);
    assert_eq!(texts[1].trim_end(), short, "the other partition agrees with it on their windows");
    assert_eq!(
        way.clickhouse
            .number(&format!("SELECT count() AS n FROM {}.events", way.database))
            .await
            .unwrap_or(0),
        0
    );

    way.kafka.stop()?;
    way.kafka.set_property("offset.metadata.max.bytes", "8192")?;
    way.kafka.start_again()?;
    way.stored("one", 5).await?;
    wait_until("both partitions to be committed", TIMEOUT, async || {
        let texts = way.kafka.committed_texts(&way.topic, &way.topic)?;
        Ok((texts[0].len() > 4096 && texts.iter().all(|text| text.contains("\"g\":2"))).then_some(()))
    })
    .await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
