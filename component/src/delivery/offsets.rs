//! Which inputs of a lane are done: the position up to which a receiver may commit.
//!
//! Sans-IO. The receiver takes an [`Ack`] per batch from [`OffsetTracker::track`]; when the batch and
//! everything derived from it is safe the ack settles. [`OffsetTracker::committable`] is the lowest position
//! still needed. After a failure it never passes the failed input: that is read again after a restart.
//!
//! Done inputs that lie behind an open one are remembered as runs, not one by one: a window that is open for
//! a day costs a lane two entries, however many batches come meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_pdata::{Ack, AckSink, Outcome};

/// Tracks one ownership of one lane. Cheap to clone; clones share the state.
#[derive(Clone, Default)]
pub struct OffsetTracker(Arc<State>);

#[derive(Default)]
struct State(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next_id: u64,
    /// By the id of the first input: inputs that are not settled, the one that failed, and runs of done
    /// inputs between them. Done ones at the front are removed.
    kept: BTreeMap<u64, Input>,
    /// End of the last input removed from the front.
    done_to: Option<i64>,
    /// An input failed: it is the last of `kept`.
    failed: bool,
}

/// One input, or a run of done ones.
struct Input {
    end: i64,
    since: Instant,
    outcome: Option<Outcome>,
}

impl OffsetTracker {
    /// Tracks the next input, which ends before position `end`. Inputs come in order.
    ///
    /// After a failure nothing later is committed, so nothing later is remembered: the ack then has no
    /// effect.
    #[must_use]
    pub fn track(&self, end: i64) -> Ack {
        let mut inner = self.0.lock();
        if inner.failed {
            return Ack::none();
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.kept.insert(id, Input { end, since: Instant::now(), outcome: None });
        drop(inner);
        Ack::new(self.0.clone(), id)
    }

    /// The position that may be committed: everything before it is done. `None` when nothing is done yet.
    #[must_use]
    pub fn committable(&self) -> Option<i64> {
        self.0.lock().done_to
    }

    /// Whether every tracked input is done.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.lock().kept.is_empty()
    }

    /// Whether no tracked input can move [`committable`](Self::committable) any more: all are done, or the
    /// first one that is not has failed.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.0.lock().kept.values().next().is_none_or(|input| input.outcome.is_some())
    }

    /// How long the oldest input that is not done has been waiting.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.0.lock().kept.values().next().map(|input| input.since.elapsed())
    }

    /// Inputs that are not settled yet, and runs of those that wait behind one.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.lock().kept.len()
    }

    /// Whether an input failed. Nothing after it will be committed by this ownership.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.lock().failed
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// An input is done: it becomes part of the runs before and after it.
    fn done(&mut self, id: u64) {
        let is_done = |input: &Input| input.outcome == Some(Outcome::Done);
        let Some(input) = self.kept.get_mut(&id) else { return };
        input.outcome = Some(Outcome::Done);
        if let Some((next, _)) = self.kept.range(id + 1..).next().filter(|(_, next)| is_done(next)) {
            let next = *next;
            let end = self.kept.remove(&next).map(|next| next.end);
            if let (Some(input), Some(end)) = (self.kept.get_mut(&id), end) {
                input.end = end;
            }
        }
        match self.kept.range(..id).next_back() {
            Some((_, before)) if is_done(before) => {
                if let Some(input) = self.kept.remove(&id)
                    && let Some((_, before)) = self.kept.range_mut(..id).next_back()
                {
                    before.end = input.end;
                }
            }
            Some(_) => {}
            None => self.done_to = self.kept.remove(&id).map(|input| input.end).or(self.done_to),
        }
    }
}

impl AckSink for State {
    fn settle(&self, id: u64, outcome: Outcome) {
        let mut inner = self.lock();
        match outcome {
            Outcome::Done => inner.done(id),
            Outcome::Failed => {
                if let Some(input) = inner.kept.get_mut(&id) {
                    input.outcome = Some(outcome);
                    // What comes after it will not be committed: forget it, or it would pile up.
                    inner.failed = true;
                    drop(inner.kept.split_off(&(id + 1)));
                }
            }
        }
    }

    fn is_ordered(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commits_the_lowest_position_still_needed() {
        let tracker = OffsetTracker::default();
        let (a, b, c) = (tracker.track(10), tracker.track(20), tracker.track(30));
        drop(b);
        assert_eq!(tracker.committable(), None, "the first input is still open");
        drop(a);
        assert_eq!(tracker.committable(), Some(20));
        drop(c);
        assert_eq!(tracker.committable(), Some(30));
        assert!(tracker.is_settled());
    }

    #[test]
    fn never_passes_a_failed_input() {
        let tracker = OffsetTracker::default();
        let (a, b, c) = (tracker.track(10), tracker.track(20), tracker.track(30));
        b.fail();
        assert!(!tracker.is_final(), "the first input is open");
        drop((a, b, c));
        assert_eq!(tracker.committable(), Some(10));
        assert!(tracker.has_failed());
        assert!(tracker.is_final(), "the failed input stays in front");
    }

    #[test]
    fn remembers_nothing_after_a_failed_input() {
        let tracker = OffsetTracker::default();
        let (a, b, c) = (tracker.track(10), tracker.track(20), tracker.track(30));
        b.fail();
        drop((b, c));
        for end in 4..1000 {
            drop(tracker.track(end * 10));
        }
        assert_eq!(tracker.open(), 2, "the open one and the failed one");
        drop(a);
        assert_eq!(tracker.committable(), Some(10));
        assert!(tracker.is_final());
    }

    #[test]
    fn a_long_window_costs_two_entries_however_many_batches_come() {
        let tracker = OffsetTracker::default();
        let mut window = weir_pdata::Held::default();
        for end in 1..=100_000 {
            window.add(tracker.track(end * 10));
            assert!(tracker.open() <= 2, "{} after {end} batches", tracker.open());
        }
        assert_eq!(tracker.committable(), None, "the window needs the first");
        drop(window.release());
        assert_eq!(tracker.committable(), Some(1_000_000));
        assert!(tracker.is_settled());
    }

    #[test]
    fn a_window_that_fails_takes_back_everything_from_its_first_input_on() {
        let tracker = OffsetTracker::default();
        let first = tracker.track(10);
        let mut window = weir_pdata::Held::default();
        (2..100).for_each(|end| window.add(tracker.track(end * 10)));
        drop(first);
        drop(window);
        assert_eq!((tracker.committable(), tracker.has_failed()), (Some(10), true));
    }

    proptest! {
        #[test]
        fn any_order_of_settling_commits_exactly_the_done_prefix(
            order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle(),
            failed in proptest::collection::vec(any::<bool>(), 12),
        ) {
            let tracker = OffsetTracker::default();
            let mut acks: Vec<_> = (0..12).map(|i| Some(tracker.track((i + 1) * 10))).collect();
            let mut done = [false; 12];
            for i in order {
                let ack = acks[i].take().unwrap();
                if failed[i] { ack.fail(); }
                drop(ack);
                done[i] = !failed[i];
                let prefix = done.iter().take_while(|d| **d).count();
                prop_assert!(tracker.open() <= 2 * acks.iter().flatten().count() + 2);
                let expected = (prefix > 0).then(|| prefix as i64 * 10);
                prop_assert_eq!(tracker.committable(), expected);
            }
        }
    }
}
