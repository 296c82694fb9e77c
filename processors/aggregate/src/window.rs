//! Which window an event belongs to. Tumbling windows; other kinds would join [`Tumbling`] here.

use weir_component::Watermark;

/// Nanoseconds in a millisecond.
pub const NANOS: i64 = 1_000_000;

/// Windows `[start, start + size)` side by side, from `offset` on. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    size: i64,
    offset: i64,
}

/// A time in nanoseconds as milliseconds, rounded down.
pub const fn floor_ms(nanos: i64) -> i64 {
    nanos.div_euclid(NANOS)
}

impl Tumbling {
    /// `size` must be above 0 and `offset` between -`size` and `size`, both excluded: the configuration checks it.
    pub const fn new(size: i64, offset: i64) -> Tumbling {
        Tumbling { size, offset }
    }

    /// The length of a window in milliseconds.
    pub const fn size(self) -> i64 {
        self.size
    }

    /// The start of the window that holds `time`. `None` when its bounds are beyond what a timestamp in nanoseconds
    /// can hold (years 1677 to 2262).
    pub fn start(self, time: i64) -> Option<i64> {
        let start = time.checked_sub(time.checked_sub(self.offset)?.rem_euclid(self.size))?;
        self.end(start).checked_mul(NANOS)?;
        start.checked_mul(NANOS)?;
        Some(start)
    }

    /// The end, excluded, of the window that starts at `start`.
    pub const fn end(self, start: i64) -> i64 {
        start.saturating_add(self.size)
    }

    /// Whether no more events are expected for the window that starts at `start`.
    pub fn is_over(self, start: i64, watermark: Watermark) -> bool {
        self.end(start) - 1 <= watermark.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(size: i64, offset: i64, times: &[i64]) -> Vec<i64> {
        times.iter().map(|time| Tumbling::new(size, offset).start(*time).unwrap()).collect()
    }

    #[test]
    fn v2_window_starts() {
        assert_eq!(starts(7, 0, &[1, 6, 7, 8]), [0, 0, 7, 7]);
        assert_eq!(starts(7, 3, &[1, 2, 3, 9, 10]), [-4, -4, 3, 3, 10]);
        assert_eq!(starts(7, -2, &[1, -2, 3, 4, 7, 12]), [-2, -2, -2, -2, 5, 12]);
        assert_eq!(starts(86_400_000, -28_800_000, &[1_470_902_048_450]), [1_470_844_800_000]);
    }

    #[test]
    fn v4_tumbling_windows_with_an_offset() {
        assert_eq!(starts(5000, 100, &[100, 5099, 5100]), [100, 100, 5100]);
        assert_eq!(starts(5000, -100, &[0, 4900]), [-100, 4900]);
        assert_eq!(Tumbling::new(5000, -100).end(-100), 4900);
    }

    #[test]
    fn a_window_is_over_when_the_watermark_reaches_its_last_millisecond() {
        let windows = Tumbling::new(3000, 0);
        assert!(!windows.is_over(0, Watermark(2998)));
        assert!(windows.is_over(0, Watermark(2999)));
        assert!(!windows.is_over(0, Watermark::MIN));
        assert!(windows.is_over(i64::MAX / NANOS / 3000 * 3000, Watermark::MAX));
    }

    #[test]
    fn times_are_floored_also_before_1970() {
        assert_eq!([floor_ms(1_999_999), floor_ms(-1), floor_ms(-1_000_000)], [1, -1, -1]);
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_have_no_window() {
        for time in [i64::MIN, floor_ms(i64::MIN), floor_ms(i64::MAX), i64::MAX] {
            assert_eq!(Tumbling::new(7000, 0).start(time), None, "{time}");
        }
    }
}
