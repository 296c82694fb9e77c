//! How long an owner that is cut off may still act as the owner.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An owner that is cut off does not learn that its lanes have moved. But lanes move only after it has been
/// silent for the length of the lease, which is the session timeout of its group. Cheap to clone; clones
/// share the state.
#[derive(Clone, Debug, Default)]
pub struct Lease(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    length: Duration,
    /// When the last request that was answered was sent.
    heard: Mutex<Option<Instant>>,
}

impl Shared {
    fn end(&self) -> Option<Instant> {
        Some((*self.heard.lock().unwrap_or_else(PoisonError::into_inner))? + self.length)
    }
}

impl Lease {
    /// A lease of this length, which does not hold yet. The default one always holds.
    #[must_use]
    pub fn new(length: Duration) -> Lease {
        Lease(Some(Arc::new(Shared { length, heard: Mutex::default() })))
    }

    /// A request sent at `sent` was answered, and only an owner gets an answer.
    pub fn renew(&self, sent: Instant) {
        if let Some(shared) = &self.0 {
            let mut heard = shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
            *heard = (*heard).max(Some(sent));
        }
    }

    /// Whether no one else can be the owner at `now`.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.end().is_some_and(|end| now < end))
    }

    /// Whether it holds for a quarter of its length from `now` on, at least: what begins now has time to
    /// leave.
    #[must_use]
    pub fn holds_for_a_while(&self, now: Instant) -> bool {
        self.holds(now + self.0.as_ref().map_or(Duration::ZERO, |shared| shared.length / 4))
    }

    /// When it ends, unless it is renewed. `None`: it never does, or it does not hold yet.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.0.as_ref()?.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_for_its_length_after_the_last_request_that_was_answered_was_sent() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let lease = Lease::new(10 * second);
        assert!(!lease.holds(now), "nothing was heard");
        lease.clone().renew(now);
        assert!(lease.holds(now + 9 * second) && !lease.holds(now + 10 * second));
        lease.renew(now + 5 * second);
        lease.renew(now + 3 * second);
        assert!(lease.holds(now + 14 * second) && !lease.holds(now + 15 * second));
        assert_eq!(lease.end(), Some(now + 15 * second));
        assert!(lease.holds_for_a_while(now + 12 * second) && !lease.holds_for_a_while(now + 13 * second));
        assert!(Lease::default().holds(now + 1_000_000 * second));
        assert_eq!(Lease::default().end(), None);
    }
}
