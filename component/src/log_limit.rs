//! Rate-limited logging: the first lines of a flood, then a count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Shorter steps back are threads that read the clock in one order and come here in another.
const STEP_BACK_MS: i64 = 1_000;

/// Lets a log line through at most once per interval and counts the rest. Times are those of the wall clock;
/// when that is set back, a new interval begins: the log is never silent for longer than the interval.
///
/// ```
/// # use weir_component::LogLimit;
/// let limit = LogLimit::every_ms(10_000);
/// assert_eq!(limit.allow(0), Some(0));
/// assert_eq!(limit.allow(5_000), None);
/// assert_eq!(limit.allow(10_000), Some(1), "one line was suppressed");
/// ```
#[derive(Debug)]
pub struct LogLimit {
    interval_ms: i64,
    next_ms: AtomicI64,
    suppressed: AtomicU64,
}

impl LogLimit {
    /// At most one line per `interval_ms`.
    #[must_use]
    pub const fn every_ms(interval_ms: i64) -> LogLimit {
        LogLimit { interval_ms, next_ms: AtomicI64::new(i64::MIN), suppressed: AtomicU64::new(0) }
    }

    /// Whether to log now. `Some(n)`: yes, and `n` lines were suppressed since the last one.
    pub fn allow(&self, now_ms: i64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        let before = next.saturating_sub(self.interval_ms);
        let set_back = now_ms < before.saturating_sub(STEP_BACK_MS);
        let won = (now_ms >= next || set_back)
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms.saturating_add(self.interval_ms),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if won {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_the_log() {
        let limit = LogLimit::every_ms(10_000);
        assert_eq!(limit.allow(5 * HOUR), Some(0));
        assert_eq!(limit.allow(5 * HOUR + 1), None);
        assert_eq!(limit.allow(HOUR), Some(1), "four hours back");
        assert_eq!(limit.allow(HOUR + 9_999), None, "the limit holds by the new time");
        assert_eq!(limit.allow(HOUR + 10_000), Some(1));
        assert_eq!(limit.allow(i64::MIN), Some(0));
        assert_eq!(limit.allow(i64::MAX), Some(0));
    }

    #[test]
    fn threads_that_come_in_another_order_are_no_step_back() {
        let limit = LogLimit::every_ms(10_000);
        assert_eq!(limit.allow(HOUR), Some(0));
        assert_eq!(limit.allow(HOUR - 500), None);
    }
}
