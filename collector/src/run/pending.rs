//! Batches on their way between two awaits.

use weir_component::LaneClosed;
use weir_component::exporter_helper::LaneQueue;
use weir_pdata::EventBatch;

/// Batches that still have to be handed to exporters. Dropping it before they are fails their inputs, so a
/// cancelled task never acknowledges.
#[derive(Default)]
pub(super) struct Pending(Vec<EventBatch>);

impl Pending {
    /// Adds a batch.
    pub(super) fn push(&mut self, batch: EventBatch) {
        self.0.push(batch);
    }

    /// Hands every batch to every queue, in order. Waits while a queue is full.
    pub(super) async fn deliver(&mut self, queues: &[LaneQueue]) -> Result<(), LaneClosed> {
        for batch in &self.0 {
            for queue in queues.iter().filter(|queue| queue.signals().contains(batch.signal)) {
                queue.send(batch.clone()).await?;
            }
        }
        self.0.clear();
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.iter().for_each(|batch| batch.ack.fail());
    }
}
