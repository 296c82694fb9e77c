//! Lanes that end at one moment.
//!
//! The events of a lane stay in the trunk, and the lane's watermark holds the others back, until *every* lane
//! of its set is gone. Then each trunk is told once, of all of them. So while one lane of a set still runs,
//! no window can fire without the part of another, whatever the order and the reason in which lanes end: an
//! orderly stop, lost partitions, a panic.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use crate::LaneId;
use crate::delivery::Attachment;

/// Lanes whose windows are added up, as their receiver sees them. Cheap to clone. The set ends when the last
/// clone is dropped; each open lane has one.
#[derive(Clone, Default)]
pub struct LaneSet(Arc<Members>);

#[derive(Default)]
struct Members(Mutex<Vec<ClosedLane>>);

/// A lane that has ended, and the trunk that is not told yet.
struct ClosedLane {
    trunk: Arc<dyn LaneTrunk>,
    lane: LaneId,
    attachment: Option<Attachment>,
    /// The batches it gathered.
    stages: Box<dyn Any + Send>,
}

/// The trunk of a pipeline, as sets of lanes see it. The collector implements it; simulations do.
pub trait LaneTrunk: Send + Sync {
    /// These lanes end now, together. Must not wait. Each attachment is closed when the trunk lets the lanes
    /// go.
    fn close(&self, lanes: Vec<(LaneId, Option<Attachment>)>);
}

impl LaneSet {
    /// A lane through this trunk has ended. Its stages are kept, and the trunk is told when the set has
    /// ended.
    pub fn close_lane(
        &self,
        trunk: Arc<dyn LaneTrunk>,
        lane: LaneId,
        attachment: Option<Attachment>,
        stages: impl Any + Send,
    ) {
        let closed = ClosedLane { trunk, lane, attachment, stages: Box::new(stages) };
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(closed);
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        let mut left = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        while let Some(first) = left.first().map(|closed| Arc::clone(&closed.trunk)) {
            let is_same = |closed: &mut ClosedLane| Arc::ptr_eq(&closed.trunk, &first);
            let closed = left.extract_if(.., is_same);
            let (lanes, stages): (Vec<_>, Vec<_>) =
                closed.map(|closed| ((closed.lane, closed.attachment), closed.stages)).unzip();
            // The trunk is told first, before lanes that open after these stages are gone.
            first.close(lanes);
            drop(stages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct RecordedEnds(Mutex<Vec<Vec<u64>>>);

    impl LaneTrunk for RecordedEnds {
        fn close(&self, lanes: Vec<(LaneId, Option<Attachment>)>) {
            self.0.lock().unwrap().push(lanes.iter().map(|(lane, _)| lane.0).collect());
        }
    }

    #[test]
    fn each_trunk_is_told_once_when_the_last_lane_is_gone() {
        let (one, two) = (Arc::new(RecordedEnds::default()), Arc::new(RecordedEnds::default()));
        let (set, open) = (LaneSet::default(), LaneSet::default());
        let still = set.clone();
        set.close_lane(one.clone(), LaneId(1), None, ());
        set.close_lane(two.clone(), LaneId(1), None, ());
        drop(set);
        assert!(one.0.lock().unwrap().is_empty(), "a lane of the set still runs");
        still.close_lane(one.clone(), LaneId(2), None, ());
        drop(still);
        assert_eq!((&*one.0.lock().unwrap(), &*two.0.lock().unwrap()), (&vec![vec![1, 2]], &vec![vec![1]]));
        drop(open);
    }
}
