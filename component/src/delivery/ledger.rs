//! One ownership of one lane: what is exported, and what is in flight.

mod positions;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_pdata::Fence;

use super::offsets::OffsetTracker;
use super::{LaneStart, Lease, Marks, Metadata, Shard, Split};
use crate::LaneId;

pub use positions::{Position, positions};
pub use writing::Closed;

/// How an ownership begins.
pub struct LedgerSpec {
    /// The input that the lane belongs to, the same for every owner: `cluster/group/topic`.
    pub source: Arc<str>,
    /// The input whose windows the lane's own are added to, when it is more than `source`: the same for every
    /// owner.
    pub input: Option<Arc<str>>,
    /// The lanes of this receiver whose windows are added up, since they began: another text whenever they
    /// begin. A mark that one of them has written down counts for all.
    pub set: Option<Arc<str>>,
    /// The number of the lane in that input: the partition.
    pub number: i32,
    /// The shard: windows of lanes with the same one are added up.
    pub shard: Shard,
    /// The lane's own shard, for windows that are kept apart.
    pub own: Shard,
    /// The position where reading begins, when it is known.
    pub position: Option<i64>,
    /// The metadata written down with it.
    pub metadata: Metadata,
    /// Called when something has to be written down soon. Must be quick and not block.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// The ledger. Cheap to clone; clones share the state. The receiver keeps one until the ownership ends, and
/// then [closes](Self::close) it; exporters have others.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    source: Arc<str>,
    input: Option<Arc<str>>,
    set: Option<Arc<str>>,
    number: i32,
    shard: Shard,
    own: Shard,
    resumed: Metadata,
    tracker: OffsetTracker,
    /// Below 0: unknown.
    epoch: AtomicI32,
    fence: Fence,
    wake: Arc<dyn Fn() + Send + Sync>,
    lease: Lease,
    state: Mutex<State>,
    progress: watch::Sender<WriteProgress>,
    /// One handle more for each pipeline in which the lane is open, and for each batch in flight.
    attached: Arc<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, marks, lane) in &state.pipelines {
            marks.forget(self.shard, *lane);
        }
    }
}

/// Keeps a lane open in a pipeline.
pub struct Attachment {
    ledger: Ledger,
    pipeline: Arc<str>,
    marks: Marks,
    _open: Arc<()>,
}

impl Attachment {
    /// The trunk releases the lane now: windows that fire later have no part of it, and do not count for it.
    pub fn close(self) {
        let latest = self.marks.latest(self.ledger.shard());
        self.ledger.lock().closed.insert(Arc::clone(&self.pipeline), latest);
    }
}

/// Kept while a batch of a lane is in flight to a destination.
pub struct InFlight {
    _kept: Arc<()>,
}

#[derive(Default)]
struct State {
    /// Where reading began.
    begin: Option<i64>,
    sinks: BTreeMap<Arc<str>, Sink>,
    /// Where the lane goes through, and its number there.
    pipelines: Vec<(Arc<str>, Marks, LaneId)>,
    /// For each pipeline that has released the lane, by operator: the latest watermark whose windows had a
    /// part of it.
    closed: BTreeMap<Arc<str>, BTreeMap<String, i64>>,
    /// Counts the changes that must be written down before an export may follow.
    version: u64,
}

#[derive(Default)]
struct Sink {
    /// Everything before this position has been exported.
    exported: Option<i64>,
    /// The range from `exported` to this position is pending.
    pending: Option<i64>,
    /// The pending part of that range; the parts before it have been exported.
    split: Option<String>,
    /// Ranges that wait without being written down first: start and end.
    taken: BTreeMap<i64, i64>,
}

#[derive(Clone, Copy, Default)]
struct WriteProgress {
    written: u64,
    closed: bool,
    lost: bool,
}

impl Ledger {
    /// A ledger for a new ownership that never ends without the owner learning of it.
    #[must_use]
    pub fn new(spec: LedgerSpec) -> Ledger {
        Ledger::leased(spec, Lease::default())
    }

    /// A ledger for a new ownership that holds as long as the lease does.
    #[must_use]
    pub fn leased(spec: LedgerSpec, lease: Lease) -> Ledger {
        let LedgerSpec { source, input, set, number, shard, own, position, metadata, wake } = spec;
        let mut sinks: BTreeMap<Arc<str>, Sink> = BTreeMap::new();
        for (name, exported) in &metadata.exported {
            let pending = metadata.pending(name).map(|range| range.end);
            let split = pending.and_then(|_| metadata.splits.get(name).cloned());
            let sink = Sink { exported: Some(*exported), pending, split, taken: BTreeMap::new() };
            sinks.insert(Arc::from(name.as_str()), sink);
        }
        let state = State { begin: position, sinks, ..State::default() };
        Ledger(Arc::new(Shared {
            source,
            input,
            set,
            number,
            shard,
            own,
            epoch: AtomicI32::new(metadata.epoch.unwrap_or(-1)),
            resumed: metadata,
            tracker: OffsetTracker::default(),
            fence: Fence::default(),
            wake,
            lease,
            state: Mutex::new(state),
            progress: watch::Sender::default(),
            attached: Arc::default(),
        }))
    }

    /// The identity of the lane's events before this position, the same for every owner. It includes the
    /// incarnation of the positions, and how often they have been reused.
    #[must_use]
    pub fn identity(&self, end: i64) -> String {
        match self.0.resumed.rewritten.times(end) {
            0 => format!("{}/{}", self.source(), self.0.number),
            times => format!("{}/{}~{times}", self.source(), self.0.number),
        }
    }

    /// Records that were read had been written under leaders up to this epoch.
    pub fn reached_epoch(&self, epoch: i32) {
        self.0.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    fn source(&self) -> Arc<str> {
        match self.0.resumed.incarnation {
            0 => Arc::clone(&self.0.source),
            incarnation => Arc::from(format!("{}@{incarnation}", self.0.source)),
        }
    }

    /// Where inputs are tracked.
    #[must_use]
    pub fn tracker(&self) -> &OffsetTracker {
        &self.0.tracker
    }

    /// Whether both are of the same ownership.
    #[must_use]
    pub fn is_same(&self, other: &Ledger) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whose windows the lane's own are added to.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.0.shard
    }

    /// Reading begins at `position`, which was not known before.
    pub fn begin_at(&self, position: i64) {
        self.lock().begin.get_or_insert(position);
    }

    /// Positions at which a batch must end, in ascending order: an earlier owner's range for some sink ended
    /// there.
    #[must_use]
    pub fn cuts(&self) -> Vec<i64> {
        let Metadata { exported, pending, .. } = &self.0.resumed;
        exported.values().chain(pending.values()).copied().collect::<BTreeSet<i64>>().into_iter().collect()
    }

    /// An earlier owner has read at least everything before this position.
    #[must_use]
    pub fn read(&self) -> i64 {
        let Metadata { exported, pending, .. } = &self.0.resumed;
        exported.values().chain(pending.values()).copied().max().unwrap_or(i64::MIN)
    }

    /// The lane goes through this pipeline until the attachment is dropped. How it begins there.
    #[must_use]
    pub fn attach(&self, pipeline: &Arc<str>, marks: &Marks, lane: LaneId) -> (LaneStart, Attachment) {
        self.lock().pipelines.push((Arc::clone(pipeline), marks.clone(), lane));
        let windows = self.0.resumed.windows_of(pipeline);
        marks.expect_written(self.0.shard);
        let start = LaneStart {
            lane,
            source: Some(self.0.input.clone().unwrap_or_else(|| self.source())),
            shard: self.0.shard,
            own: self.0.own,
            generation: self.0.resumed.generation,
            windows: Arc::new(windows.map(|(name, mark)| (name.to_owned(), mark)).collect()),
            set: self.0.set.clone(),
            sets_before: self.0.resumed.set.as_deref().map(Arc::from),
            own_source: Some(self.source()),
            read: self.read(),
            receiver: None,
            signal: None,
            fence: Some(self.0.fence.clone()),
            keeps_place: self.lock().begin.is_none(),
        };
        let attachment = Attachment {
            ledger: self.clone(),
            pipeline: Arc::clone(pipeline),
            marks: marks.clone(),
            _open: Arc::clone(&self.0.attached),
        };
        (start, attachment)
    }

    /// Events before this position have been exported to `sink`, by an earlier owner or this one.
    #[must_use]
    pub fn exported(&self, sink: &str) -> Option<i64> {
        self.lock().sinks.get(sink)?.exported
    }

    /// The range that an earlier owner was about to export to `sink`: it has to be repeated as it was.
    #[must_use]
    pub fn unfinished(&self, sink: &str) -> Option<Range<i64>> {
        let state = self.lock();
        let sink = state.sinks.get(sink)?;
        Some(sink.exported?..sink.pending?)
    }

    /// `range` is about to be exported to `sink`. It must be [written](Self::is_written) first.
    #[must_use]
    pub fn record_pending(&self, sink: &Arc<str>, range: &Range<i64>) -> u64 {
        let mut state = self.lock();
        let entry = state.sinks.entry(Arc::clone(sink)).or_default();
        let known = entry.exported == Some(range.start) && entry.pending == Some(range.end);
        entry.exported = Some(range.start);
        entry.pending = Some(range.end);
        if !known {
            entry.split = None;
        }
        if known && self.0.resumed.pending(sink).as_ref() == Some(range) {
            // An earlier owner has written it down.
            return 0;
        }
        state.version += 1;
        let version = state.version;
        drop(state);
        (self.0.wake)();
        version
    }

    /// The part of the range that was [pending](Self::record_pending), when an earlier owner was about to
    /// export it in parts.
    #[must_use]
    pub fn split(&self, sink: &str) -> Option<Split> {
        Split::decode(self.lock().sinks.get(sink)?.split.as_deref()?)
    }

    /// This part of the range that was [pending](Self::record_pending) is about to be exported to `sink`, and
    /// those before it have been. To be [written](Self::is_written) before it is.
    #[must_use]
    pub fn record_pending_part(&self, sink: &str, part: &Split) -> u64 {
        let mut state = self.lock();
        let text = part.encode();
        let Some(entry) = state.sinks.get_mut(sink).filter(|entry| entry.split.as_ref() != Some(&text))
        else {
            // An earlier owner has written it down.
            return 0;
        };
        entry.split = Some(text);
        state.version += 1;
        let version = state.version;
        drop(state);
        (self.0.wake)();
        version
    }

    /// `range`, which was [pending](Self::record_pending), has been exported to `sink`.
    pub fn record_exported(&self, sink: &str, range: &Range<i64>) {
        if let Some(sink) = self.lock().sinks.get_mut(sink) {
            sink.exported = sink.exported.max(Some(range.end));
            (sink.pending, sink.split) = (None, None);
        }
    }

    /// `range` waits for `sink`, which does not need it written down first.
    pub fn add_waiting(&self, sink: &Arc<str>, range: &Range<i64>) {
        let mut state = self.lock();
        let entry = state.sinks.entry(Arc::clone(sink)).or_default();
        entry.exported.get_or_insert(range.start);
        entry.taken.insert(range.start, range.end);
    }

    /// `range`, which was [waiting](Self::add_waiting), has been exported to `sink`.
    pub fn finish_waiting(&self, sink: &str, range: &Range<i64>) {
        if let Some(sink) = self.lock().sinks.get_mut(sink) {
            if sink.taken.first_key_value().is_some_and(|(first, _)| *first == range.start) {
                sink.exported = sink.exported.max(Some(range.end));
            }
            sink.taken.remove(&range.start);
            // What was finished before its turn is exported now, too.
            if let Some((next, _)) = sink.taken.first_key_value() {
                sink.exported = sink.exported.max(Some(*next));
            }
        }
    }

    /// The ownership has ended. No export is begun for it, nor for a window that has a part of it.
    pub fn close(&self) {
        self.0.fence.close();
        self.0.progress.send_modify(|progress| progress.closed = true);
    }

    /// As [`close`](Self::close), because another owner already has the lane, and delivers the rest of it.
    pub fn lose(&self) {
        self.0.fence.close();
        self.0.progress.send_modify(|progress| (progress.closed, progress.lost) = (true, true));
    }

    /// Whether the ownership has ended because another owner has the lane.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.progress.borrow().lost
    }

    /// A batch of the lane is in flight as long as this is kept: until then the lane is not
    /// [final](Self::is_final).
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        InFlight { _kept: Arc::clone(&self.0.attached) }
    }

    /// Whether the lane has ended in every pipeline, and none of its batches, and no window that may have a
    /// part of it, is in flight any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        if Arc::strong_count(&self.0.attached) > 1 {
            return false;
        }
        let pipelines = self.lock().pipelines.clone();
        self.0.tracker.is_final() && pipelines.iter().all(|(_, marks, _)| marks.is_settled(self.0.shard))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
