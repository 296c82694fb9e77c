//! A lane's part of the memory budget, taken before a batch is decoded.

use weir_component::budget::MemoryBudget;
use weir_pdata::{EventBatch, Held, Payload};

/// Takes this many bytes from the budget for a batch; waits until they are free. `unfinished`: the last
/// position of ranges that an earlier owner began.
pub(super) async fn with_memory_permit(
    budget: &MemoryBudget,
    bytes: usize,
    unfinished: i64,
    mut batch: EventBatch,
) -> EventBatch {
    let held = Held::new(std::mem::take(&mut batch.ack));
    // Such a range is exported once all of it is here. If its batches waited for bytes that such ranges of
    // other lanes hold, all would wait for ever.
    let permit = match batch.origin.positions.end <= unfinished {
        true => budget.exceed(bytes),
        false => budget.take(bytes).await,
    };
    EventBatch { permit, ack: held.release(), ..batch }
}

/// How many bytes a batch will have once it is decoded: as many times its bytes on the wire as the batch
/// before it.
pub(super) struct DecodedSize {
    /// In hundredths.
    times: usize,
}

impl Default for DecodedSize {
    fn default() -> DecodedSize {
        // Views and numbers are about twice as large as the wire bytes that stay beside them.
        DecodedSize { times: 300 }
    }
}

impl DecodedSize {
    /// The bytes of a batch, when it is decoded.
    pub(super) fn guess(&self, batch: &EventBatch) -> usize {
        match &batch.payload {
            Payload::Encoded(encoded) => encoded.arena.len().saturating_mul(self.times) / 100,
            Payload::Columns(_) => batch.memory(),
        }
    }

    /// A batch with `wire` bytes on the wire has `memory` bytes in memory.
    pub(super) fn learn(&mut self, wire: usize, memory: usize) {
        if let Some(times) = memory.saturating_mul(100).checked_div(wire) {
            self.times = times.max(100);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_pdata::{Ack, Encoded, Format, MemoryPermit, Origin, Signal};

    #[test]
    fn the_next_batch_is_guessed_from_the_one_before() {
        let encoded = Encoded::concat(Format::SkyWalkingSegment, [&[0_u8; 100][..]]).unwrap();
        let (origin, ack, permit) = (Origin::default(), Ack::none(), MemoryPermit::default());
        let batch =
            EventBatch { signal: Signal::Traces, payload: Payload::Encoded(encoded), origin, ack, permit };
        let mut size = DecodedSize::default();
        assert_eq!(size.guess(&batch), 300);
        size.learn(100, 450);
        assert_eq!(size.guess(&batch), 450);
        size.learn(0, 10);
        assert_eq!(size.guess(&batch), 450);
    }
}
