//! A queue on disk between what the pipelines send and what is exported (`queue.storage`).
//!
//! * [`fn@write`] puts every batch into the queue; when it is as safe there as the storage's `fsync`
//!   promises, its inputs are acknowledged. While the queue or the disk is full, batches wait, and with them
//!   the pipelines; batches of a detached exporter go to the dead letters instead.
//! * [`read`] gives the worker what is in the queue, oldest first. A record is acknowledged when its batch is
//!   delivered or in the dead letters; what was not by the end of the program comes again at the next start.
//!
//! Memory: `queue.max_bytes` on each side of the disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_pdata::{Ack, AckSink, Held, Outcome};

use super::capacity::QueueCapacity;
use super::disk_record;
use super::{Item, QueueSlot, Queued, Route};
use crate::Outgoing;
use crate::exporter_helper::attempt::ExportRunner;
use crate::exporter_helper::schedule::ranges::Amount;
use crate::storage::{Appending, DiskQueue, StorageError};

const NO_ROOM: &str = "the queue on disk is full";
/// Bytes that a record may take on disk beyond its own, with a share in what begins a file.
const OVERHEAD: u64 = 128;

/// A batch on its way to the disk, in one or more records. Its columns are gone: the records have them.
struct PendingAppend {
    parts: VecDeque<Appending>,
    bytes: u64,
    since: Instant,
    positions: Range<i64>,
    held: Held,
    slot: QueueSlot,
    route: Option<Arc<Route>>,
    /// The batch, if its input is not read again.
    batch: Option<Outgoing>,
}

/// Writes batches until all senders are gone and everything is safe, or the exporter is closed.
pub(crate) async fn write(
    mut receiver: mpsc::UnboundedReceiver<Item>,
    disk: Arc<dyn DiskQueue>,
    runner: Arc<ExportRunner>,
) {
    let mut pending: VecDeque<PendingAppend> = VecDeque::new();
    let mut ended = false;
    while !(ended && pending.is_empty()) {
        let due = pending.front().and_then(|pending| longest_wait(&runner, pending.since));
        // Appends are confirmed in their order, so only the first one is waited for.
        let first = pending.front_mut().and_then(|pending| pending.parts.front_mut());
        tokio::select! {
            biased;
            confirmed = confirmation(first) => {
                if let Err(error) = confirmed {
                    let exporter = &runner.context.id;
                    tracing::error!(%exporter, %error, "a batch was not written to its queue; its input will be read again");
                    break;
                }
                let Some(front) = pending.front_mut() else { continue };
                front.parts.pop_front();
            }
            () = runner.closed.cancelled() => break,
            next = receiver.recv(), if !ended => match next {
                Some(Item::Batch(queued)) => {
                    let pending_bytes = pending.iter().map(|pending| pending.bytes).sum::<u64>();
                    pending.extend(append(*queued, pending_bytes, disk.as_ref(), &runner));
                }
                Some(Item::Full | Item::Ended(_)) => {}
                None => ended = true,
            },
            // The disk takes nothing. A record that it takes later is delivered as well: twice is better than
            // never.
            () = until(due) => {
                if let Some(PendingAppend { batch: Some(batch), held, .. }) = pending.pop_front() {
                    let reason = "the queue on disk takes nothing";
                    runner.dead_letter(&runner.restored(vec![batch], reason), reason);
                    drop(held.release());
                }
            }
        }
        while let Some(safe) = pending.pop_front_if(|pending| pending.parts.is_empty()) {
            let PendingAppend { positions, held, slot: _slot, route, .. } = safe;
            if let Some(route) = route {
                route.ledger.finish_waiting(&route.sink, &positions);
            }
            drop(held.release());
        }
    }
    for PendingAppend { batch, held, .. } in pending {
        runner.abandon(batch.into_iter().collect(), vec![held]);
    }
    receiver.close();
    while let Some(item) = receiver.recv().await {
        if let Item::Batch(queued) = item {
            runner.abandon_queued(*queued);
        }
    }
    disk.end();
}

/// When a batch that was queued at `since` has waited too long. `None`: never, its inputs wait.
fn longest_wait(runner: &ExportRunner, since: Instant) -> Option<Instant> {
    let max = runner.config.retry.max_elapsed_time.get();
    (runner.config.detached && !max.is_zero()).then(|| since + max)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn confirmation(first: Option<&mut Appending>) -> Result<u64, StorageError> {
    match first {
        Some(first) => first.await,
        None => std::future::pending().await,
    }
}

/// Appends a batch, in parts when it is too long for one record. A row that is too long alone goes to the
/// dead letters, and so does what must not wait for room. `None`: there is nothing to wait for.
fn append(
    queued: Queued,
    pending_bytes: u64,
    disk: &dyn DiskQueue,
    runner: &ExportRunner,
) -> Option<PendingAppend> {
    if queued.refused {
        runner.dead_letter_queued(queued, NO_ROOM);
        return None;
    }
    // Another owner computes it, too. From the disk it would leave whoever owns its inputs then.
    if queued.batch.origin.is_fenced() {
        return None; // dropping it fails its inputs
    }
    let Some(columns) = queued.batch.as_columns() else {
        let exporter = &runner.context.id;
        tracing::error!(%exporter, "a batch that is not decoded cannot be kept on disk; its input fails");
        runner.abandon_queued(queued);
        return None;
    };
    let queued_ms = runner.context.clock.now_ms();
    let (mut records, mut hopeless) = (Vec::new(), Vec::new());
    let mut todo = vec![columns.clone()];
    while let Some(columns) = todo.pop() {
        let part = queued.batch.with_columns(columns.clone());
        match disk_record::encode(&part, queued_ms) {
            Ok(record) if record.len() as u64 <= disk.max_record() => records.push(record),
            Ok(record) if part.len() <= 1 => {
                let (bytes, max) = (record.len() as u64, disk.max_record());
                hopeless.push((part, StorageError::TooLarge { bytes, max }.to_string()));
            }
            Ok(_) => todo.extend(halves(&columns)),
            Err(error) => hopeless.push((part, format!("cannot be written to the queue: {error}"))),
        }
    }
    let bytes = records.iter().map(|record| record.len() as u64 + OVERHEAD).sum::<u64>();
    if runner.config.detached
        && disk.bytes().saturating_add(pending_bytes + bytes + OVERHEAD) > disk.max_record()
    {
        runner.dead_letter_queued(queued, NO_ROOM);
        return None;
    }
    hopeless.iter().for_each(|(part, reason)| runner.dead_letter(std::slice::from_ref(part), reason));
    let parts = records.into_iter().map(|record| disk.append(record)).collect();
    let Queued { batch, held, slot, route, since, .. } = queued;
    let positions = batch.origin.positions.clone();
    let batch = Some(batch).filter(|_| runner.config.detached || !held.is_read_again());
    Some(PendingAppend { parts, bytes, since, positions, held, slot, route, batch })
}

/// The rows in two parts, the first one last: it is taken first.
fn halves(columns: &RecordBatch) -> [RecordBatch; 2] {
    let half = columns.num_rows() / 2;
    [columns.slice(half, columns.num_rows() - half), columns.slice(0, half)]
}

/// Acknowledges records of the queue.
struct Records(Arc<dyn DiskQueue>);

impl AckSink for Records {
    fn settle(&self, id: u64, outcome: Outcome) {
        if outcome == Outcome::Done {
            self.0.acknowledge(id);
        }
    }
}

/// Hands on what is in the queue until it has ended, or the exporter has stopped.
pub(crate) async fn read(
    disk: Arc<dyn DiskQueue>,
    sender: mpsc::UnboundedSender<Item>,
    capacity: QueueCapacity,
    runner: Arc<ExportRunner>,
) {
    let records = Arc::new(Records(Arc::clone(&disk)));
    loop {
        let record = tokio::select! {
            biased;
            () = runner.abort.cancelled() => return,
            record = disk.next() => record,
        };
        let Some(record) = record else { return };
        let number = record.number;
        let (batch, queued_ms) = match disk_record::decode(&record.payload) {
            Ok(read) => read,
            Err(reason) => {
                disk.quarantine(record, &reason);
                continue;
            }
        };
        let held = Held::new(Ack::new(Arc::clone(&records) as Arc<dyn AckSink>, number));
        let bytes = batch.memory();
        let amount = Amount { rows: batch.len(), bytes: bytes as u64 };
        let permit = tokio::select! {
            biased;
            () = runner.abort.cancelled() => return,
            permit = capacity.acquire(None, amount, || drop(sender.send(Item::Full))) => permit,
        };
        let slot = QueueSlot::new(bytes, &runner.metrics, permit, None);
        let age = queued_ms.map_or(0, |queued| runner.context.clock.now_ms().saturating_sub(queued));
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        let queued = Queued {
            batch: batch.into(),
            held,
            slot,
            route: None,
            delay: None,
            since,
            refused: false,
            on_disk: true,
        };
        if sender.send(Item::Batch(Box::new(queued))).is_err() {
            return;
        }
    }
}
