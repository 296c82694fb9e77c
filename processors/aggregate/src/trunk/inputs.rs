//! Which lanes have a share in the windows of one shard, and what of it was delivered before.
//!
//! Lanes of one receiver begin together, as a *set* with a name of its own. Each receiver commits the marks
//! of its own lanes, so a crash may come between two commits. Then a mark of one lane says that a window
//! was delivered, and no mark of another does, though its share was in the window, too. So a mark names the
//! sets that had a share in its windows, and each lane writes down the set that it is in. A mark counts for
//! all lanes of its sets, and for no others: they may have begun later, or been elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_component::delivery::{LaneStart, had_a_share};
use weir_component::{LaneId, Watermark};

use crate::trunk::lane_history::LaneHistory;

/// The lanes that are open and may bring events.
#[derive(Default)]
pub(crate) struct Inputs {
    lanes: BTreeMap<LaneId, Known>,
    /// The sets that have a share in the windows that fire now.
    sharers: Option<Arc<str>>,
}

struct Known {
    set: Option<Arc<str>>,
    sets_before: Option<Arc<str>>,
    history: LaneHistory,
    /// Its own mark, and the sets that had a share in its windows.
    mark: Watermark,
    shared: Option<Arc<str>>,
}

impl Inputs {
    /// A lane opens. Returns the lanes whose share was delivered further than their own marks say.
    pub fn open(
        &mut self,
        start: &LaneStart,
        operator: &str,
        history: LaneHistory,
    ) -> Vec<(LaneId, LaneHistory)> {
        let known = Known {
            set: start.set.clone(),
            sets_before: start.sets_before.clone(),
            history,
            mark: start.watermark(operator),
            shared: start.sharers(operator).map(Arc::from),
        };
        self.lanes.insert(start.lane, known);
        self.count();
        let mut marks: BTreeMap<Arc<str>, Watermark> = BTreeMap::new();
        for known in self.lanes.values() {
            if let Some(shared) = &known.shared {
                let mark = marks.entry(Arc::clone(shared)).or_insert(Watermark::MIN);
                *mark = known.mark.max(*mark);
            }
        }
        let mut behind = Vec::new();
        for (lane, known) in &mut self.lanes {
            let Some(sets) = &known.sets_before else { continue };
            let of_its = marks.iter().filter(|(sharers, _)| had_a_share(sharers, sets));
            let delivered = of_its.map(|(_, mark)| *mark).max();
            if let Some(delivered) = delivered.filter(|mark| *mark > known.history.delivered) {
                known.history.delivered = delivered;
                behind.push((*lane, known.history));
            }
        }
        behind
    }

    /// A lane is closed, and brings nothing more.
    pub fn close(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        self.count();
    }

    /// The sets that have a share in the windows that fire now, to be written down with their mark.
    pub fn sharers(&self) -> Option<Arc<str>> {
        self.sharers.clone()
    }

    fn count(&mut self) {
        let sets: BTreeSet<&str> = self.lanes.values().filter_map(|known| known.set.as_deref()).collect();
        let all = sets.into_iter().collect::<Vec<_>>().join("~");
        self.sharers = (!all.is_empty()).then(|| Arc::from(all));
    }
}
