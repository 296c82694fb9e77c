//! Partitions of the segments' topic: they appear, they stay empty, they move between gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::{ClickHouse, Entry, Kafka, Weir, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

/// A configuration from the topic to ClickHouse. `receiver` and `processors` are YAML within braces.
fn config(
    (kafka, clickhouse): (&Kafka, &ClickHouse),
    topic: &str,
    database: &str,
    receiver: &str,
    processors: &[(&str, &str)],
) -> String {
    let names: Vec<&str> = processors.iter().map(|(name, _)| *name).collect();
    let sections: String =
        processors.iter().map(|(name, settings)| format!("  {name}: {{{settings}}}\n")).collect();
    format!(
        "receivers:
  skywalking_kafka: {{brokers: [\"{brokers}\"], topics: {{segments: {topic}}}, group_id: {topic}, {receiver}}}
processors:
{sections}
exporters:
  clickhouse: {{endpoint: \"{clickhouse}\", database: {database}, batch: {{timeout: 200ms}}}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [{names}], exporters: [clickhouse]}}
",
        brokers = kafka.bootstrap(),
        clickhouse = clickhouse.url(),
        names = names.join(", "),
    )
}

fn entry(id: String, end_ms: i64) -> Entry {
    Entry { id, service: "shop".into(), operation: "/pay".into(), end_ms, duration_ms: 20, failed: false }
}

/// Different segments in `events`; 0 while there is no table.
async fn distinct(clickhouse: &ClickHouse, database: &str) -> u64 {
    let sql = format!("SELECT uniqExact(segment_id) AS n FROM {database}.events");
    clickhouse.number(&sql).await.unwrap_or(0)
}

#[tokio::test]
async fn partitions_added_while_running_are_read_from_their_beginning() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("grow"), clickhouse.database().await?);
    kafka.create_topic(&topic, 2, &[]).await?;
    let old = entry("before-the-start".into(), START).record(&topic, 0);
    kafka.produce_all(&[old]).await?;
    // `latest`: what a new partition got before it was discovered must not be taken for old.
    let config = config(
        (kafka, clickhouse),
        &topic,
        &database,
        "initial_offset: latest, metadata_refresh: 1s",
        &[("aggregate", "window: {tumbling: 1s}, idle_timeout: 2s")],
    );
    let weir = Weir::start(&config, &[], &[])?;
    // With `latest` the place where reading begins is committed at once: from here on nothing is old.
    wait_until("the first partitions to be read", TIMEOUT, async || {
        Ok((kafka.committed(&topic, &topic)? == [Some(1), Some(0)]).then_some(()))
    })
    .await?;

    let segments = |from: usize, partitions: &[i32]| {
        let records = partitions.iter().flat_map(|partition| {
            (0..10).map(move |n| (*partition, format!("{from}-{partition}-{n}"), START + 1_000 + n * 100))
        });
        records.map(|(partition, id, end_ms)| entry(id, end_ms).record(&topic, partition)).collect::<Vec<_>>()
    };
    kafka.produce_all(&segments(2, &[0, 1])).await?;
    wait_until("the first segments", TIMEOUT, async || {
        Ok((distinct(clickhouse, &database).await >= 20).then_some(()))
    })
    .await?;

    for total in [4_i32, 6] {
        kafka.grow_topic(&topic, usize::try_from(total)?).await?;
        // At once: probably before Weir knows of the new partitions.
        let all: Vec<i32> = (0..total).collect();
        kafka.produce_all(&segments(usize::try_from(total)?, &all)).await?;
    }
    wait_until("the segments of all partitions", TIMEOUT, async || {
        Ok((distinct(clickhouse, &database).await >= 120).then_some(()))
    })
    .await?;
    let sql =
        format!("SELECT segment_id AS id, count() AS n FROM {database}.events GROUP BY id HAVING n > 1");
    let twice = clickhouse.query(&sql).await?;
    // A rebalance among its own partitions takes nothing away from the only member of the group.
    ensure!(twice.is_empty(), "stored twice: {twice:?}");
    ensure!(distinct(clickhouse, &database).await == 120, "what was there before the start is not read");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));

    // While nobody reads, too.
    kafka.grow_topic(&topic, 8).await?;
    kafka.produce_all(&segments(8, &[6, 7])).await?;
    let weir = Weir::start(&config, &[], &[])?;
    wait_until("the segments of partitions that were added while nobody read", TIMEOUT, async || {
        Ok((distinct(clickhouse, &database).await >= 140).then_some(()))
    })
    .await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

/// Windows of the test, in milliseconds.
const WINDOW_MS: i64 = 2_000;
/// Its out-of-orderness.
const DISORDER_MS: i64 = 5_000;

/// A small pseudo-random generator (xorshift), so that a seed says everything.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.unsigned_abs()) as i64
    }
}

/// Requests of three services that end within `span_ms` from `from_ms`, in random order.
fn requests(random: &mut Random, wave: &str, count: usize, from_ms: i64, span_ms: i64) -> Vec<Entry> {
    let one = |number: usize| Entry {
        id: format!("{wave}-{number}"),
        service: format!("service-{}", random.below(3)),
        operation: format!("/operation/{}", random.below(4)),
        end_ms: from_ms + random.below(span_ms),
        duration_ms: 1 + random.below(3_000),
        failed: random.below(10) == 0,
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn windows_are_merged_over_partitions_and_an_empty_partition_does_not_hold_them() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("merge"), clickhouse.database().await?);
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    kafka.create_topic(&topic, 6, &[]).await?;
    // Partition 5 never gets anything. A backlog of 40 s, each partition in event order within the
    // out-of-orderness.
    let mut backlog = requests(&mut random, "backlog", 3_000, START, 40_000);
    backlog.sort_by_key(|entry| entry.end_ms);
    for chunk in backlog.chunks_mut(50) {
        for n in 0..chunk.len() {
            chunk.swap(n, random.below(chunk.len() as i64) as usize);
        }
    }
    let mut shared: BTreeMap<(i64, String, String), BTreeSet<i32>> = BTreeMap::new();
    let mut place = |entry: &Entry| {
        let partition = random.below(5) as i32;
        let window = (entry.end_ms / WINDOW_MS, entry.service.clone(), entry.operation.clone());
        shared.entry(window).or_default().insert(partition);
        entry.record(&topic, partition)
    };
    kafka.produce_all(&backlog.iter().map(&mut place).collect::<Vec<_>>()).await?;

    let aggregate = "where: \"kind = 'server'\", group_by: [service, operation], window: {tumbling: 2s}, \
                     out_of_orderness: 5s, idle_timeout: 2s";
    let config = config(
        (kafka, clickhouse),
        &topic,
        &database,
        "initial_offset: earliest",
        &[("aggregate", aggregate)],
    );
    let weir = Weir::start(&config, &[], &[])?;
    let latest = backlog.iter().map(|entry| entry.end_ms).max().context("a backlog")?;
    windows_are_as_sql_says(clickhouse, &database, backlog.len(), latest).await?;

    // Live, after a pause in which every partition became idle: later than all before, and spread over less
    // than the out-of-orderness, so that it does not matter which partition wakes first.
    let mut random = Random(seed.rotate_left(32) | 1);
    let live = requests(&mut random, "live", 1_000, latest + 1, DISORDER_MS);
    kafka.produce_all(&live.iter().map(&mut place).collect::<Vec<_>>()).await?;
    // Only when every partition is awake again: one that is idle does not hold the windows for what it has
    // not given yet.
    all_stored(clickhouse, &database, backlog.len() + live.len()).await?;
    let end = entry("the-end".into(), latest + 30_000);
    kafka.produce_all(&[place(&end)]).await?;
    windows_are_as_sql_says(clickhouse, &database, backlog.len() + live.len() + 1, end.end_ms).await?;

    let merged = shared.values().filter(|partitions| partitions.len() >= 3).count();
    ensure!(
        merged > 100,
        "only {merged} windows have events of three partitions or more: the test shows nothing"
    );
    let count = clickhouse.number(&format!("SELECT count() AS n FROM {database}.events")).await?;
    assert_eq!(count, backlog.len() as u64 + live.len() as u64 + 1);
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

/// Waits for so many events, and for every window that ends by the watermark of `latest_ms`; compares all
/// windows with plain SQL over the events.
async fn windows_are_as_sql_says(
    clickhouse: &ClickHouse,
    database: &str,
    events: usize,
    latest_ms: i64,
) -> Result<()> {
    let closed = latest_ms - DISORDER_MS;
    let expected = format!(
        "SELECT intDiv(toUnixTimestamp64Milli(end_time), {WINDOW_MS}) * {WINDOW_MS} AS start, service, operation,
             toInt64(count()) AS count, toInt64(countIf(status = 'error')) AS error_count,
             round((count - error_count) / count, 9) AS success_rate, round(avg(duration_ns)) AS mean,
             max(duration_ns) AS max, min(duration_ns) AS min
         FROM {database}.events WHERE kind = 'server' GROUP BY start, service, operation
         HAVING start + {WINDOW_MS} <= {closed} ORDER BY start, service, operation"
    );
    let found = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS start, service, operation, count, error_count,
             round(success_rate, 9) AS success_rate, round(avg_duration_ns) AS mean, max_duration_ns AS max,
             min_duration_ns AS min
         FROM {database}.window_results ORDER BY start, service, operation"
    );
    all_stored(clickhouse, database, events).await?;
    let expected = clickhouse.query(&expected).await?;
    let windows = format!("SELECT count() AS n FROM {database}.window_results");
    let waited = wait_until("every window", TIMEOUT, async || {
        Ok((clickhouse.number(&windows).await.unwrap_or(0) >= expected.len() as u64).then_some(()))
    })
    .await;
    let found = clickhouse.query(&found).await?;
    let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
    let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
    ensure!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nnot expected: {extra:#?}");
    waited
}

/// Waits for so many events.
async fn all_stored(clickhouse: &ClickHouse, database: &str, events: usize) -> Result<()> {
    let stored = format!("SELECT count() AS n FROM {database}.events");
    wait_until("every event", TIMEOUT, async || {
        Ok((clickhouse.number(&stored).await.unwrap_or(0) >= events as u64).then_some(()))
    })
    .await
}

/// A second gateway joins the group and leaves again, while records come on every partition.
#[tokio::test]
async fn nothing_is_lost_or_stored_twice_when_a_gateway_joins_and_leaves() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("move"), clickhouse.database().await?);
    kafka.create_topic(&topic, 6, &[]).await?;
    let gateway = |name: &str| {
        let config = config(
            (kafka, clickhouse),
            &topic,
            &database,
            "initial_offset: earliest, commit_interval: 200ms, \
             properties: {session.timeout.ms: \"6000\", heartbeat.interval.ms: \"500\"}",
            // Open windows hold their inputs: these are what a move takes back.
            &[
                ("enrich", &format!("tags: {{gateway: {name}}}")),
                ("aggregate", "window: {tumbling: 2s}, out_of_orderness: 1s, idle_timeout: 2s"),
            ],
        );
        Weir::start(&config, &[], &[])
    };
    let stored_by = async |name: &str| -> u64 {
        let sql = format!(
            "SELECT uniqExact(segment_id) AS n FROM {database}.events WHERE attributes['gateway'] = '{name}'"
        );
        clickhouse.number(&sql).await.unwrap_or(0)
    };
    // Event time goes on with the segments, 100 ms for every six of them.
    let mut sent = 0_u64;
    let mut serve = async || -> Result<u64> {
        let records: Vec<_> = (0..60_i64)
            .map(|n| {
                let end_ms = START + (sent as i64 + n) / 6 * 100;
                entry(format!("segment-{}", sent as i64 + n), end_ms).record(&topic, (n % 6) as i32)
            })
            .collect();
        kafka.produce_all(&records).await?;
        sent += 60;
        Ok(sent)
    };

    let first = gateway("first")?;
    let deadline = Instant::now() + TIMEOUT;
    while stored_by("first").await < 300 {
        ensure!(Instant::now() < deadline, "the first gateway stores nothing:\n{}", first.log().join("\n"));
        serve().await?;
    }
    let mut second = gateway("second")?;
    while stored_by("second").await < 300 {
        ensure!(Instant::now() < deadline, "the second gateway stores nothing:\n{}", second.log().join("\n"));
        serve().await?;
    }
    ensure!(
        first.log().iter().any(|line| line.contains("partitions revoked")),
        "partitions moved while in use"
    );
    second.wait_for_log("partitions assigned", TIMEOUT).await?;
    // Records keep coming on every partition while it leaves, and afterwards.
    second.signal("TERM")?;
    for _ in 0..20 {
        serve().await?;
    }
    assert_eq!(second.wait(TIMEOUT).await?.code, Some(0));
    let total = serve().await?;
    let all = wait_until("every segment", TIMEOUT, async || {
        Ok((distinct(clickhouse, &database).await >= total).then_some(()))
    });
    all.await.with_context(|| format!("{total} sent; the first gateway:\n{}", first.log().join("\n")))?;
    assert_eq!(first.terminate(TIMEOUT).await?.code, Some(0));
    let stored = clickhouse.number(&format!("SELECT count() AS n FROM {database}.events")).await?;
    assert_eq!((distinct(clickhouse, &database).await, stored), (total, total), "each segment once");
    Ok(())
}

#[tokio::test]
async fn a_commit_that_is_delayed_across_a_rebalance_overwrites_nothing() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("delayed"), clickhouse.database().await?);
    kafka.create_topic(&topic, 2, &[]).await?;
    let config = config(
        (kafka, clickhouse),
        &topic,
        &database,
        "initial_offset: earliest, windows: partition, drain_timeout: 1s, commit_interval: 100ms, \
         properties: {session.timeout.ms: 30000, heartbeat.interval.ms: 300}",
        &[("enrich", "tags: {site: test}")],
    );
    // Longer than a gateway waits for its last commit.
    let first = Weir::start(&config, &[], &[("WEIR_FAILPOINT", "before-commit:4:25000")])?;
    let (mut second, mut number) = (None, 0);
    // Since when the first has both partitions.
    let mut owned: Option<Instant> = None;
    let since = |owned: Option<Instant>| owned.map_or(Duration::ZERO, |owned| owned.elapsed());
    while since(owned) < Duration::from_secs(15) {
        let records = (0..2).map(|partition| {
            entry(format!("{partition}-{number}"), START + number * 100).record(&topic, partition)
        });
        kafka.produce_all(&records.collect::<Vec<_>>()).await?;
        number += 1;
        if owned.is_none() && kafka.committed(&topic, &topic)?.iter().all(Option::is_some) {
            owned = Some(Instant::now());
        }
        if second.is_none() && since(owned) > Duration::from_secs(3) {
            second = Some(Weir::start(&config, &[], &[])?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let wanted = 2 * number.unsigned_abs();
    wait_until("every segment", TIMEOUT, async || {
        Ok((distinct(clickhouse, &database).await >= wanted).then_some(()))
    })
    .await
    .with_context(|| first.log().join("\n"))?;
    let all = clickhouse.number(&format!("SELECT count() AS n FROM {database}.events")).await?;
    ensure!(all == wanted, "{all} rows of {wanted} segments");
    // The delayed commit has come by then: what it overwrote would stay, as nothing more is read.
    tokio::time::sleep(Duration::from_secs(35).saturating_sub(since(owned))).await;
    wait_until("every offset to be committed", TIMEOUT, async || {
        Ok((kafka.committed(&topic, &topic)? == [Some(number), Some(number)]).then_some(()))
    })
    .await
    .with_context(|| format!("{:?} of {number}", kafka.committed(&topic, &topic)))?;
    assert_eq!(second.context("it was started")?.terminate(TIMEOUT).await?.code, Some(0));
    assert_eq!(first.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
