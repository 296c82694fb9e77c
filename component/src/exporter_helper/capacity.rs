//! The space of a bounded queue, and who gets it next.
//!
//! Exports should be large, and those of a lane are made of that lane alone. So while the queue is full, space that gets free goes to
//! the lane of which most waits already, until that is enough for an export; among equals to who came first. A lane whose export has
//! begun has nothing waiting, so every lane has its turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::ranges::Amount;

/// The space of one queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct Space(Arc<Shared>);

struct Shared {
    capacity: u64,
    /// What of a lane is enough for an export.
    enough: Amount,
    state: Mutex<State>,
}

struct State {
    free: u64,
    waiters: VecDeque<Waiter>,
    /// What waits of each lane, by the number of its route. A lane of which nothing waits has no entry.
    lanes: HashMap<u64, Amount>,
}

struct Waiter {
    lane: Option<u64>,
    amount: Amount,
    grant: oneshot::Sender<Part>,
}

/// A part of the space, which is free again when this is dropped.
pub(super) struct Part {
    space: Space,
    bytes: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.space.free(self.bytes);
    }
}

impl Space {
    /// Space for so many bytes, of lanes whose exports should have `enough`.
    pub fn new(capacity: u64, enough: Amount) -> Space {
        let state = State { free: capacity, waiters: VecDeque::new(), lanes: HashMap::new() };
        Space(Arc::new(Shared { capacity, enough, state: Mutex::new(state) }))
    }

    /// Waits for space; `full` is called when there is none at once. What is larger than all of it waits until all of it is free.
    pub async fn take(&self, lane: Option<u64>, amount: Amount, full: impl FnOnce()) -> Option<Part> {
        let granted = {
            let mut state = self.lock();
            if state.waiters.is_empty()
                && let Some(bytes) = self.fits(&state, amount)
            {
                return Some(self.give(&mut state, lane, amount, bytes));
            }
            let (grant, granted) = oneshot::channel();
            state.waiters.push_back(Waiter { lane, amount, grant });
            granted
        };
        full();
        granted.await.ok()
    }

    /// Space, when it is free and nobody waits for it.
    pub fn try_take(&self, lane: Option<u64>, amount: Amount) -> Option<Part> {
        let mut state = self.lock();
        let bytes = self.fits(&state, amount).filter(|_| state.waiters.is_empty())?;
        Some(self.give(&mut state, lane, amount, bytes))
    }

    /// Whether somebody waits.
    pub fn is_wanted(&self) -> bool {
        self.lock().waiters.iter().any(|waiter| !waiter.grant.is_closed())
    }

    /// An export of this lane has begun, with so much of what waits of it.
    pub fn begun(&self, lane: u64, amount: Amount) {
        let mut state = self.lock();
        let Some(waiting) = state.lanes.get_mut(&lane) else { return };
        waiting.rows = waiting.rows.saturating_sub(amount.rows);
        waiting.bytes = waiting.bytes.saturating_sub(amount.bytes);
        if waiting.bytes == 0 {
            state.lanes.remove(&lane);
        }
    }

    /// The bytes to take for this amount, when they are free.
    fn fits(&self, state: &State, amount: Amount) -> Option<u64> {
        let bytes = amount.bytes.min(self.0.capacity);
        (bytes <= state.free).then_some(bytes)
    }

    fn give(&self, state: &mut State, lane: Option<u64>, amount: Amount, bytes: u64) -> Part {
        state.free -= bytes;
        if let Some(lane) = lane {
            let waiting = state.lanes.entry(lane).or_default();
            waiting.rows += amount.rows;
            waiting.bytes += amount.bytes;
        }
        Part { space: self.clone(), bytes }
    }

    fn free(&self, bytes: u64) {
        self.lock().free += bytes;
        // A part that nobody takes any more is free again at once, and not under the lock.
        while let Some((grant, part)) = self.next() {
            drop(grant.send(part));
        }
    }

    /// Who gets space now, and the part that it gets.
    fn next(&self) -> Option<(oneshot::Sender<Part>, Part)> {
        let mut state = self.lock();
        state.waiters.retain(|waiter| !waiter.grant.is_closed());
        let rank = |waiter: &Waiter| {
            let waiting = waiter.lane.and_then(|lane| state.lanes.get(&lane)).copied().unwrap_or_default();
            if waiting.reaches(self.0.enough) { 0 } else { waiting.bytes }
        };
        // Of equals the last in reverse order: who came first.
        let (at, first) = state.waiters.iter().enumerate().rev().max_by_key(|(_, waiter)| rank(waiter))?;
        let bytes = self.fits(&state, first.amount)?;
        let Waiter { lane, amount, grant } = state.waiters.remove(at)?;
        let part = self.give(&mut state, lane, amount, bytes);
        Some((grant, part))
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

    type Waiting = Pin<Box<dyn Future<Output = Option<Part>>>>;

    const TEN: Amount = Amount { rows: 10, bytes: 10 };

    fn space() -> Space {
        Space::new(40, Amount { rows: 25, bytes: 1000 })
    }

    fn wants(space: &Space, lane: u64, amount: Amount) -> Waiting {
        let space = space.clone();
        let mut wanting: Waiting = Box::pin(async move { space.take(Some(lane), amount, || {}).await });
        assert!(now(&mut wanting).is_none(), "the space is full");
        wanting
    }

    fn now(waiting: &mut Waiting) -> Option<Part> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(part) => part,
            Poll::Pending => None,
        }
    }

    fn has(space: &Space, lane: u64, amount: Amount) -> Part {
        let space = space.clone();
        let mut wanting: Waiting =
            Box::pin(async move { space.take(Some(lane), amount, || panic!("there is space")).await });
        now(&mut wanting).unwrap()
    }

    #[test]
    fn the_lane_of_which_most_waits_comes_first_until_it_is_enough() {
        let space = space();
        let mut parts: Vec<Part> = [1, 2, 2, 3].map(|lane| has(&space, lane, TEN)).into();
        let (mut one, mut two, mut two_again) =
            (wants(&space, 1, TEN), wants(&space, 2, TEN), wants(&space, 2, TEN));
        parts.pop();
        assert!(now(&mut one).is_none());
        parts.push(now(&mut two).expect("of lane 2 most waits"));
        parts.pop();
        assert!(now(&mut two_again).is_none(), "30 rows are enough");
        parts.push(now(&mut one).unwrap());
        space.begun(1, Amount { rows: 20, bytes: 20 });
        let mut three = wants(&space, 3, TEN);
        space.begun(2, Amount { rows: 30, bytes: 30 });
        drop(parts);
        assert!(now(&mut two_again).is_some() && now(&mut three).is_some());
    }

    #[test]
    fn among_equals_the_first_comes_first() {
        let space = space();
        let all = has(&space, 1, Amount { rows: 1, bytes: 40 });
        let mut first = wants(&space, 2, Amount { rows: 1, bytes: 30 });
        let mut second = wants(&space, 3, Amount { rows: 1, bytes: 30 });
        drop(all);
        assert!(now(&mut second).is_none());
        let first = now(&mut first).unwrap();
        assert!(now(&mut second).is_none() && space.is_wanted());
        drop(first);
        assert!(now(&mut second).is_some() && !space.is_wanted());
    }

    #[test]
    fn what_is_larger_than_the_space_waits_for_all_of_it() {
        let space = space();
        let small = has(&space, 1, Amount { rows: 1, bytes: 1 });
        let mut large = wants(&space, 2, Amount { rows: 1, bytes: 500 });
        drop(small);
        let large = now(&mut large).unwrap();
        let mut next = wants(&space, 1, Amount { rows: 1, bytes: 1 });
        drop(large);
        assert!(now(&mut next).is_some());
    }

    #[test]
    fn who_gives_up_keeps_nothing() {
        let space = space();
        let all = has(&space, 1, Amount { rows: 1, bytes: 40 });
        let gone = wants(&space, 2, Amount { rows: 1, bytes: 40 });
        let mut next = wants(&space, 3, Amount { rows: 1, bytes: 40 });
        drop(gone);
        assert!(space.is_wanted());
        drop(all);
        drop(now(&mut next).unwrap());
        drop(has(&space, 4, Amount { rows: 1, bytes: 40 }));
    }
}
