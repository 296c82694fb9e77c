//! Acknowledgement by ownership: who still needs an input keeps an [`Ack`] to it.
//!
//! * A receiver makes an ack for the inputs of a batch. Cloning the batch clones the ack.
//! * When the last clone is dropped the inputs are *done*, unless somebody called [`Ack::fail`]
//!   or a thread was panicking: then they are *failed*. The sink is told exactly once.
//! * A clone that waits somewhere (in a queue, in an open window) is kept as [`Held`]. Dropping a
//!   `Held` without [`Held::release`] counts as failure, so a cancelled task never acknowledges.
//! * Where inputs are done in order ([`AckSink::is_ordered`]) the first of several is enough to keep all of them. So what
//!   a window holds does not grow with its batches.
//! * Joins may be nested as deep as they like: dropping them does not recurse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What became of the inputs behind an [`Ack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was derived from the inputs is safe.
    Done,
    /// Something was not delivered. The inputs must be read again.
    Failed,
}

/// Where the outcome of inputs is reported: a receiver's offset tracker.
pub trait AckSink: Send + Sync {
    /// Called once per ack made with [`Ack::new`], from any thread. Must be quick and not block.
    fn settle(&self, id: u64, outcome: Outcome);

    /// Whether an input that is not done, or has failed, keeps all inputs with a higher id from counting as done. Then who
    /// needs several of them keeps only the one with the lowest id.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Whether inputs that fail come again: their position is kept, or who sent them is told. If not, what becomes of them must not
    /// depend on it.
    fn reads_again(&self) -> bool {
        true
    }
}

/// A cheap handle to "these inputs". See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Ack(Option<Arc<Inner>>);

struct Inner {
    failed: AtomicBool,
    target: Target,
}

enum Target {
    Input { sink: Arc<dyn AckSink>, id: u64 },
    Joined(Vec<Ack>),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Input { id, .. } => write!(f, "input {id}"),
            Target::Joined(parts) => write!(f, "{} joined", parts.len()),
        }
    }
}

impl Ack {
    /// An ack for the inputs that `sink` knows as `id`.
    #[must_use]
    pub fn new(sink: Arc<dyn AckSink>, id: u64) -> Ack {
        Ack(Some(Arc::new(Inner { failed: AtomicBool::new(false), target: Target::Input { sink, id } })))
    }

    /// An ack that nobody waits for.
    #[must_use]
    pub const fn none() -> Ack {
        Ack(None)
    }

    /// One ack for all of these inputs. Repeated handles to the same inputs are kept once, and of inputs that are done in
    /// order only the first.
    #[must_use]
    pub fn join(acks: impl IntoIterator<Item = Ack>) -> Ack {
        let mut parts: Vec<Ack> = acks.into_iter().filter(|ack| ack.0.is_some()).collect();
        keep_needed(&mut parts);
        match parts.len() {
            0 => Ack(None),
            1 => parts.swap_remove(0),
            _ => Ack::joined(parts),
        }
    }

    /// One ack for all of these inputs, which settle in this order.
    #[must_use]
    pub fn in_order(acks: impl IntoIterator<Item = Ack>) -> Ack {
        Ack::joined(acks.into_iter().filter(|ack| ack.0.is_some()).collect())
    }

    fn joined(parts: Vec<Ack>) -> Ack {
        Ack(Some(Arc::new(Inner { failed: AtomicBool::new(false), target: Target::Joined(parts) })))
    }

    /// Marks the inputs as failed, whatever other clones do.
    pub fn fail(&self) {
        if let Some(inner) = &self.0 {
            inner.failed.store(true, Ordering::Release);
        }
    }

    /// Whether some of these inputs are [read again](AckSink::reads_again) when they fail.
    #[must_use]
    pub fn is_read_again(&self) -> bool {
        // Joins of joins may be long chains.
        let mut todo = vec![self];
        while let Some(ack) = todo.pop() {
            match ack.0.as_ref().map(|inner| &inner.target) {
                Some(Target::Input { sink, .. }) if sink.reads_again() => return true,
                Some(Target::Joined(parts)) => todo.extend(parts),
                Some(Target::Input { .. }) | None => {}
            }
        }
        false
    }

    /// Whether every other handle is gone, and none of them has failed the inputs: dropping this one acknowledges them.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|inner| Arc::strong_count(inner) == 1 && !inner.failed.load(Ordering::Acquire))
    }

    /// Whether both are handles to the very same inputs (clones of one ack).
    fn same_as(&self, other: &Ack) -> bool {
        self.address() == other.address()
    }

    fn address(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| Arc::as_ptr(inner).addr())
    }

    /// Where the ack belongs among others, and its place there: those of one ordered sink are together, the first of them
    /// first; others are alone.
    fn place(&self) -> (usize, u64) {
        match self.0.as_ref().map(|inner| &inner.target) {
            Some(Target::Input { sink, id }) if sink.is_ordered() => {
                (Arc::as_ptr(sink).cast::<()>().addr(), *id)
            }
            _ => (self.address(), 0),
        }
    }
}

/// Leaves one handle to each input, and of inputs that are done in order the first.
fn keep_needed(acks: &mut Vec<Ack>) {
    if acks.len() > 1 {
        acks.sort_unstable_by_key(Ack::place);
        acks.dedup_by_key(|ack| ack.place().0);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let failed = *self.failed.get_mut() || std::thread::panicking();
        match &mut self.target {
            Target::Input { sink, id } => {
                let outcome = if failed { Outcome::Failed } else { Outcome::Done };
                sink.settle(*id, outcome);
            }
            Target::Joined(parts) => {
                let mut rest = std::mem::take(parts);
                settle_all(&mut rest, failed);
            }
        }
    }
}

/// Lets go of these acks one after the other, and of what they alone have joined. Without recursion: joins are nested as deep
/// as a pipeline makes them.
fn settle_all(parts: &mut Vec<Ack>, failed: bool) {
    if failed {
        parts.iter().for_each(Ack::fail);
    }
    parts.reverse();
    while let Some(next) = parts.pop() {
        // Of several last handles on different threads exactly one gets it.
        let Some(mut inner) = next.0.and_then(Arc::into_inner) else { continue };
        let failed = *inner.failed.get_mut() || std::thread::panicking();
        if let Target::Joined(joined) = &mut inner.target {
            if failed {
                joined.iter().for_each(Ack::fail);
            }
            parts.extend(std::mem::take(joined).into_iter().rev());
        }
    }
}

/// Acks kept while their batch or window waits. Dropping it fails them; [`release`](Self::release) does not.
#[derive(Debug, Default)]
pub struct Held {
    acks: Vec<Ack>,
    /// How many there were when those that are not needed were last left out.
    needed: usize,
}

/// Acks below which those that are not needed are not looked for.
const FEW: usize = 16;

impl Held {
    /// Keeps one ack.
    #[must_use]
    pub fn new(ack: Ack) -> Held {
        let mut held = Held::default();
        held.add(ack);
        held
    }

    /// Keeps one more ack. Of inputs that are done in order only the first is kept.
    pub fn add(&mut self, ack: Ack) {
        if ack.0.is_none() {
            return;
        }
        if let Some(last) = self.acks.last_mut() {
            // Rows of one batch come one after the other.
            if last.same_as(&ack) {
                return;
            }
            let (known, new) = (last.place(), ack.place());
            if known.0 == new.0 {
                if new.1 < known.1 {
                    *last = ack;
                }
                return;
            }
        }
        self.acks.push(ack);
        if self.acks.len() >= FEW.max(self.needed.saturating_mul(2)) {
            keep_needed(&mut self.acks);
            self.needed = self.acks.len();
        }
    }

    /// Keeps everything that `other` keeps.
    pub fn absorb(&mut self, mut other: Held) {
        for ack in std::mem::take(&mut other.acks) {
            self.add(ack);
        }
    }

    /// How many handles are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.acks.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.acks.is_empty()
    }

    /// Whether some of these inputs are read again when they fail.
    #[must_use]
    pub fn is_read_again(&self) -> bool {
        self.acks.iter().any(Ack::is_read_again)
    }

    /// Whether every [other handle](Ack::is_last) is gone, and none of them has failed the inputs.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.acks.iter().all(Ack::is_last)
    }

    /// Hands the acks on as one. Dropping that one acknowledges.
    #[must_use]
    pub fn release(mut self) -> Ack {
        Ack::join(std::mem::take(&mut self.acks))
    }

    /// Another handle to everything that is kept.
    #[must_use]
    pub fn another_ack(&mut self) -> Ack {
        let ack = Ack::join(std::mem::take(&mut self.acks));
        self.add(ack.clone());
        ack
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.acks.iter().for_each(Ack::fail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Log(Mutex<Vec<(u64, Outcome)>>);

    impl AckSink for Log {
        fn settle(&self, id: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((id, outcome));
        }
    }

    fn log() -> (Arc<Log>, impl Fn(u64) -> Ack) {
        let log = Arc::new(Log::default());
        let sink = log.clone();
        (log, move |id| Ack::new(sink.clone(), id))
    }

    fn settled(log: &Log) -> Vec<(u64, Outcome)> {
        log.0.lock().unwrap().clone()
    }

    #[test]
    fn done_when_the_last_clone_is_dropped() {
        let (log, ack) = log();
        let first = ack(7);
        let second = first.clone();
        drop(first);
        assert!(settled(&log).is_empty());
        drop(second);
        assert_eq!(settled(&log), [(7, Outcome::Done)]);
    }

    #[test]
    fn the_last_handle_knows_that_it_is_and_not_when_another_has_failed() {
        let (_, ack) = log();
        let (first, second) = (ack(1), ack(2));
        let (held, joined) = (Held::new(first.clone()), Ack::join([first, second.clone()]));
        assert!(!held.is_last() && !second.is_last());
        joined.fail();
        drop(joined);
        assert!(!held.is_last() && !second.is_last(), "they have failed");
        assert!(ack(3).is_last() && Held::default().is_last());
        drop(held.release());
    }

    #[test]
    fn one_failed_clone_fails_the_input() {
        let (log, ack) = log();
        let first = ack(1);
        first.clone().fail();
        drop(first);
        assert_eq!(settled(&log), [(1, Outcome::Failed)]);
    }

    #[test]
    fn joined_inputs_settle_together_and_inherit_failure() {
        let (log, ack) = log();
        let (a, b) = (ack(1), ack(2));
        let joined = Ack::join([a.clone(), b.clone(), a.clone()]);
        drop((a, b));
        assert!(settled(&log).is_empty());
        joined.fail();
        drop(joined);
        let mut all = settled(&log);
        all.sort_by_key(|(id, _)| *id);
        assert_eq!(all, [(1, Outcome::Failed), (2, Outcome::Failed)]);
    }

    #[test]
    fn inputs_joined_in_order_settle_in_order() {
        let (log, ack) = log();
        drop(Ack::in_order([ack(3), ack(1), ack(2)]));
        assert_eq!(settled(&log), [(3, Outcome::Done), (1, Outcome::Done), (2, Outcome::Done)]);
    }

    #[test]
    fn a_held_ack_fails_when_dropped_and_not_when_released() {
        let (log, ack) = log();
        drop(Held::new(ack(1)));
        let mut held = Held::new(ack(2));
        held.absorb(Held::new(ack(3)));
        drop(held.release());
        let mut all = settled(&log);
        all.sort_by_key(|(id, _)| *id);
        assert_eq!(all, [(1, Outcome::Failed), (2, Outcome::Done), (3, Outcome::Done)]);
    }

    /// Joins, one in the other: `depth` of them, around one input each.
    fn nested(ack: &impl Fn(u64) -> Ack, depth: u64, join: impl Fn([Ack; 2]) -> Ack) -> Ack {
        (1..depth).fold(ack(0), |inner, id| join([inner, ack(id)]))
    }

    #[test]
    fn joins_nested_a_hundred_thousand_deep_are_dropped_on_a_small_stack() {
        const DEPTH: u64 = 100_000;
        let small = std::thread::Builder::new().stack_size(128 * 1024);
        let dropped = small.spawn(|| {
            let (log, ack) = log();
            drop(nested(&ack, DEPTH, Ack::join));
            assert_eq!(settled(&log).len(), usize::try_from(DEPTH).unwrap());
            let failed = nested(&ack, DEPTH, Ack::in_order);
            failed.fail();
            drop(failed);
            let all = settled(&log).split_off(usize::try_from(DEPTH).unwrap());
            assert!(all.iter().zip(0..).all(|(found, id)| *found == (id, Outcome::Failed)), "in order");
            assert_eq!(all.len(), usize::try_from(DEPTH).unwrap());
        });
        dropped.unwrap().join().unwrap();
    }

    #[test]
    fn a_join_inside_a_join_that_somebody_else_has_too_stays_open() {
        let (log, ack) = log();
        let inner = Ack::join([ack(1), ack(2)]);
        let other = inner.clone();
        let outer = Ack::join([inner, ack(3)]);
        outer.fail();
        drop(outer);
        assert_eq!(settled(&log), [(3, Outcome::Failed)]);
        drop(other);
        let mut all = settled(&log);
        all.sort_by_key(|(id, _)| *id);
        assert!(all.iter().all(|(_, outcome)| *outcome == Outcome::Failed) && all.len() == 3, "{all:?}");
    }

    /// Inputs of which one that is open keeps all later ones.
    #[derive(Default)]
    struct Ordered(Log);

    impl AckSink for Ordered {
        fn settle(&self, id: u64, outcome: Outcome) {
            self.0.settle(id, outcome);
        }

        fn is_ordered(&self) -> bool {
            true
        }
    }

    #[test]
    fn of_inputs_that_are_done_in_order_the_first_is_kept_for_all() {
        let lanes: Vec<Arc<Ordered>> = (0..64).map(|_| Arc::default()).collect();
        let ack = |lane: usize, id: u64| Ack::new(lanes[lane].clone(), id);
        let mut held = Held::default();
        // The first of each lane comes late in between.
        for id in [5, 3, 4, 1, 2].into_iter().chain(6..1000) {
            (0..lanes.len()).for_each(|lane| held.add(ack(lane, id)));
            assert!(held.len() <= 2 * lanes.len(), "{}", held.len());
        }
        let fired = held.another_ack();
        assert_eq!(held.len(), 1);
        for lane in &lanes {
            let done = settled(&lane.0);
            assert_eq!(done.len(), 998, "all but one are open no longer");
            assert!(done.iter().all(|(id, outcome)| *id != 1 && *outcome == Outcome::Done));
        }
        drop(fired);
        assert_eq!(settled(&lanes[0].0).len(), 998);
        drop(held);
        assert!(lanes.iter().all(|lane| settled(&lane.0).last() == Some(&(1, Outcome::Failed))));
    }

    #[test]
    fn a_panicking_owner_counts_as_failure() {
        let (log, ack) = log();
        let owned = ack(9);
        let result = std::thread::spawn(move || {
            let _kept = owned;
            panic!("on purpose");
        })
        .join();
        assert!(result.is_err());
        assert_eq!(settled(&log), [(9, Outcome::Failed)]);
    }
}
