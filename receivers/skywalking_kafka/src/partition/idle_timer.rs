//! How long a partition has had nothing to give. Sans-IO: time is an argument.
//!
//! A partition is quiet from the moment when it is read to its end, all it gave has gone down the lane, and its broker
//! answers. A pipeline that holds the lane up, or a broker that is away, is not quiet: nobody knows what would come.

use std::time::{Duration, Instant};

/// How often the lane is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Whether and since when a partition is quiet.
#[derive(Debug)]
pub(crate) struct Quiet {
    at_end: bool,
    reachable: bool,
    since: Instant,
    told: Instant,
}

impl Quiet {
    /// A partition of which nothing is known yet.
    pub(crate) fn new(now: Instant) -> Quiet {
        Quiet { at_end: false, reachable: true, since: now, told: now }
    }

    /// A record came.
    pub(crate) fn record(&mut self) {
        self.at_end = false;
    }

    /// The partition is read to its end. Returns whether that is news.
    pub(crate) fn end(&mut self, now: Instant) -> bool {
        let news = !self.at_end;
        if news {
            self.at_end = true;
            self.restart(now);
        }
        news
    }

    /// Whether the partition's broker answers.
    pub(crate) fn reachable(&mut self, reachable: bool, now: Instant) {
        if reachable && !self.reachable {
            self.restart(now);
        }
        self.reachable = reachable;
    }

    /// The lane has just taken something.
    pub(crate) fn delivered(&mut self, now: Instant) {
        self.restart(now);
    }

    /// When the lane is to be told next; `None` while not quiet.
    pub(crate) fn tell_at(&self) -> Option<Instant> {
        (self.at_end && self.reachable).then(|| self.told + TELL_EVERY)
    }

    /// How long it has been quiet, when the lane is to be told now.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<Duration> {
        if self.tell_at()? > now {
            return None;
        }
        self.told = now;
        Some(now.saturating_duration_since(self.since))
    }

    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.told = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_lane_is_told_every_second_from_the_end_on() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        assert_eq!(quiet.tell_at(), None, "not before the end is reached");
        assert!(quiet.end(start + SECOND));
        assert!(!quiet.end(start + SECOND + SECOND / 2), "the same end again does not restart the clock");
        assert_eq!(quiet.tell(start + SECOND), None);
        assert_eq!(quiet.tell(start + 2 * SECOND), Some(SECOND));
        assert_eq!(quiet.tell(start + 2 * SECOND), None);
        assert_eq!(quiet.tell(start + 4 * SECOND), Some(3 * SECOND));
    }

    #[test]
    fn a_record_ends_it() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        quiet.end(start);
        quiet.record();
        assert_eq!(quiet.tell(start + 9 * SECOND), None);
        quiet.end(start + 9 * SECOND);
        assert_eq!(quiet.tell(start + 10 * SECOND), Some(SECOND));
    }

    #[test]
    fn time_in_which_the_lane_was_held_up_does_not_count() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        quiet.end(start);
        quiet.delivered(start + 60 * SECOND);
        assert_eq!(quiet.tell(start + 60 * SECOND), None);
        assert_eq!(quiet.tell(start + 61 * SECOND), Some(SECOND));
    }

    #[test]
    fn time_without_the_broker_does_not_count() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        quiet.end(start);
        quiet.reachable(false, start + SECOND);
        assert_eq!(quiet.tell(start + 30 * SECOND), None);
        quiet.reachable(true, start + 30 * SECOND);
        assert_eq!(quiet.tell(start + 31 * SECOND), Some(SECOND));
        quiet.reachable(true, start + 31 * SECOND);
        assert_eq!(quiet.tell(start + 32 * SECOND), Some(2 * SECOND));
    }
}
