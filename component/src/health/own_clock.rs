//! Whether the clock of this gateway is behind.
//!
//! A batch whose events are all from the future has two possible causes: the clock of its hosts is ahead, or
//! that of the gateway is behind. It is the gateway's when no lane has seen another event for [`ALONE_MS`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{Health, Status};

/// How long the events of a lane that are not from the future speak for the gateway's clock.
const ALONE_MS: i64 = 10_000;

/// The view that the lanes of one processor have of the gateway's clock.
#[derive(Debug)]
pub struct OwnClock {
    health: Health,
    /// When an event that was not from the future was seen last, by the clock.
    usable_at: AtomicI64,
    is_behind: AtomicBool,
}

impl OwnClock {
    /// Reports to this component's health.
    #[must_use]
    pub fn new(health: Health) -> OwnClock {
        OwnClock { health, usable_at: AtomicI64::new(i64::MIN), is_behind: AtomicBool::new(false) }
    }

    /// A batch came with an event that is not from the future. Cheap.
    pub fn usable(&self, now_ms: i64) {
        self.usable_at.store(now_ms, Ordering::Relaxed);
        if self.is_behind.load(Ordering::Relaxed) && self.is_behind.swap(false, Ordering::Relaxed) {
            self.health.report(Status::Ok);
        }
    }

    /// A batch came whose events are all from the future; the nearest by so much. Whether the clock is
    /// behind: that of `whose`.
    pub fn all_future(&self, now_ms: i64, nearest_ms: i64, whose: &str) -> bool {
        // A clock that was set back was not at that time yet.
        let since = now_ms.checked_sub(self.usable_at.load(Ordering::Relaxed));
        if since.is_some_and(|since| (0..ALONE_MS).contains(&since)) {
            return false;
        }
        self.is_behind.store(true, Ordering::Relaxed);
        let seconds = nearest_ms / 1000;
        self.health.report(Status::PermanentError(format!(
            "the clock of {whose} is behind: every event is at least {seconds} s in the future, and in no window; set the clock"
        )));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const OWN: &str = "this gateway";

    #[test]
    fn a_clock_is_behind_when_every_event_is_from_the_future() {
        let health = Health::default();
        let clock = OwnClock::new(health.clone());
        assert!(clock.all_future(5 * HOUR, 2 * HOUR, OWN));
        let error = health.read().status;
        assert!(matches!(&error, Status::PermanentError(text) if text.contains("7200 s")), "{error:?}");
        clock.usable(7 * HOUR);
        assert_eq!(health.read().status, Status::Ok);
    }

    #[test]
    fn one_lane_from_the_future_beside_others_is_not_the_gateways_clock() {
        let health = Health::default();
        let clock = OwnClock::new(health.clone());
        clock.usable(5 * HOUR);
        assert!(!clock.all_future(5 * HOUR + 9_000, 2 * HOUR, OWN));
        assert_eq!(health.read().status, Status::Starting);
        assert!(clock.all_future(5 * HOUR + 10_000, 2 * HOUR, OWN), "nothing else has come for ten seconds");
    }

    #[test]
    fn a_clock_that_is_set_back_is_noticed_at_once() {
        let clock = OwnClock::new(Health::default());
        clock.usable(5 * HOUR);
        assert!(clock.all_future(3 * HOUR, 2 * HOUR, OWN));
    }
}
