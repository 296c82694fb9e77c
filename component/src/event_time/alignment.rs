//! Alignment of lanes: none runs far ahead of the slowest.
//!
//! The rules are those of Apache Flink's watermark alignment, within one process, so no announcement is
//! needed:
//!
//! * A lane waits while its watermark is more than `max_drift` above the lowest watermark of the lanes that
//!   are not idle.
//! * A lane that has read nothing is at its start. It delays the others until it tells a watermark, is idle,
//!   or closes.
//! * The slowest lane never waits. So a lane that waits goes on when the others advance, are idle, or close.
//! * A lane may be aligned by several operators at once ([`Alignments`]). While it waits for one it does not
//!   delay other lanes for the rest. Else two lanes could wait for each other, each ahead in the time of
//!   another operator.
//!
//! Watermarks move with whole batches, so lanes are at most `max_drift` and one batch apart. A lock is taken
//! once a batch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use crate::{LaneId, Watermark};

/// The lanes of one operator, whose watermarks stay together.
#[derive(Debug)]
pub struct Alignment {
    max_drift: i64,
    /// How many lanes wait now.
    held: Gauge,
    lanes: Mutex<Lanes>,
    /// Lanes may go further than before.
    raised: Notify,
}

/// A lane's part in an alignment. Dropping it takes the lane out.
#[derive(Debug)]
pub struct Aligned {
    alignment: Arc<Alignment>,
    lane: LaneId,
}

/// All alignments that one lane is part of.
#[derive(Clone, Debug)]
pub struct Alignments {
    lane: LaneId,
    all: Vec<Arc<Alignment>>,
}

#[derive(Debug)]
struct Lanes {
    all: BTreeMap<LaneId, State>,
    /// Lanes above it wait.
    limit: Watermark,
}

#[derive(Clone, Copy, Debug)]
struct State {
    watermark: Watermark,
    idle: bool,
    /// It waits for another alignment.
    elsewhere: bool,
}

impl Alignment {
    /// Lanes at most this many milliseconds apart. `held` shows how many wait.
    #[must_use]
    pub fn new(max_drift: i64, held: Gauge) -> Alignment {
        let lanes = Lanes { all: BTreeMap::new(), limit: Watermark::MAX };
        Alignment { max_drift, held, lanes: Mutex::new(lanes), raised: Notify::new() }
    }

    /// Adds a lane at `start`.
    #[must_use]
    pub fn join(self: &Arc<Self>, lane: LaneId, start: Watermark) -> Aligned {
        self.change(|lanes| {
            lanes.insert(lane, State { watermark: start, idle: false, elsewhere: false });
        });
        Aligned { alignment: Arc::clone(self), lane }
    }

    /// Returns when the lane is not too far ahead. A lane that is not part of the alignment never waits. May
    /// be cancelled.
    pub async fn wait(&self, lane: LaneId) {
        if !self.holds(lane) {
            return;
        }
        let _waiting = WaitingLane::new(&self.held);
        loop {
            // Made before the lanes are read, so that a change in between wakes it.
            let raised = self.raised.notified();
            if !self.holds(lane) {
                return;
            }
            raised.await;
        }
    }

    /// Whether the lane has to wait.
    fn holds(&self, lane: LaneId) -> bool {
        let lanes = self.lock();
        lanes.all.get(&lane).is_some_and(|state| state.watermark > lanes.limit)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<LaneId, State>)) {
        let mut lanes = self.lock();
        change(&mut lanes.all);
        let counted = lanes.all.values().filter(|lane| !lane.idle && !lane.elsewhere);
        let slowest = counted.map(|lane| lane.watermark).min();
        let limit =
            slowest.map_or(Watermark::MAX, |slowest| Watermark(slowest.0.saturating_add(self.max_drift)));
        let raised = limit > lanes.limit;
        lanes.limit = limit;
        drop(lanes);
        if raised {
            self.raised.notify_waiters();
        }
    }

    fn change_lane(&self, lane: LaneId, change: impl FnOnce(&mut State)) {
        self.change(|lanes| {
            if let Some(state) = lanes.get_mut(&lane) {
                change(state);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aligned {
    /// The lane's watermark; it is not idle any more. A watermark that goes back is ignored.
    pub fn advance(&self, watermark: Watermark) {
        self.alignment.change_lane(self.lane, |state| {
            state.watermark = state.watermark.max(watermark);
            state.idle = false;
        });
    }

    /// The lane has nothing to say for now: it does not hold the others.
    pub fn idle(&self) {
        self.alignment.change_lane(self.lane, |state| state.idle = true);
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        self.alignment.change(|lanes| {
            lanes.remove(&self.lane);
        });
    }
}

impl Alignments {
    /// A lane and all that align it.
    #[must_use]
    pub fn new(lane: LaneId, all: Vec<Arc<Alignment>>) -> Alignments {
        Alignments { lane, all }
    }

    /// Returns when the lane has waited for each. May be cancelled.
    pub async fn ready(&self) {
        for (at, alignment) in self.all.iter().enumerate() {
            if alignment.holds(self.lane) {
                let _elsewhere = Elsewhere::new(self, at);
                alignment.wait(self.lane).await;
            }
        }
    }
}

/// A lane that waits for one of its alignments, as the others see it.
struct Elsewhere<'a> {
    of: &'a Alignments,
    waits_for: usize,
}

impl<'a> Elsewhere<'a> {
    fn new(of: &'a Alignments, waits_for: usize) -> Elsewhere<'a> {
        let elsewhere = Elsewhere { of, waits_for };
        elsewhere.set(true);
        elsewhere
    }

    fn set(&self, to: bool) {
        let others = self.of.all.iter().enumerate().filter(|(at, _)| *at != self.waits_for);
        others.for_each(|(_, other)| other.change_lane(self.of.lane, |state| state.elsewhere = to));
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// One lane more that waits, until dropped.
struct WaitingLane<'a>(&'a Gauge);

impl<'a> WaitingLane<'a> {
    fn new(gauge: &'a Gauge) -> WaitingLane<'a> {
        gauge.inc();
        WaitingLane(gauge)
    }
}

impl Drop for WaitingLane<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
