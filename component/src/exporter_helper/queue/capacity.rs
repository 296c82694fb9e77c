//! The capacity of a bounded queue, and who gets it next.
//!
//! Exports should be large, and an export of a lane holds rows of that lane only. So while the queue is full,
//! released room goes to the lane with the most waiting bytes, until it has enough for an export; among
//! equals the first waiter gets it. A lane whose export has started has nothing waiting, so every lane gets
//! its turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::exporter_helper::schedule::ranges::Amount;

/// The capacity of one queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct QueueCapacity(Arc<Shared>);

struct Shared {
    total: u64,
    /// Rows and bytes of one lane that are enough for an export.
    enough: Amount,
    state: Mutex<State>,
}

struct State {
    free: u64,
    waiters: VecDeque<Waiter>,
    /// The waiting rows and bytes of each lane, by the number of its route. A lane without waiting rows has
    /// no entry.
    lanes: HashMap<u64, Amount>,
}

struct Waiter {
    lane: Option<u64>,
    amount: Amount,
    grant: oneshot::Sender<QueuePermit>,
}

/// Room for one batch, released when this is dropped.
pub(crate) struct QueuePermit {
    capacity: QueueCapacity,
    bytes: u64,
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.capacity.release(self.bytes);
    }
}

impl QueueCapacity {
    /// A capacity of this many bytes, for lanes whose exports should have `enough`.
    pub(crate) fn new(total: u64, enough: Amount) -> QueueCapacity {
        let state = State { free: total, waiters: VecDeque::new(), lanes: HashMap::new() };
        QueueCapacity(Arc::new(Shared { total, enough, state: Mutex::new(state) }))
    }

    /// Waits for room; `full` is called when there is none at once. A batch larger than the whole capacity
    /// waits until all of it is free.
    pub(crate) async fn acquire(
        &self,
        lane: Option<u64>,
        amount: Amount,
        full: impl FnOnce(),
    ) -> Option<QueuePermit> {
        let granted = {
            let mut state = self.lock();
            if state.waiters.is_empty()
                && let Some(bytes) = self.fits(&state, amount)
            {
                return Some(self.grant(&mut state, lane, amount, bytes));
            }
            let (grant, granted) = oneshot::channel();
            state.waiters.push_back(Waiter { lane, amount, grant });
            granted
        };
        full();
        granted.await.ok()
    }

    /// A permit, when there is room for it and no one waits.
    pub(crate) fn try_acquire(&self, lane: Option<u64>, amount: Amount) -> Option<QueuePermit> {
        let mut state = self.lock();
        let bytes = self.fits(&state, amount).filter(|_| state.waiters.is_empty())?;
        Some(self.grant(&mut state, lane, amount, bytes))
    }

    /// Whether a sender waits for room.
    pub(crate) fn has_waiters(&self) -> bool {
        self.lock().waiters.iter().any(|waiter| !waiter.grant.is_closed())
    }

    /// An export of this lane has started, with this amount of what waits of the lane.
    pub(crate) fn export_started(&self, lane: u64, amount: Amount) {
        let mut state = self.lock();
        let Some(waiting) = state.lanes.get_mut(&lane) else { return };
        waiting.rows = waiting.rows.saturating_sub(amount.rows);
        waiting.bytes = waiting.bytes.saturating_sub(amount.bytes);
        if waiting.bytes == 0 {
            state.lanes.remove(&lane);
        }
    }

    /// The bytes to take for this amount, if they are free.
    fn fits(&self, state: &State, amount: Amount) -> Option<u64> {
        let bytes = amount.bytes.min(self.0.total);
        (bytes <= state.free).then_some(bytes)
    }

    fn grant(&self, state: &mut State, lane: Option<u64>, amount: Amount, bytes: u64) -> QueuePermit {
        state.free -= bytes;
        if let Some(lane) = lane {
            let waiting = state.lanes.entry(lane).or_default();
            waiting.rows += amount.rows;
            waiting.bytes += amount.bytes;
        }
        QueuePermit { capacity: self.clone(), bytes }
    }

    fn release(&self, bytes: u64) {
        self.lock().free += bytes;
        // A permit whose waiter has gone is released at once, outside the lock.
        while let Some((grant, permit)) = self.next_grant() {
            drop(grant.send(permit));
        }
    }

    /// The waiter that gets room now, and its permit.
    fn next_grant(&self) -> Option<(oneshot::Sender<QueuePermit>, QueuePermit)> {
        let mut state = self.lock();
        state.waiters.retain(|waiter| !waiter.grant.is_closed());
        let rank = |waiter: &Waiter| {
            let waiting = waiter.lane.and_then(|lane| state.lanes.get(&lane)).copied().unwrap_or_default();
            if waiting.reaches(self.0.enough) { 0 } else { waiting.bytes }
        };
        // Among equals `max_by_key` takes the last, which in reverse order is the first waiter.
        let (at, first) = state.waiters.iter().enumerate().rev().max_by_key(|(_, waiter)| rank(waiter))?;
        let bytes = self.fits(&state, first.amount)?;
        let Waiter { lane, amount, grant } = state.waiters.remove(at)?;
        let permit = self.grant(&mut state, lane, amount, bytes);
        Some((grant, permit))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Option<QueuePermit>>>>;

    const TEN: Amount = Amount { rows: 10, bytes: 10 };

    fn capacity() -> QueueCapacity {
        QueueCapacity::new(40, Amount { rows: 25, bytes: 1000 })
    }

    fn wants(capacity: &QueueCapacity, lane: u64, amount: Amount) -> Waiting {
        let capacity = capacity.clone();
        let mut wanting: Waiting = Box::pin(async move { capacity.acquire(Some(lane), amount, || {}).await });
        assert!(now(&mut wanting).is_none(), "the space is full");
        wanting
    }

    fn now(waiting: &mut Waiting) -> Option<QueuePermit> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => permit,
            Poll::Pending => None,
        }
    }

    fn has(capacity: &QueueCapacity, lane: u64, amount: Amount) -> QueuePermit {
        let capacity = capacity.clone();
        let mut wanting: Waiting =
            Box::pin(async move { capacity.acquire(Some(lane), amount, || panic!("there is space")).await });
        now(&mut wanting).unwrap()
    }

    #[test]
    fn the_lane_of_which_most_waits_comes_first_until_it_is_enough() {
        let capacity = capacity();
        let mut permits: Vec<QueuePermit> = [1, 2, 2, 3].map(|lane| has(&capacity, lane, TEN)).into();
        let (mut one, mut two, mut two_again) =
            (wants(&capacity, 1, TEN), wants(&capacity, 2, TEN), wants(&capacity, 2, TEN));
        permits.pop();
        assert!(now(&mut one).is_none());
        permits.push(now(&mut two).expect("of lane 2 most waits"));
        permits.pop();
        assert!(now(&mut two_again).is_none(), "30 rows are enough");
        permits.push(now(&mut one).unwrap());
        capacity.export_started(1, Amount { rows: 20, bytes: 20 });
        let mut three = wants(&capacity, 3, TEN);
        capacity.export_started(2, Amount { rows: 30, bytes: 30 });
        drop(permits);
        assert!(now(&mut two_again).is_some() && now(&mut three).is_some());
    }

    #[test]
    fn among_equals_the_first_comes_first() {
        let capacity = capacity();
        let all = has(&capacity, 1, Amount { rows: 1, bytes: 40 });
        let mut first = wants(&capacity, 2, Amount { rows: 1, bytes: 30 });
        let mut second = wants(&capacity, 3, Amount { rows: 1, bytes: 30 });
        drop(all);
        assert!(now(&mut second).is_none());
        let first = now(&mut first).unwrap();
        assert!(now(&mut second).is_none() && capacity.has_waiters());
        drop(first);
        assert!(now(&mut second).is_some() && !capacity.has_waiters());
    }

    #[test]
    fn what_is_larger_than_the_space_waits_for_all_of_it() {
        let capacity = capacity();
        let small = has(&capacity, 1, Amount { rows: 1, bytes: 1 });
        let mut large = wants(&capacity, 2, Amount { rows: 1, bytes: 500 });
        drop(small);
        let large = now(&mut large).unwrap();
        let mut next = wants(&capacity, 1, Amount { rows: 1, bytes: 1 });
        drop(large);
        assert!(now(&mut next).is_some());
    }

    #[test]
    fn who_gives_up_keeps_nothing() {
        let capacity = capacity();
        let all = has(&capacity, 1, Amount { rows: 1, bytes: 40 });
        let gone = wants(&capacity, 2, Amount { rows: 1, bytes: 40 });
        let mut next = wants(&capacity, 3, Amount { rows: 1, bytes: 40 });
        drop(gone);
        assert!(capacity.has_waiters());
        drop(all);
        drop(now(&mut next).unwrap());
        drop(has(&capacity, 4, Amount { rows: 1, bytes: 40 }));
    }
}
