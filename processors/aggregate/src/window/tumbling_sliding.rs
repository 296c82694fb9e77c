//! Windows at fixed places: tumbling and sliding ones, and calendar days.
//!
//! They are cut into *slices*: an event
//! goes into one slice, and a window is the sum of its slices. A tumbling window is one slice.

use chrono_tz::Tz;
use weir_component::Watermark;

use crate::window::calendar_days::Days;
use crate::window::span::{NANOS, Span};

/// Windows at fixed places, and the slices they are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slices {
    /// Side by side. `|offset| < size`.
    Tumbling {
        /// The length.
        size: i64,
        /// Where a window starts.
        offset: i64,
    },
    /// Whole days of a time zone.
    Days(Days),
    /// A window of `size` every `slide`. `|offset| < slide`.
    Sliding {
        /// The length of a window.
        size: i64,
        /// From the start of a window to that of the next.
        slide: i64,
        /// Where a window starts.
        offset: i64,
        /// The greatest common divisor of both.
        slice: i64,
    },
}

/// The slice of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SliceAt {
    /// Into this slice.
    Slice(Span),
    /// Between two windows.
    Gap,
    /// Its windows are beyond what a timestamp in nanoseconds can hold (years 1677 to 2262).
    OutOfRange,
}

impl Slices {
    /// Side by side. `size` is above 0 and `|offset| < size`: the configuration checks it.
    pub(crate) const fn tumbling(size: i64, offset: i64) -> Slices {
        Slices::Tumbling { size, offset }
    }

    /// Sliding. `size` and `slide` are above 0 and `|offset| < slide`: the configuration checks it.
    pub(crate) const fn sliding(size: i64, slide: i64, offset: i64) -> Slices {
        Slices::Sliding { size, slide, offset, slice: gcd(size, slide) }
    }

    /// Whole days of a zone. `days` is above 0 and `|offset| < days`: the configuration checks it.
    pub(crate) const fn days(zone: Tz, days: i64, offset: i64) -> Slices {
        Slices::Days(Days::new(zone, days, offset))
    }

    /// The most slices that a window has.
    pub(crate) const fn per_window(&self) -> i64 {
        match self {
            Slices::Tumbling { .. } | Slices::Days(_) => 1,
            Slices::Sliding { size, slice, .. } => *size / *slice,
        }
    }

    /// The longest window in milliseconds.
    pub(crate) const fn longest(&self) -> i64 {
        match self {
            Slices::Tumbling { size, .. } | Slices::Sliding { size, .. } => *size,
            Slices::Days(days) => days.longest(),
        }
    }

    /// The slice that holds `time`.
    pub(crate) fn slice_at(&self, time: i64) -> SliceAt {
        // Every window that holds it must have bounds in nanoseconds.
        let reach = self.longest();
        let fits = |time: Option<i64>| time.is_some_and(|time| time.checked_mul(NANOS).is_some());
        if !fits(time.checked_sub(reach)) || !fits(time.checked_add(reach)) {
            return SliceAt::OutOfRange;
        }
        match self {
            Slices::Tumbling { size, offset } => {
                let start = time - (time - offset).rem_euclid(*size);
                SliceAt::Slice(Span { start, end: start + size })
            }
            Slices::Days(days) => days.window(time).map_or(SliceAt::OutOfRange, SliceAt::Slice),
            Slices::Sliding { slice, offset, .. } => {
                let start = time - (time - offset).rem_euclid(*slice);
                let span = Span { start, end: start + slice };
                if self.last_window(span).is_some() { SliceAt::Slice(span) } else { SliceAt::Gap }
            }
        }
    }

    /// The last window that this slice belongs to. `None`: it is between two windows.
    pub(crate) fn last_window(&self, slice: Span) -> Option<Span> {
        let Slices::Sliding { size, slide, offset, .. } = self else { return Some(slice) };
        let start = slice.start - (slice.start - offset).rem_euclid(*slide);
        let window = Span { start, end: start + size };
        (window.end >= slice.end).then_some(window)
    }

    /// The windows that this slice belongs to, the earliest first.
    pub(crate) fn windows(&self, slice: Span) -> impl Iterator<Item = Span> {
        self.windows_after(slice, Watermark::MIN)
    }

    /// The windows that this slice belongs to and that are not over at this watermark, the earliest first.
    pub(crate) fn windows_after(&self, slice: Span, watermark: Watermark) -> impl Iterator<Item = Span> {
        let last = self.last_window(slice);
        let (mut next, size, slide) = match (self, last) {
            (Slices::Sliding { size, slide, .. }, Some(last)) => {
                // The last start of a window that this slice is not in, or that is over.
                let before = (slice.end - size - 1).max(watermark.0.saturating_add(1).saturating_sub(*size));
                let back = (last.start.saturating_sub(before) - 1).max(-1).div_euclid(*slide);
                (last.start - back * slide, *size, *slide)
            }
            _ => (if slice.is_over(watermark) { i64::MAX } else { slice.start }, slice.millis(), 1),
        };
        let last = last.map_or(i64::MIN, |last| last.start);
        std::iter::from_fn(move || {
            let start = next;
            next = next.saturating_add(slide);
            (start <= last).then(|| Span { start, end: start + size })
        })
    }
}

const fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::floor_ms;

    fn slice(slices: &Slices, time: i64) -> Span {
        match slices.slice_at(time) {
            SliceAt::Slice(span) => span,
            other => panic!("{time}: {other:?}"),
        }
    }

    fn starts(size: i64, offset: i64, times: &[i64]) -> Vec<i64> {
        times.iter().map(|time| slice(&Slices::tumbling(size, offset), *time).start).collect()
    }

    fn windows(slices: &Slices, time: i64) -> Vec<i64> {
        slices.windows(slice(slices, time)).map(|window| window.start).collect()
    }

    #[test]
    fn v2_window_starts() {
        assert_eq!(starts(7, 0, &[1, 6, 7, 8]), [0, 0, 7, 7]);
        assert_eq!(starts(7, 3, &[1, 2, 3, 9, 10]), [-4, -4, 3, 3, 10]);
        assert_eq!(starts(7, -2, &[1, -2, 3, 4, 7, 12]), [-2, -2, -2, -2, 5, 12]);
        assert_eq!(starts(86_400_000, -28_800_000, &[1_470_902_048_450]), [1_470_844_800_000]);
    }

    #[test]
    fn v3_the_sliding_windows_of_an_event() {
        let sliding = Slices::sliding(5000, 1000, 0);
        assert_eq!(windows(&sliding, 0), [-4000, -3000, -2000, -1000, 0]);
        assert_eq!(windows(&sliding, 4999), [0, 1000, 2000, 3000, 4000]);
        assert_eq!(windows(&sliding, 5000), [1000, 2000, 3000, 4000, 5000]);
        assert!(sliding.windows(slice(&sliding, 0)).all(|window| window.millis() == 5000));
        assert_eq!(windows(&Slices::sliding(5000, 1000, 100), 100), [-3900, -2900, -1900, -900, 100]);
    }

    #[test]
    fn v4_tumbling_windows_with_an_offset() {
        assert_eq!(starts(5000, 100, &[100, 5099, 5100]), [100, 100, 5100]);
        assert_eq!(starts(5000, -100, &[0, 4900]), [-100, 4900]);
        assert_eq!(slice(&Slices::tumbling(5000, -100), 0).end, 4900);
    }

    #[test]
    fn a_slide_that_does_not_divide_the_size_has_smaller_slices() {
        let sliding = Slices::sliding(5, 3, 0);
        assert_eq!(sliding.per_window(), 5);
        for time in -20..20 {
            let expected: Vec<i64> =
                (-30..30).map(|n| n * 3).filter(|start| *start <= time && time < start + 5).collect();
            assert_eq!(windows(&sliding, time), expected, "{time}");
        }
    }

    #[test]
    fn a_slide_longer_than_the_size_leaves_gaps() {
        let sliding = Slices::sliding(4, 6, 1);
        let held: Vec<i64> =
            (-5..14).filter(|time| matches!(sliding.slice_at(*time), SliceAt::Slice(_))).collect();
        assert_eq!(held, [-5, -4, -3, -2, 1, 2, 3, 4, 7, 8, 9, 10, 13]);
        assert_eq!(sliding.slice_at(5), SliceAt::Gap);
        assert_eq!(windows(&sliding, 10), [7]);
    }

    #[test]
    fn a_window_is_over_when_the_watermark_reaches_its_last_millisecond() {
        let window = Span { start: 0, end: 3000 };
        assert!(!window.is_over(Watermark(2998)));
        assert!(window.is_over(Watermark(2999)));
        assert!(!window.is_over(Watermark::MIN));
        assert!(!window.is_closed(10, Watermark(3008)));
        assert!(window.is_closed(10, Watermark(3009)));
        assert!(!window.is_closed(i64::MAX, Watermark(i64::MAX - 1)), "it saturates");
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_have_no_window() {
        for time in [i64::MIN, floor_ms(i64::MIN), floor_ms(i64::MAX), i64::MAX] {
            for slices in [
                Slices::tumbling(7000, 0),
                Slices::sliding(7000, 1000, 0),
                Slices::days(chrono_tz::Asia::Shanghai, 1, 0),
            ] {
                assert_eq!(slices.slice_at(time), SliceAt::OutOfRange, "{time}");
            }
        }
    }
}
