//! The bounded queue in front of an exporter.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use weir_pdata::{Demand, EventBatch, Held, SignalSet};

use super::metrics::HelperMetrics;
use crate::LaneClosed;

/// The sending side of an exporter's queue. Cheap to clone. The exporter ends when every clone is dropped.
#[derive(Clone)]
pub struct Queue {
    pub(super) signals: SignalSet,
    pub(super) demand: Demand,
    pub(super) sender: mpsc::UnboundedSender<Queued>,
    /// One permit a unit of [`UNIT`] bytes: what bounds the unbounded channel.
    pub(super) room: Arc<Semaphore>,
    pub(super) capacity: u32,
    pub(super) metrics: HelperMetrics,
}

/// Bytes per permit, so that large queues fit a semaphore's count.
const UNIT: usize = 1024;

/// A batch that waits. Its ack is held: dropping it fails the inputs.
pub(super) struct Queued {
    pub batch: EventBatch,
    pub held: Held,
    pub room: Room,
}

/// The part of the queue's capacity that a batch occupies until it is delivered.
pub(super) struct Room {
    bytes: i64,
    metrics: HelperMetrics,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.metrics.queue_bytes.dec_by(self.bytes);
    }
}

/// The number of permits for a queue of this many bytes.
pub(super) fn capacity(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT as u64))
        .unwrap_or(u32::MAX)
        .clamp(1, (Semaphore::MAX_PERMITS >> 3) as u32)
}

impl Queue {
    /// The signals that the exporter takes.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        self.signals
    }

    /// What the exporter reads.
    #[must_use]
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Queues a batch; waits while the queue is full. A batch of a signal that the exporter does not take, or
    /// without rows, is acknowledged at once. A batch larger than the queue waits until the queue is empty.
    ///
    /// # Errors
    /// [`LaneClosed`] when the exporter has stopped; the batch's inputs have then failed.
    pub async fn send(&self, mut batch: EventBatch) -> Result<(), LaneClosed> {
        if !self.signals.contains(batch.signal) || batch.is_empty() {
            return Ok(());
        }
        let held = Held::new(std::mem::take(&mut batch.ack));
        let bytes = batch.memory();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.capacity);
        let permit = self.room.clone().acquire_many_owned(units).await.map_err(|_| LaneClosed)?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.queue_bytes.inc_by(bytes);
        let room = Room { bytes, metrics: self.metrics.clone(), _permit: permit };
        self.sender.send(Queued { batch, held, room }).map_err(|_| LaneClosed)
    }
}
