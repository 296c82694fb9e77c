//! Rate-limited logging: the first lines of a flood, then a count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Lets a log line through at most once per interval and counts the rest.
///
/// ```
/// # use weir_component::LogLimit;
/// let limit = LogLimit::every_ms(10_000);
/// assert_eq!(limit.allow(0), Some(0));
/// assert_eq!(limit.allow(5_000), None);
/// assert_eq!(limit.allow(10_000), Some(1), "one line was held back");
/// ```
#[derive(Debug)]
pub struct LogLimit {
    interval_ms: i64,
    next_ms: AtomicI64,
    held_back: AtomicU64,
}

impl LogLimit {
    /// At most one line per `interval_ms`.
    #[must_use]
    pub const fn every_ms(interval_ms: i64) -> LogLimit {
        LogLimit { interval_ms, next_ms: AtomicI64::new(i64::MIN), held_back: AtomicU64::new(0) }
    }

    /// Whether to log now. `Some(n)`: yes, and `n` lines were held back since the last one.
    pub fn allow(&self, now_ms: i64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        let won = now_ms >= next
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
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}
