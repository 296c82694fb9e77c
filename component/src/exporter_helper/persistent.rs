//! A queue on disk between what the pipelines send and what is exported (`queue.storage`).
//!
//! * [`fn@write`] puts every batch into the queue; when it is as safe there as the storage's `fsync` promises, its inputs are
//!   acknowledged. While the queue or the disk is full, batches wait, and with them the pipelines.
//! * [`read`] gives the worker what is in the queue, oldest first. A record is acknowledged when its batch is delivered or
//!   in the dead letters; what was not by the end of the program comes again at the next start.
//!
//! Memory: `queue.max_bytes` on each side of the disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use weir_pdata::{Ack, AckSink, EventBatch, Held, Outcome};

use super::delivery::Delivery;
use super::queue::{Item, Queued, Room, Route};
use super::ranges::Amount;
use super::record;
use super::space::Space;
use crate::storage::{Appending, DiskQueue, StorageError};

/// A batch on its way to the disk, in one or more records. Its columns are gone: the records have them.
struct Leaving {
    parts: VecDeque<Appending>,
    positions: Range<i64>,
    held: Held,
    room: Room,
    route: Option<Arc<Route>>,
}

/// Writes what comes until all senders are gone and all of it is safe, or the exporter is told to give up.
pub(super) async fn write(
    mut receiver: mpsc::UnboundedReceiver<Item>,
    disk: Arc<dyn DiskQueue>,
    delivery: Arc<Delivery>,
) {
    let mut leaving: VecDeque<Leaving> = VecDeque::new();
    let mut ended = false;
    while !(ended && leaving.is_empty()) {
        // Appends are confirmed in their order, so only the first one is waited for.
        let first = leaving.front_mut().and_then(|leaving| leaving.parts.front_mut());
        tokio::select! {
            biased;
            () = delivery.abort.cancelled() => return, // dropping what is held fails the inputs
            confirmed = confirmation(first) => {
                if let Err(error) = confirmed {
                    let exporter = &delivery.context.id;
                    tracing::error!(%exporter, %error, "a batch was not written to its queue; its input will be read again");
                    return;
                }
                let Some(front) = leaving.front_mut() else { continue };
                front.parts.pop_front();
            }
            next = receiver.recv(), if !ended => match next {
                Some(Item::Batch(queued)) => {
                    let Queued { batch, held, room, route, .. } = *queued;
                    if let Some(parts) = append(&batch, disk.as_ref(), &delivery) {
                        let positions = batch.origin.positions.clone();
                        leaving.push_back(Leaving { parts, positions, held, room, route });
                    } else {
                        let exporter = &delivery.context.id;
                        tracing::error!(%exporter, "a batch that is not decoded cannot be kept on disk; its input fails");
                    }
                }
                Some(Item::Full | Item::Ended(_)) => {}
                None => ended = true,
            },
        }
        while let Some(safe) = leaving.pop_front_if(|leaving| leaving.parts.is_empty()) {
            let Leaving { positions, held, room: _room, route, .. } = safe;
            if let Some(route) = route {
                route.ledger.finish(&route.sink, &positions);
            }
            drop(held.release());
        }
    }
    disk.end();
}

async fn confirmation(first: Option<&mut Appending>) -> Result<u64, StorageError> {
    match first {
        Some(first) => first.await,
        None => std::future::pending().await,
    }
}

/// Appends a batch, in parts when it is too long for one record. A row that is too long alone goes to the dead letters.
/// `None` when the batch is not decoded.
fn append(batch: &EventBatch, disk: &dyn DiskQueue, delivery: &Delivery) -> Option<VecDeque<Appending>> {
    let mut appending = VecDeque::new();
    let mut todo = vec![batch.as_columns()?.clone()];
    while let Some(columns) = todo.pop() {
        let rows = columns.num_rows();
        let part = EventBatch { ack: Ack::none(), ..batch.clone() }.with_columns(columns.clone());
        match record::encode(&part) {
            Ok(bytes) if bytes.len() as u64 <= disk.max_record() => appending.push_back(disk.append(bytes)),
            Ok(bytes) if rows <= 1 => {
                let max = disk.max_record();
                let bytes = bytes.len() as u64;
                delivery.bury(&[part], &StorageError::TooLarge { bytes, max }.to_string());
            }
            Ok(_) => todo.extend(halves(&columns)),
            Err(error) => delivery.bury(&[part], &format!("cannot be written to the queue: {error}")),
        }
    }
    Some(appending)
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
        let batch = match record::decode(&record.payload) {
            Ok(batch) => batch,
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
        let room = Room::new(bytes, &delivery.metrics, part);
        let queued = Queued { batch, held, room, route: None, sending: None };
        if sender.send(Item::Batch(Box::new(queued))).is_err() {
            return;
        }
    }
}
