//! The watermarks of lanes, as their trunk and the lanes themselves see them.
//!
//! The lane decides once whether an event is late, by its own watermark. The trunk drops nothing: it waits
//! for every lane that is not idle, so an event that is in time for its lane is in time for the trunk. For
//! that, a lane takes two steps together with the trunk, under one lock:
//!
//! * A lane that opens takes the trunk's watermark as its own, and holds it from then on.
//! * So does a lane that wakes from idleness. An [`Idle`](crate::LaneMessage::Idle) that is still on its way
//!   to the trunk is then void: the messages that a lane has sent, and those that the trunk has seen, are
//!   counted.
//!
//! Both happen once a batch at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::watermark::LaneWatermarks;
use crate::delivery::Shard;
use crate::{LaneId, Watermark};

/// The combined watermark of lanes, shared by them and their trunk. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct SharedWatermarks(Arc<Mutex<LaneWatermarks>>);

impl SharedWatermarks {
    /// The watermarks, while no other thread moves them.
    pub fn lock(&self) -> MutexGuard<'_, LaneWatermarks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Combines the lanes again. `Some` when the watermark moved on.
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
/// A shard's watermarks live as long as the stage of one of its lanes: lanes that are opened after the last
/// one was dropped begin again, even before the trunk has heard of either. Else they would take events for
/// late that were not delivered.
///
/// Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct ShardWatermarks(Arc<Mutex<Shards>>);

#[derive(Debug, Default)]
struct Shards {
    open: BTreeMap<Shard, Weak<ShardLife>>,
    /// Of lanes of which the trunk has not heard yet.
    joined: BTreeMap<LaneId, SharedWatermarks>,
    /// Shards that go on without lanes.
    kept: BTreeMap<Shard, Arc<ShardLife>>,
}

/// The watermarks of a shard, from its first lane to its last one.
#[derive(Debug, Default)]
struct ShardLife(SharedWatermarks);

/// The watermark of one lane, in its lane: the same as the trunk's, or ahead of it.
#[derive(Debug)]
pub struct LaneWatermark {
    lane: LaneId,
    shard: Shard,
    watermark: Watermark,
    /// It has sent `Idle`, and nothing since.
    idle: bool,
    life: Arc<ShardLife>,
    shards: ShardWatermarks,
}

impl ShardWatermarks {
    /// A lane of a shard opens, before its trunk hears of it. Its watermark is that of the trunk, or `begin`
    /// if that is more.
    #[must_use]
    pub fn join(&self, shard: Shard, lane: LaneId, begin: Watermark) -> LaneWatermark {
        let mut shards = self.lock();
        let life = shards.open.get(&shard).and_then(Weak::upgrade).unwrap_or_default();
        shards.open.insert(shard, Arc::downgrade(&life));
        shards.joined.insert(lane, life.0.clone());
        let watermark = life.0.lock().join(lane, begin);
        drop(shards);
        LaneWatermark { lane, shard, watermark, idle: false, life, shards: self.clone() }
    }

    /// The watermarks that a lane has joined, when the trunk hears of it.
    #[must_use]
    pub fn take_joined(&self, lane: LaneId) -> Option<SharedWatermarks> {
        self.lock().joined.remove(&lane)
    }

    fn lock(&self) -> MutexGuard<'_, Shards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LaneWatermark {
    /// The watermark.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Watermark {
        self.watermark
    }

    /// Whether the lane has sent `Idle`, and nothing since.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Raises the watermark; one that goes back is ignored. With [`Watermark::MAX`] the stream has ended, and
    /// the shard goes on without lanes, too.
    pub fn raise(&mut self, to: Watermark) -> Watermark {
        if to == Watermark::MAX {
            self.shards.lock().kept.insert(self.shard, Arc::clone(&self.life));
        }
        self.watermark = self.watermark.max(to);
        self.watermark
    }

    /// The lane is about to tell the trunk that it is idle.
    pub fn become_idle(&mut self) {
        self.idle = true;
        self.life.0.lock().send_idle(self.lane);
    }

    /// The lane is idle no more. Its watermark is that of the trunk at least, and holds the trunk.
    pub fn wake(&mut self) -> Watermark {
        self.idle = false;
        self.watermark = self.watermark.max(self.life.0.lock().wake(self.lane));
        self.watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);

    fn join(all: &ShardWatermarks, lane: LaneId) -> LaneWatermark {
        all.join(Shard::default(), lane, Watermark::MIN)
    }

    #[test]
    fn lanes_opened_after_the_last_one_was_dropped_begin_again() {
        let all = ShardWatermarks::default();
        let first = join(&all, A);
        let trunk = all.take_joined(A).unwrap();
        trunk.lock().set(A, Watermark(10));
        assert_eq!(trunk.advance(), Some(Watermark(10)));
        let second = join(&all, B);
        assert_eq!(second.get(), Watermark(10), "in one step with the trunk");
        trunk.lock().set(A, Watermark(20));
        assert_eq!(trunk.advance(), None, "before the trunk has heard of it, it holds");
        drop((first, second));
        assert_eq!(join(&all, LaneId(3)).get(), Watermark::MIN, "the trunk has not heard of the ends yet");
    }

    #[test]
    fn an_idle_message_on_its_way_says_nothing_when_the_lane_has_woken() {
        let all = ShardWatermarks::default();
        let (mut first, _second) = (join(&all, A), join(&all, B));
        let trunk = all.take_joined(A).unwrap();
        trunk.lock().set(A, Watermark(5));
        trunk.lock().set(B, Watermark(30));
        assert_eq!(trunk.advance(), Some(Watermark(5)));
        first.become_idle();
        assert_eq!(first.wake(), Watermark(5));
        trunk.lock().set_idle(A);
        assert_eq!(trunk.advance(), None, "it has woken meanwhile");
        first.become_idle();
        trunk.lock().set_idle(A);
        assert_eq!(trunk.advance(), Some(Watermark(30)));
        assert_eq!((first.wake(), trunk.advance()), (Watermark(30), None));
    }

    #[test]
    fn a_shard_with_a_lane_that_has_ended_goes_on() {
        let all = ShardWatermarks::default();
        let mut lane = join(&all, A);
        lane.raise(Watermark::MAX);
        let trunk = all.take_joined(A).unwrap();
        trunk.lock().set(A, Watermark(7));
        assert_eq!(trunk.advance(), Some(Watermark(7)));
        trunk.lock().close(A);
        drop(lane);
        assert_eq!(join(&all, B).get(), Watermark(7));
        assert_eq!(all.join(Shard::default(), B, Watermark(9)).get(), Watermark(9));
    }

    #[test]
    fn a_lane_wakes_at_the_watermark_of_the_trunk_and_never_goes_back() {
        let all = ShardWatermarks::default();
        let (mut first, _second) = (join(&all, A), join(&all, B));
        let trunk = all.take_joined(A).unwrap();
        assert_eq!(first.raise(Watermark(5)), Watermark(5));
        assert_eq!(first.raise(Watermark(3)), Watermark(5));
        first.become_idle();
        trunk.lock().set_idle(A);
        trunk.lock().set(B, Watermark(9));
        assert_eq!(trunk.advance(), Some(Watermark(9)));
        assert!(first.is_idle());
        assert_eq!((first.wake(), first.get(), first.is_idle()), (Watermark(9), Watermark(9), false));
    }
}
