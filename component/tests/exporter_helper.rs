//! The exporter helper under the four error regimes, back-pressure and shutdown.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use weir_component::delivery::Metadata;
use weir_component::exporter_helper::{self, BatchConfig, HelperConfig, QueueConfig, RetryConfig};
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{FlakyExporter, FnExporter, Probe, Regime, check_exporter, context, ledger};
use weir_component::{ExportError, Exporter, Outgoing};
use weir_config::ByteSize;
use weir_pdata::{
    Ack, Demand, Encoded, EventBatch, Format, MemoryPermit, Origin, Outcome, Payload, Signal, SignalSet,
};

/// Batches of rows numbered from 0: `sizes[0]` rows, then `sizes[1]`, …
fn batches(sizes: &[i64]) -> Vec<EventBatch> {
    let mut next = 0;
    sizes
        .iter()
        .map(|size| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + size));
            next += size;
            let columns = RecordBatch::try_from_iter([("duration_ns", numbers)]).unwrap();
            EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none())
        })
        .collect()
}

fn fast() -> HelperConfig {
    HelperConfig {
        retry: RetryConfig {
            initial_interval: weir_config::Duration::from_millis(1),
            max_interval: weir_config::Duration::from_millis(2),
            ..RetryConfig::default()
        },
        batch: BatchConfig {
            max_rows: 10,
            timeout: weir_config::Duration::from_millis(1),
            ..BatchConfig::default()
        },
        ..HelperConfig::default()
    }
}

/// Every third row is bad.
fn every_third(batch: &EventBatch, row: usize) -> bool {
    let numbers = batch.as_columns().unwrap().column(0);
    numbers.as_any().downcast_ref::<Int64Array>().unwrap().value(row) % 3 == 0
}

fn taken_once(taken: &BTreeMap<String, usize>) -> usize {
    assert!(taken.values().all(|times| *times == 1), "a row was taken twice: {taken:?}");
    taken.len()
}

#[tokio::test]
async fn always_ok_delivers_every_row_once() {
    let (exporter, taken) = FlakyExporter::flaky(Regime::AlwaysOk, 1);
    let dead = check_exporter(Box::new(exporter), fast(), batches(&[1, 20, 7, 3]), Outcome::Done).await;
    assert_eq!(taken_once(&taken.lock().unwrap()), 31);
    assert_eq!(dead, "");
}

#[tokio::test]
async fn transient_errors_are_retried_until_every_row_is_delivered() {
    for seed in 0..5 {
        let (exporter, taken) = FlakyExporter::flaky(Regime::Transient(0.7), seed);
        let dead = check_exporter(Box::new(exporter), fast(), batches(&[5, 5, 5, 5]), Outcome::Done).await;
        assert_eq!(taken_once(&taken.lock().unwrap()), 20, "seed {seed}");
        assert_eq!(dead, "");
    }
}

#[tokio::test]
async fn rejected_rows_alone_are_dead_lettered() {
    let (exporter, taken) = FlakyExporter::flaky(Regime::Permanent(every_third), 1);
    let dead = check_exporter(Box::new(exporter), fast(), batches(&[4, 9, 17]), Outcome::Done).await;
    assert_eq!(taken_once(&taken.lock().unwrap()), 20);
    let mut rows: Vec<i64> = dead
        .lines()
        .map(|line| {
            let letter: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(letter["reason"], "not this row");
            let row: serde_json::Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
            row["duration_ns"].as_i64().unwrap()
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
}

/// A [`FlakyExporter`] that keeps batches in a form of its own, which it can read again or not.
struct Preparing(FlakyExporter, Result<(), String>);

#[async_trait]
impl Exporter for Preparing {
    fn signals(&self) -> SignalSet {
        self.0.signals()
    }

    fn demand(&self) -> Demand {
        self.0.demand()
    }

    fn prepare(&self, batch: EventBatch) -> Outgoing {
        let (columns, bytes) = (batch.as_columns().unwrap().clone(), 8 * batch.len());
        Outgoing::prepared(batch, columns, bytes)
    }

    fn restore(&self, batch: &Outgoing) -> Result<EventBatch, String> {
        self.1.clone().map(|()| columns_of(batch))
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        self.0.export(batches).await
    }

    async fn export_outgoing(&self, batches: &[Outgoing]) -> Result<(), ExportError> {
        self.export(&batches.iter().map(columns_of).collect::<Vec<_>>()).await
    }
}

fn columns_of(batch: &Outgoing) -> EventBatch {
    match batch.content::<RecordBatch>() {
        Some(columns) => batch.with_columns(columns.clone()),
        None => batch.events().unwrap(),
    }
}

#[tokio::test]
async fn rejected_rows_of_prepared_batches_alone_are_dead_lettered() {
    let (exporter, taken) = FlakyExporter::flaky(Regime::Mixed(0.5, every_third), 1);
    let exporter = Box::new(Preparing(exporter, Ok(())));
    let dead = check_exporter(exporter, fast(), batches(&[4, 9, 17]), Outcome::Done).await;
    assert_eq!(taken_once(&taken.lock().unwrap()), 20);
    assert_eq!(dead.lines().count(), 10);
    assert!(dead.contains("duration_ns"), "{dead}");
}

#[tokio::test]
async fn a_rejected_batch_whose_rows_cannot_be_read_again_is_dead_lettered_as_a_whole() {
    let (exporter, taken) = FlakyExporter::flaky(Regime::Permanent(every_third), 1);
    let exporter = Box::new(Preparing(exporter, Err("it is torn".into())));
    let mut batches = batches(&[2, 20]);
    batches[0] = batches.pop().unwrap();
    let dead = check_exporter(exporter, fast(), batches, Outcome::Done).await;
    assert_eq!(taken_once(&taken.lock().unwrap()), 0);
    let letter: serde_json::Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!((&letter["rows"], &letter["positions"]), (&20.into(), &"0-0".into()));
    assert_eq!(letter["reason"], "not this row; its rows cannot be read again: it is torn");
}

#[tokio::test]
async fn mixed_errors_lose_nothing_and_double_nothing() {
    for seed in 0..5 {
        let (exporter, taken) = FlakyExporter::flaky(Regime::Mixed(0.5, every_third), seed);
        let dead = check_exporter(Box::new(exporter), fast(), batches(&[30]), Outcome::Done).await;
        assert_eq!(taken_once(&taken.lock().unwrap()), 20, "seed {seed}");
        assert_eq!(dead.lines().count(), 10, "seed {seed}");
    }
}

#[tokio::test]
async fn what_is_unfinished_at_the_deadline_fails() {
    let (exporter, taken) = FlakyExporter::flaky(Regime::Transient(1.0), 1);
    check_exporter(Box::new(exporter), fast(), batches(&[5, 5]), Outcome::Failed).await;
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_full_queue_makes_the_sender_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = FlakyExporter::flaky(Regime::Transient(1.0), 1);
    let helper = HelperConfig {
        queue: QueueConfig { max_bytes: ByteSize::kib(2), concurrency: 1 },
        ..HelperConfig::default()
    };
    let built = BuiltExporter { exporter: Box::new(exporter), helper };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    let probe = Probe::default();
    let mut waiting = false;
    for batch in batches(&[100; 20]) {
        let sent = queue.send(EventBatch { ack: probe.ack(), ..batch });
        if tokio::time::timeout(Duration::from_millis(200), sent).await.is_err() {
            waiting = true;
            break;
        }
    }
    assert!(waiting, "20 batches of 800 bytes cannot fit into 2 KiB");
    drop(queue);
    task.finish(Duration::ZERO).await;
    assert_eq!(probe.open(), 0);
    assert_eq!(probe.count(Outcome::Done), 0, "nothing was delivered");
}

#[tokio::test]
async fn a_lane_has_not_ended_before_what_it_gave_is_exported_though_a_window_before_it_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, taken) = FlakyExporter::flaky(Regime::AlwaysOk, 1);
    let mut helper = fast();
    // It is not waited for when nothing more comes.
    helper.batch.timeout = weir_config::Duration::from_secs(3_600);
    let built = BuiltExporter { exporter: Box::new(exporter.idempotent()), helper };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    let ledger = ledger(0, Metadata::default(), Arc::new(|| {}));
    let lane = queue.for_lane("main", Some(&ledger));
    let of_window = ledger.tracker().track(5);
    let mut batch = batches(&[5]).remove(0);
    batch.origin.positions = 5..10;
    lane.send(EventBatch { ack: ledger.tracker().track(10), ..batch }).await.unwrap();
    drop(lane);
    of_window.fail();
    drop(of_window);
    let wait_until = async |condition: &dyn Fn() -> bool| {
        let holds = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), holds).await.unwrap();
    };
    wait_until(&|| ledger.unfinished("main/test").is_some()).await;
    assert!(!ledger.is_final(), "the range is begun, and waits until that is written down");
    ledger.written(&weir_component::delivery::positions(&[&ledger]).remove(0).unwrap());
    wait_until(&|| ledger.is_final()).await;
    assert_eq!((ledger.exported("main/test"), taken.lock().unwrap().len()), (Some(10), 5));
    drop(queue);
    assert_eq!(task.finish(Duration::from_secs(60)).await.rows(), 0);
}

#[tokio::test]
async fn part_of_a_range_that_was_begun_fails_when_its_lane_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, taken) = FlakyExporter::flaky(Regime::AlwaysOk, 1);
    let built = BuiltExporter { exporter: Box::new(exporter.idempotent()), helper: fast() };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    let sink = "main/test".to_owned();
    let metadata = Metadata {
        exported: BTreeMap::from([(sink.clone(), 0)]),
        pending: BTreeMap::from([(sink, 20)]),
        ..Metadata::default()
    };
    let ledger = ledger(0, metadata, Arc::new(|| {}));
    let (probe, lane) = (Probe::default(), queue.for_lane("main", Some(&ledger)));
    for mut batch in batches(&[5]) {
        batch.origin.positions = 0..10;
        lane.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
    }
    drop(lane);
    probe.settled("it does not wait for the end of the exporter").await;
    assert_eq!(probe.count(Outcome::Failed), 1);
    assert!(taken.lock().unwrap().is_empty());
    drop(queue);
    task.finish(Duration::from_secs(60)).await;
}

/// Starts a [`FlakyExporter`] behind the helper.
async fn flaky(
    directory: &std::path::Path,
    regime: Regime,
    helper: HelperConfig,
) -> (exporter_helper::Queue, exporter_helper::ExporterTask) {
    let (exporter, _) = FlakyExporter::flaky(regime, 1);
    let built = BuiltExporter { exporter: Box::new(exporter), helper };
    exporter_helper::spawn(built, context("test", directory)).await.unwrap()
}

/// The numbers of the rows in the dead letters.
fn dead_lettered(directory: &std::path::Path) -> Vec<i64> {
    let text = std::fs::read_to_string(directory.join("test.jsonl")).unwrap_or_default();
    let number = |line: &str| {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        let row: serde_json::Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
        row["duration_ns"].as_i64().unwrap()
    };
    let mut numbers: Vec<i64> = text.lines().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn what_nobody_reads_again_is_in_the_dead_letters_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (queue, task) = flaky(directory.path(), Regime::Transient(1.0), fast()).await;
    let probe = Probe::default();
    for (at, batch) in batches(&[12, 7, 6]).into_iter().enumerate() {
        let ack = if at == 1 { probe.ack() } else { Ack::none() };
        // Of two signals: each is exported, and given up, by itself.
        let signal = if at == 1 { Signal::Logs } else { Signal::Traces };
        queue.send(EventBatch { ack, signal, ..batch }).await.unwrap();
    }
    drop(queue);
    let unfinished = task.finish(Duration::from_millis(50)).await;
    assert_eq!((unfinished.dead_letters, unfinished.read_again), (18, 7));
    assert_eq!(probe.count(Outcome::Failed), 1);
    assert_eq!(dead_lettered(directory.path()), (0..12).chain(19..25).collect::<Vec<_>>());
}

/// A field of a protobuf message, of less than 128 bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

#[tokio::test]
async fn a_record_of_which_a_part_cannot_be_decoded_counts_no_row_twice() {
    // The name of a span, and its begin: after the year 2262.
    let late = [field(5, b"late"), b"\x39\0\0\0\0\0\0\0\x80".to_vec()].concat();
    let request = |spans: &[&[u8]]| {
        let spans: Vec<u8> = spans.iter().flat_map(|span| field(2, span)).collect();
        field(1, &field(2, &spans))
    };
    let good = field(5, b"good");
    let some = request(&[&good, &late, &good]);
    let none = request(&[&late, &late]);
    for (record, rows, items, letters) in [(some, 2, 3, 3), (none, 1, 2, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let (exporter, _) = FlakyExporter::flaky(Regime::Transient(1.0), 1);
        let context = context("test", directory.path());
        let built = BuiltExporter { exporter: Box::new(exporter), helper: fast() };
        let (queue, task) = exporter_helper::spawn(built, context.clone()).await.unwrap();
        let encoded = Encoded::concat(Format::OtlpTraces, [&record[..]]).unwrap();
        let batch = EventBatch {
            signal: Signal::Traces,
            payload: Payload::Encoded(encoded),
            origin: Origin::default(),
            ack: Ack::none(),
            permit: MemoryPermit::default(),
        };
        queue.send(batch).await.unwrap();
        drop(queue);
        task.finish(Duration::from_millis(50)).await;
        let text = context.telemetry.encode();
        let rejected = format!("weir_exporter_rejected_rows_total{{exporter=\"test\"}} {rows}\n");
        assert!(text.contains(&rejected), "{rejected}{text}");
        let failed = text.lines().find(|line| line.starts_with("otelcol_exporter_send_failed_spans"));
        assert!(failed.unwrap().ends_with(&format!(" {items}")), "{failed:?}");
        let written = std::fs::read_to_string(directory.path().join("test.jsonl")).unwrap();
        assert_eq!(written.lines().count(), letters, "{written}");
    }
}

#[tokio::test]
async fn what_pipelines_have_in_hand_comes_to_an_exporter_that_gives_up() {
    let directory = tempfile::tempdir().unwrap();
    let queue = QueueConfig { max_bytes: ByteSize::kib(2), concurrency: 1 };
    let (queue, task) =
        flaky(directory.path(), Regime::Transient(1.0), HelperConfig { queue, ..fast() }).await;
    let sending = tokio::spawn(async move {
        for batch in batches(&[100; 10]) {
            queue.send(batch).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sending.is_finished(), "the queue is full");
    task.give_up();
    tokio::time::timeout(Duration::from_secs(30), sending).await.unwrap().unwrap();
    let unfinished = task.finish(Duration::from_secs(30)).await;
    assert_eq!((unfinished.dead_letters, unfinished.read_again), (1000, 0));
    assert_eq!(dead_lettered(directory.path()), (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_detached_exporter_makes_nobody_wait() {
    let directory = tempfile::tempdir().unwrap();
    let queue = QueueConfig { max_bytes: ByteSize::kib(4), concurrency: 1 };
    let helper = HelperConfig { queue, detached: true, ..fast() };
    let (queue, task) = flaky(directory.path(), Regime::Transient(1.0), helper).await;
    let probe = Probe::default();
    let sending = async {
        for batch in batches(&[100; 20]) {
            queue.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sending).await.expect("nobody waits for space");
    drop(queue);
    let unfinished = task.finish(Duration::from_millis(50)).await;
    let kept = dead_lettered(directory.path()).len() as u64;
    assert!(kept >= 1500, "800 bytes each: at most five of twenty batches fit, {kept} rows were given up");
    assert_eq!(unfinished.read_again + kept, 2000);
    assert_eq!(probe.count(Outcome::Failed) as u64 * 100, unfinished.read_again);
    assert_eq!(probe.count(Outcome::Done) as u64 * 100, kept);
}

#[tokio::test]
async fn rows_of_a_detached_exporter_are_given_up_together_so_long_after_they_were_queued() {
    let directory = tempfile::tempdir().unwrap();
    let retry = RetryConfig { max_elapsed_time: weir_config::Duration::from_millis(400), ..fast().retry };
    let batch = BatchConfig { max_rows: 1, ..fast().batch };
    let helper = HelperConfig { retry, batch, detached: true, ..fast() };
    let (queue, task) = flaky(directory.path(), Regime::Transient(1.0), helper).await;
    let probe = Probe::default();
    let began = std::time::Instant::now();
    // Forty exports, one after the other: with a clock of its own each would take 400 ms.
    for batch in batches(&[1; 40]) {
        queue.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    probe.settled("all rows are delivered").await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(probe.count(Outcome::Done), 40);
    assert_eq!(dead_lettered(directory.path()), (0..40).collect::<Vec<_>>());
    drop(queue);
    assert_eq!(task.finish(Duration::from_secs(5)).await.rows(), 0);
}

#[tokio::test]
async fn an_export_that_panics_breaks_the_exporter_and_fails_its_input() {
    let directory = tempfile::tempdir().unwrap();
    let panicking = FnExporter::new(|_| panic!("a mistake in an exporter"));
    let built = BuiltExporter { exporter: Box::new(panicking), helper: fast() };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    let (probe, broken) = (Probe::default(), task.broken());
    for batch in batches(&[3]) {
        queue.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
    }
    let why = tokio::time::timeout(Duration::from_secs(30), broken).await.expect("the program is told");
    assert!(why.contains("a mistake in an exporter"), "{why}");
    assert_eq!(probe.count(Outcome::Failed), 1);
    drop(queue);
    task.finish(Duration::from_secs(5)).await;
}

/// An exporter whose destination is away. It tells of each try whether it may have been stored before, and
/// where it came from.
fn away(tries: tokio::sync::mpsc::UnboundedSender<(bool, Option<Arc<str>>)>) -> Box<dyn Exporter> {
    let answer = move |batches: &[EventBatch]| {
        let Origin { repeated, source, .. } = &batches[0].origin;
        tries.send((*repeated, source.clone())).unwrap();
        Err(ExportError::retryable("away"))
    };
    Box::new(FnExporter::new(answer).idempotent())
}

#[tokio::test]
async fn a_range_is_tried_only_as_long_as_its_lane_has_no_other_owner() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, mut tries) = tokio::sync::mpsc::unbounded_channel();
    let built = BuiltExporter { exporter: away(sender), helper: fast() };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    let sink = "main/test".to_owned();
    let ledger = |pending: Option<i64>| {
        ledger(
            7,
            Metadata {
                exported: BTreeMap::from([(sink.clone(), 0)]),
                pending: pending.map(|end| (sink.clone(), end)).into_iter().collect(),
                ..Metadata::default()
            },
            Arc::new(|| {}),
        )
    };
    // The first repeats what a former owner began, the second starts without a history.
    for (pending, repeated) in [(Some(10), true), (None, false)] {
        let ledger = ledger(pending);
        let (probe, lane) = (Probe::default(), queue.for_lane("main", Some(&ledger)));
        let mut batch = batches(&[5]).remove(0);
        batch.origin.positions = 0..10;
        lane.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
        let written = async {
            while ledger.unfinished("main/test").is_none() {
                tokio::task::yield_now().await;
            }
            let position = weir_component::delivery::positions(&[&ledger]).remove(0).unwrap();
            ledger.written(&position);
        };
        written.await;
        let tried = tries.recv().await.unwrap();
        assert_eq!(tried, (repeated, Some("c/g/t/7/main/test".into())));
        ledger.close();
        probe.settled("it gives up what another owner has now").await;
        assert_eq!(probe.count(Outcome::Failed), 1);
        while tries.try_recv().is_ok() {}
    }
    drop(queue);
    task.finish(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_lane_that_is_lost_is_not_waited_for_and_nothing_of_it_is_left_undone() {
    let directory = tempfile::tempdir().unwrap();
    for (lost, left) in [(true, 0), (false, 5)] {
        let (sender, mut tries) = tokio::sync::mpsc::unbounded_channel();
        let hour = weir_config::Duration::from_secs(3_600);
        let retry = RetryConfig { initial_interval: hour, max_interval: hour, ..RetryConfig::default() };
        let helper = HelperConfig { retry, ..fast() };
        let built = BuiltExporter { exporter: away(sender), helper };
        let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
        let ledger = ledger(
            7,
            Metadata {
                exported: BTreeMap::from([("main/test".to_owned(), 0)]),
                pending: BTreeMap::from([("main/test".to_owned(), 10)]),
                ..Metadata::default()
            },
            Arc::new(|| {}),
        );
        let (probe, lane) = (Probe::default(), queue.for_lane("main", Some(&ledger)));
        let mut batch = batches(&[5]).remove(0);
        batch.origin.positions = 0..10;
        lane.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
        tries.recv().await.unwrap();
        task.end();
        if lost {
            ledger.lose();
        } else {
            ledger.close();
        }
        drop((queue, lane));
        let began = std::time::Instant::now();
        let unfinished = task.finish(Duration::from_secs(60)).await;
        assert!(began.elapsed() < Duration::from_secs(30), "it waits for a try that will not be made");
        // Another owner exports a lost range; rows that were given up are read again by the next start.
        assert_eq!((unfinished.read_again, unfinished.dead_letters), (left, 0));
        assert_eq!(probe.count(Outcome::Failed), 1);
    }
}
