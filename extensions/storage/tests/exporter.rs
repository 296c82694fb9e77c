//! An exporter whose queue is on disk: outages, restarts, crashes, damage.
//!
//! `WEIR_SEED=n` runs one seed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_component::delivery::{Ledger, LedgerSpec, Metadata, Shard};
use weir_component::exporter_helper::{self, BatchConfig, ExporterTask, HelperConfig, Queue, RetryConfig};
use weir_component::factory::BuiltExporter;
use weir_component::storage::Storages;
use weir_component::testkit::{FlakyExporter, FnExporter, Probe, Regime, context};
use weir_component::{Context, ExportError, Extension};
use weir_config::ComponentId;
use weir_extension_storage::{Fsync, Limits, StorageConfig, StorageExtension};
use weir_pdata::{Ack, EventBatch, Fence, Origin, Outcome, Signal};

const LARGE: Limits = Limits { max_bytes: 1 << 20, segment_bytes: 8 << 10, fsync: Fsync::Always };

type Taken = Arc<Mutex<BTreeMap<String, usize>>>;

/// A program: a storage and an exporter in front of a flaky destination.
struct Program {
    extension: StorageExtension,
    context: Context,
    queue: Queue,
    task: ExporterTask,
    taken: Taken,
}

async fn storage(directory: &Path, limits: Limits) -> (StorageExtension, Context) {
    let context = context("test", directory);
    let config = StorageConfig { directory: directory.join("storage"), limits };
    let id: ComponentId = "storage".parse().unwrap();
    let extension = StorageExtension::new(config, context.with_id(id.clone()));
    // Whoever was before may need a moment to end.
    tokio::time::timeout(Duration::from_secs(30), async {
        while extension.start().await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    let storages = Storages::new(HashMap::from([(id, extension.storage().unwrap())]));
    (extension, Context { storages, ..context })
}

async fn start(directory: &Path, limits: Limits, regime: Regime, seed: u64) -> Program {
    let (extension, context) = storage(directory, limits).await;
    let (exporter, taken) = FlakyExporter::flaky(regime, seed);
    let millisecond = weir_config::Duration::from_millis(1);
    let retry =
        RetryConfig { initial_interval: millisecond, max_interval: millisecond, ..RetryConfig::default() };
    let batch = BatchConfig { max_rows: 10, timeout: millisecond, ..BatchConfig::default() };
    let storage = Some("storage".parse().unwrap());
    let helper = HelperConfig { retry, batch, storage, ..HelperConfig::default() };
    let built = BuiltExporter { exporter: Box::new(exporter), helper };
    let (queue, task) = exporter_helper::spawn(built, context.clone()).await.unwrap();
    Program { extension, context, queue, task, taken }
}

impl Program {
    /// Ends in order; gives the destination this long.
    async fn stop(self, deadline: Duration) -> (BTreeMap<String, usize>, String) {
        drop(self.queue);
        let unfinished = self.task.finish(deadline).await;
        assert_eq!(unfinished.dead_letters, 0, "nobody needs what is on disk to be anywhere else");
        self.extension.stop().await;
        let taken = self.taken.lock().unwrap().clone();
        (taken, self.context.telemetry.encode())
    }
}

/// One row for each number.
fn batch(numbers: std::ops::Range<i64>, ack: Ack) -> EventBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone()));
    let columns = RecordBatch::try_from_iter([("duration_ns", column)]).unwrap();
    EventBatch::columns(Signal::Traces, columns, Origin::lane("test".into(), numbers), ack)
}

/// The numbers of rows as JSON lines.
fn numbers(taken: &BTreeMap<String, usize>) -> Vec<i64> {
    let number =
        |line: &String| line.split("\"duration_ns\":").nth(1)?.split([',', '}']).next()?.parse().ok();
    let mut numbers: Vec<i64> = taken.keys().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_outage_does_not_hold_up_the_input_and_a_restart_delivers_what_waited() {
    let directory = tempfile::tempdir().unwrap();
    let probe = Probe::default();
    let program = start(directory.path(), LARGE, Regime::Transient(1.0), 1).await;
    for at in 0..50 {
        program.queue.send(batch(at * 3..at * 3 + 3, probe.ack())).await.unwrap();
    }
    until(|| probe.count(Outcome::Done) == 50).await;
    let (taken, _) = program.stop(Duration::ZERO).await;
    assert_eq!(taken.len(), 0);
    assert_eq!(probe.count(Outcome::Failed), 0);
    let program = start(directory.path(), LARGE, Regime::Transient(0.3), 2).await;
    let (taken, _) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(numbers(&taken), (0..150).collect::<Vec<_>>());
    assert!(taken.values().all(|times| *times == 1), "once in one run");
    let program = start(directory.path(), LARGE, Regime::AlwaysOk, 3).await;
    let (taken, metrics) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(taken.len(), 0, "nothing is left");
    assert!(
        metrics.contains("weir_storage_queue_records{storage=\"storage\",queue=\"test\"} 0"),
        "{metrics}"
    );
}

#[test]
fn what_was_acknowledged_is_delivered_whenever_the_program_crashes() {
    let seeds = match std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..8u64,
    };
    for seed in seeds {
        println!("WEIR_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut all_taken: Vec<Taken> = Vec::new();
        let mut next = 0;
        for life in 0..8 {
            let last = life == 7;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let regime = if last { Regime::AlwaysOk } else { Regime::Transient(0.5) };
            let probe = Probe::default();
            let began = next;
            let (program, count) = runtime.block_on(async {
                let program = start(directory.path(), LARGE, regime, seed).await;
                let count = random.random_range(1..40);
                for _ in 0..count {
                    program.queue.send(batch(next..next + 4, probe.ack())).await.unwrap();
                    next += 4;
                }
                let enough = random.random_range(0..=count);
                until(|| probe.count(Outcome::Done) >= enough).await;
                (program, count)
            });
            all_taken.push(Arc::clone(&program.taken));
            if last {
                runtime.block_on(program.stop(Duration::from_secs(60)));
                assert_eq!(probe.count(Outcome::Done), count);
            } else {
                drop(program);
                runtime.shutdown_background(); // tasks end where they stand
                let settled = std::time::Instant::now();
                while probe.open() > 0 && settled.elapsed() < Duration::from_secs(30) {
                    std::thread::yield_now();
                }
                // Inputs settle in order here: an input that failed is sent again, as its receiver would.
                let safe = i64::try_from(probe.count(Outcome::Done)).unwrap();
                next = began + 4 * safe;
            }
        }
        // Only now: a crashed program's last export may have ended after all else.
        let delivered: std::collections::BTreeSet<i64> =
            all_taken.iter().flat_map(|taken| numbers(&taken.lock().unwrap())).collect();
        assert!((0..next).all(|number| delivered.contains(&number)), "seed {seed}: lost before {next}");
    }
}

#[tokio::test]
async fn a_full_disk_bound_makes_the_input_wait() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 20 << 10, segment_bytes: 4 << 10, fsync: Fsync::Never };
    let context = context("test", directory.path());
    let program = start(directory.path(), limits, Regime::Transient(1.0), 1).await;
    let probe = Probe::default();
    let mut sent = 0;
    // Some wait in memory too, so the acknowledged ones are those on disk.
    while sent < 200 {
        program.queue.send(batch(sent..sent + 1, probe.ack())).await.unwrap();
        sent += 1;
    }
    let files = directory.path().join("storage/queues/test");
    let disk = || -> u64 {
        let files = std::fs::read_dir(&files).unwrap().map(|file| file.unwrap());
        let segments = files.filter(|file| file.path().extension() == Some("log".as_ref()));
        segments.map(|file| file.metadata().unwrap().len()).sum()
    };
    until(|| disk() > 15 << 10).await;
    assert!(probe.count(Outcome::Done) < 200, "not all fit");
    assert!(disk() <= limits.max_bytes);
    drop(context);
    let (_, _) = program.stop(Duration::ZERO).await;
    let safe = i64::try_from(probe.count(Outcome::Done)).unwrap();
    let program = start(directory.path(), limits, Regime::AlwaysOk, 1).await;
    for at in safe..200 {
        program.queue.send(batch(at..at + 1, probe.ack())).await.unwrap();
        assert!(disk() <= limits.max_bytes);
    }
    let (taken, _) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(numbers(&taken), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_is_no_batch_is_quarantined_and_the_others_are_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, _) = storage(directory.path(), LARGE).await;
    let queue = extension.storage().unwrap().open_queue("test").await.unwrap();
    queue.append(b"nonsense".to_vec()).await.unwrap();
    drop(queue);
    extension.stop().await;
    let program = start(directory.path(), LARGE, Regime::AlwaysOk, 1).await;
    program.queue.send(batch(0..5, Ack::none())).await.unwrap();
    let (taken, metrics) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(numbers(&taken), [0, 1, 2, 3, 4]);
    assert!(
        metrics.contains("weir_storage_corrupt_records_total{storage=\"storage\",queue=\"test\"} 1"),
        "{metrics}"
    );
    let kept = directory.path().join("storage/queues/test/00000000000000000001-record.corrupt");
    assert_eq!(std::fs::read(kept).unwrap(), b"nonsense");
}

#[tokio::test]
async fn a_batch_whose_inputs_have_another_owner_is_not_put_into_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let program = start(directory.path(), LARGE, Regime::AlwaysOk, 1).await;
    let (probe, lost) = (Probe::default(), Fence::default());
    lost.close();
    for (rows, fence) in [(0..1, &lost), (1..2, &Fence::default())] {
        let origin = Origin::derived("aggregate".into(), None).behind(Some(fence.clone()));
        program.queue.send(EventBatch { origin, ..batch(rows, probe.ack()) }).await.unwrap();
    }
    let (taken, _) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(numbers(&taken), [1]);
    assert_eq!((probe.outcome(0), probe.outcome(1)), (Some(Outcome::Failed), Some(Outcome::Done)));
}

#[tokio::test]
async fn rows_too_long_for_the_queue_are_dead_letters_and_the_others_of_their_batch_are_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 4 << 10, segment_bytes: 1 << 10, fsync: Fsync::Always };
    let program = start(directory.path(), limits, Regime::AlwaysOk, 1).await;
    let long = "x".repeat(5_000);
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["one", "two", long.as_str(), "four"]));
    let columns = RecordBatch::try_from_iter([("service", texts)]).unwrap();
    let probe = Probe::default();
    let batch = EventBatch::columns(Signal::Traces, columns, Origin::default(), probe.ack());
    program.queue.send(batch).await.unwrap();
    let (taken, _) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert_eq!(probe.count(Outcome::Done), 1);
    let dead = std::fs::read_to_string(directory.path().join("test.jsonl")).unwrap();
    assert_eq!(dead.lines().count(), 1);
    assert!(dead.contains("do not fit"), "{}", &dead[..200]);
}

#[tokio::test]
async fn an_unknown_storage_is_an_error_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = FlakyExporter::flaky(Regime::AlwaysOk, 1);
    let helper = HelperConfig { storage: Some("storage".parse().unwrap()), ..HelperConfig::default() };
    let built = BuiltExporter { exporter: Box::new(exporter), helper };
    let Err(error) = exporter_helper::spawn(built, context("test", directory.path())).await else {
        panic!("there is no storage")
    };
    assert!(error.to_string().contains("service.extensions"), "{error}");
}

#[tokio::test]
async fn for_a_lane_that_can_be_read_again_what_is_safe_on_disk_counts_as_exported() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, context) = storage(directory.path(), LARGE).await;
    let helper = HelperConfig { storage: Some("storage".parse().unwrap()), ..HelperConfig::default() };
    // A destination that drops repeats, and is down.
    let down = FnExporter::new(|_| Err(ExportError::retryable("down"))).idempotent();
    let built = BuiltExporter { exporter: Box::new(down), helper };
    let (queue, task) = exporter_helper::spawn(built, context).await.unwrap();
    let ledger = Ledger::new(LedgerSpec {
        source: "cluster/group/topic".into(),
        input: None,
        set: None,
        number: 0,
        shard: Shard::default(),
        own: Shard::default(),
        position: Some(0),
        metadata: Metadata::default(),
        wake: Arc::new(|| {}),
    });
    let (probe, sink) = (Probe::default(), queue.sink("main"));
    let lane = queue.for_lane("main", Some(&ledger));
    for at in 0..3 {
        lane.send(batch(at * 10..at * 10 + 10, probe.ack())).await.unwrap();
    }
    until(|| probe.count(Outcome::Done) == 3).await;
    assert_eq!((ledger.exported(&sink), ledger.unfinished(&sink)), (Some(30), None));
    drop((lane, queue));
    task.finish(Duration::ZERO).await;
    extension.stop().await;
}

/// An exporter that inputs do not wait for, with the storage as the program's default.
async fn start_detached(directory: &Path, limits: Limits, regime: Regime, retry_ms: u64) -> Program {
    let (extension, context) = storage(directory, limits).await;
    let storages = Storages::default().with_default(extension.storage().unwrap());
    let context = Context { storages, clock: Arc::new(weir_component::SystemClock), ..context };
    let (exporter, taken) = FlakyExporter::flaky(regime, 1);
    let retry = RetryConfig {
        initial_interval: weir_config::Duration::from_millis(1),
        max_interval: weir_config::Duration::from_millis(1),
        max_elapsed_time: weir_config::Duration::from_millis(retry_ms),
        ..RetryConfig::default()
    };
    let batch = BatchConfig { timeout: weir_config::Duration::from_millis(1), ..BatchConfig::default() };
    let helper = HelperConfig { retry, batch, detached: true, ..HelperConfig::default() };
    let built = BuiltExporter { exporter: Box::new(exporter), helper };
    let (queue, task) = exporter_helper::spawn(built, context.clone()).await.unwrap();
    Program { extension, context, queue, task, taken }
}

fn letters(directory: &Path) -> usize {
    std::fs::read_to_string(directory.join("test.jsonl")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn without_a_named_storage_a_detached_exporter_keeps_what_waits_in_the_default_one() {
    let directory = tempfile::tempdir().unwrap();
    let probe = Probe::default();
    let program = start_detached(directory.path(), LARGE, Regime::Transient(1.0), 600_000).await;
    for at in 0..20 {
        program.queue.send(batch(at * 3..at * 3 + 3, probe.ack())).await.unwrap();
    }
    until(|| probe.count(Outcome::Done) == 20).await;
    let began = std::time::Instant::now();
    let Program { extension, queue, task, .. } = program;
    drop(queue);
    let unfinished = task.finish(Duration::from_secs(60)).await;
    assert_eq!((unfinished.rows(), unfinished.on_disk > 0), (0, true), "all of it waits on disk");
    extension.stop().await;
    assert!(began.elapsed() < Duration::from_secs(20), "nothing is lost: nobody waits for the dead");
    let program = start_detached(directory.path(), LARGE, Regime::AlwaysOk, 600_000).await;
    let (taken, _) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(numbers(&taken), (0..60).collect::<Vec<_>>());
    assert_eq!(letters(directory.path()), 0);
}

#[tokio::test]
async fn a_restart_does_not_begin_the_time_for_retries_anew() {
    let directory = tempfile::tempdir().unwrap();
    let probe = Probe::default();
    let program = start_detached(directory.path(), LARGE, Regime::Transient(1.0), 600_000).await;
    program.queue.send(batch(0..3, probe.ack())).await.unwrap();
    until(|| probe.open() == 0).await;
    program.stop(Duration::ZERO).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let program = start_detached(directory.path(), LARGE, Regime::Transient(1.0), 1_000).await;
    let began = std::time::Instant::now();
    until(|| letters(directory.path()) == 3).await;
    assert!(began.elapsed() < Duration::from_millis(900), "they have waited longer than a second already");
    program.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn what_finds_no_room_on_disk_is_in_the_dead_letters_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 256 << 10, segment_bytes: 64 << 10, fsync: Fsync::Never };
    let probe = Probe::default();
    let program = start_detached(directory.path(), limits, Regime::Transient(1.0), 600_000).await;
    for at in 0..60 {
        program.queue.send(batch(at * 1000..at * 1000 + 1000, probe.ack())).await.unwrap();
        tokio::task::yield_now().await;
    }
    // Half a megabyte of numbers, where a quarter of a megabyte fits.
    until(|| probe.open() == 0).await;
    assert_eq!(probe.count(Outcome::Done), 60);
    let kept = letters(directory.path());
    assert!((20_000..60_000).contains(&kept), "{kept} rows");
    program.stop(Duration::ZERO).await;
    let program = start_detached(directory.path(), limits, Regime::AlwaysOk, 600_000).await;
    let (taken, _) = program.stop(Duration::from_secs(60)).await;
    assert_eq!(taken.len() + kept, 60_000, "each is in one place");
}
