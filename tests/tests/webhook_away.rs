//! Webhooks that say no or are away: events, windows and commits go on, and no alarm is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::{ClickHouse, Entry, Kafka, Recorder, Weir, free_port, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(90);
const START: i64 = 1_700_000_000_000;
const WINDOW_MS: i64 = 7_000;
/// One a second.
const SEGMENTS: i64 = 420;

/// Slow in every other window: an alarm fires or resolves in each.
fn entry(n: i64) -> Entry {
    let end_ms = START + n * 1000;
    let slow = end_ms.div_euclid(WINDOW_MS) % 2 == 0;
    Entry {
        id: format!("segment-{n}"),
        service: "pay".to_owned(),
        operation: "/pay".to_owned(),
        end_ms,
        duration_ms: if slow { 3000 } else { 5 },
        failed: false,
    }
}

struct Case<'a> {
    kafka: &'a Kafka,
    clickhouse: &'a ClickHouse,
    topic: String,
    database: String,
}

impl<'a> Case<'a> {
    async fn new(name: &str) -> Result<Case<'a>> {
        let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
        let (topic, database) = (unique(name), clickhouse.database().await?);
        kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
        kafka.produce_all(&(0..SEGMENTS).map(|n| entry(n).record(&topic, 0)).collect::<Vec<_>>()).await?;
        Ok(Case { kafka, clickhouse, topic, database })
    }

    fn config(&self, webhooks: &[(&str, String)], retry: &str) -> String {
        let Case { kafka, clickhouse, topic, database } = self;
        let exporters: String = webhooks
            .iter()
            .map(|(id, url)| format!("  {id}: {{url: \"{url}\", retry: {{initial_interval: 50ms, max_interval: 200ms, {retry}}}}}\n"))
            .collect();
        let ids: String = webhooks.iter().map(|(id, _)| format!(", {id}")).collect();
        format!(
            "receivers:
  skywalking_kafka: {{brokers: [\"{}\"], topics: {{segments: {topic}}}, group_id: {topic}, initial_offset: earliest, commit_interval: 200ms}}
processors:
  aggregate: {{group_by: [service, operation], window: {{tumbling: 7s}}, out_of_orderness: 1s, idle_timeout: 1h}}
  threshold: {{rules: [{{name: slow, when: {{high: max_duration_ns > 1000000000}}}}]}}
exporters:
  clickhouse: {{endpoint: \"{}\", database: {database}, batch: {{timeout: 200ms}}}}
{exporters}service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [aggregate, threshold], exporters: [clickhouse{ids}]}}
",
            kafka.bootstrap(),
            clickhouse.url(),
        )
    }

    /// Everything is stored and, when a later event has closed its windows, committed.
    async fn goes_on(&self) -> Result<()> {
        let Case { kafka, clickhouse, topic, database } = self;
        let events = format!("SELECT count() AS n FROM {database}.events");
        wait_until("every event", TIMEOUT, async || {
            Ok((clickhouse.number(&events).await.unwrap_or(0) == SEGMENTS as u64).then_some(()))
        })
        .await?;
        kafka.produce_all(&[entry(SEGMENTS + 60).record(topic, 0)]).await?;
        wait_until("commits that go on", TIMEOUT, async || {
            let committed = kafka.committed(topic, topic)?;
            Ok(committed.iter().all(|offset| offset.is_some_and(|offset| offset >= SEGMENTS)).then_some(()))
        })
        .await
        .with_context(|| format!("committed: {:?}", kafka.committed(topic, topic)))
    }

    /// The alarms that are stored: state and time, in order.
    async fn alarms(&self) -> Result<BTreeSet<(String, i64)>> {
        let sql = format!("SELECT state, toUnixTimestamp64Milli(time) AS time FROM {}.alarms", self.database);
        self.clickhouse.query(&sql).await?.iter().map(change).collect()
    }
}

fn change(alarm: &Value) -> Result<(String, i64)> {
    let state = alarm["state"].as_str().context("a state")?.to_owned();
    Ok((state, alarm["time"].as_i64().context("a time")?))
}

/// The alarms in the dead letters of a webhook.
fn letters(folder: &Path) -> Result<Vec<(String, i64)>> {
    let text = std::fs::read_to_string(folder.join("dead-letter/webhook.jsonl")).unwrap_or_default();
    let alarm = |line: &str| {
        let letter: Value = serde_json::from_str(line)?;
        change(&serde_json::from_str(letter["row"].as_str().context("a row")?)?)
    };
    text.lines().map(alarm).collect()
}

fn told(webhook: &Recorder) -> Result<Vec<(String, i64)>> {
    let bodies = webhook.accepted()?;
    bodies.iter().filter_map(|body| body["alarms"].as_array()).flatten().map(change).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_says_no_holds_nothing_up_and_its_alarms_are_kept_until_they_are_replayed()
-> Result<()> {
    let case = Case::new("forbidden").await?;
    let webhook = Recorder::start().await?;
    webhook.answer_always(403);
    let all = [("webhook", webhook.url().to_owned())];
    // By default they are tried for a quarter of an hour: nothing is given up while this runs.
    let weir = Weir::start(&case.config(&all, ""), &[], &[])?;
    case.goes_on().await.with_context(|| weir.log().join("\n"))?;
    let alarms = case.alarms().await?;
    ensure!(alarms.len() > 50, "{} alarms", alarms.len());
    let folder = weir.folder();
    ensure!(letters(folder.path())?.is_empty(), "nothing was given up");
    let began = Instant::now();
    let outcome = weir.terminate(TIMEOUT).await?;
    ensure!(outcome.code == Some(0), "what waits on disk is safe: {outcome:?}");
    ensure!(began.elapsed() < Duration::from_secs(25), "the end does not wait for the dead");

    // The time goes on across the restart, and is over soon.
    let weir = Weir::start_in(Arc::clone(&folder), &case.config(&all, "max_elapsed_time: 2s"), &[], &[])?;
    wait_until("every alarm in the dead letters", TIMEOUT, async || {
        let found: BTreeSet<_> = letters(folder.path())?.into_iter().collect();
        Ok((found.is_superset(&alarms)).then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    ensure!(weir.terminate(TIMEOUT).await?.code == Some(0));
    let kept = letters(folder.path())?;
    ensure!(told(&webhook)?.is_empty(), "the webhook took none");

    webhook.answer_always(200);
    let (path, dead) = (folder.path().join("weir.yaml"), folder.path().join("dead-letter"));
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path");
    let (path, dead) = (text(&path)?, text(&dead)?);
    let arguments = ["replay", "--config", &path, "--dead-letter", &dead, "--component", "webhook"];
    let replayed = Weir::run_command(&arguments, &[])?;
    ensure!(replayed.code == Some(0), "{replayed:?}");
    ensure!(told(&webhook)? == kept, "every letter once, in order");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_away_delays_no_other_and_gets_its_alarms_after_a_crash() -> Result<()> {
    let case = Case::new("away").await?;
    let near = Recorder::start().await?;
    let far = format!("http://127.0.0.1:{}/alarms", free_port()?);
    let all = [("webhook", near.url().to_owned()), ("webhook/far", far)];
    let weir = Weir::start(&case.config(&all, ""), &[], &[])?;
    case.goes_on().await.with_context(|| weir.log().join("\n"))?;
    let alarms = case.alarms().await?;
    wait_until("every alarm at the one that is there", TIMEOUT, async || {
        let told: BTreeSet<_> = told(&near)?.into_iter().collect();
        Ok((told == alarms).then_some(()))
    })
    .await?;
    let folder = weir.folder();
    weir.kill()?;
    // It is back: at an address of its own, so that it can be told apart.
    let back = Recorder::start().await?;
    let all = [("webhook", near.url().to_owned()), ("webhook/far", back.url().to_owned())];
    let weir = Weir::start_in(folder, &case.config(&all, ""), &[], &[])?;
    wait_until("every alarm at the one that was away", TIMEOUT, async || {
        let told: BTreeSet<_> = told(&back)?.into_iter().collect();
        Ok((told.is_superset(&alarms)).then_some(()))
    })
    .await
    .with_context(|| weir.log().join("\n"))?;
    ensure!(weir.terminate(TIMEOUT).await?.code == Some(0));
    Ok(())
}
