//! Event-time progress of a lane, and the combined progress of several lanes.
//!
//! The rules are Apache Flink's (`docs/semantics.md` §1). The combined watermark is the minimum over lanes
//! that are not idle; when all are idle it is the maximum over all. It never goes back. Without lanes there
//! is none.

use std::collections::BTreeMap;
use std::fmt;

use crate::LaneId;

/// W(t): no more events with a time ≤ t are expected. Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known yet.
    pub const MIN: Watermark = Watermark(i64::MIN);
    /// The stream has ended.
    pub const MAX: Watermark = Watermark(i64::MAX);

    /// The watermark after an event at `max_time_ms`, when events may be this much out of order.
    #[must_use]
    pub const fn after(max_time_ms: i64, out_of_orderness_ms: i64) -> Watermark {
        Watermark(max_time_ms.saturating_sub(out_of_orderness_ms).saturating_sub(1))
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Watermark::MIN => f.write_str("none"),
            Watermark::MAX => f.write_str("end"),
            Watermark(ms) => write!(f, "{ms}"),
        }
    }
}

/// The combined watermark of several lanes.
#[derive(Clone, Debug)]
pub struct LaneWatermarks {
    lanes: BTreeMap<LaneId, LaneState>,
    combined: Watermark,
}

#[derive(Clone, Copy, Debug)]
struct LaneState {
    watermark: Watermark,
    /// The highest before its end, which is [`Watermark::MAX`].
    before_end: Watermark,
    idle: bool,
    /// The `Idle` messages that the lane has sent.
    idle_sent: u64,
    /// Those of them that the trunk has received.
    idle_received: u64,
    /// Those that it had sent when it woke last: they are void.
    idle_void: u64,
}

impl LaneState {
    fn at(watermark: Watermark) -> LaneState {
        let before_end = if watermark < Watermark::MAX { watermark } else { Watermark::MIN };
        LaneState { watermark, before_end, idle: false, idle_sent: 0, idle_received: 0, idle_void: 0 }
    }
}

impl Default for LaneWatermarks {
    fn default() -> LaneWatermarks {
        LaneWatermarks { lanes: BTreeMap::new(), combined: Watermark::MIN }
    }
}

impl LaneWatermarks {
    /// Adds a lane at `start`, unless it has [joined](Self::join): it holds the combined watermark until it
    /// says more or is idle.
    pub fn open(&mut self, lane: LaneId, start: Watermark) {
        self.lanes.entry(lane).or_insert(LaneState::at(start));
    }

    /// A lane opens, at `start` or at the combined watermark if that is more: its own from then on.
    pub fn join(&mut self, lane: LaneId, start: Watermark) -> Watermark {
        let watermark = start.max(self.combined);
        self.lanes.insert(lane, LaneState::at(watermark));
        watermark
    }

    /// A lane is about to send `Idle`. It counts when the trunk [receives](Self::set_idle) it.
    pub fn send_idle(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.idle_sent += 1;
        }
    }

    /// A lane is idle no more, and at the combined watermark at least: its own from then on.
    pub fn wake(&mut self, lane: LaneId) -> Watermark {
        let combined = self.combined;
        self.lanes.get_mut(&lane).map_or(combined, |state| {
            state.idle_void = state.idle_sent;
            state.idle = false;
            state.watermark = state.watermark.max(combined);
            state.watermark
        })
    }

    /// Removes a lane. The combined watermark may move on with the next [`advance`](Self::advance).
    pub fn close(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
    }

    /// A lane's watermark; the lane is not idle any more. A watermark that goes back is ignored.
    pub fn set(&mut self, lane: LaneId, watermark: Watermark) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.watermark = state.watermark.max(watermark);
            if watermark < Watermark::MAX {
                state.before_end = state.before_end.max(watermark);
            }
            state.idle = false;
        }
    }

    /// The trunk has received `Idle` from a lane, which does not hold the others any more. The message is
    /// void when the lane has [woken](Self::wake) since it sent it.
    pub fn set_idle(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.idle_received += 1;
            state.idle |= state.idle_received > state.idle_void;
        }
    }

    /// The combined watermark so far.
    #[must_use]
    pub fn combined(&self) -> Watermark {
        self.combined
    }

    /// Whether no lane has anything to say for now: all are idle or have ended, or there is none.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.idle || lane.watermark == Watermark::MAX)
    }

    /// Combines the lanes again. `Some` when the watermark moved on.
    pub fn advance(&mut self) -> Option<Watermark> {
        let active = self.lanes.values().filter(|lane| !lane.idle).map(|lane| lane.watermark).min();
        let now = match active {
            Some(least) if least < Watermark::MAX => least,
            // Only lanes that have ended are not idle, or none. An end is the end of all when no other lane
            // is left: an idle one may wake, and would be late for ever.
            _ if self.lanes.values().all(|lane| lane.watermark == Watermark::MAX) => {
                self.lanes.values().map(|lane| lane.watermark).max()?
            }
            _ => self.lanes.values().map(|lane| lane.before_end).max()?,
        };
        if now <= self.combined {
            return None;
        }
        self.combined = now;
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);
    const C: LaneId = LaneId(3);

    fn lanes(of: &[LaneId]) -> LaneWatermarks {
        let mut all = LaneWatermarks::default();
        of.iter().for_each(|lane| all.open(*lane, Watermark::MIN));
        all
    }

    #[test]
    fn a_watermark_follows_the_latest_event_by_the_out_of_orderness_and_one() {
        assert_eq!(Watermark::after(1337, 10), Watermark(1326));
        assert_eq!(Watermark::after(i64::MIN, 10), Watermark::MIN);
    }

    #[test]
    fn v17_minimum_over_lanes_that_are_not_idle() {
        let mut all = lanes(&[A, B, C]);
        all.set(A, Watermark(2));
        all.set(B, Watermark(5));
        assert_eq!(all.advance(), None, "an opened lane that said nothing holds the others");
        all.set_idle(C);
        assert_eq!(all.advance(), Some(Watermark(2)));
        all.set_idle(A);
        assert_eq!(all.advance(), Some(Watermark(5)));
        all.set(A, Watermark(3));
        assert_eq!(all.advance(), None, "it never goes back");
        assert_eq!(all.combined(), Watermark(5));
    }

    #[test]
    fn v17_all_idle_gives_the_maximum() {
        let mut all = lanes(&[A, B]);
        all.set(A, Watermark(5));
        all.set(B, Watermark(2));
        assert_eq!(all.advance(), Some(Watermark(2)));
        all.set_idle(A);
        all.set_idle(B);
        assert_eq!(all.advance(), Some(Watermark(5)));
    }

    #[test]
    fn v17_a_removed_lane_never_moves_it_back() {
        let mut all = lanes(&[A]);
        all.set(A, Watermark(2));
        assert_eq!(all.advance(), Some(Watermark(2)));
        all.close(A);
        assert_eq!(all.advance(), None);
        all.open(B, Watermark::MIN);
        all.set(B, Watermark(1));
        assert_eq!(all.advance(), None);
        assert_eq!(all.combined(), Watermark(2));
    }

    #[test]
    fn v19_kafka_partitions() {
        let mut all = lanes(&[A, B, C]);
        all.set(A, Watermark(3));
        all.set(B, Watermark(12));
        all.set(C, Watermark(102));
        assert_eq!(all.advance(), Some(Watermark(3)));
        all.set(C, Watermark(1005));
        all.set(A, Watermark(30));
        assert_eq!(all.advance(), Some(Watermark(12)));
        all.set(B, Watermark(15));
        assert_eq!(all.advance(), Some(Watermark(15)));
    }

    #[test]
    fn idle_means_that_no_lane_has_anything_to_say() {
        let mut all = lanes(&[A, B]);
        all.set_idle(A);
        assert!(!all.is_idle(), "B is active");
        all.set_idle(B);
        assert!(all.is_idle());
        all.set(A, Watermark(1));
        assert!(!all.is_idle());
        all.set(A, Watermark::MAX);
        assert!(all.is_idle(), "A has ended");
        assert!(lanes(&[]).is_idle(), "without lanes there is nothing to wait for");
    }

    #[test]
    fn a_lane_that_has_ended_does_not_end_those_that_are_idle() {
        let mut all = lanes(&[A, B]);
        all.set(A, Watermark(7));
        all.set(B, Watermark(2));
        assert_eq!(all.advance(), Some(Watermark(2)));
        all.set_idle(B);
        all.set(A, Watermark::MAX);
        assert_eq!(all.advance(), Some(Watermark(7)), "as far as the ended lane has come");
        all.set(B, Watermark(9));
        assert_eq!(all.advance(), Some(Watermark(9)));
        all.set(B, Watermark::MAX);
        assert_eq!(all.advance(), Some(Watermark::MAX), "all have ended");
    }

    #[test]
    fn without_lanes_there_is_no_watermark() {
        assert_eq!(lanes(&[]).advance(), None);
    }
}
