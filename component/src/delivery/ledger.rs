//! One ownership of one lane: what of it is done, and what of it is on its way.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use weir_pdata::Fence;

use super::metadata::{MAX_BYTES, operator_of};
use super::{LaneStart, Lease, Marks, Metadata, Shard, Split};
use crate::LaneId;
use crate::delivery::offsets::OffsetTracker;

/// How an ownership begins.
pub struct LedgerSpec {
    /// What the lane is one of, for every owner the same: `cluster/group/topic`.
    pub source: Arc<str>,
    /// Which of them it is: the partition.
    pub number: i32,
    /// Whose windows its own are added to.
    pub shard: Shard,
    /// Its windows when they are apart.
    pub own: Shard,
    /// The position where reading begins, when it is known.
    pub position: Option<i64>,
    /// What was written down with it.
    pub metadata: Metadata,
    /// Called when something has to be written down soon. Must be quick and not block.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// The ledger. Cheap to clone; clones share the state. The receiver keeps one until the ownership ends, and then
/// [closes](Self::close) it; exporters have others.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    source: Arc<str>,
    number: i32,
    shard: Shard,
    own: Shard,
    resumed: Metadata,
    tracker: OffsetTracker,
    /// Below 0: nobody knows.
    epoch: AtomicI32,
    fence: Fence,
    wake: Arc<dyn Fn() + Send + Sync>,
    lease: Lease,
    state: Mutex<State>,
    progress: watch::Sender<WriteProgress>,
    /// One more handle for each pipeline in which the lane is open, and for all that is on its way to a destination.
    attached: Arc<()>,
}

/// A lane is open in a pipeline as long as this is kept.
pub struct Attachment {
    ledger: Ledger,
    pipeline: Arc<str>,
    marks: Marks,
    _open: Arc<()>,
}

impl Attachment {
    /// The trunk lets the lane go now: what fires later has no share of it, and does not count for it.
    pub fn close(self) {
        let latest = self.marks.latest(self.ledger.shard());
        self.ledger.lock().closed.insert(Arc::clone(&self.pipeline), latest);
    }
}

/// Kept while something that a lane gave is on its way to a destination.
pub struct InFlight {
    _kept: Arc<()>,
}

#[derive(Default)]
struct State {
    /// Where reading began.
    begin: Option<i64>,
    sinks: BTreeMap<Arc<str>, Sink>,
    pipelines: Vec<(Arc<str>, Marks)>,
    /// Per pipeline that has let the lane go: per operator the latest watermark for whose windows it had a share.
    closed: BTreeMap<Arc<str>, BTreeMap<String, i64>>,
    /// Counts what has to be written down before something else happens.
    version: u64,
}

#[derive(Default)]
struct Sink {
    /// Everything before it has been exported.
    exported: Option<i64>,
    /// The range from `exported` to here is about to be.
    pending: Option<i64>,
    /// Of that range, the part that is about to be; those before it have been.
    split: Option<String>,
    /// Ranges that were taken without being written down first: start and end.
    taken: BTreeMap<i64, i64>,
}

#[derive(Clone, Copy, Default)]
struct WriteProgress {
    written: u64,
    closed: bool,
    lost: bool,
}

/// What to write down for a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The lowest position that is still needed.
    pub offset: i64,
    /// What goes with it.
    pub metadata: Metadata,
    /// Up to where what had to be written down first is in it.
    pub version: u64,
}

/// The ownership has ended: nothing more may be begun for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane has another owner now")]
pub struct Closed;

impl Ledger {
    /// A ledger for a new ownership, of which nobody is ever deprived without being told.
    #[must_use]
    pub fn new(spec: LedgerSpec) -> Ledger {
        Ledger::leased(spec, Lease::default())
    }

    /// A ledger for a new ownership that holds as long as the lease does.
    #[must_use]
    pub fn leased(spec: LedgerSpec, lease: Lease) -> Ledger {
        let LedgerSpec { source, number, shard, own, position, metadata, wake } = spec;
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

    /// What the lane is up to before this position, for every owner the same: with the incarnation of its positions, and how
    /// often they have been used.
    #[must_use]
    pub fn identity(&self, end: i64) -> String {
        let rewritten = self.0.resumed.rewritten;
        let times =
            rewritten.map_or(0, |at| if end <= at.from { at.times.saturating_sub(1) } else { at.times });
        match times {
            0 => format!("{}/{}", self.source(), self.0.number),
            times => format!("{}/{}~{times}", self.source(), self.0.number),
        }
    }

    /// What was read had been written under leaders up to this epoch.
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

    /// Positions at which a batch must end, rising: there, an earlier owner's range ended for some sink.
    #[must_use]
    pub fn cuts(&self) -> Vec<i64> {
        let Metadata { exported, pending, .. } = &self.0.resumed;
        exported.values().chain(pending.values()).copied().collect::<BTreeSet<i64>>().into_iter().collect()
    }

    /// An earlier owner has read everything before this position, at least.
    #[must_use]
    pub fn read(&self) -> i64 {
        let Metadata { exported, pending, .. } = &self.0.resumed;
        exported.values().chain(pending.values()).copied().max().unwrap_or(i64::MIN)
    }

    /// The lane goes through this pipeline until the attachment is dropped. How it begins there.
    #[must_use]
    pub fn attach(&self, pipeline: &Arc<str>, marks: &Marks, lane: LaneId) -> (LaneStart, Attachment) {
        self.lock().pipelines.push((Arc::clone(pipeline), marks.clone()));
        let windows = self.0.resumed.windows_of(pipeline);
        marks.expect_written(self.0.shard);
        let start = LaneStart {
            lane,
            source: Some(self.source()),
            shard: self.0.shard,
            own: self.0.own,
            generation: self.0.resumed.generation,
            windows: Arc::new(windows.map(|(name, mark)| (name.to_owned(), mark)).collect()),
            read: self.read(),
            receiver: None,
            fence: Some(self.0.fence.clone()),
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

    /// `range` is about to be exported to `sink`. To be [written](Self::is_written) before it is.
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
            // The earlier owner has written it down.
            return 0;
        }
        state.version += 1;
        let version = state.version;
        drop(state);
        (self.0.wake)();
        version
    }

    /// The part of the range that was [pending](Self::record_pending), when an earlier owner was about to export it in parts.
    #[must_use]
    pub fn split(&self, sink: &str) -> Option<Split> {
        Split::decode(self.lock().sinks.get(sink)?.split.as_deref()?)
    }

    /// This part of the range that was [pending](Self::record_pending) is about to be exported to `sink`, and those before it have been. To
    /// be [written](Self::is_written) before it is.
    #[must_use]
    pub fn record_pending_part(&self, sink: &str, part: &Split) -> u64 {
        let mut state = self.lock();
        let text = part.encode();
        let Some(entry) = state.sinks.get_mut(sink).filter(|entry| entry.split.as_ref() != Some(&text))
        else {
            // The earlier owner has written it down.
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

    /// This position is written down.
    pub fn written(&self, position: &Position) {
        let pipelines = self.lock().pipelines.clone();
        for (pipeline, marks) in pipelines {
            let written = position.metadata.windows_of(&pipeline);
            marks.written(self.0.shard, written.map(|(name, mark)| (operator_of(name).0, mark)));
        }
        let version = position.version;
        self.0.progress.send_if_modified(|progress| {
            let news = version > progress.written;
            progress.written = progress.written.max(version);
            news
        });
    }

    /// Whether what was begun at `version` is written down.
    ///
    /// # Errors
    /// The ownership has ended.
    pub fn is_written(&self, version: u64) -> Result<bool, Closed> {
        let progress = *self.0.progress.borrow();
        if progress.closed { Err(Closed) } else { Ok(progress.written >= version) }
    }

    /// Waits until what was begun at `version` is written down.
    ///
    /// # Errors
    /// The ownership has ended.
    pub async fn until_written(&self, version: u64) -> Result<(), Closed> {
        let mut progress = self.0.progress.subscribe();
        let reached = progress.wait_for(|now| now.closed || now.written >= version).await;
        match reached.map(|now| now.closed) {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(Closed),
        }
    }

    /// Waits until it is known that the lane has no other owner now: at once while the lease holds, else until something is
    /// written down again. To be asked before each try to deliver, as tries may be hours apart.
    ///
    /// # Errors
    /// The ownership has ended.
    pub async fn until_owned(&self) -> Result<(), Closed> {
        while !self.0.lease.holds(Instant::now()) {
            let version = self.request_write();
            self.until_written(version).await?;
        }
        self.until_written(0).await
    }

    /// After which moment the lane may have another owner, unless more is heard by then. `None`: never.
    #[must_use]
    pub fn owned_until(&self) -> Option<Instant> {
        self.0.lease.end()
    }

    /// Waits until the ownership has ended.
    pub async fn until_closed(&self) {
        // Nobody can tell any more: it has ended.
        let _ = self.0.progress.subscribe().wait_for(|now| now.closed).await;
    }

    /// Something is to be written down again, if only to see whether it can be.
    fn request_write(&self) -> u64 {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        drop(state);
        (self.0.wake)();
        version
    }

    /// The ownership has ended. Nothing more is begun for it, nor for a window that it has a share in.
    pub fn close(&self) {
        self.0.fence.close();
        self.0.progress.send_modify(|progress| progress.closed = true);
    }

    /// As [`close`](Self::close), because somebody else has the lane already, and delivers what is left of it.
    pub fn lose(&self) {
        self.0.fence.close();
        self.0.progress.send_modify(|progress| (progress.closed, progress.lost) = (true, true));
    }

    /// Whether the ownership has ended because somebody else has the lane.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.progress.borrow().lost
    }

    /// Something that the lane gave is on its way to a destination, as long as this is kept: the lane is not
    /// [final](Self::is_final) before.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        InFlight { _kept: Arc::clone(&self.0.attached) }
    }

    /// Whether the lane has ended in every pipeline, and nothing that it was given, and no window that it may have a
    /// share in, is on its way any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        if Arc::strong_count(&self.0.attached) > 1 {
            return false;
        }
        let pipelines = self.lock().pipelines.clone();
        self.0.tracker.is_final() && pipelines.iter().all(|(_, marks)| marks.is_settled(self.0.shard))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to write down for these lanes now, all in one step. `None`: nothing is known of the lane yet.
///
/// First every position is read, then every window mark once, then what is on its way. So a mark is never behind a
/// position that depends on it, and lanes that share windows agree on them.
#[must_use]
pub fn positions(ledgers: &[&Ledger]) -> Vec<Option<Position>> {
    let offsets: Vec<Option<i64>> =
        ledgers.iter().map(|ledger| ledger.0.tracker.committable().or_else(|| ledger.lock().begin)).collect();
    let mut marks: BTreeMap<(Arc<str>, Shard), BTreeMap<String, i64>> = BTreeMap::new();
    for ledger in ledgers {
        for (pipeline, source) in ledger.lock().pipelines.clone() {
            let shard = ledger.0.shard;
            marks.entry((pipeline, shard)).or_insert_with(|| source.delivered(shard));
        }
    }
    let both = ledgers.iter().zip(offsets);
    both.map(|(ledger, offset)| {
        let offset = offset?;
        let state = ledger.lock();
        let mut metadata = Metadata {
            generation: ledger.0.resumed.generation.saturating_add(1),
            incarnation: ledger.0.resumed.incarnation,
            // Of operators and sinks that are not configured now: they may be again.
            windows: ledger.0.resumed.windows.clone(),
            topic: ledger.0.resumed.topic.clone(),
            lanes: ledger.0.resumed.lanes,
            rewritten: ledger.0.resumed.rewritten,
            ..Metadata::default()
        };
        for (pipeline, source) in &state.pipelines {
            let found = marks.get(&(Arc::clone(pipeline), ledger.0.shard));
            let closed = state.closed.get(pipeline);
            for (operator, mark) in found.into_iter().flatten() {
                let shared = closed.map_or(Some(mark), |latest| latest.get(operator));
                let Some(mark) = shared.map(|shared| shared.min(mark)) else { continue };
                metadata.set_window(pipeline, operator, source.fingerprint(operator).as_deref(), *mark);
            }
        }
        for (name, sink) in &state.sinks {
            if let Some(exported) = sink.exported {
                metadata.exported.insert(name.to_string(), exported);
                metadata.pending.extend(sink.pending.map(|end| (name.to_string(), end)));
                metadata.splits.extend(sink.split.clone().map(|part| (name.to_string(), part)));
            }
        }
        // After the offsets: nothing before them had a later one.
        metadata.epoch = Some(ledger.0.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch >= 0);
        if metadata.encode().len() > MAX_BYTES {
            forget_unused(&mut metadata, &state.pipelines);
        }
        Some(Position { offset, metadata, version: state.version })
    })
    .collect()
}

/// Forgets what belongs to other pipelines than these, and to operators that are not configured any more: those whose windows had
/// a fingerprint, and that have declared none.
fn forget_unused(metadata: &mut Metadata, pipelines: &[(Arc<str>, Marks)]) {
    let is_within = |name: &str| pipelines.iter().any(|(pipeline, _)| within(name, pipeline).is_some());
    metadata.exported.retain(|sink, _| is_within(sink));
    metadata.pending.retain(|sink, _| is_within(sink));
    metadata.splits.retain(|sink, _| is_within(sink));
    metadata.windows.retain(|name, _| {
        let (name, fingerprint) = operator_of(name);
        let is_declared = |marks: &Marks, operator| marks.fingerprint(operator).is_some();
        pipelines.iter().any(|(pipeline, marks)| {
            within(name, pipeline)
                .is_some_and(|operator| fingerprint.is_none() || is_declared(marks, operator))
        })
    });
}

/// What is left of a name of this pipeline.
fn within<'a>(name: &'a str, pipeline: &str) -> Option<&'a str> {
    name.strip_prefix(pipeline)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Watermark;
    use crate::delivery::Rewritten;
    use std::sync::atomic::AtomicU32;

    fn spec(position: Option<i64>, metadata: Metadata) -> LedgerSpec {
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {});
        let (source, shard, own) = ("c/g/t".into(), Shard(0), Shard(1));
        LedgerSpec { source, number: 0, shard, own, position, metadata, wake }
    }

    fn ledger(position: Option<i64>, metadata: Metadata) -> Ledger {
        Ledger::new(spec(position, metadata))
    }

    fn position(ledger: &Ledger) -> Position {
        positions(&[ledger]).remove(0).unwrap()
    }

    fn resumed(x: i64, p: Option<i64>) -> Metadata {
        let sink = "main/db".to_owned();
        let pending = p.map(|end| (sink.clone(), end)).into_iter().collect();
        Metadata { exported: BTreeMap::from([(sink, x)]), pending, ..Metadata::default() }
    }

    #[tokio::test]
    async fn an_owner_that_was_cut_off_asks_again_before_it_goes_on() {
        let woken = Arc::new(tokio::sync::Notify::new());
        let wake: Arc<dyn Fn() + Send + Sync> = {
            let woken = woken.clone();
            Arc::new(move || woken.notify_one())
        };
        let [length, second] = [10, 1].map(std::time::Duration::from_secs);
        let lease = Lease::new(length);
        let ledger = Ledger::leased(LedgerSpec { wake, ..spec(Some(5), Metadata::default()) }, lease.clone());
        let now = Instant::now();
        lease.renew(now);
        ledger.until_owned().await.unwrap();
        assert_eq!(position(&ledger).version, 0, "the lease holds: nothing to ask");

        // The last word is as old as the lease is long.
        let lease = Lease::new(length);
        let ledger = Ledger::leased(
            LedgerSpec { wake: ledger.0.wake.clone(), ..spec(Some(5), Metadata::default()) },
            lease.clone(),
        );
        lease.renew(now - length);
        let asked = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.until_owned().await }
        });
        woken.notified().await;
        let answer = position(&ledger);
        // An answer to a question of long ago proves nothing.
        lease.renew(now - length);
        ledger.written(&answer);
        woken.notified().await;
        assert!(!asked.is_finished());
        lease.renew(now + second);
        ledger.written(&position(&ledger));
        asked.await.unwrap().unwrap();

        lease.renew(now + second);
        ledger.close();
        assert_eq!(ledger.until_owned().await, Err(Closed), "another owner is known");
    }

    #[test]
    fn a_range_is_written_down_before_it_is_sent() {
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let metadata = Metadata::default();
        let (source, shard) = ("c/g/t".into(), Shard(0));
        let ledger = Ledger::new(LedgerSpec {
            source,
            number: 0,
            shard,
            own: Shard(1),
            position: Some(5),
            metadata,
            wake,
        });
        let sink: Arc<str> = "main/db".into();
        let version = ledger.record_pending(&sink, &(5..9));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(ledger.is_written(version), Ok(false));
        let written = position(&ledger);
        assert_eq!(written.offset, 5);
        assert_eq!(written.metadata.pending("main/db"), Some(5..9));
        ledger.written(&written);
        assert_eq!(ledger.is_written(version), Ok(true));
        ledger.record_exported("main/db", &(5..9));
        let after = position(&ledger).metadata;
        assert_eq!((after.exported["main/db"], after.pending.len()), (9, 0));
        ledger.close();
        assert_eq!(ledger.is_written(version), Err(Closed));
    }

    #[test]
    fn the_next_owner_repeats_the_range_without_writing_it_again() {
        let ledger = ledger(Some(3), resumed(5, Some(9)));
        let sink: Arc<str> = "main/db".into();
        assert_eq!(ledger.unfinished(&sink), Some(5..9));
        assert_eq!(ledger.cuts(), [5, 9]);
        assert_eq!(ledger.record_pending(&sink, &(5..9)), 0);
        assert_eq!(ledger.is_written(0), Ok(true));
        assert_eq!(position(&ledger).metadata.generation, 1);
    }

    #[test]
    fn a_part_of_a_range_is_written_down_as_long_as_the_range_is_pending() {
        let first = ledger(Some(3), resumed(5, None));
        let sink: Arc<str> = "main/db".into();
        let begun = first.record_pending(&sink, &(5..9));
        let part = Split { rows: 2..7, of: 9, without: vec![3] };
        assert!(first.record_pending_part(&sink, &part) > begun);
        let written = position(&first).metadata;
        let second = ledger(Some(3), Metadata::decode(&written.encode()).unwrap().unwrap());
        assert_eq!((second.record_pending(&sink, &(5..9)), second.split(&sink)), (0, Some(part.clone())));
        assert_eq!(second.record_pending_part(&sink, &part), 0, "it is written down already");
        assert!(second.record_pending_part(&sink, &Split { rows: 7..9, of: 9, without: vec![] }) > 0);
        second.record_exported(&sink, &(5..9));
        assert_eq!((position(&second).metadata.splits.len(), second.split(&sink)), (0, None));
        let third = ledger(Some(3), Metadata::decode(&written.encode()).unwrap().unwrap());
        assert!(third.record_pending(&sink, &(5..12)) > 0, "another range");
        assert_eq!(third.split(&sink), None);
    }

    #[test]
    fn positions_that_are_used_again_have_other_identities() {
        let rewritten = Some(Rewritten { from: 7, times: 2 });
        let metadata = Metadata {
            rewritten,
            topic: Some("T".to_owned()),
            epoch: Some(3),
            lanes: Some(2),
            ..resumed(5, None)
        };
        let ledger = ledger(Some(3), metadata);
        assert_eq!(ledger.identity(7), "c/g/t/0~1", "7 is not in it");
        assert_eq!(ledger.identity(8), "c/g/t/0~2");
        assert_eq!((position(&ledger).metadata.epoch, position(&ledger).metadata.lanes), (Some(3), Some(2)));
        ledger.reached_epoch(4);
        ledger.reached_epoch(2);
        let metadata = position(&ledger).metadata;
        assert_eq!(
            (metadata.epoch, metadata.rewritten, metadata.topic.as_deref()),
            (Some(4), rewritten, Some("T"))
        );
    }

    #[test]
    fn a_mark_is_never_behind_a_position_that_depends_on_it() {
        let (ledger, marks) = (ledger(Some(0), Metadata::default()), Marks::default());
        let (start, attachment) = ledger.attach(&"main".into(), &marks, LaneId(1));
        assert_eq!(start.watermark("aggregate"), Watermark::MIN);
        let input = ledger.tracker().track(10);
        let mark = marks.emit(&"aggregate".into(), Shard(0), Watermark(700));
        let fired = weir_pdata::Ack::in_order([mark, input]);
        assert_eq!(position(&ledger).offset, 0);
        drop(attachment);
        assert!(!ledger.is_final());
        drop(fired);
        let after = position(&ledger);
        assert_eq!((after.offset, after.metadata.windows["main/aggregate"]), (10, 700));
        assert!(ledger.is_final());
    }

    #[test]
    fn marks_say_of_which_configuration_they_are() {
        let old = BTreeMap::from([("main/a#old".to_owned(), 600), ("main/b".to_owned(), 50)]);
        let ledger = ledger(Some(0), Metadata { windows: old, ..Metadata::default() });
        let marks = Marks::default();
        marks.declare(&"a".into(), "new".into());
        let (start, _attachment) = ledger.attach(&"main".into(), &marks, LaneId(1));
        assert_eq!((start.watermark("a"), start.watermark("b")), (Watermark(600), Watermark(50)));
        assert_eq!(start.of_another("a", "new"), Some(Watermark(600)));
        assert_eq!((start.of_another("a", "old"), start.of_another("b", "any")), (None, None));
        let windows = |ledger: &Ledger| position(ledger).metadata.windows.into_iter().collect::<Vec<_>>();
        let b = ("main/b".to_owned(), 50);
        assert_eq!(windows(&ledger), [("main/a#old".to_owned(), 600), b.clone()], "until there is a new one");
        drop(marks.emit(&"a".into(), Shard(0), Watermark(700)));
        assert_eq!(windows(&ledger), [("main/a#new".to_owned(), 700), b]);
        ledger.written(&position(&ledger));
        assert_eq!(marks.lasting(Shard(0))["a"], 700, "under its own name for who asks here");
    }

    #[test]
    fn what_is_not_configured_any_more_is_forgotten_when_there_is_no_room_for_it() {
        let old = |name: &str, count: u32| -> BTreeMap<String, i64> {
            (0..count).map(|n| (format!("old/{name}{n}#aaaaaaaa"), 9)).collect()
        };
        let mut before = Metadata { windows: old("operator", 20), ..resumed(5, None) };
        before.exported.extend(old("sink", 20));
        before.windows.insert("main/kept#aaaaaaaa".to_owned(), 1);
        before.windows.insert("main/renamed#aaaaaaaa".to_owned(), 1);
        let open = |before: Metadata| {
            let (ledger, marks) = (ledger(Some(3), before), Marks::default());
            marks.declare(&"kept".into(), "aaaaaaaa".into());
            let (_, attachment) = ledger.attach(&"main".into(), &marks, LaneId(1));
            (position(&ledger).metadata, attachment)
        };
        let (short, _) = open(before.clone());
        assert_eq!((short.windows.len(), short.exported.len()), (22, 21), "it may be configured again");
        before.windows.extend(old("operator", 200));
        before.pending = old("sink", 200);
        let (long, _) = open(before);
        assert!(long.encode().len() <= MAX_BYTES, "{}", long.encode().len());
        assert_eq!(long.windows, BTreeMap::from([("main/kept#aaaaaaaa".to_owned(), 1)]));
        assert_eq!((long.exported, long.pending.len()), (BTreeMap::from([("main/db".to_owned(), 5)]), 0));
    }

    #[test]
    fn what_fires_after_a_lane_was_let_go_does_not_count_for_it() {
        let (lane, other, marks) =
            (ledger(Some(0), Metadata::default()), ledger(Some(0), Metadata::default()), Marks::default());
        let (_, attachment) = lane.attach(&"main".into(), &marks, LaneId(1));
        let (_, _stays) = other.attach(&"main".into(), &marks, LaneId(2));
        let with_both = marks.emit(&"a".into(), Shard(0), Watermark(10));
        attachment.close();
        drop((with_both, marks.emit(&"a".into(), Shard(0), Watermark(20))));
        let both =
            positions(&[&lane, &other]).into_iter().map(|found| found.unwrap().metadata.windows["main/a"]);
        assert_eq!(both.collect::<Vec<_>>(), [10, 20]);
    }

    #[test]
    fn what_is_taken_without_being_written_down_counts_in_order() {
        let ledger = ledger(Some(0), Metadata::default());
        let sink: Arc<str> = "main/file".into();
        ledger.add_waiting(&sink, &(0..4));
        ledger.add_waiting(&sink, &(4..6));
        ledger.finish_waiting(&sink, &(4..6));
        assert_eq!(ledger.exported(&sink), Some(0));
        ledger.add_waiting(&sink, &(6..8));
        ledger.finish_waiting(&sink, &(0..4));
        assert_eq!(ledger.exported(&sink), Some(6), "4..6 was finished before its turn");
    }
}
