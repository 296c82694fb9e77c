//! A queue on disk between what the pipelines send and what is exported (`queue.storage`).
//!
//! * [`fn@write`] puts every batch into the queue; when it is as safe there as the storage's `fsync` promises, its inputs are
//!   acknowledged. While the queue or the disk is full, batches wait, and with them the pipelines; batches of a detached
//!   exporter go to the dead letters instead.
//! * [`read`] gives the worker what is in the queue, oldest first. A record is acknowledged when its batch is delivered or
//!   in the dead letters; what was not by the end of the program comes again at the next start.
//!
//! Memory: `queue.max_bytes` on each side of the disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_pdata::{Ack, AckSink, EventBatch, Held, Outcome};

use super::attempt::Delivery;
use super::capacity::Space;
use super::disk_record;
use super::queue::{Item, Queued, Room, Route};
use super::ranges::Amount;
use crate::storage::{Appending, DiskQueue, StorageError};

const NO_ROOM: &str = "the queue on disk is full";
/// Bytes that a record may take on disk beyond its own, with a share in what begins a file.
const OVERHEAD: u64 = 128;

/// A batch on its way to the disk, in one or more records. Its columns are gone: the records have them.
struct Leaving {
    parts: VecDeque<Appending>,
    bytes: u64,
    since: Instant,
    positions: Range<i64>,
    held: Held,
    room: Room,
    route: Option<Arc<Route>>,
    /// The batch, when nobody could read it again.
    batch: Option<EventBatch>,
}

/// Writes what comes until all senders are gone and all of it is safe, or the exporter is closed.
pub(super) async fn write(
    mut receiver: mpsc::UnboundedReceiver<Item>,
    disk: Arc<dyn DiskQueue>,
    delivery: Arc<Delivery>,
) {
    let mut leaving: VecDeque<Leaving> = VecDeque::new();
    let mut ended = false;
    while !(ended && leaving.is_empty()) {
        let due = leaving.front().and_then(|leaving| longest_wait(&delivery, leaving.since));
        // Appends are confirmed in their order, so only the first one is waited for.
        let first = leaving.front_mut().and_then(|leaving| leaving.parts.front_mut());
        tokio::select! {
            biased;
            confirmed = confirmation(first) => {
                if let Err(error) = confirmed {
                    let exporter = &delivery.context.id;
                    tracing::error!(%exporter, %error, "a batch was not written to its queue; its input will be read again");
                    break;
                }
                let Some(front) = leaving.front_mut() else { continue };
                front.parts.pop_front();
            }
            () = delivery.closed.cancelled() => break,
            next = receiver.recv(), if !ended => match next {
                Some(Item::Batch(queued)) => {
                    let on_their_way = leaving.iter().map(|leaving| leaving.bytes).sum::<u64>();
                    leaving.extend(append(*queued, on_their_way, disk.as_ref(), &delivery));
                }
                Some(Item::Full | Item::Ended(_)) => {}
                None => ended = true,
            },
            // The disk takes nothing. What it takes later is delivered, too: better twice than never.
            () = until(due) => {
                if let Some(Leaving { batch: Some(batch), held, .. }) = leaving.pop_front() {
                    delivery.bury(&[batch], "the queue on disk takes nothing");
                    drop(held.release());
                }
            }
        }
        while let Some(safe) = leaving.pop_front_if(|leaving| leaving.parts.is_empty()) {
            let Leaving { positions, held, room: _room, route, .. } = safe;
            if let Some(route) = route {
                route.ledger.finish(&route.sink, &positions);
            }
            drop(held.release());
        }
    }
    for Leaving { batch, held, .. } in leaving {
        delivery.abandon(batch.into_iter().collect(), vec![held]);
    }
    receiver.close();
    while let Some(item) = receiver.recv().await {
        if let Item::Batch(queued) = item {
            delivery.abandon_queued(*queued);
        }
    }
    disk.end();
}

/// When a batch that was queued at `since` has waited too long. `None`: never, its inputs wait.
fn longest_wait(delivery: &Delivery, since: Instant) -> Option<Instant> {
    let max = delivery.config.retry.max_elapsed_time.get();
    (delivery.config.detached && !max.is_zero()).then(|| since + max)
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

/// Appends a batch, in parts when it is too long for one record. A row that is too long alone goes to the dead letters, and so does
/// what must not wait for room. `None`: nothing is on its way.
fn append(queued: Queued, on_their_way: u64, disk: &dyn DiskQueue, delivery: &Delivery) -> Option<Leaving> {
    if queued.refused {
        delivery.refuse(queued, NO_ROOM);
        return None;
    }
    let Some(columns) = queued.batch.as_columns() else {
        let exporter = &delivery.context.id;
        tracing::error!(%exporter, "a batch that is not decoded cannot be kept on disk; its input fails");
        delivery.abandon_queued(queued);
        return None;
    };
    let queued_ms = delivery.context.clock.now_ms();
    let (mut records, mut hopeless) = (Vec::new(), Vec::new());
    let mut todo = vec![columns.clone()];
    while let Some(columns) = todo.pop() {
        let part = EventBatch { ack: Ack::none(), ..queued.batch.clone() }.with_columns(columns.clone());
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
    if delivery.config.detached
        && disk.bytes().saturating_add(on_their_way + bytes + OVERHEAD) > disk.max_record()
    {
        delivery.refuse(queued, NO_ROOM);
        return None;
    }
    hopeless.iter().for_each(|(part, reason)| delivery.bury(std::slice::from_ref(part), reason));
    let parts = records.into_iter().map(|record| disk.append(record)).collect();
    let Queued { batch, held, room, route, since, .. } = queued;
    let positions = batch.origin.positions.clone();
    let batch = Some(batch).filter(|_| delivery.config.detached || !held.is_read_again());
    Some(Leaving { parts, bytes, since, positions, held, room, route, batch })
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
pub(super) async fn read(
    disk: Arc<dyn DiskQueue>,
    sender: mpsc::UnboundedSender<Item>,
    space: Space,
    delivery: Arc<Delivery>,
) {
    let records = Arc::new(Records(Arc::clone(&disk)));
    loop {
        let record = tokio::select! {
            biased;
            () = delivery.abort.cancelled() => return,
            record = disk.next() => record,
        };
        let Some(record) = record else { return };
        let number = record.number;
        let (batch, queued_ms) = match disk_record::decode(&record.payload) {
            Ok(read) => read,
            Err(reason) => {
                disk.set_aside(record, &reason);
                continue;
            }
        };
        let held = Held::new(Ack::new(Arc::clone(&records) as Arc<dyn AckSink>, number));
        let bytes = batch.memory();
        let amount = Amount { rows: batch.len(), bytes: bytes as u64 };
        let part = tokio::select! {
            biased;
            () = delivery.abort.cancelled() => return,
            part = space.take(None, amount, || drop(sender.send(Item::Full))) => part,
        };
        let room = Room::new(bytes, &delivery.metrics, part, None);
        let age = queued_ms.map_or(0, |queued| delivery.context.clock.now_ms().saturating_sub(queued));
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        let queued =
            Queued { batch, held, room, route: None, sending: None, since, refused: false, on_disk: true };
        if sender.send(Item::Batch(Box::new(queued))).is_err() {
            return;
        }
    }
}
