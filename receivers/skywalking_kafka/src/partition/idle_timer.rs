//! How long a partition has been idle. Sans-IO: time is an argument.
//!
//! A partition is idle when it is read to its end, its lane has taken everything, and its broker answers.
//! Time in which the pipeline holds the lane up does not count, nor time without the broker: records may be
//! waiting then.

use std::time::{Duration, Instant};

/// How often the lane gets a report.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Whether and since when a partition is idle.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    at_end: bool,
    reachable: bool,
    since: Instant,
    reported: Instant,
}

impl IdleTimer {
    /// A partition of which nothing is known yet.
    pub(crate) fn new(now: Instant) -> IdleTimer {
        IdleTimer { at_end: false, reachable: true, since: now, reported: now }
    }

    /// A record came.
    pub(crate) fn got_record(&mut self) {
        self.at_end = false;
    }

    /// The partition is read to its end. Returns whether that is news.
    pub(crate) fn reached_end(&mut self, now: Instant) -> bool {
        let news = !self.at_end;
        if news {
            self.at_end = true;
            self.restart(now);
        }
        news
    }

    /// Whether the partition's broker answers.
    pub(crate) fn set_reachable(&mut self, reachable: bool, now: Instant) {
        if reachable && !self.reachable {
            self.restart(now);
        }
        self.reachable = reachable;
    }

    /// The lane has just taken something.
    pub(crate) fn delivered(&mut self, now: Instant) {
        self.restart(now);
    }

    /// When the next report is due; `None` while not idle.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        (self.at_end && self.reachable).then(|| self.reported + REPORT_EVERY)
    }

    /// How long it has been idle, when a report is due now.
    pub(crate) fn report(&mut self, now: Instant) -> Option<Duration> {
        if self.next_report()? > now {
            return None;
        }
        self.reported = now;
        Some(now.saturating_duration_since(self.since))
    }

    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.reported = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_lane_is_told_every_second_from_the_end_on() {
        let start = Instant::now();
        let mut idle = IdleTimer::new(start);
        assert_eq!(idle.next_report(), None, "not before the end is reached");
        assert!(idle.reached_end(start + SECOND));
        assert!(
            !idle.reached_end(start + SECOND + SECOND / 2),
            "the same end again does not restart the clock"
        );
        assert_eq!(idle.report(start + SECOND), None);
        assert_eq!(idle.report(start + 2 * SECOND), Some(SECOND));
        assert_eq!(idle.report(start + 2 * SECOND), None);
        assert_eq!(idle.report(start + 4 * SECOND), Some(3 * SECOND));
    }

    #[test]
    fn a_record_ends_it() {
        let start = Instant::now();
        let mut idle = IdleTimer::new(start);
        idle.reached_end(start);
        idle.got_record();
        assert_eq!(idle.report(start + 9 * SECOND), None);
        idle.reached_end(start + 9 * SECOND);
        assert_eq!(idle.report(start + 10 * SECOND), Some(SECOND));
    }

    #[test]
    fn time_in_which_the_lane_was_held_up_does_not_count() {
        let start = Instant::now();
        let mut idle = IdleTimer::new(start);
        idle.reached_end(start);
        idle.delivered(start + 60 * SECOND);
        assert_eq!(idle.report(start + 60 * SECOND), None);
        assert_eq!(idle.report(start + 61 * SECOND), Some(SECOND));
    }

    #[test]
    fn time_without_the_broker_does_not_count() {
        let start = Instant::now();
        let mut idle = IdleTimer::new(start);
        idle.reached_end(start);
        idle.set_reachable(false, start + SECOND);
        assert_eq!(idle.report(start + 30 * SECOND), None);
        idle.set_reachable(true, start + 30 * SECOND);
        assert_eq!(idle.report(start + 31 * SECOND), Some(SECOND));
        idle.set_reachable(true, start + 31 * SECOND);
        assert_eq!(idle.report(start + 32 * SECOND), Some(2 * SECOND));
    }
}
