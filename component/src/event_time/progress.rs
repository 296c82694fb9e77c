//! How far lanes have come in event time, as their trunk and the lanes themselves see it.
//!
//! Whether an event is late is decided once, in its lane, by the lane's own watermark. The trunk drops nothing: it waits for every
//! lane that is not idle, so what a lane takes for in time is in time. What makes that hold are two steps that a lane does *with*
//! the trunk, under one lock:
//!
//! * A lane that opens takes the trunk's watermark as its own, and holds it from that moment on.
//! * So does a lane that wakes from idleness. Where its [`Idle`](crate::LaneMessage::Idle) is still on its way to the trunk it says
//!   nothing any more: those that a lane has said, and those that the trunk has seen, are counted.
//!
//! Both are done once a batch at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::watermark::LaneWatermarks;
use crate::delivery::Shard;
use crate::{LaneId, Watermark};

/// The combined watermark of lanes, shared by them and their trunk. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct SharedWatermarks(Arc<Mutex<LaneWatermarks>>);

impl SharedWatermarks {
    /// The watermarks, while nobody else moves them.
    pub fn lock(&self) -> MutexGuard<'_, LaneWatermarks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Combines anew. `Some` when the watermark moved on.
    #[must_use]
    pub fn advance(&self) -> Option<Watermark> {
        self.lock().advance()
    }

    /// The combined watermark so far.
    #[must_use]
    pub fn combined(&self) -> Watermark {
        self.lock().combined()
    }
}

/// The shards of one operator.
///
/// A shard's watermarks live as long as the stage of one of its lanes: lanes that are opened after the last one was dropped begin
/// anew, even before the trunk has heard of either. Else they would take events for late that were not delivered.
#[derive(Debug, Default)]
pub struct ShardWatermarks(Mutex<Shards>);

#[derive(Debug, Default)]
struct Shards {
    live: BTreeMap<Shard, Weak<Live>>,
    /// Of lanes of which the trunk has not heard yet.
    joined: BTreeMap<LaneId, SharedWatermarks>,
    /// Shards that go on without lanes.
    kept: BTreeMap<Shard, Arc<Live>>,
}

#[derive(Debug, Default)]
struct Live(SharedWatermarks);

/// A lane's part.
#[derive(Debug)]
pub struct LaneProgress {
    lane: LaneId,
    shard: Shard,
    live: Arc<Live>,
    /// It has said that it is idle.
    resting: bool,
}

impl ShardWatermarks {
    /// A lane of a shard opens, before its trunk hears of it. Its watermark is that of the trunk, or `begin` if that is more.
    #[must_use]
    pub fn join(&self, shard: Shard, lane: LaneId, begin: Watermark) -> (LaneProgress, Watermark) {
        let mut shards = self.lock();
        let live = shards.live.get(&shard).and_then(Weak::upgrade).unwrap_or_default();
        shards.live.insert(shard, Arc::downgrade(&live));
        shards.joined.insert(lane, live.0.clone());
        let watermark = live.0.lock().join(lane, begin);
        drop(shards);
        (LaneProgress { lane, shard, live, resting: false }, watermark)
    }

    /// The watermarks that a lane has joined, when the trunk hears of it.
    #[must_use]
    pub fn of(&self, lane: LaneId) -> Option<SharedWatermarks> {
        self.lock().joined.remove(&lane)
    }

    /// The stream of a lane has ended: its shard goes on, also without lanes.
    pub fn keep(&self, lane: &LaneProgress) {
        self.lock().kept.insert(lane.shard, Arc::clone(&lane.live));
    }

    fn lock(&self) -> MutexGuard<'_, Shards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LaneProgress {
    /// Whether the lane has said that it is idle, and nothing since.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.resting
    }

    /// The lane is about to tell the trunk that it is idle.
    pub fn rest(&mut self) {
        self.resting = true;
        self.live.0.lock().say_idle(self.lane);
    }

    /// The lane is idle no more. Its watermark is now this one at least, and holds the trunk.
    pub fn wake(&mut self) -> Watermark {
        self.resting = false;
        self.live.0.lock().wake(self.lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);

    fn join(all: &ShardWatermarks, lane: LaneId) -> (LaneProgress, Watermark) {
        all.join(Shard::default(), lane, Watermark::MIN)
    }

    #[test]
    fn lanes_opened_after_the_last_one_was_dropped_begin_anew() {
        let all = ShardWatermarks::default();
        let (first, _) = join(&all, A);
        let trunk = all.of(A).unwrap();
        trunk.lock().set(A, Watermark(10));
        assert_eq!(trunk.advance(), Some(Watermark(10)));
        let (second, watermark) = join(&all, B);
        assert_eq!(watermark, Watermark(10), "in one step with the trunk");
        trunk.lock().set(A, Watermark(20));
        assert_eq!(trunk.advance(), None, "before the trunk has heard of it, it holds");
        drop((first, second));
        assert_eq!(join(&all, LaneId(3)).1, Watermark::MIN, "the trunk has not heard of the ends yet");
    }

    #[test]
    fn an_idle_message_on_its_way_says_nothing_when_the_lane_has_woken() {
        let all = ShardWatermarks::default();
        let ((mut first, _), (_second, _)) = (join(&all, A), join(&all, B));
        let trunk = all.of(A).unwrap();
        trunk.lock().set(A, Watermark(5));
        trunk.lock().set(B, Watermark(30));
        assert_eq!(trunk.advance(), Some(Watermark(5)));
        first.rest();
        assert_eq!(first.wake(), Watermark(5));
        trunk.lock().set_idle(A);
        assert_eq!(trunk.advance(), None, "it has woken meanwhile");
        first.rest();
        trunk.lock().set_idle(A);
        assert_eq!(trunk.advance(), Some(Watermark(30)));
        assert_eq!((first.wake(), trunk.advance()), (Watermark(30), None));
    }

    #[test]
    fn a_shard_with_what_has_ended_goes_on() {
        let all = ShardWatermarks::default();
        let (lane, _) = join(&all, A);
        all.keep(&lane);
        let trunk = all.of(A).unwrap();
        trunk.lock().set(A, Watermark(7));
        assert_eq!(trunk.advance(), Some(Watermark(7)));
        trunk.lock().close(A);
        drop(lane);
        assert_eq!(join(&all, B).1, Watermark(7));
        assert_eq!(all.join(Shard::default(), B, Watermark(9)).1, Watermark(9));
    }
}
