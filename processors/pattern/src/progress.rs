//! How far time has come on the trunk: the watermark that events wait for.
//!
//! * Windows and alarms usually come from a stage before on the trunk, and so does their watermark.
//! * Events come from lanes. A lane holds the others from when it opens until it tells its watermark or is idle.
//! * When a stage before tells a watermark, lanes count only if they have brought input themselves; then the
//!   watermark is the least of both.
//! * It never goes back.

use std::collections::BTreeSet;

use weir_component::progress::SharedWatermarks;
use weir_component::{LaneId, Watermark};

/// The progress of one trunk half.
pub(crate) struct Progress {
    /// The input may come from a stage before this one.
    follows_derived: bool,
    lanes: SharedWatermarks,
    /// Open lanes that have brought input.
    carriers: BTreeSet<LaneId>,
    derived: Option<Watermark>,
    now: Watermark,
    forwarded: Watermark,
}

impl Progress {
    /// `follows_derived`: the input is windows or alarms.
    pub(crate) fn new(follows_derived: bool, lanes: SharedWatermarks) -> Progress {
        Progress {
            follows_derived,
            lanes,
            carriers: BTreeSet::new(),
            derived: None,
            now: Watermark::MIN,
            forwarded: Watermark::MIN,
        }
    }

    /// The watermark: no event at or before it is expected.
    pub(crate) fn now(&self) -> Watermark {
        self.now
    }

    pub(crate) fn open(&mut self, lane: LaneId) {
        self.lanes.lock().open(lane, Watermark::MIN);
    }

    pub(crate) fn close(&mut self, lane: LaneId) {
        self.lanes.lock().close(lane);
        self.carriers.remove(&lane);
    }

    /// A lane has brought input.
    pub(crate) fn carries(&mut self, lane: LaneId) {
        self.carriers.insert(lane);
    }

    pub(crate) fn lane(&mut self, lane: LaneId, watermark: Watermark) {
        self.lanes.lock().set(lane, watermark);
    }

    pub(crate) fn idle(&mut self, lane: LaneId) {
        self.lanes.lock().set_idle(lane);
    }

    pub(crate) fn derived(&mut self, watermark: Watermark) {
        self.derived = self.derived.max(Some(watermark));
    }

    /// Combines anew: the watermark if it moved on, and the one to forward if that did. `waits`: lanes are still to come.
    pub(crate) fn advance(&mut self, waits: bool) -> (Option<Watermark>, Option<Watermark>) {
        let mut shared = self.lanes.lock();
        if !waits {
            shared.advance();
        }
        let (lanes, idle) = (shared.combined(), shared.is_idle());
        drop(shared);
        let both = match self.derived {
            Some(derived) if self.carriers.is_empty() || idle => derived,
            Some(derived) => derived.min(lanes),
            None => lanes,
        };
        let now = if self.follows_derived { both } else { lanes };
        (raise(&mut self.now, now), raise(&mut self.forwarded, both))
    }
}

fn raise(mark: &mut Watermark, to: Watermark) -> Option<Watermark> {
    (to > *mark).then(|| {
        *mark = to;
        to
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);

    #[test]
    fn lanes_alone_combine_to_their_minimum() {
        let mut progress = Progress::new(true, SharedWatermarks::default());
        progress.open(A);
        progress.open(B);
        progress.lane(A, Watermark(5));
        assert_eq!(progress.advance(false), (None, None));
        progress.lane(B, Watermark(3));
        assert_eq!(progress.advance(false), (Some(Watermark(3)), Some(Watermark(3))));
    }

    #[test]
    fn windows_follow_the_stage_before_whatever_lanes_of_events_say() {
        let mut progress = Progress::new(true, SharedWatermarks::default());
        progress.open(A);
        progress.derived(Watermark(7));
        assert_eq!(progress.advance(false), (Some(Watermark(7)), Some(Watermark(7))));
        progress.lane(A, Watermark::MAX);
        assert_eq!(progress.advance(false), (None, None));
    }

    #[test]
    fn windows_of_a_lane_hold_those_of_the_stage_before() {
        let mut progress = Progress::new(true, SharedWatermarks::default());
        progress.open(A);
        progress.carries(A);
        progress.lane(A, Watermark(3));
        progress.derived(Watermark(7));
        assert_eq!(progress.advance(false).0, Some(Watermark(3)));
        progress.close(A);
        assert_eq!(progress.advance(false).0, Some(Watermark(7)));
        assert_eq!(progress.now(), Watermark(7));
    }

    #[test]
    fn events_follow_lanes_and_what_is_forwarded_is_the_least_of_both() {
        let mut progress = Progress::new(false, SharedWatermarks::default());
        progress.open(A);
        progress.derived(Watermark(2));
        assert_eq!(progress.advance(false), (None, Some(Watermark(2))));
        progress.carries(A);
        progress.lane(A, Watermark(9));
        assert_eq!(progress.advance(false), (Some(Watermark(9)), None));
        progress.derived(Watermark(20));
        assert_eq!(progress.advance(false), (None, Some(Watermark(9))));
    }
}
