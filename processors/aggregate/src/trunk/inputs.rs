//! Which inputs have a share in the windows of one shard, and what of it was delivered before.
//!
//! Each receiver commits the marks of its own lanes, so a crash may come between two commits. Then a mark
//! of one input says that a window was delivered, and no mark of another does, though its share was in the
//! window, too. So a mark names the inputs that the windows had. When they are the present ones, it counts
//! for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_component::delivery::LaneStart;
use weir_component::{LaneId, Watermark};

use crate::fingerprint;
use crate::trunk::lane_history::LaneHistory;

/// The inputs of the open lanes.
#[derive(Default)]
pub(crate) struct Inputs {
    lanes: BTreeMap<LaneId, Known>,
    /// A fingerprint of them, when they are several.
    several: Option<Arc<str>>,
}

struct Known {
    source: Option<Arc<str>>,
    history: LaneHistory,
    /// The inputs that had a share in what was delivered.
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
        let shared = start.inputs(operator).map(Arc::from);
        self.lanes.insert(start.lane, Known { source: start.source.clone(), history, shared });
        self.count();
        let shared = |known: &&mut Known| self.several.is_some() && known.shared == self.several;
        let delivered = self.lanes.values_mut().filter(shared).map(|known| known.history.delivered).max();
        let delivered = delivered.unwrap_or(Watermark::MIN);
        let behind = self.lanes.iter_mut().filter(|(_, known)| known.history.delivered < delivered);
        let behind = behind.map(|(lane, known)| {
            known.history.delivered = delivered;
            (*lane, known.history)
        });
        behind.collect()
    }

    /// A lane is closed, and brings nothing more.
    pub fn close(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        self.count();
    }

    /// A fingerprint of the inputs, when they are several that are committed each by itself.
    pub fn several(&self) -> Option<Arc<str>> {
        self.several.clone()
    }

    fn count(&mut self) {
        let sources: Option<BTreeSet<&str>> =
            self.lanes.values().map(|known| known.source.as_deref()).collect();
        let several = sources.filter(|sources| sources.len() > 1);
        self.several = several.map(|sources| fingerprint::of_inputs(sources.into_iter()));
    }
}
