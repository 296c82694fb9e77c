//! Several errors of one component at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Health, Status};

/// The errors of a component that are not over. The component has a recoverable error since the oldest of
/// them began; without any it works. Clones share the errors.
#[derive(Clone, Debug)]
pub struct Troubles {
    health: Health,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    errors: BTreeMap<u64, (String, Instant)>,
    next: u64,
}

/// One error. It is over when this is dropped.
#[derive(Debug)]
pub struct Trouble {
    of: Troubles,
    number: u64,
}

impl Troubles {
    /// No errors yet. Reports to this component's health from the first one on.
    #[must_use]
    pub fn new(health: Health) -> Troubles {
        Troubles { health, open: Arc::default() }
    }

    /// An error begins.
    #[must_use]
    pub fn begin(&self, error: &str) -> Trouble {
        self.begun(error, Instant::now())
    }

    /// An error that began then.
    #[must_use]
    pub fn begun(&self, error: &str, since: Instant) -> Trouble {
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        open.errors.insert(number, (error.to_owned(), since));
        self.report(&open);
        Trouble { of: self.clone(), number }
    }

    fn report(&self, open: &Open) {
        match open.errors.values().min_by_key(|(_, since)| *since) {
            Some((error, since)) => self.health.report_since(Status::RecoverableError(error.clone()), *since),
            None => self.health.report(Status::Ok),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// The same error with another text.
    pub fn update(&self, error: &str) {
        let mut open = self.of.lock();
        if let Some((text, _)) = open.errors.get_mut(&self.number) {
            error.clone_into(text);
        }
        self.of.report(&open);
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        let mut open = self.of.lock();
        open.errors.remove(&self.number);
        self.of.report(&open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_error_that_is_not_over_counts() {
        let health = Health::default();
        let troubles = Troubles::new(health.clone());
        let error = |text: &str| Status::RecoverableError(text.to_owned());
        let first = troubles.begin("one");
        let since = health.read().since;
        let second = troubles.begin("two");
        assert_eq!((health.read().status, health.read().since), (error("one"), since));
        first.update("one, again");
        assert_eq!((health.read().status, health.read().since), (error("one, again"), since));
        drop(first);
        assert_eq!(health.read().status, error("two"));
        assert!(health.read().since > since);
        drop(second);
        assert_eq!(health.read().status, Status::Ok);
    }
}
