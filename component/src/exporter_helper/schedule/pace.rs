//! How often exports of one signal may start.

use std::time::Duration;

use tokio::time::Instant;
use weir_pdata::Signal;

/// Limits the starts a second for each signal, evenly spaced.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two starts; zero: no limit.
    interval: Duration,
    next: [Instant; Signal::ALL.len()],
}

impl Pace {
    /// `per_second` 0: no limit.
    pub(super) fn new(per_second: u32, now: Instant) -> Pace {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Pace { interval, next: [now; Signal::ALL.len()] }
    }

    /// When the next export of this signal may start.
    pub(super) fn next(&self, signal: Signal) -> Instant {
        self.next[signal as usize]
    }

    /// An export of this signal started at `now`.
    pub(super) fn started(&mut self, signal: Signal, now: Instant) {
        self.next[signal as usize] = now + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_one_signal_keep_their_distance() {
        let now = Instant::now();
        let mut pace = Pace::new(20, now);
        pace.started(Signal::Traces, now);
        assert_eq!(pace.next(Signal::Traces), now + Duration::from_millis(50));
        assert_eq!(pace.next(Signal::Windows), now);
        let mut free = Pace::new(0, now);
        free.started(Signal::Traces, now);
        assert_eq!(free.next(Signal::Traces), now);
    }
}
