//! Acknowledgement by ownership: who still needs an input keeps an [`Ack`] to it.
//!
//! * A receiver makes an ack for the inputs of a batch. Cloning the batch clones the ack.
//! * When the last clone is dropped the inputs are *done*, unless [`Ack::fail`] was called or a thread was
//!   panicking: then they are *failed*. The sink is told exactly once.
//! * A clone that waits somewhere (in a queue, in an open window) is kept as [`Held`]. Dropping a
//!   `Held` without [`Held::release`] counts as failure, so a cancelled task never acknowledges.
//! * Where inputs are done in order ([`AckSink::is_ordered`]) the first of several is enough to keep all of
//!   them. So what a window holds does not grow with its batches.
//! * Joins may be nested as deep as they like: dropping them does not recurse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The outcome of the inputs behind an [`Ack`].
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

    /// Whether an input that is not done, or has failed, keeps all inputs with a higher id from counting as
    /// done. Then who needs several of them keeps only the one with the lowest id.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Whether inputs that fail come again: their position is kept, or who sent them is told. If not, what
    /// becomes of them must not depend on it.
    fn reads_again(&self) -> bool {
        true
    }

    /// Whether inputs wait for the windows that they are in. If not, they are done when their events are
    /// delivered, and a crash loses their share in windows that are open: a client that waits for an answer
    /// cannot wait for a window.
    fn waits_for_windows(&self) -> bool {
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

    /// An ack without an input.
    #[must_use]
    pub const fn none() -> Ack {
        Ack(None)
    }

    /// One ack for all of these inputs. Repeated handles to the same inputs are kept once, and of inputs that
    /// are done in order only the first.
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

    /// The inputs that wait for what is made of their events over time, such as windows: those that
    /// [wait for windows](AckSink::waits_for_windows).
    #[must_use]
    pub fn for_windows(&self) -> Ack {
        let mut inputs = Vec::new();
        let mut todo = vec![self];
        while let Some(ack) = todo.pop() {
            match ack.0.as_ref().map(|inner| &inner.target) {
                Some(Target::Input { sink, .. }) if sink.waits_for_windows() => inputs.push(ack),
                Some(Target::Joined(parts)) => todo.extend(parts),
                Some(Target::Input { .. }) | None => {}
            }
        }
        match inputs.as_slice() {
            [only] if only.same_as(self) => self.clone(),
            _ => Ack::join(inputs.into_iter().cloned()),
        }
    }

    /// Whether every other handle is gone, and none of them has failed the inputs: dropping this one
    /// acknowledges them.
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

    /// Where the ack belongs among others, and its place there: those of one ordered sink are together, the
    /// first of them first; others are alone.
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

/// Lets go of these acks one after the other, and of what they alone have joined. Without recursion: joins
/// are nested as deep as a pipeline makes them.
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
mod tests;
