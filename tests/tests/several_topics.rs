//! Several topics in one receiver with `windows: all`: topics that appear and go around a crash, and one that
//! Kafka refuses. Every window is stored once and whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::{ClickHouse, Entry, Kafka, Record, Weir, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(90);

/// Windows of the test, in milliseconds.
const WINDOW: i64 = 2_000;

/// Segments and logs of one service, in windows together.
struct Way<'a> {
    kafka: &'a Kafka,
    clickhouse: &'a ClickHouse,
    segments: String,
    logs: String,
    database: String,
    /// The beginning of a window, in milliseconds. Windows that are older than two minutes would be looked
    /// for in the table before they are stored: these are of the next minutes.
    start: i64,
}

/// Events of these milliseconds after the start.
type Times = std::ops::Range<i64>;

impl Way<'_> {
    async fn new<'a>(kafka: &'a Kafka, name: &str) -> Result<Way<'a>> {
        let clickhouse = ClickHouse::shared()?;
        let (segments, database) = (unique(name), clickhouse.database().await?);
        let now = chrono::Utc::now().timestamp_millis() + 600_000;
        let start = now - now % WINDOW;
        Ok(Way { kafka, clickhouse, logs: format!("{segments}-logs"), segments, database, start })
    }

    /// `max_records`: of a batch.
    fn start(&self, max_records: usize, environment: &[(&str, &str)]) -> Result<Weir> {
        let config = format!(
            "receivers:
  skywalking_kafka: {{brokers: [\"{brokers}\"], topics: {{segments: {segments}, logs_json: {logs}}}, group_id: {segments},
    initial_offset: earliest, metadata_refresh: 1s, commit_interval: 200ms, batch: {{max_records: {max_records}}}, properties: {{session.timeout.ms: 6000}}}}
processors:
  aggregate: {{window: {{tumbling: 2s}}, signals: [traces, logs], time: time, out_of_orderness: 0s, max_ahead: 1h, idle_timeout: 1h, group_by: [service]}}
exporters:
  clickhouse: {{endpoint: \"{clickhouse}\", database: {database}, batch: {{timeout: 100ms}}, max_inserts_per_second: 0}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines: {{main: {{receivers: [skywalking_kafka], processors: [aggregate], exporters: [clickhouse]}}}}
",
            brokers = self.kafka.bootstrap(),
            segments = self.segments,
            logs = self.logs,
            clickhouse = self.clickhouse.url(),
            database = self.database,
        );
        Weir::start(&config, &[], environment)
    }

    /// One segment and one log every 100 ms, where these are wanted.
    async fn produce(&self, segments: Times, logs: Times) -> Result<()> {
        let segment = |at: i64| {
            let (id, service) = (format!("segment-{at}"), "shop".into());
            let entry = Entry {
                id,
                service,
                operation: "/pay".into(),
                end_ms: self.start + at,
                duration_ms: 0,
                failed: false,
            };
            entry.record(&self.segments, 0)
        };
        let log = |at: i64| {
            let body = json!({"text": {"text": format!("log-{at}")}});
            let value = json!({"timestamp": (self.start + at).to_string(), "service": "shop", "body": body});
            Record {
                topic: self.logs.clone(),
                partition: 0,
                offset: 0,
                timestamp_ms: self.start + at,
                key: None,
                value: Some(value.to_string().into_bytes()),
            }
        };
        let segments = segments.step_by(100).map(segment);
        self.kafka.produce_all(&segments.chain(logs.step_by(100).map(log)).collect::<Vec<_>>()).await
    }

    /// Waits until the last of these windows is stored, and tells when one is there twice, or lacks an event.
    /// `events`: how many belong into each, by the number of the window.
    async fn windows(&self, events: &[u64]) -> Result<()> {
        let sql = format!(
            "SELECT intDiv(toUnixTimestamp64Milli(window_start) - {}, {WINDOW}) AS n, count, shard, firing \
             FROM {}.window_results ORDER BY n, shard, firing",
            self.start, self.database
        );
        let expected: Vec<(i64, u64)> = (0..).zip(events.iter().copied()).collect();
        let number = |value: &serde_json::Value| {
            value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
        };
        let found = wait_until("the windows", TIMEOUT, async || {
            let rows = self.clickhouse.query(&sql).await.unwrap_or_default();
            let different: BTreeSet<i64> = rows.iter().map(|row| number(&row["n"])).collect();
            Ok((different.len() >= events.len()).then_some(rows))
        })
        .await?;
        // Without FINAL: a row for each insert that the table took.
        let counts: Vec<(i64, u64)> =
            found.iter().map(|row| (number(&row["n"]), number(&row["count"]) as u64)).collect();
        ensure!(counts == expected, "{found:?} instead of {expected:?}");
        Ok(())
    }

    /// A row that is stored twice stays visible.
    async fn stop_merges(&self) -> Result<()> {
        self.clickhouse
            .insert(&format!("SYSTEM STOP MERGES {}.window_results", self.database), &[], Vec::new())
            .await
    }

    /// Every event is stored once.
    async fn stored(&self, segments: u64, logs: u64) -> Result<()> {
        for (table, ids, count) in [("events", "segment_id", segments), ("logs", "body", logs)] {
            let of = |what: &str| format!("SELECT {what} AS n FROM {}.{table}", self.database);
            let different = of(&format!("uniqExact({ids})"));
            wait_until(&format!("{count} {table}"), TIMEOUT, async || {
                Ok((self.clickhouse.number(&different).await.unwrap_or(0) >= count).then_some(()))
            })
            .await?;
            ensure!(self.clickhouse.number(&of("count()")).await? == count, "{table}: one is stored twice");
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_topic_that_appears_between_a_crash_and_a_restart_changes_no_window() -> Result<()> {
    let way = Way::new(Kafka::shared()?, "appears").await?;
    way.kafka.create_topic(&way.segments, 1, &[]).await?;
    way.produce(0..6_000, 0..0).await?;
    // Two windows are stored, and it ends before this is written down.
    let weir = way.start(192, &[("WEIR_FAILPOINT", "before-mark:1")])?;
    assert_eq!(weir.wait(TIMEOUT).await?.code, None, "it was to be killed");
    way.windows(&[20, 20]).await?;
    way.stop_merges().await?;
    way.kafka.create_topic(&way.logs, 1, &[]).await?;
    way.produce(6_000..10_100, 6_000..10_100).await?;
    let weir = way.start(192, &[])?;
    way.windows(&[20, 20, 20, 40, 40]).await?;
    way.stored(101, 41).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_topic_that_goes_between_a_crash_and_a_restart_changes_no_window() -> Result<()> {
    let way = Way::new(Kafka::shared()?, "goes").await?;
    way.kafka.create_topic(&way.segments, 1, &[]).await?;
    way.kafka.create_topic(&way.logs, 1, &[]).await?;
    way.produce(0..6_000, 0..6_000).await?;
    let weir = way.start(192, &[("WEIR_FAILPOINT", "before-mark:1")])?;
    assert_eq!(weir.wait(TIMEOUT).await?.code, None, "it was to be killed");
    way.windows(&[40, 40]).await?;
    way.stop_merges().await?;
    way.kafka.delete_topic(&way.logs).await?;
    way.produce(6_000..10_100, 0..0).await?;
    let weir = way.start(1, &[])?;
    // The logs of the third window went with their topic.
    way.windows(&[40, 40, 20, 20, 20]).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_topic_whose_offsets_kafka_refuses_does_not_hold_up_the_others() -> Result<()> {
    let kafka = Kafka::start()?;
    kafka.stop()?;
    kafka.set_property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")?;
    kafka.set_property("super.users", "User:nobody")?;
    kafka.set_property("allow.everyone.if.no.acl.found", "true")?;
    kafka.start_again()?;
    let way = Way::new(&kafka, "refused").await?;
    way.kafka.create_topic(&way.segments, 1, &[]).await?;
    way.kafka.create_topic(&way.logs, 1, &[]).await?;
    way.produce(0..6_000, 0..6_000).await?;
    let mut weir = way.start(1, &[])?;
    way.windows(&[40, 40]).await?;
    let committed = |topic: &str, least: i64| {
        let (kafka, group, topic) = (way.kafka, way.segments.clone(), topic.to_owned());
        async move {
            wait_until(&format!("the offset {least} of {topic} to be committed"), TIMEOUT, async || {
                Ok((kafka.committed(&group, &topic)?[0] >= Some(least)).then_some(()))
            })
            .await
        }
    };
    committed(&way.segments, 40).await?;
    committed(&way.logs, 40).await?;
    // What is fetched already is in windows, and cannot be written down any more.
    way.produce(6_000..6_100, 6_000..10_100).await?;
    way.stored(61, 101).await?;
    way.kafka.deny_read(&way.logs)?;
    way.produce(6_100..8_100, 0..0).await?;
    way.windows(&[40, 40, 40, 40]).await.with_context(|| weir.log().join("\n"))?;
    way.stored(81, 101).await?;
    // The last two windows are written down for segments.
    committed(&way.segments, 80).await?;
    weir.wait_for_log("does not take the offsets of this topic", TIMEOUT).await?;
    let texts = way.kafka.committed_texts(&way.segments, &way.segments)?;
    drop(weir.kill()?);

    way.kafka.allow_read(&way.logs)?;
    let of_logs = way.kafka.committed_texts(&way.segments, &way.logs)?;
    ensure!(mark(&texts[0]) > mark(&of_logs[0]), "{texts:?} is not ahead of {of_logs:?}");
    let weir = way.start(1, &[])?;
    way.produce(8_100..12_100, 10_100..12_100).await?;
    way.windows(&[40, 40, 40, 40, 40, 40]).await?;
    way.stored(121, 121).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

/// The mark of the one operator in the text beside an offset.
fn mark(text: &str) -> Option<i64> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let windows: BTreeMap<String, i64> = serde_json::from_value(json["w"].clone()).ok()?;
    windows.into_values().next()
}
