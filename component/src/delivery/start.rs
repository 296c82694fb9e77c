//! The facts that a stage learns about the lane or trunk that it runs on.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_pdata::{Fence, Signal};

use super::metadata::{inputs_of, operator_of};
use super::{Marks, Shard};
use crate::{LaneId, Watermark};

/// How a lane begins in one pipeline. `LaneId::into` gives the start of a lane without a history.
#[derive(Clone, Debug)]
pub struct LaneStart {
    /// The lane.
    pub lane: LaneId,
    /// The input whose windows the lane's own are added to, if its positions are kept: `cluster/group/topic`,
    /// or that of a receiver of several topics.
    pub source: Option<Arc<str>>,
    /// The shard: windows of lanes with the same one are added up.
    pub shard: Shard,
    /// The lane's own shard: for the rest of a window that the other lanes of its shard have delivered
    /// without it.
    pub own: Shard,
    /// How often the lane has had an owner before this one.
    pub generation: u32,
    /// Per operator of the pipeline, with the fingerprint of what its windows meant: its windows that are
    /// over at this watermark have been delivered.
    pub windows: Arc<BTreeMap<String, i64>>,
    /// The lanes of the same receiver that began with it, and make windows with it: another text whenever
    /// they begin.
    pub set: Option<Arc<str>>,
    /// Those of its earlier owners: see [`had_a_share`](super::had_a_share).
    pub sets_before: Option<Arc<str>>,
    /// The input of the lane alone.
    pub own_source: Option<Arc<str>>,
    /// Events before this position have been read by an earlier owner, at least.
    pub read: i64,
    /// Closed when the lane has another owner.
    pub fence: Option<Fence>,
    /// It keeps the place of a lane whose position is not known yet, and brings nothing: windows wait for it.
    pub keeps_place: bool,
    /// The receiver that opened it.
    pub receiver: Option<Arc<str>>,
    /// The signal of its batches, when that is always the same.
    pub signal: Option<Signal>,
}

impl LaneStart {
    /// The watermark up to which windows of `operator` have been delivered, whatever their fingerprint.
    #[must_use]
    pub fn watermark(&self, operator: &str) -> Watermark {
        self.latest(operator).map_or(Watermark::MIN, |(_, mark)| mark)
    }

    /// The watermark up to which windows of `operator` have been delivered, when they did not mean what
    /// `fingerprint` says. A mark without a fingerprint, of an earlier version of the program, counts as one
    /// of the same meaning.
    #[must_use]
    pub fn of_another(&self, operator: &str, fingerprint: &str) -> Option<Watermark> {
        let (known, mark) = self.latest(operator)?;
        known.is_some_and(|known| known != fingerprint).then_some(mark)
    }

    /// Who had a share in the windows of `operator` that were delivered last: a set of lanes, or a
    /// fingerprint of the inputs when they were several.
    #[must_use]
    pub fn sharers(&self, operator: &str) -> Option<&str> {
        let own = self.windows.iter().filter(|(name, _)| operator_of(name).0 == operator);
        inputs_of(own.max_by_key(|(_, mark)| **mark)?.0)
    }

    /// The operators that have a mark.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.windows.keys().map(|name| operator_of(name).0)
    }

    /// The latest mark of an operator, and its fingerprint.
    fn latest(&self, operator: &str) -> Option<(Option<&str>, Watermark)> {
        let marks = self.windows.iter().map(|(name, mark)| (operator_of(name), Watermark(*mark)));
        let own = marks.filter(|((name, _), _)| *name == operator);
        own.map(|((_, fingerprint), mark)| (fingerprint, mark)).max_by_key(|(_, mark)| *mark)
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
            set: None,
            sets_before: None,
            own_source: None,
            read: i64::MIN,
            fence: None,
            keeps_place: false,
            receiver: None,
            signal: None,
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
    /// The receivers that are configured. Windows wait until each has opened its lanes.
    pub receivers: Arc<[Arc<str>]>,
}
