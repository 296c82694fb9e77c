//! The watermark of a stage on the trunk.
//!
//! * Lanes combine by shard ([`LaneWatermarks`](super::watermark::LaneWatermarks)). Those of the default
//!   shard wait for every receiver that is configured.
//! * The watermark that the stage forwards says that nothing more is forwarded at or before it. It is the
//!   least of those of the stage's own lanes and that of the stage before it, when there is one that tells a
//!   watermark. It never goes back.
//! * Lanes do not count beside a stage before while all of them are idle or have ended. Neither do they when
//!   the stage's input comes from there ([`LanesHold::OnceTheyTell`]), until one of them tells a watermark:
//!   then it brings input of its own.
//! * A shard begins with its first lane and is over with its last one, unless the stream of a lane has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::receiver_readiness::ReceiverReadiness;
use super::shared_watermarks::SharedWatermarks;
use super::watermark::Watermark;
use crate::delivery::{LaneStart, Shard, TrunkStart};
use crate::{Clock, LaneId};

/// From when on lanes hold what the stage before them on the trunk forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanesHold {
    /// The stage forwards results of the lanes' events: a lane holds from the moment when it is opened.
    FromTheStart,
    /// The input of the stage is made on the trunk, and lanes may bring some too: they hold while one of them
    /// has told a watermark and has not ended.
    OnceTheyTell,
}

/// The watermarks of a trunk stage: of its lanes, of the stage before it, and the one that it forwards.
pub struct TrunkWatermark {
    processor: Arc<str>,
    clock: Arc<dyn Clock>,
    hold: LanesHold,
    receivers: ReceiverReadiness,
    shards: BTreeMap<Shard, ShardLanes>,
    /// The shard of each open lane.
    lanes: BTreeMap<LaneId, Shard>,
    /// Open lanes that have told a watermark and have not ended.
    telling: BTreeSet<LaneId>,
    /// Of the stage before, when there is one that tells it.
    before: Option<Watermark>,
    forwarded: Watermark,
}

/// The lanes of one shard.
#[derive(Debug)]
struct ShardLanes {
    watermarks: SharedWatermarks,
    open: BTreeSet<LaneId>,
    /// Open lanes whose stream has ended.
    ended: BTreeSet<LaneId>,
    /// The stream of a lane has ended: the shard goes on, also without lanes.
    stays: bool,
}

/// A lane that was open, and its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedLane {
    /// Whose windows its own were added to.
    pub shard: Shard,
    /// Its stream had come to its end: nothing of it is read again.
    pub has_ended: bool,
    /// It was the last one of its shard, which is over.
    pub was_last: bool,
}

impl TrunkWatermark {
    /// No lane is open so far. Name and clock are for the log, when lanes wait for a receiver.
    #[must_use]
    pub fn new(
        trunk: &TrunkStart,
        hold: LanesHold,
        processor: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> TrunkWatermark {
        TrunkWatermark {
            processor,
            clock,
            hold,
            receivers: ReceiverReadiness::new(trunk),
            shards: BTreeMap::new(),
            lanes: BTreeMap::new(),
            telling: BTreeSet::new(),
            before: None,
            forwarded: Watermark::MIN,
        }
    }

    /// A lane opens at `begin`, unless it has joined `watermarks` before. Whether it begins its shard, whose
    /// watermarks they are from then on.
    pub fn open(
        &mut self,
        start: &LaneStart,
        shard: Shard,
        watermarks: SharedWatermarks,
        begin: Watermark,
    ) -> bool {
        self.receivers.open(start);
        self.lanes.insert(start.lane, shard);
        let begins = !self.shards.contains_key(&shard);
        let lanes = self.shards.entry(shard).or_insert_with(|| ShardLanes {
            watermarks,
            open: BTreeSet::new(),
            ended: BTreeSet::new(),
            stays: false,
        });
        lanes.watermarks.lock().open(start.lane, begin);
        lanes.open.insert(start.lane);
        begins
    }

    /// A lane is closed. `None`: it was not open.
    pub fn close(&mut self, lane: LaneId) -> Option<ClosedLane> {
        let shard = self.lanes.remove(&lane)?;
        self.telling.remove(&lane);
        let lanes = self.shards.get_mut(&shard)?;
        lanes.watermarks.lock().close(lane);
        lanes.open.remove(&lane);
        let has_ended = lanes.ended.remove(&lane);
        let was_last = lanes.open.is_empty() && !lanes.stays;
        self.receivers.close(lane, has_ended);
        if was_last {
            self.shards.remove(&shard);
        }
        Some(ClosedLane { shard, has_ended, was_last })
    }

    /// A receiver has opened every lane that it has for now.
    pub fn receiver_ready(&mut self, receiver: &Arc<str>) {
        self.receivers.ready(receiver);
    }

    /// A lane tells its watermark.
    pub fn set_lane(&mut self, lane: LaneId, watermark: Watermark) {
        let Some(lanes) = self.lanes.get(&lane).and_then(|shard| self.shards.get_mut(shard)) else { return };
        lanes.watermarks.lock().set(lane, watermark);
        if watermark < Watermark::MAX {
            self.telling.insert(lane);
        } else {
            self.telling.remove(&lane);
            lanes.ended.insert(lane);
            lanes.stays = true;
        }
    }

    /// A lane has nothing to say for now.
    pub fn set_lane_idle(&mut self, lane: LaneId) {
        if let Some(lanes) = self.lanes.get(&lane).and_then(|shard| self.shards.get(shard)) {
            lanes.watermarks.lock().set_idle(lane);
        }
    }

    /// The stage before this one tells its watermark.
    pub fn set_stage_before(&mut self, watermark: Watermark) {
        self.before = self.before.max(Some(watermark));
    }

    /// The shard of an open lane.
    #[must_use]
    pub fn shard(&self, lane: LaneId) -> Option<Shard> {
        self.lanes.get(&lane).copied()
    }

    /// Whether the stream of an open lane has ended.
    #[must_use]
    pub fn has_ended(&self, lane: LaneId) -> bool {
        let lanes = self.lanes.get(&lane).and_then(|shard| self.shards.get(shard));
        lanes.is_some_and(|lanes| lanes.ended.contains(&lane))
    }

    /// The combined watermark of the lanes of a shard, as far as [`advance`](Self::advance) has moved it.
    #[must_use]
    pub fn of_lanes(&self, shard: Shard) -> Watermark {
        self.shards.get(&shard).map_or(Watermark::MIN, |lanes| lanes.watermarks.combined())
    }

    /// Moves the watermark of a shard on as far as its lanes say. `Some` when it moved.
    pub fn advance(&mut self, shard: Shard) -> Option<Watermark> {
        let waits =
            shard == Shard::default() && self.receivers.is_waiting(&self.processor, self.clock.as_ref());
        if waits { None } else { self.shards.get(&shard)?.watermarks.advance() }
    }

    /// The watermark to forward. `Some` when it moved.
    pub fn forward(&mut self) -> Option<Watermark> {
        let lanes = self.shards.values().map(|lanes| lanes.watermarks.combined()).min();
        let now = match self.before {
            Some(before) if !self.lanes_count() => before,
            Some(before) => lanes.map_or(before, |lanes| lanes.min(before)),
            None => lanes?,
        };
        (now > self.forwarded).then(|| {
            self.forwarded = now;
            now
        })
    }

    /// The watermark that was forwarded last.
    #[must_use]
    pub fn forwarded(&self) -> Watermark {
        self.forwarded
    }

    /// Whether lanes count beside the stage before.
    fn lanes_count(&self) -> bool {
        (self.hold == LanesHold::FromTheStart || !self.telling.is_empty())
            && self.shards.values().any(|lanes| !lanes.watermarks.lock().is_idle())
    }
}

#[cfg(test)]
mod tests;
