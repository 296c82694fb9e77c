//! An export whose rows are not all taken: found quickly, given up at once, and repeated in the same parts
//! after a crash.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use tokio::sync::Notify;
use weir_component::delivery::{Ledger, Metadata, positions};
use weir_component::exporter_helper::{self, BatchConfig, HelperConfig, RetryConfig};
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{self, FnExporter, check_exporter, context};
use weir_component::{ExportError, Exporter};
use weir_pdata::{Ack, Demand, EventBatch, Origin, Outcome, Signal, SignalSet};

const TIMEOUT: Duration = Duration::from_secs(60);
const ROWS: i64 = 64;

/// One row a position.
fn batch(positions: std::ops::Range<i64>) -> EventBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(positions.clone()));
    let columns = RecordBatch::try_from_iter([("duration_ns", numbers)]).unwrap();
    EventBatch::columns(Signal::Traces, columns, Origin::lane("k/t/0".into(), positions), Ack::none())
}

fn numbers(batches: &[EventBatch]) -> Vec<i64> {
    let column = |batch: &EventBatch| batch.as_columns().unwrap().column(0).clone();
    let values = batches.iter().map(column);
    values
        .flat_map(|column| column.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec())
        .collect()
}

fn helper(max_elapsed: Duration) -> HelperConfig {
    let ms = weir_config::Duration::from_millis;
    HelperConfig {
        retry: RetryConfig {
            initial_interval: ms(1),
            max_interval: ms(2),
            max_elapsed_time: ms(u64::try_from(max_elapsed.as_millis()).unwrap()),
            ..RetryConfig::default()
        },
        batch: BatchConfig { max_rows: 64, timeout: ms(1), ..BatchConfig::default() },
        timeout: weir_config::Duration::from_secs(3600),
        ..HelperConfig::default()
    }
}

/// A table that leaves out inserts that it knows, and outlives the program.
#[derive(Default)]
struct Table {
    known: BTreeSet<String>,
    rows: BTreeMap<i64, usize>,
    calls: usize,
}

/// Inserts into the table. Some rows it refuses; one call it does not answer, having stored its rows or not.
struct Store {
    table: Arc<Mutex<Table>>,
    refuses: fn(i64) -> bool,
    /// Whether it says which rows it refuses.
    names: bool,
    silent: Option<(usize, bool)>,
    fell_silent: Arc<Notify>,
}

#[async_trait]
impl Exporter for Store {
    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let given = numbers(batches);
        // What may have been delivered before is looked for.
        let is_there =
            |number: &i64| batches[0].origin.repeated && self.table.lock().unwrap().rows.contains_key(number);
        let missing: Vec<usize> = (0..given.len()).filter(|at| !is_there(&given[*at])).collect();
        let numbers: Vec<i64> = missing.iter().map(|at| given[*at]).collect();
        let refused: Vec<usize> = missing.into_iter().filter(|at| (self.refuses)(given[*at])).collect();
        let mut silent = false;
        {
            let mut table = self.table.lock().unwrap();
            table.calls += 1;
            let here = self.silent.filter(|(call, _)| *call == table.calls);
            if here.is_none_or(|(_, stores)| stores) && refused.is_empty() {
                let identity = batches[0].origin.identity.as_deref().unwrap();
                if table.known.insert(identity.to_owned()) {
                    numbers.iter().for_each(|number| *table.rows.entry(*number).or_default() += 1);
                }
            }
            silent |= here.is_some();
        }
        if silent {
            self.fell_silent.notify_one();
            std::future::pending::<()>().await;
        }
        if refused.is_empty() {
            return Ok(());
        }
        let rows = if self.names { refused } else { Vec::new() };
        Err(ExportError::Permanent { reason: "not this row".into(), rows })
    }
}

/// A ledger whose every word is written down at once.
fn ledger(metadata: Metadata) -> Ledger {
    let cell: Arc<OnceLock<Ledger>> = Arc::default();
    let mine = Arc::clone(&cell);
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        let ledger = mine.get().unwrap();
        let position = positions(&[ledger]).remove(0).unwrap();
        // As Kafka would give it back.
        let read = Metadata::decode(&position.metadata.encode()).unwrap().unwrap();
        assert_eq!(read.splits, position.metadata.splits);
        ledger.written(&position);
    });
    let ledger = testkit::ledger(0, metadata, wake);
    assert!(cell.set(ledger.clone()).is_ok());
    ledger
}

/// One run of the program. Gives what was written down in the end, the dead letters, and whether it fell
/// silent.
async fn run(store: Store, metadata: Metadata) -> (Metadata, String, bool) {
    run_with(store, metadata, vec![batch(0..40), batch(40..ROWS)]).await
}

async fn run_with(store: Store, metadata: Metadata, input: Vec<EventBatch>) -> (Metadata, String, bool) {
    let directory = tempfile::tempdir().unwrap();
    let silent = Arc::clone(&store.fell_silent);
    let built = BuiltExporter { exporter: Box::new(store), helper: helper(Duration::ZERO) };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    let ledger = ledger(metadata);
    let lane = queue.for_lane("main", Some(&ledger));
    for batch in input {
        lane.send(batch).await.unwrap();
    }
    drop((lane, queue));
    let mut ended = Box::pin(task.finish(TIMEOUT));
    let fell_silent = tokio::select! {
        _ = &mut ended => false,
        () = silent.notified() => true,
    };
    let written = positions(&[&ledger]).remove(0).unwrap().metadata;
    // As after a kill: nothing that comes now is written down.
    ledger.close();
    drop(ended);
    (written, std::fs::read_to_string(directory.path().join("test.jsonl")).unwrap_or_default(), fell_silent)
}

#[tokio::test]
async fn parts_of_a_range_are_repeated_as_they_were_after_a_crash_anywhere() {
    let every_fifth: fn(i64) -> bool = |row| row % 5 == 0;
    for names in [true, false] {
        for stores in [true, false] {
            for call in 1.. {
                let table: Arc<Mutex<Table>> = Arc::default();
                let store = |refuses, silent| {
                    let (table, fell_silent) = (Arc::clone(&table), Arc::default());
                    Store { table, refuses, names, silent, fell_silent }
                };
                let (written, before, crashed) =
                    run(store(every_fifth, Some((call, stores))), Metadata::default()).await;
                if !crashed {
                    assert!(call > 2, "it was asked more than twice");
                    break;
                }
                // Meanwhile the cause is repaired: nothing is refused any more.
                let (_, after, _) = run(store(|_| false, None), written).await;
                let table = table.lock().unwrap();
                let letters = before + &after;
                for row in 0..ROWS {
                    let stored = table.rows.get(&row).copied().unwrap_or(0);
                    let dead_lettered = letters.contains(&format!("\\\"duration_ns\\\":{row}}}"));
                    let right =
                        stored == 1 && !dead_lettered || stored == 0 && dead_lettered && every_fifth(row);
                    assert!(
                        right,
                        "{names} {stores} call {call}: row {row} is stored {stored} times, dead_lettered: {dead_lettered}"
                    );
                }
            }
        }
    }
}

/// These numbers, from these positions.
fn numbered(positions: std::ops::Range<i64>, numbers: impl IntoIterator<Item = i64>) -> EventBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let columns = RecordBatch::try_from_iter([("duration_ns", column)]).unwrap();
    batch(positions).with_columns(columns)
}

#[tokio::test]
async fn a_part_is_not_resumed_by_numbers_when_the_range_has_other_rows_now() {
    let every_fifth: fn(i64) -> bool = |row| row % 5 == 0;
    // What the next configuration makes of the first batch: a record is rejected now, or is not rejected any
    // more.
    let without: Vec<i64> = (0..40).filter(|row| *row != 21).collect();
    let with: Vec<i64> = (0..21).chain([1_001]).chain(21..40).collect();
    for (names, stores, first) in [true, false].into_iter().flat_map(|names| {
        [(true, &without), (false, &without), (true, &with), (false, &with)].map(|(s, f)| (names, s, f))
    }) {
        for call in 1.. {
            let table: Arc<Mutex<Table>> = Arc::default();
            let store = |silent| {
                let (table, fell_silent) = (Arc::clone(&table), Arc::default());
                Store { table, refuses: every_fifth, names, silent, fell_silent }
            };
            // One batch, so that it is one range however slow the machine is: what has been exported of an
            // earlier one would rightly not be looked at again.
            let input = vec![batch(0..ROWS)];
            let (written, before, crashed) =
                run_with(store(Some((call, stores))), Metadata::default(), input).await;
            if !crashed {
                break;
            }
            let input = vec![numbered(0..ROWS, first.iter().copied().chain(40..ROWS))];
            let (_, after, _) = run_with(store(None), written, input).await;
            let (table, letters) = (table.lock().unwrap(), before + &after);
            for row in first.iter().copied().chain(40..ROWS) {
                let stored = table.rows.get(&row).copied().unwrap_or(0);
                let dead_lettered = letters.contains(&format!("\\\"duration_ns\\\":{row}}}"));
                let right = if every_fifth(row) { stored == 0 && dead_lettered } else { stored == 1 };
                assert!(
                    right,
                    "{names} {stores} {} call {call}: row {row} is stored {stored} times, dead_lettered: {dead_lettered}",
                    first.len()
                );
            }
        }
    }
}

#[tokio::test]
async fn a_batch_that_is_given_up_is_given_up_at_once() {
    let tries: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&tries);
    // It is away, and remembers how many rows it was given.
    let exporter = Box::new(FnExporter::new(move |batches| {
        seen.lock().unwrap().push(numbers(batches).len());
        Err(ExportError::retryable("it is away"))
    }));
    let dead =
        check_exporter(exporter, helper(Duration::from_millis(30)), vec![batch(0..16)], Outcome::Done).await;
    assert_eq!(dead.lines().count(), 16);
    assert!(
        dead.lines().all(|letter| letter.contains("given up after 30ms") && letter.contains("it is away")),
        "{dead}"
    );
    let tries = tries.lock().unwrap();
    assert!(tries.len() > 1 && tries.iter().all(|rows| *rows == 16), "not halved: {tries:?}");
}
