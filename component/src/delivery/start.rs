//! What stages are told about the lane or trunk that they run on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Marks;
use crate::{LaneId, Watermark};

/// Which lanes' windows are added up: those of lanes with the same shard. 0 unless a gateway reads only part of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u32);

/// How a lane begins in one pipeline. `LaneId::into` gives one that begins anew.
#[derive(Clone, Debug)]
pub struct LaneStart {
    /// The lane.
    pub lane: LaneId,
    /// What the lane is one of, when its positions are kept: `cluster/group/topic`.
    pub source: Option<Arc<str>>,
    /// Whose windows its own are added to.
    pub shard: Shard,
    /// Its windows when they are apart: what is left of one that others of its shard have delivered without it.
    pub own: Shard,
    /// How often the lane has had an owner before this one.
    pub generation: u32,
    /// Per operator of the pipeline: its windows that are over at this watermark have been delivered.
    pub windows: Arc<BTreeMap<String, i64>>,
    /// Events before this position have been read by an earlier owner, at least.
    pub read: i64,
}

impl LaneStart {
    /// The watermark up to which windows of `operator` have been delivered.
    #[must_use]
    pub fn watermark(&self, operator: &str) -> Watermark {
        self.windows.get(operator).map_or(Watermark::MIN, |mark| Watermark(*mark))
    }
}

impl From<LaneId> for LaneStart {
    fn from(lane: LaneId) -> LaneStart {
        LaneStart {
            lane,
            source: None,
            shard: Shard::default(),
            own: Shard::default(),
            generation: 0,
            windows: Arc::default(),
            read: i64::MIN,
        }
    }
}

/// The trunk of one pipeline, as its stages see it.
#[derive(Clone, Debug, Default)]
pub struct TrunkStart {
    /// The pipeline's id.
    pub pipeline: Arc<str>,
    /// Where operators tell which windows are on their way.
    pub marks: Marks,
}
