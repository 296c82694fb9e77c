//! Whether a lane is idle: it has brought nothing usable for a while.

use std::time::Duration;

/// Silence between two batches counts up to this, in milliseconds. Sources without input say so about once a
/// second, so a longer silence is back-pressure, which is not idleness.
const LONGEST_SILENCE: i64 = 1_000;

/// Decides when a lane is idle, so that it does not hold the watermark of the others.
///
/// A batch is usable when one of its rows has a time that may move the watermark. A lane is idle when its
/// source says that nothing came for `timeout`, and when only unusable batches came for that long.
#[derive(Debug)]
pub struct IdleDetector {
    timeout: Duration,
    /// Wall-clock time of the last batch, in milliseconds.
    last_batch: Option<i64>,
    /// How long there have been only unusable batches.
    unusable: Duration,
}

impl IdleDetector {
    /// A lane that has brought nothing so far, and is idle after `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> IdleDetector {
        IdleDetector { timeout, last_batch: None, unusable: Duration::ZERO }
    }

    /// A batch has come at `now`, in milliseconds. `Some`: the lane is idle, and has been for this long.
    pub fn batch(&mut self, now: i64, is_usable: bool) -> Option<Duration> {
        let last = self.last_batch.replace(now);
        if is_usable {
            self.unusable = Duration::ZERO;
            return None;
        }
        let silence = last.map_or(0, |last| now.saturating_sub(last).clamp(0, LONGEST_SILENCE));
        self.unusable += Duration::from_millis(silence.unsigned_abs());
        self.idle_for(self.unusable)
    }

    /// The source has said that nothing came for this long. `Some`: the lane is idle.
    #[must_use]
    pub fn silence(&self, silence: Duration) -> Option<Duration> {
        self.idle_for(silence)
    }

    /// For how long there have been only unusable batches.
    #[must_use]
    pub fn unusable(&self) -> Duration {
        self.unusable
    }

    fn idle_for(&self, time: Duration) -> Option<Duration> {
        (time >= self.timeout).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle_after(seconds: u64) -> IdleDetector {
        IdleDetector::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_silent_source_is_idle_after_the_timeout() {
        let mut idle = idle_after(30);
        assert_eq!(idle.batch(0, true), None);
        assert_eq!(idle.silence(Duration::from_millis(29_999)), None);
        assert_eq!(idle.silence(Duration::from_secs(30)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn batches_without_a_usable_time_add_up_and_a_usable_one_ends_that() {
        let mut idle = idle_after(2);
        assert_eq!(idle.batch(0, false), None, "the first batch follows no silence");
        assert_eq!(idle.batch(1_000, false), None);
        assert_eq!(idle.batch(1_900, true), None);
        assert_eq!(idle.batch(2_900, false), None);
        assert_eq!(idle.batch(3_900, false), Some(Duration::from_secs(2)));
    }

    #[test]
    fn back_pressure_and_a_clock_that_is_set_back_are_no_idleness() {
        let mut idle = idle_after(3);
        idle.batch(0, false);
        assert_eq!(idle.batch(60_000, false), None, "a minute of back-pressure counts as a second");
        assert_eq!(idle.batch(0, false), None);
        assert_eq!(idle.unusable(), Duration::from_secs(1));
    }
}
