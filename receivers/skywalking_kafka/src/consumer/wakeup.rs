//! Wakes the thread that reads Kafka.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Something to wait for. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Wakeup(Arc<Shared>);

#[derive(Default)]
struct Shared {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wakeup {
    /// Ends the wait that is going on, or the next one.
    pub(crate) fn wake(&self) {
        *self.0.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_one();
    }

    /// Waits until it is woken, at most this long.
    pub(crate) fn wait(&self, most: Duration) {
        let woken = self.0.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(woken, most, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_counts_once() {
        let wakeup = Wakeup::default();
        wakeup.wake();
        wakeup.wait(Duration::from_secs(1_000));
        wakeup.wait(Duration::ZERO);
        let other = wakeup.clone();
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(1_000)));
        wakeup.wake();
        thread.join().unwrap();
    }
}
