//! The task of one partition: from its inbox down its lane.

use std::sync::Arc;

use arrow::buffer::Buffer;
use weir_component::delivery::Ledger;
use weir_component::{Lane, LaneClosed, LaneMessage};
use weir_pdata::{Encoded, EventBatch, Format, ItemCount, MemoryPermit, Origin, Payload, Signal};

use crate::partition::batching::Chunk;
use crate::partition::inbox::{Inbox, Next};
use crate::partition::rejects::{PartitionRejects, SentRecords};

/// The parts that the task of a partition works with.
pub(crate) struct LaneTask {
    pub(crate) lane: Lane,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) ledger: Ledger,
    /// Nothing goes down the lane before this version of the ledger is written down.
    pub(crate) begun: Option<u64>,
    pub(crate) rejects: Arc<PartitionRejects>,
    /// For [`Origin::lane`].
    pub(crate) name: Arc<str>,
    /// Ranges that an earlier owner had begun end here, or before.
    pub(crate) unfinished: i64,
    /// The signal of its batches.
    pub(crate) signal: Signal,
}

impl LaneTask {
    /// Sends until the inbox is closed, then gives the lane back. It is open until it is dropped, so that
    /// lanes that end together end at one moment.
    ///
    /// # Errors
    /// The pipeline has stopped.
    pub(crate) async fn run(mut self) -> Result<Lane, LaneClosed> {
        loop {
            match self.inbox.next().await {
                Next::Chunk(chunk) => {
                    if !self.has_begun().await {
                        continue; // the ownership ends, and the next owner reads it again
                    }
                    // A lane that is held back is not idle: this waits with the records in hand.
                    if !chunk.records.is_empty() {
                        tokio::select! {
                            biased;
                            () = self.inbox.closed() => continue,
                            () = self.lane.ready() => {}
                        }
                    }
                    if let Some(batch) = self.batch(chunk) {
                        self.lane.send(LaneMessage::Batch(batch)).await?;
                    }
                    self.inbox.delivered();
                }
                Next::Idle(idle) => self.lane.send(LaneMessage::Idle(idle)).await?,
                Next::Close => return self.lane.send(LaneMessage::Drain).await.map(|()| self.lane),
            }
        }
    }

    /// Waits until the ownership is written down. `false`: it ends before.
    async fn has_begun(&mut self) -> bool {
        let Some(version) = self.begun else { return true };
        let written = tokio::select! {
            biased;
            () = self.inbox.closed() => false,
            written = self.ledger.until_written(version) => written.is_ok(),
        };
        if written {
            self.begun = None;
        }
        written
    }

    /// The batch of a chunk. A chunk of skipped records has none and is done at once, but where an earlier
    /// owner had begun a range: that is repeated when everything up to its end has come, and this may be the
    /// last of it.
    fn batch(&self, chunk: Chunk) -> Option<EventBatch> {
        let ack = self.ledger.tracker().track(chunk.end);
        if chunk.records.is_empty() && chunk.end > self.unfinished {
            return None;
        }
        let some = |times: Vec<i64>| (!times.is_empty()).then(|| times.into());
        let format = chunk.format.unwrap_or(Format::SkyWalkingSegment);
        let written = format.needs_times().then(|| chunk.written.as_slice().into());
        let arrivals = some(chunk.arrivals);
        let encoded = Encoded {
            format,
            arena: Buffer::from_vec(chunk.arena),
            records: chunk.records.into(),
            positions: Some(chunk.offsets.as_slice().into()),
            arrivals,
            written,
            items: ItemCount::default(),
        };
        self.rejects.sending(
            &encoded,
            SentRecords { offsets: chunk.offsets, times: chunk.written, keys: chunk.keys },
        );
        let origin = Origin::lane(self.name.clone(), chunk.start..chunk.end);
        let payload = Payload::Encoded(encoded);
        Some(EventBatch { signal: self.signal, payload, origin, ack, permit: MemoryPermit::default() })
    }
}

#[cfg(test)]
mod tests;
