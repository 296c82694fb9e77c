//! A stretch of time in milliseconds: `start ≤ t < end`.

use weir_component::Watermark;

/// Nanoseconds in a millisecond.
pub(crate) const NANOS: i64 = 1_000_000;

/// A time in nanoseconds as milliseconds, rounded down.
pub(crate) const fn floor_ms(nanos: i64) -> i64 {
    nanos.div_euclid(NANOS)
}

/// `[start, end)` in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    /// The first millisecond.
    pub(crate) start: i64,
    /// The millisecond after the last.
    pub(crate) end: i64,
}

impl Span {
    /// The last millisecond: a window fires when the watermark reaches it.
    pub(crate) const fn last(self) -> i64 {
        self.end.saturating_sub(1)
    }

    /// Its length in milliseconds.
    pub(crate) const fn millis(self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether no more events are expected for it.
    pub(crate) fn is_over(self, watermark: Watermark) -> bool {
        self.last() <= watermark.0
    }

    /// Whether nothing more is taken for it, not even late events.
    pub(crate) fn is_closed(self, lateness: i64, watermark: Watermark) -> bool {
        self.last().saturating_add(lateness) <= watermark.0
    }

    /// Whether it holds this time.
    pub(crate) const fn holds(self, time: i64) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether both overlap, or one begins where the other ends.
    pub(crate) const fn touches(self, other: Span) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The span from the first start to the last end.
    pub(crate) fn cover(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_meet_touch() {
        let span = |start, end| Span { start, end };
        assert!(span(0, 3).touches(span(3, 6)) && span(3, 6).touches(span(0, 3)));
        assert!(!span(0, 3).touches(span(4, 6)));
        assert_eq!(span(0, 3).cover(span(2, 9)), span(0, 9));
    }

    #[test]
    fn times_are_floored_also_before_1970() {
        assert_eq!([floor_ms(1_999_999), floor_ms(-1), floor_ms(-1_000_000)], [1, -1, -1]);
    }
}
