//! Acknowledgement by ownership: who still needs an input keeps an [`Ack`] to it.
//!
//! * A receiver makes an ack for the inputs of a batch. Cloning the batch clones the ack.
//! * When the last clone is dropped the inputs are *done*, unless somebody called [`Ack::fail`]
//!   or a thread was panicking: then they are *failed*. The sink is told exactly once.
//! * A clone that waits somewhere (in a queue, in an open window) is kept as [`Held`]. Dropping a
//!   `Held` without [`Held::release`] counts as failure, so a cancelled task never acknowledges.

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
}

/// A cheap handle to "these inputs". See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Ack(Option<Arc<Inner>>);

struct Inner {
    failed: AtomicBool,
    target: Target,
}

enum Target {
    Source { sink: Arc<dyn AckSink>, id: u64 },
    Joined(Vec<Ack>),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Source { id, .. } => write!(f, "input {id}"),
            Target::Joined(parts) => f.debug_list().entries(parts).finish(),
        }
    }
}

impl Ack {
    /// An ack for the inputs that `sink` knows as `id`.
    #[must_use]
    pub fn new(sink: Arc<dyn AckSink>, id: u64) -> Ack {
        Ack(Some(Arc::new(Inner { failed: AtomicBool::new(false), target: Target::Source { sink, id } })))
    }

    /// An ack that nobody waits for.
    #[must_use]
    pub const fn none() -> Ack {
        Ack(None)
    }

    /// One ack for all of these inputs. Repeated handles to the same inputs are kept once.
    #[must_use]
    pub fn join(acks: impl IntoIterator<Item = Ack>) -> Ack {
        let mut parts: Vec<Ack> = acks.into_iter().filter(|ack| ack.0.is_some()).collect();
        parts.sort_unstable_by_key(Ack::address);
        parts.dedup_by_key(|ack| ack.address());
        match parts.len() {
            0 => Ack(None),
            1 => parts.swap_remove(0),
            _ => Ack(Some(Arc::new(Inner { failed: AtomicBool::new(false), target: Target::Joined(parts) }))),
        }
    }

    /// One ack for all of these inputs, which settle in this order.
    #[must_use]
    pub fn in_order(acks: impl IntoIterator<Item = Ack>) -> Ack {
        let parts: Vec<Ack> = acks.into_iter().filter(|ack| ack.0.is_some()).collect();
        Ack(Some(Arc::new(Inner { failed: AtomicBool::new(false), target: Target::Joined(parts) })))
    }

    /// Marks the inputs as failed, whatever other clones do.
    pub fn fail(&self) {
        if let Some(inner) = &self.0 {
            inner.failed.store(true, Ordering::Release);
        }
    }

    /// Whether both are handles to the very same inputs (clones of one ack).
    #[must_use]
    pub fn same_as(&self, other: &Ack) -> bool {
        self.address() == other.address()
    }

    fn address(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| Arc::as_ptr(inner).addr())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let failed = *self.failed.get_mut() || std::thread::panicking();
        match &self.target {
            Target::Source { sink, id } => {
                let outcome = if failed { Outcome::Failed } else { Outcome::Done };
                sink.settle(*id, outcome);
            }
            Target::Joined(parts) if failed => parts.iter().for_each(Ack::fail),
            Target::Joined(_) => {}
        }
    }
}

/// Acks kept while their batch or window waits. Dropping it fails them; [`release`](Self::release) does not.
#[derive(Debug, Default)]
pub struct Held(Vec<Ack>);

impl Held {
    /// Keeps one ack.
    #[must_use]
    pub fn new(ack: Ack) -> Held {
        let mut held = Held::default();
        held.add(ack);
        held
    }

    /// Keeps one more ack. An ack equal to the one added last is kept once.
    pub fn add(&mut self, ack: Ack) {
        if ack.0.is_some() && !self.0.last().is_some_and(|last| last.same_as(&ack)) {
            self.0.push(ack);
        }
    }

    /// Keeps everything that `other` keeps.
    pub fn absorb(&mut self, mut other: Held) {
        self.0.append(&mut other.0);
    }

    /// Hands the acks on as one. Dropping that one acknowledges.
    #[must_use]
    pub fn release(mut self) -> Ack {
        Ack::join(std::mem::take(&mut self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.iter().for_each(Ack::fail);
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
