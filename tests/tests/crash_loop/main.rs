//! Gateways that are killed while they work: every segment is stored once, every window is right once.
//!
//! The seed is printed; `WEIR_SEED=N` repeats the choices of a run (not its timing). `make soak SECONDS=N` runs longer.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; a failure is repeated by its printed seed"
)]

mod alarms;
mod chaos;
mod points;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use weir_tests::stream::{Key, Stream, Value};
use weir_tests::{ClickHouse, Kafka, Recorder, Weir, unique, wait_until};

use chaos::{Chaos, Plan};

/// Partitions of every topic.
const PARTITIONS: i32 = 6;
/// For what must come after the last failure.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The operators of the configuration: name, size, slide.
const OPERATORS: [(&str, i64, i64); 2] = [("aggregate", 7_000, 7_000), ("aggregate/sliding", 30_000, 10_000)];

/// What is stored of the windows that begin before `before`: by key, each row with its shard.
async fn windows(
    clickhouse: &ClickHouse,
    database: &str,
    before: i64,
) -> Result<BTreeMap<Key, Vec<(u64, Value)>>> {
    let sql = format!(
        "SELECT operator, toUnixTimestamp64Milli(window_start) AS start, service, operation, shard, count, error_count, \
         max_duration_ns, min_duration_ns FROM {database}.window_results FINAL WHERE toUnixTimestamp64Milli(window_start) < {before}"
    );
    let mut found: BTreeMap<Key, Vec<(u64, Value)>> = BTreeMap::new();
    for row in clickhouse.query(&sql).await? {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let whole = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {row}"));
        let positive = |name: &str| Ok::<u64, anyhow::Error>(whole(name)?.unsigned_abs());
        let key = (text("operator"), whole("start")?, text("service"), text("operation"));
        let value = (
            positive("count")?,
            positive("error_count")?,
            whole("max_duration_ns")?,
            whole("min_duration_ns")?,
        );
        found.entry(key).or_default().push((positive("shard")?, value));
    }
    Ok(found)
}

/// Adds up the shards of each window.
fn total(shards: &[(u64, Value)]) -> Value {
    let add = |sum: Value, (_, value): &(u64, Value)| {
        (sum.0 + value.0, sum.1 + value.1, sum.2.max(value.2), sum.3.min(value.3))
    };
    shards.iter().fold((0, 0, i64::MIN, i64::MAX), add)
}

/// One topic, one database, one stream.
struct Case<'a> {
    kafka: &'a Kafka,
    clickhouse: &'a ClickHouse,
    webhook: Recorder,
    topic: String,
    database: String,
    stream: Stream,
    reference: BTreeMap<Key, Value>,
    /// For each operator the count above which an alarm fires.
    limits: BTreeMap<String, u64>,
    /// `windows` of the receiver.
    mode: &'static str,
    seed: u64,
}

impl<'a> Case<'a> {
    async fn new(
        clickhouse: &'a ClickHouse,
        name: &str,
        segments: i64,
        seed: u64,
        mode: &'static str,
    ) -> Result<Case<'a>> {
        let kafka = Kafka::shared()?;
        let (topic, database) = (unique(name), clickhouse.database().await?);
        // The records are of 2023: by default Kafka would delete them while they are read.
        kafka.create_topic(&topic, PARTITIONS, &[("retention.ms", "-1")]).await?;
        let stream = Stream::new(segments, PARTITIONS, seed);
        let windows = OPERATORS.iter().map(|(name, size, slide)| stream.windows(name, *size, *slide));
        let reference: BTreeMap<Key, Value> = windows.flatten().collect();
        let limits = alarms::limits(&reference);
        let webhook = Recorder::start().await?;
        // Slow, but not so slow that it holds up everything.
        webhook.delay(Duration::from_millis(50));
        Ok(Case { kafka, clickhouse, webhook, topic, database, stream, reference, limits, mode, seed })
    }

    fn config(&self) -> String {
        let Case { kafka, clickhouse, webhook, topic, database, mode, limits, .. } = self;
        let rules: Vec<String> = limits
            .iter()
            .map(|(operator, limit)| {
                format!(
                    "{{name: {}, operator: {operator}, when: {{high: count > {limit}}}}}",
                    alarms::rule(operator)
                )
            })
            .collect();
        format!(
            "receivers:
  skywalking_kafka:
    brokers: [\"{}\"]
    topics: {{segments: {topic}}}
    group_id: {topic}
    initial_offset: earliest
    commit_interval: 200ms
    drain_timeout: 3s
    windows: {mode}
    properties: {{session.timeout.ms: \"2000\", heartbeat.interval.ms: \"300\"}}
processors:
  aggregate: {{window: {{tumbling: 7s}}, out_of_orderness: 5s, idle_timeout: 1h}}
  aggregate/sliding: {{window: {{sliding: 30s, slide: 10s}}, out_of_orderness: 5s, idle_timeout: 1h}}
  threshold: {{storage: storage, rules: [{rules}]}}
extensions:
  storage: {{directory: disk}}
exporters:
  webhook: {{url: \"{webhook}\", batch: {{timeout: 0s}}, retry: {{initial_interval: 100ms, max_interval: 1s}}}}
  webhook/dead: {{url: \"http://127.0.0.1:9/alarms\", retry: {{initial_interval: 100ms, max_interval: 1s}}}}
  clickhouse:
    endpoint: \"{}\"
    database: {database}
    batch: {{timeout: 200ms, max_rows: 2000}}
    max_inserts_per_second: 0
    queue: {{concurrency: 4}}
    retry: {{initial_interval: 100ms, max_interval: 1s}}
service:
  extensions: [storage]
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [aggregate, aggregate/sliding, threshold], exporters: [clickhouse, webhook, webhook/dead]}}
",
            kafka.bootstrap(),
            clickhouse.url(),
            rules = rules.join(", "),
            webhook = webhook.url(),
        )
    }

    /// Everything is produced and the last gateways run undisturbed: waits until all is stored, ends them, and checks that it
    /// is all and no more.
    async fn verify(&self, gateways: Vec<Weir>, killed: &str) -> Result<()> {
        // For the error: the whole log in a file, its path in the text.
        let log = || {
            let last = gateways.iter().map(|weir| weir.log().join("\n")).collect::<Vec<_>>().join("\n\n");
            let file = std::env::temp_dir().join(format!("{}.log", self.topic));
            match std::fs::write(&file, format!("{killed}\n{last}")) {
                Ok(()) => format!("the logs are in {}", file.display()),
                Err(_) => last,
            }
        };
        let Case { clickhouse, database, stream, seed, .. } = self;
        let expected = stream.total();
        let count = format!("SELECT count() AS n FROM {database}.events");
        wait_until("every segment", TIMEOUT, async || {
            Ok((clickhouse.number(&count).await.unwrap_or(0) >= expected).then_some(()))
        })
        .await
        .with_context(|| format!("seed {seed}: not every segment is stored; {}", log()))?;
        let complete = wait_until("every window", TIMEOUT, async || {
            Ok(self.differences().await?.is_empty().then_some(()))
        });
        if complete.await.is_err() {
            let wrong = self.differences().await?;
            let first = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
            bail!(
                "seed {seed}: {} of {} windows differ:\n{first}\n{}",
                wrong.len(),
                self.reference.len(),
                log()
            );
        }
        // Nothing more than that, also after everything has come to rest.
        for weir in gateways {
            let outcome = weir.terminate(TIMEOUT).await?;
            ensure!(outcome.code == Some(0), "seed {seed}: {:?}\n{}", outcome.code, outcome.stderr);
        }
        let twice = format!(
            "SELECT segment_id, count() AS n FROM {database}.events GROUP BY segment_id HAVING n > 1 LIMIT 10"
        );
        let twice = clickhouse.query(&twice).await?;
        ensure!(twice.is_empty(), "seed {seed}: stored twice: {twice:?}");
        ensure!(clickhouse.number(&count).await? == expected, "seed {seed}: not every segment once");
        let wrong = self.differences().await?;
        ensure!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        if self.mode == "all" {
            self.verify_alarms().await.with_context(|| format!("seed {seed}"))?;
        }
        Ok(())
    }

    /// Every alarm is stored once, and was told under one id.
    async fn verify_alarms(&self) -> Result<()> {
        let sizes = OPERATORS.iter().map(|(name, size, _)| ((*name).to_owned(), *size)).collect();
        let expected = alarms::expected(&self.reference, &self.limits, &sizes);
        ensure!(expected.len() > 20, "only {} changes of alarms", expected.len());
        let stored = alarms::stored(self.clickhouse, &self.database, self.stream.end_ms()).await?;
        let set: BTreeSet<alarms::Change> = stored.iter().cloned().collect();
        ensure!(set == expected, "stored: {}", difference(&set, &expected));
        ensure!(
            stored.len() == expected.len(),
            "{} alarms are stored {} times",
            expected.len(),
            stored.len()
        );
        let told = alarms::told(&self.webhook, self.stream.end_ms())?;
        let expected = expected.into_iter().filter(|change| change.4 <= self.stream.end_ms()).collect();
        ensure!(told == expected, "told: {}", difference(&told, &expected));
        println!("{} changes of alarms right", told.len());
        Ok(())
    }

    /// How what is stored of the windows differs from the reference.
    async fn differences(&self) -> Result<Vec<String>> {
        let reference = &self.reference;
        let found = windows(self.clickhouse, &self.database, self.stream.end_ms()).await?;
        let keys: BTreeSet<&Key> = reference.keys().chain(found.keys()).collect();
        let differs = |key: &&Key| {
            let value = found.get(*key).map(|shards| total(shards));
            let is_whole = |shards: &Vec<(u64, Value)>| shards.len() == 1 && shards[0].0 == 0;
            let whole = self.mode != "all" || found.get(*key).is_none_or(is_whole);
            value.as_ref() != reference.get(*key) || !whole
        };
        let say =
            |key: &Key| format!("{key:?}: expected {:?}, stored {:?}", reference.get(key), found.get(key));
        Ok(keys.into_iter().filter(differs).map(say).collect())
    }
}

fn difference(found: &BTreeSet<alarms::Change>, expected: &BTreeSet<alarms::Change>) -> String {
    let some = |changes: Vec<&alarms::Change>| {
        format!("{} such as {:?}", changes.len(), changes.iter().take(5).collect::<Vec<_>>())
    };
    let (missing, more) = (expected.difference(found).collect(), found.difference(expected).collect());
    format!("missing {}; too many {}", some(missing), some(more))
}

async fn crash_loop(name: &str, gateways: usize, plan: Plan, mode: &'static str) -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let case = Case::new(&clickhouse, name, plan.segments, plan.seed, mode).await?;
    let (gateways, killed) = Chaos::new(&case, plan).run(gateways).await?;
    case.verify(gateways, &killed).await?;
    println!(
        "seed {}: {} segments and {} windows right",
        case.seed,
        case.stream.count(),
        case.reference.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_that_is_killed_stores_every_segment_and_every_window_once() -> Result<()> {
    crash_loop("crash1", 1, Plan::new(80_000, 8)?, "all").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_are_killed_store_every_segment_once_and_windows_that_add_up() -> Result<()> {
    crash_loop("crash2", 2, Plan::new(200_000, 20)?, "partition").await
}
