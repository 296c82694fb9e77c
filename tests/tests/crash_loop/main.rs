//! Gateways that are killed while they work: every segment is stored once, every window is right once.
//!
//! The seed is printed; `WEIR_SEED=N` repeats the choices of a run (not its timing). `make soak SECONDS=N`
//! runs longer.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; a failure is repeated by its printed seed"
)]

mod alarms;
mod chaos;
mod points;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use prost::Message as _;
use weir_proto::skywalking::LogData;
use weir_tests::stream::{Key, Stream, Value};
use weir_tests::{ClickHouse, Kafka, Record, Recorder, Weir, unique, wait_until};

use chaos::{Chaos, Plan, Trouble};

/// Partitions of every topic.
const PARTITIONS: i32 = 6;
/// How many of them the first of two topics has.
const FIRST: i32 = 2;
/// For what must come after the last failure.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The operators of the configuration: name, size, slide.
const OPERATORS: [(&str, i64, i64); 3] =
    [("aggregate", 7_000, 7_000), ("aggregate/sliding", 30_000, 10_000), (LATE, 7_000, 7_000)];
/// The operator whose watermark runs ahead of the disorder, so that its windows fire again with what is
/// late. Rules do not read it.
const LATE: &str = "aggregate/late";
/// One segment in so many is refused, where some are.
const REFUSED_EVERY: i64 = 50;

/// The stored windows that begin before `before`: by key, each row with its shard.
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
    // The first window makes the table.
    if clickhouse.number(&format!("EXISTS TABLE {database}.window_results")).await? == 0 {
        return Ok(found);
    }
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
    trouble: Trouble,
    /// The segments that ClickHouse refuses, by number.
    refused: Mutex<BTreeSet<i64>>,
    seed: u64,
    /// How many logs were produced.
    logs: AtomicU64,
}

impl<'a> Case<'a> {
    async fn new(
        (kafka, clickhouse): (&'a Kafka, &'a ClickHouse),
        name: &str,
        (segments, seed): (i64, u64),
        mode: &'static str,
        trouble: Trouble,
    ) -> Result<Case<'a>> {
        let (topic, database) = (unique(name), clickhouse.database().await?);
        // The records are of 2023: by default Kafka would delete them while they are read.
        let partitions = PARTITIONS + i32::from(trouble.idle_lane);
        if trouble.topics {
            for (topic, partitions) in [
                (topic.clone(), FIRST),
                (format!("{topic}-b"), PARTITIONS - FIRST),
                (format!("{topic}-logs"), 2),
            ] {
                kafka.create_topic(&topic, partitions, &[("retention.ms", "-1")]).await?;
            }
        } else {
            kafka.create_topic(&topic, partitions, &[("retention.ms", "-1")]).await?;
        }
        // A merge would hide a row that is stored twice.
        clickhouse.query(&format!("SYSTEM STOP MERGES {database}.window_results")).await?;
        let stream = Stream::new(segments, PARTITIONS, seed);
        let windows = OPERATORS.iter().map(|(name, size, slide)| stream.windows(name, *size, *slide));
        let reference: BTreeMap<Key, Value> = windows.flatten().collect();
        let mut limits = alarms::limits(&reference);
        limits.remove(LATE);
        let webhook = Recorder::start().await?;
        // Slow, but not so slow that it holds up everything.
        webhook.delay(Duration::from_millis(50));
        let refused = Mutex::default();
        Ok(Case {
            kafka,
            clickhouse,
            webhook,
            topic,
            database,
            stream,
            reference,
            limits,
            mode,
            trouble,
            refused,
            seed,
            logs: AtomicU64::new(0),
        })
    }

    /// From segment `from` on ClickHouse refuses one in [`REFUSED_EVERY`]. Waits until there is a table.
    async fn refuse_rows(&self, from: i64) -> Result<()> {
        let table = format!("{}.events", self.database);
        let exists = format!("EXISTS TABLE {table}");
        wait_until("the table", TIMEOUT, async || {
            Ok((self.clickhouse.number(&exists).await? == 1).then_some(()))
        })
        .await?;
        let number = "toInt64OrZero(substring(segment_id, 9))";
        let refuse = format!(
            "ALTER TABLE {table} ADD CONSTRAINT refused CHECK NOT ({number} >= {from} AND {number} % {REFUSED_EVERY} = 7)"
        );
        self.clickhouse.query(&refuse).await?;
        let refused = (from..self.stream.count()).filter(|n| n % REFUSED_EVERY == 7).collect();
        *self.refused.lock().unwrap() = refused;
        Ok(())
    }

    fn config(&self) -> String {
        let Case { kafka, clickhouse, webhook, topic, database, mode, limits, .. } = self;
        let idle = if self.trouble.idle_lane { "3s" } else { "1h" };
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
    topics: {{{topics}}}
    group_id: {topic}
    initial_offset: earliest
    commit_interval: 200ms
    drain_timeout: 3s
    windows: {mode}
    properties: {{session.timeout.ms: \"2000\", heartbeat.interval.ms: \"300\"}}
processors:
  aggregate: {{window: {{tumbling: 7s}}, out_of_orderness: 5s, idle_timeout: {idle}}}
  aggregate/sliding: {{window: {{sliding: 30s, slide: 10s}}, out_of_orderness: 5s, idle_timeout: {idle}}}
  {LATE}: {{window: {{tumbling: 7s}}, out_of_orderness: 1s, allowed_lateness: 10s, idle_timeout: {idle}}}
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
    main: {{receivers: [skywalking_kafka], processors: [aggregate, aggregate/sliding, {LATE}, threshold], exporters: [clickhouse, webhook, webhook/dead]}}
",
            kafka.bootstrap(),
            clickhouse.url(),
            topics = if self.trouble.topics {
                format!("segments: [{topic}, {topic}-b], logs: {topic}-logs")
            } else {
                format!("segments: {topic}")
            },
            rules = rules.join(", "),
            webhook = webhook.url(),
        )
    }

    /// Produces these records: with several topics, those of later partitions to the second one, and a log
    /// for each.
    async fn produce(&self, records: Vec<Record>) -> Result<()> {
        if !self.trouble.topics {
            return self.kafka.produce_all(&records).await;
        }
        let logs: Vec<Record> = records
            .iter()
            .map(|record| Record {
                topic: format!("{}-logs", self.topic),
                partition: record.partition % 2,
                value: Some(
                    LogData { service: "log".to_owned(), timestamp: 1, ..LogData::default() }.encode_to_vec(),
                ),
                ..record.clone()
            })
            .collect();
        self.logs.fetch_add(logs.len() as u64, Ordering::Relaxed);
        let moved = records.into_iter().map(|record| match record.partition >= FIRST {
            true => {
                Record { topic: format!("{}-b", self.topic), partition: record.partition - FIRST, ..record }
            }
            false => record,
        });
        let all: Vec<Record> = moved.chain(logs).collect();
        self.kafka.produce_all(&all).await
    }

    /// Everything is produced and the last gateways run undisturbed: waits until all is stored, ends them,
    /// and checks that it is all and no more.
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
        let refused = self.refused.lock().unwrap().clone();
        let expected = stream.total() - refused.len() as u64;
        let count = format!("SELECT count() AS n FROM {database}.events");
        let left = wait_while_less_is_left(async || {
            Ok(expected.saturating_sub(clickhouse.number(&count).await.unwrap_or(0)))
        });
        let left = left.await?;
        ensure!(left == 0, "seed {seed}: {left} of {expected} segments are not stored; {}", log());
        let wrong = wait_while_less_is_left(async || Ok(self.differences().await?.len() as u64));
        if wrong.await? > 0 {
            let wrong = self.differences().await?;
            let first = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
            bail!(
                "seed {seed}: {} of {} windows differ:\n{first}\n{}",
                wrong.len(),
                self.reference.len(),
                log()
            );
        }
        if self.mode == "all" {
            // Inputs do not wait for the webhook: what is on its way would be told by the next start.
            let last = self.stream.end_ms();
            let expected = self.expected_alarms().into_iter().filter(|change| change.4 <= last).count();
            wait_until("the webhook to be told every alarm", TIMEOUT, async || {
                Ok((alarms::told(&self.webhook, last)?.len() >= expected).then_some(()))
            })
            .await
            .with_context(|| format!("seed {seed}; {}", log()))?;
        }
        let logs = self.logs.load(Ordering::Relaxed);
        let stored = format!("SELECT count() AS n FROM {database}.logs");
        if logs > 0 {
            let left = wait_while_less_is_left(async || {
                Ok(logs.saturating_sub(clickhouse.number(&stored).await.unwrap_or(0)))
            });
            ensure!(left.await? == 0, "seed {seed}: not every log of {logs} is stored; {}", log());
        }
        // Nothing more than that, also after everything has come to rest.
        let folders: Vec<_> = gateways.iter().map(Weir::folder).collect();
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
        ensure!(logs == 0 || clickhouse.number(&stored).await? == logs, "seed {seed}: not every log once");
        let wrong = self.differences().await?;
        ensure!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        // Without FINAL and without merges: also what a reader with FINAL would not see.
        let twice = format!(
            "SELECT operator, toUnixTimestamp64Milli(window_start) AS start, service, operation, shard, firing, count() AS n \
             FROM {database}.window_results GROUP BY ALL HAVING n > 1 LIMIT 10"
        );
        let twice = clickhouse.query(&twice).await?;
        ensure!(twice.is_empty(), "seed {seed}: windows stored twice: {twice:?}");
        ensure!(
            dead_letters(&folders)? == refused,
            "seed {seed}: the dead letters are not the segments that were refused"
        );
        if self.mode == "all" {
            self.verify_alarms().await.with_context(|| format!("seed {seed}"))?;
        }
        Ok(())
    }

    /// The alarms that the windows must raise.
    fn expected_alarms(&self) -> BTreeSet<alarms::Change> {
        let covered = OPERATORS.iter().filter(|(name, ..)| *name != LATE);
        let sizes = covered.map(|(name, size, _)| ((*name).to_owned(), *size)).collect();
        let covered = |key: &Key| self.limits.contains_key(&key.0);
        let reference = self.reference.iter().filter(|(key, _)| covered(key));
        let reference = reference.map(|(key, value)| (key.clone(), *value)).collect();
        alarms::expected(&reference, &self.limits, &sizes)
    }

    /// Every alarm is stored once, and was told under one id.
    async fn verify_alarms(&self) -> Result<()> {
        let expected = self.expected_alarms();
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

/// Waits until nothing is left, for as long as it gets less within [`TIMEOUT`]: a long run on a slow
/// machine is no failure. What is left then.
async fn wait_while_less_is_left(mut left: impl AsyncFnMut() -> Result<u64>) -> Result<u64> {
    let (mut least, mut since) = (u64::MAX, Instant::now());
    loop {
        let now = left().await?;
        if now < least {
            (least, since) = (now, Instant::now());
        }
        if now == 0 || since.elapsed() >= TIMEOUT {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn difference(found: &BTreeSet<alarms::Change>, expected: &BTreeSet<alarms::Change>) -> String {
    let some = |changes: Vec<&alarms::Change>| {
        format!("{} such as {:?}", changes.len(), changes.iter().take(5).collect::<Vec<_>>())
    };
    let (missing, more) = (expected.difference(found).collect(), found.difference(expected).collect());
    format!("missing {}; too many {}", some(missing), some(more))
}

/// The numbers of the segments in the dead letters of these gateways.
fn dead_letters(folders: &[Arc<tempfile::TempDir>]) -> Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    for folder in folders {
        let letters = folder.path().join("dead-letter");
        if !letters.exists() {
            continue;
        }
        for file in std::fs::read_dir(letters)? {
            let text = std::fs::read_to_string(file?.path())?;
            let ids = text.match_indices("\"segment-").map(|(at, found)| &text[at + found.len()..]);
            for id in ids {
                // The row is text within the letter: its quotes are escaped.
                let number = id.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                found.insert(number.parse().with_context(|| format!("a segment's number: {number}"))?);
            }
        }
    }
    Ok(found)
}

async fn crash_loop(
    name: &str,
    gateways: usize,
    plan: Plan,
    mode: &'static str,
    trouble: Trouble,
) -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let own = if trouble.broker { Some(Kafka::start()?) } else { None };
    let kafka = match &own {
        Some(own) => own,
        None => Kafka::shared()?,
    };
    let case = Case::new((kafka, &clickhouse), name, (plan.segments, plan.seed), mode, trouble).await?;
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
async fn one_gateway_that_is_killed_or_stands_still_stores_every_segment_and_every_window_once() -> Result<()>
{
    let trouble = Trouble { pauses: true, webhook: true, refused: true, ..Trouble::default() };
    crash_loop("crash1", 1, Plan::new(80_000, 8)?, "all", trouble).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_are_killed_store_every_segment_once_and_windows_that_add_up() -> Result<()> {
    let trouble = Trouble { pauses: true, ..Trouble::default() };
    crash_loop("crash2", 2, Plan::new(200_000, 20)?, "partition", trouble).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_lanes_that_go_idle_lose_and_double_nothing() -> Result<()> {
    let trouble = Trouble { broker: true, idle_lane: true, ..Trouble::default() };
    crash_loop("crash3", 1, Plan::new(60_000, 4)?, "all", trouble).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_several_topics_that_is_killed_stores_all_of_each_once() -> Result<()> {
    let trouble = Trouble { topics: true, pauses: true, ..Trouble::default() };
    crash_loop("crash4", 1, Plan::new(40_000, 5)?, "all", trouble).await
}
