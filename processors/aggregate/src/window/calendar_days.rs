//! Windows of whole days in a time zone.
//!
//! A day begins at the first instant at which the zone's calendar shows its date (or a later one): at
//! midnight, or, when the clocks skip midnight, when they are set forward. So a day has 23, 24 or 25 hours
//! where clocks change, and days neither overlap nor leave gaps.

use chrono::{DateTime, Days as Count, LocalResult, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;

use crate::window::span::Span;

const HOUR: i64 = 3_600_000;

/// Windows of `count` days, counted from 1 January 1970 + `offset` days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days {
    zone: Tz,
    count: i64,
    offset: i64,
}

impl Days {
    /// `count` is above 0.
    pub(crate) const fn new(zone: Tz, count: i64, offset: i64) -> Days {
        Days { zone, count, offset }
    }

    /// The zone, the number of days and the offset, as they are written.
    pub(crate) fn written(&self) -> String {
        format!("{} {} {}", self.zone.name(), self.count, self.offset)
    }

    /// More than the longest window, in milliseconds: clocks are set by less than two days in all.
    pub(crate) const fn longest(&self) -> i64 {
        (self.count * 24 + 48) * HOUR
    }

    /// The window that holds `time` (milliseconds). `None` beyond the calendar.
    pub(crate) fn window(&self, time: i64) -> Option<Span> {
        let local = DateTime::from_timestamp_millis(time)?.with_timezone(&self.zone).date_naive();
        let today = local.signed_duration_since(NaiveDate::default()).num_days();
        let mut first = today - (today - self.offset).rem_euclid(self.count);
        // Clocks set back over midnight show the old date again after the new day has begun.
        while self.day_start(first + self.count)? <= time {
            first += self.count;
        }
        while self.day_start(first)? > time {
            first -= self.count;
        }
        Some(Span { start: self.day_start(first)?, end: self.day_start(first + self.count)? })
    }

    /// When a day begins, in milliseconds. Days are counted from 1 January 1970.
    fn day_start(&self, day: i64) -> Option<i64> {
        let count = Count::new(day.unsigned_abs());
        let epoch = NaiveDate::default();
        let date = if day < 0 { epoch.checked_sub_days(count) } else { epoch.checked_add_days(count) }?;
        let midnight = date.and_time(NaiveTime::MIN);
        match self.zone.from_local_datetime(&midnight) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.timestamp_millis()),
            LocalResult::None => {
                // Midnight is skipped: find when. The clocks show less before, and midnight or more after.
                let reached = |time: i64| {
                    let utc = DateTime::from_timestamp_millis(time)?;
                    Some(utc.with_timezone(&self.zone).naive_local() >= midnight)
                };
                let (mut before, mut after) = {
                    let utc = midnight.and_utc().timestamp_millis();
                    (utc - 48 * HOUR, utc + 48 * HOUR)
                };
                while after - before > 1 {
                    let middle = before + (after - before) / 2;
                    if reached(middle)? {
                        after = middle;
                    } else {
                        before = middle;
                    }
                }
                Some(after)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn window(zone: Tz, days: i64, offset: i64, time: &str) -> Span {
        Days::new(zone, days, offset).window(at(time)).unwrap()
    }

    fn span(start: &str, end: &str) -> Span {
        Span { start: at(start), end: at(end) }
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        let day = window(chrono_tz::Asia::Shanghai, 1, 0, "2026-11-21T17:00:00Z");
        assert_eq!(day, span("2026-11-22T00:00:00+08:00", "2026-11-23T00:00:00+08:00"));
        assert_eq!(window(chrono_tz::Asia::Shanghai, 1, 0, "2026-11-21T16:00:00Z"), day);
        assert_ne!(window(chrono_tz::Asia::Shanghai, 1, 0, "2026-11-21T15:59:59.999Z"), day);
    }

    #[test]
    fn days_on_which_clocks_change_have_23_and_25_hours() {
        let berlin = chrono_tz::Europe::Berlin;
        let spring = window(berlin, 1, 0, "2026-03-29T12:00:00Z");
        assert_eq!(spring, span("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"));
        assert_eq!(spring.millis(), 23 * HOUR);
        assert_eq!(window(berlin, 1, 0, "2026-10-25T12:00:00Z").millis(), 25 * HOUR);
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_when_the_clocks_are_set() {
        let day = window(chrono_tz::America::Sao_Paulo, 1, 0, "2018-11-04T12:00:00Z");
        assert_eq!(day, span("2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"));
    }

    #[test]
    fn a_date_that_never_was_has_no_window() {
        let apia = chrono_tz::Pacific::Apia;
        let before = window(apia, 1, 0, "2011-12-29T12:00:00-10:00");
        let after = window(apia, 1, 0, "2011-12-31T12:00:00+14:00");
        assert_eq!(before.end, after.start);
        assert_eq!((before.millis(), after.millis()), (24 * HOUR, 24 * HOUR));
    }

    #[test]
    fn days_follow_each_other_without_gap_also_where_clocks_go_back_over_midnight() {
        for (zone, from) in [
            (chrono_tz::America::St_Johns, "2006-10-27T12:00:00Z"),
            (chrono_tz::America::Havana, "2026-10-30T12:00:00Z"),
            (chrono_tz::America::Sao_Paulo, "2018-02-15T12:00:00Z"),
            (chrono_tz::Asia::Tehran, "2022-03-20T12:00:00Z"),
        ] {
            let days = Days::new(zone, 1, 0);
            let mut day = days.window(at(from)).unwrap();
            for _ in 0..5 {
                let next = days.window(day.end).unwrap();
                assert_eq!(next.start, day.end, "{zone}");
                for time in (day.start..day.end).step_by(600_000) {
                    assert_eq!(days.window(time), Some(day), "{zone}");
                }
                day = next;
            }
        }
    }

    #[test]
    fn weeks_start_on_the_day_that_the_offset_says() {
        // 1 January 1970 was a Thursday: 4 days later is a Monday.
        let week = window(chrono_tz::Europe::Paris, 7, 4, "2026-11-21T12:00:00Z");
        assert_eq!(week, span("2026-11-16T00:00:00+01:00", "2026-11-23T00:00:00+01:00"));
    }
}
