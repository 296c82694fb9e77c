//! Which windows of the operators of one pipeline are delivered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_pdata::{Ack, AckSink, Held, Outcome};

use super::Shard;
use crate::{LaneId, Watermark};

/// The marks of one pipeline. Cheap to clone; clones share the state.
///
/// An operator calls [`Marks::emit`] when its watermark moves, and lets the results that fired keep the ack.
/// The mark follows when they and everything before them are delivered. After a failure it stays.
///
/// Inputs that nothing but an emission needs are done when the mark has reached it, and fail when it cannot
/// any more. Otherwise a restart before the mark would compute a window again from a part of its inputs.
///
/// A mark counts for the lanes that its operator had [opened](Marks::open) before the windows fired. What
/// an earlier ownership of a lane delivers, perhaps without knowing that it is over, says nothing to the
/// one that follows in this process: another owner may have let the same windows fire meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Marks(Arc<State>);

/// The mark of each operator.
pub(super) type SharedMarks = BTreeMap<String, SharedMark>;

/// The mark of the lanes of a shard.
#[derive(Clone, Debug)]
pub(super) struct SharedMark {
    /// The watermark.
    pub(super) watermark: i64,
    /// Who had a share in its windows: see [`LaneStart::sharers`](super::LaneStart::sharers).
    pub(super) sharers: Option<Arc<str>>,
    /// The emission that it is of.
    emission: u64,
    /// The lanes that have been opened, and the first emission after that of each.
    lanes: Arc<BTreeMap<LaneId, u64>>,
}

impl SharedMark {
    /// Whether the windows fired after this lane had been opened.
    pub(super) fn counts_for(&self, lane: LaneId) -> bool {
        self.lanes.get(&lane).is_some_and(|opened| self.emission >= *opened)
    }
}

#[derive(Debug, Default)]
struct State(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    operators: BTreeMap<(Arc<str>, Shard), Operator>,
    /// The operator of each emission that is not delivered yet.
    open: BTreeMap<u64, (Arc<str>, Shard)>,
    /// The inputs of emissions that are not delivered yet, and were before their shard restarted.
    former: BTreeMap<u64, Held>,
    /// The fingerprint of each operator's windows.
    fingerprints: BTreeMap<Arc<str>, Arc<str>>,
    /// Shards whose marks are written down, and up to where they are, by operator.
    written: BTreeMap<Shard, BTreeMap<String, i64>>,
}

#[derive(Debug, Default)]
struct Operator {
    /// What was delivered last: its emission and its watermark.
    delivered: Option<(u64, i64)>,
    /// Who had a share in it.
    sharers: Option<Arc<str>>,
    /// The latest that was emitted.
    latest: Option<i64>,
    /// In order of emission.
    emitted: VecDeque<Emitted>,
    /// Those that have been opened since the shard began, and the first emission after that of each.
    lanes: Arc<BTreeMap<LaneId, u64>>,
}

#[derive(Debug)]
struct Emitted {
    id: u64,
    watermark: i64,
    sharers: Option<Arc<str>>,
    /// The inputs that wait for the mark.
    held: Held,
    outcome: Option<Outcome>,
}

impl Marks {
    /// Windows of this operator and shard that end at or before `watermark` fire now, and keep the ack.
    #[must_use]
    pub fn emit(&self, operator: &Arc<str>, shard: Shard, watermark: Watermark) -> Ack {
        self.emit_holding(operator, shard, watermark, None, Held::default())
    }

    /// As [`emit`](Self::emit). `held` is done when the mark has come to `watermark`. `sharers`: who has a
    /// share in the windows.
    #[must_use]
    pub fn emit_holding(
        &self,
        operator: &Arc<str>,
        shard: Shard,
        watermark: Watermark,
        sharers: Option<Arc<str>>,
        held: Held,
    ) -> Ack {
        let mut inner = self.0.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        let key = (Arc::clone(operator), shard);
        inner.open.insert(id, key.clone());
        let emitted = Emitted { id, watermark: watermark.0, sharers, held, outcome: None };
        let state = inner.operators.entry(key).or_default();
        if watermark < Watermark::MAX {
            state.latest = state.latest.max(Some(watermark.0));
        }
        state.emitted.push_back(emitted);
        drop(inner);
        Ack::new(self.0.clone(), id)
    }

    /// The fingerprint of this operator's windows, which is written down with its marks.
    pub fn declare(&self, operator: &Arc<str>, fingerprint: Arc<str>) {
        self.0.lock().fingerprints.insert(Arc::clone(operator), fingerprint);
    }

    /// The fingerprint that was [declared](Self::declare).
    #[must_use]
    pub fn fingerprint(&self, operator: &str) -> Option<Arc<str>> {
        self.0.lock().fingerprints.get(operator).cloned()
    }

    /// The shard restarts: emissions from before do not count any more. Their inputs wait for them alone.
    pub fn restart(&self, operator: &Arc<str>, shard: Shard) {
        let mut inner = self.0.lock();
        inner.open.retain(|_, (of, at)| of != operator || *at != shard);
        let former = inner.operators.remove(&(Arc::clone(operator), shard));
        let mut done = Vec::new();
        for emitted in former.into_iter().flat_map(|former| former.emitted) {
            match emitted.outcome {
                None => drop(inner.former.insert(emitted.id, emitted.held)),
                Some(_) => done.push(emitted.held),
            }
        }
        drop(inner);
        done.into_iter().for_each(|held| drop(held.release()));
    }

    /// A lane opens: the marks of windows of its shard that fire from now on count for it.
    pub fn open(&self, operator: &Arc<str>, shard: Shard, lane: LaneId) {
        let mut inner = self.0.lock();
        let next = inner.next_id;
        let state = inner.operators.entry((Arc::clone(operator), shard)).or_default();
        Arc::make_mut(&mut state.lanes).insert(lane, next);
    }

    /// Nobody asks for the marks of this lane any more.
    pub(super) fn forget(&self, shard: Shard, lane: LaneId) {
        let mut inner = self.0.lock();
        let operators = inner.operators.iter_mut().filter(|((_, at), _)| *at == shard);
        for (_, operator) in operators {
            if operator.lanes.contains_key(&lane) {
                Arc::make_mut(&mut operator.lanes).remove(&lane);
            }
        }
    }

    /// Whether no emission of this shard is in flight, or can move a mark.
    #[must_use]
    pub fn is_settled(&self, shard: Shard) -> bool {
        let inner = self.0.lock();
        let mut operators = inner.operators.iter().filter(|((_, at), _)| *at == shard);
        operators.all(|(_, operator)| operator.emitted.iter().all(|emitted| emitted.outcome.is_some()))
    }

    /// The latest watermark that each operator of a shard emitted.
    #[must_use]
    pub fn latest(&self, shard: Shard) -> BTreeMap<String, i64> {
        let inner = self.0.lock();
        let marks = inner.operators.iter().filter(|((_, at), _)| *at == shard);
        marks.filter_map(|((name, _), operator)| Some((name.to_string(), operator.latest?))).collect()
    }

    /// The marks of this shard are written down from now on: a restart goes on where they are written.
    pub fn expect_written(&self, shard: Shard) {
        self.0.lock().written.entry(shard).or_default();
    }

    /// These marks of a shard are written down: operators and watermarks.
    pub fn written<'a>(&self, shard: Shard, marks: impl Iterator<Item = (&'a str, i64)>) {
        let mut inner = self.0.lock();
        let written = inner.written.entry(shard).or_default();
        for (operator, mark) in marks {
            match written.get_mut(operator) {
                Some(known) => *known = mark.max(*known),
                None => drop(written.insert(operator.to_owned(), mark)),
            }
        }
    }

    /// For each operator of a shard, the watermark that no restart goes back behind: the one written down, or
    /// the delivered one where nothing is written down.
    #[must_use]
    pub fn lasting(&self, shard: Shard) -> BTreeMap<String, i64> {
        let written = self.0.lock().written.get(&shard).cloned();
        written.unwrap_or_else(|| self.delivered(shard))
    }

    /// Every mark of a shard: operator and watermark.
    #[must_use]
    pub fn delivered(&self, shard: Shard) -> BTreeMap<String, i64> {
        self.delivered_shared(shard).into_iter().map(|(name, mark)| (name, mark.watermark)).collect()
    }

    /// The same, and for which lanes each counts.
    pub(super) fn delivered_shared(&self, shard: Shard) -> SharedMarks {
        let inner = self.0.lock();
        let marks = inner.operators.iter().filter(|((_, at), _)| *at == shard);
        let both = marks.filter_map(|((name, _), operator)| {
            let (sharers, lanes) = (operator.sharers.clone(), Arc::clone(&operator.lanes));
            let (emission, watermark) = operator.delivered?;
            Some((name.to_string(), SharedMark { watermark, sharers, emission, lanes }))
        });
        both.collect()
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AckSink for State {
    /// A mark is not an input.
    fn reads_again(&self) -> bool {
        false
    }

    fn settle(&self, id: u64, outcome: Outcome) {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        self.lock().settle(id, outcome, &mut done, &mut failed);
        // Without the lock: these inputs may be those of anything.
        done.into_iter().for_each(|held| drop(held.release()));
        drop(failed);
    }
}

impl Inner {
    /// Notes an outcome. The inputs that are `done` or `failed` by it are taken out.
    fn settle(&mut self, id: u64, outcome: Outcome, done: &mut Vec<Held>, failed: &mut Vec<Held>) {
        if let Some(held) = self.former.remove(&id) {
            if outcome == Outcome::Done { done.push(held) } else { failed.push(held) }
        }
        let Some(key) = self.open.remove(&id) else { return };
        let Some(operator) = self.operators.get_mut(&key) else { return };
        if let Some(emitted) = operator.emitted.iter_mut().find(|emitted| emitted.id == id) {
            emitted.outcome = Some(outcome);
        }
        while let Some(first) = operator.emitted.front_mut()
            && first.outcome == Some(Outcome::Done)
        {
            // The end of a stream is not a time from which a restart could continue.
            let before = operator.delivered.map(|(_, watermark)| watermark);
            if first.watermark < Watermark::MAX.0 && before <= Some(first.watermark) {
                operator.delivered = Some((first.id, first.watermark));
                operator.sharers = first.sharers.take();
            }
            done.extend(operator.emitted.pop_front().map(|first| first.held));
        }
        // After a failure no mark moves any more, so only emissions in flight are kept.
        if operator.emitted.front().is_some_and(|first| first.outcome.is_some()) {
            let mut first = true;
            operator.emitted.retain_mut(|emitted| {
                if emitted.outcome.is_some() {
                    failed.push(std::mem::take(&mut emitted.held));
                }
                std::mem::take(&mut first) || emitted.outcome.is_none()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Shard = Shard(0);

    fn mark(marks: &Marks, operator: &str) -> Option<i64> {
        marks.delivered(ALL).get(operator).copied()
    }

    #[test]
    fn a_mark_follows_when_everything_before_it_is_delivered() {
        let (marks, operator) = (Marks::default(), Arc::from("aggregate"));
        let first = marks.emit(&operator, ALL, Watermark(10));
        let second = marks.emit(&operator, ALL, Watermark(20));
        drop(second);
        assert_eq!(mark(&marks, "aggregate"), None);
        assert!(!marks.is_settled(ALL));
        drop(first);
        assert_eq!(mark(&marks, "aggregate"), Some(20));
        assert!(marks.is_settled(ALL));
    }

    #[test]
    fn a_mark_never_passes_a_failure() {
        let (marks, operator) = (Marks::default(), Arc::from("aggregate"));
        drop(marks.emit(&operator, ALL, Watermark(10)));
        let bad = marks.emit(&operator, ALL, Watermark(20));
        let in_flight = marks.emit(&operator, ALL, Watermark(30));
        bad.fail();
        drop(bad);
        assert!(!marks.is_settled(ALL), "something may still reach a destination");
        drop(in_flight);
        assert_eq!(mark(&marks, "aggregate"), Some(10));
        assert!(marks.is_settled(ALL));
    }

    /// The outcomes of inputs, in the order in which they came.
    #[derive(Debug, Default)]
    struct Inputs(Mutex<Vec<(u64, Outcome)>>);

    impl AckSink for Inputs {
        fn settle(&self, id: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((id, outcome));
        }
    }

    #[test]
    fn inputs_are_done_when_the_mark_has_reached_their_emission() {
        let (marks, operator, inputs) = (Marks::default(), Arc::from("a"), Arc::new(Inputs::default()));
        let held = |id| Held::new(Ack::new(inputs.clone(), id));
        let emit = |at, id| marks.emit_holding(&operator, ALL, Watermark(at), None, held(id));
        let (first, second) = (emit(10, 1), emit(20, 2));
        drop(second);
        assert_eq!(*inputs.0.lock().unwrap(), [], "a restart at the mark would compute the second again");
        drop(first);
        assert_eq!(*inputs.0.lock().unwrap(), [(1, Outcome::Done), (2, Outcome::Done)]);

        let (third, fourth, fifth) = (emit(30, 3), emit(40, 4), emit(50, 5));
        drop(fourth);
        third.fail();
        drop(third);
        drop(fifth);
        let failed = [3, 4, 5].map(|id| (id, Outcome::Failed));
        assert_eq!(inputs.0.lock().unwrap()[2..], failed, "the mark does not get there any more");
    }

    #[test]
    fn inputs_of_before_a_restart_wait_for_their_own_emission() {
        let (marks, operator, inputs) = (Marks::default(), Arc::from("a"), Arc::new(Inputs::default()));
        let held = |id| Held::new(Ack::new(inputs.clone(), id));
        let emit = |at, id| marks.emit_holding(&operator, ALL, Watermark(at), None, held(id));
        let (first, second, third) = (emit(10, 1), emit(20, 2), emit(30, 3));
        drop(second);
        marks.restart(&operator, ALL);
        assert_eq!(*inputs.0.lock().unwrap(), [(2, Outcome::Done)]);
        drop(first);
        third.fail();
        drop(third);
        let outcomes = [(2, Outcome::Done), (1, Outcome::Done), (3, Outcome::Failed)];
        assert_eq!(*inputs.0.lock().unwrap(), outcomes);
    }

    #[test]
    fn where_marks_are_written_down_only_what_is_written_lasts() {
        let (marks, operator) = (Marks::default(), Arc::from("a"));
        drop(marks.emit(&operator, ALL, Watermark(10)));
        assert_eq!(marks.lasting(ALL), BTreeMap::from([("a".to_owned(), 10)]));
        marks.expect_written(ALL);
        assert_eq!(marks.lasting(ALL), BTreeMap::new());
        marks.written(ALL, [("a", 7)].into_iter());
        marks.written(ALL, [("a", 5), ("b", 1)].into_iter());
        assert_eq!(marks.lasting(ALL), BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 1)]));
        assert_eq!(marks.lasting(Shard(3)), BTreeMap::new());
    }

    #[test]
    fn shards_and_operators_are_apart_and_a_restart_forgets() {
        let (marks, a, b) = (Marks::default(), Arc::from("a"), Arc::from("b"));
        let late = marks.emit(&a, ALL, Watermark(10));
        drop(marks.emit(&a, Shard(3), Watermark(5)));
        drop(marks.emit(&b, ALL, Watermark(7)));
        marks.restart(&a, ALL);
        drop(late);
        assert_eq!(marks.delivered(ALL), BTreeMap::from([("b".to_owned(), 7)]));
        assert_eq!(marks.delivered(Shard(3)), BTreeMap::from([("a".to_owned(), 5)]));
    }
}
