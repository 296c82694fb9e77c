//! The times at which a rule is active: `workdays 08:00-20:00 Asia/Shanghai`.
//!
//! * Days, then hours, then a time zone; each may be left out: every day, the whole day, UTC.
//! * Days are `daily`, `workdays` (Monday to Friday), `weekends`, or names with commas and ranges:
//!   `mon,wed,fri`, `mon-thu`, `sat-sun`.
//! * Hours are `HH:MM-HH:MM`, without the last minute's end; `24:00` is the end of the day. Hours that end
//!   before they begin go on after midnight, and belong to the day on which they begin.
//! * Clocks that are put forward or back are those of the zone.

use std::fmt::{self, Display};
use std::sync::Arc;

use chrono::{DateTime, Datelike, Timelike, Utc};
use chrono_tz::Tz;

/// Several of them: a moment within one is enough. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ActiveTimes(Arc<[Times]>);

#[derive(Clone, Debug, PartialEq)]
struct Times {
    /// From Monday.
    days: [bool; 7],
    /// Minutes of the day.
    from: u32,
    to: u32,
    zone: Tz,
}

/// Why a text names no times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoTimes(String);

impl Display for NoTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; write for example `workdays 08:00-20:00 Asia/Shanghai`", self.0)
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u32 = 24 * 60;
const NANOS: i64 = 1_000_000_000;

impl ActiveTimes {
    /// Of texts as in the module's description; there is at least one.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<ActiveTimes, NoTimes> {
        let times: Vec<Times> = texts.into_iter().map(times).collect::<Result<_, _>>()?;
        if times.is_empty() {
            return Err(NoTimes("no times are given".to_owned()));
        }
        Ok(ActiveTimes(times.into()))
    }

    /// Whether a moment, in nanoseconds since 1970, is within them.
    pub(crate) fn contains(&self, at: i64) -> bool {
        let Some(at) = DateTime::<Utc>::from_timestamp(at.div_euclid(NANOS), 0) else { return false };
        self.0.iter().any(|times| times.contains(at))
    }
}

impl Times {
    fn contains(&self, at: DateTime<Utc>) -> bool {
        let local = at.with_timezone(&self.zone);
        let (minute, day) = (local.hour() * 60 + local.minute(), local.weekday().num_days_from_monday());
        let is_day = |day: u32| self.days.get(day as usize % 7).copied().unwrap_or(false);
        if self.from < self.to {
            return is_day(day) && (self.from..self.to).contains(&minute);
        }
        is_day(day) && minute >= self.from || is_day(day + 6) && minute < self.to
    }
}

fn times(text: &str) -> Result<Times, NoTimes> {
    let mut times = Times { days: [true; 7], from: 0, to: DAY, zone: Tz::UTC };
    let mut words = text.split_whitespace().peekable();
    if words.peek().is_none() {
        return Err(NoTimes("the text is empty".to_owned()));
    }
    if let Some(days) = words.peek().and_then(|word| days(word)) {
        times.days = days;
        words.next();
    }
    if let Some(word) = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        (times.from, times.to) =
            hours(word).ok_or_else(|| NoTimes(format!("`{word}` are no hours of a day")))?;
    }
    if let Some(word) = words.next() {
        times.zone = word.parse().map_err(|_| {
            NoTimes(format!("`{word}` is neither days, nor hours, nor a time zone of the tz database"))
        })?;
    }
    match words.next() {
        Some(word) => Err(NoTimes(format!("`{word}` comes after days, hours and zone"))),
        None => Ok(times),
    }
}

fn days(word: &str) -> Option<[bool; 7]> {
    let word = word.to_lowercase();
    let (from, to) = match word.as_str() {
        "daily" => (0, 6),
        "workdays" => (0, 4),
        "weekends" => (5, 6),
        _ => (7, 0),
    };
    let mut days = [false; 7];
    if from <= to {
        days[from..=to].fill(true);
        return Some(days);
    }
    let number = |name: &str| DAYS.iter().position(|day| *day == name);
    for part in word.split(',') {
        let (from, to) = part.split_once(['-', '–']).unwrap_or((part, part));
        let (mut day, to) = (number(from)?, number(to)?);
        loop {
            *days.get_mut(day)? = true;
            if day == to {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

/// Minutes of the day.
fn hours(word: &str) -> Option<(u32, u32)> {
    let (from, to) = word.split_once(['-', '–'])?;
    let minute = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let two = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok())?;
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
    };
    let (from, to) = (minute(from)?, minute(to)?);
    (from != to && from < DAY).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(times: &str, moments: &[(&str, bool)]) {
        let times = ActiveTimes::parse([times]).unwrap();
        for (moment, is_within) in moments {
            let at = DateTime::parse_from_rfc3339(moment).unwrap().timestamp() * NANOS;
            assert_eq!(times.contains(at), *is_within, "{moment}");
        }
    }

    #[test]
    fn workdays_are_those_of_the_zone() {
        // 2026-11-30 is a Monday.
        within(
            "workdays 08:00-20:00 Asia/Shanghai",
            &[
                ("2026-11-30T08:00:00+08:00", true),
                ("2026-11-30T07:59:59+08:00", false),
                ("2026-11-30T19:59:59+08:00", true),
                ("2026-11-30T20:00:00+08:00", false),
                ("2026-11-28T12:00:00+08:00", false),
                ("2026-11-29T23:59:00Z", false),
                ("2026-11-30T00:00:00Z", true),
            ],
        );
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        within(
            "fri 22:00–06:00",
            &[
                ("2026-11-27T22:00:00Z", true),
                ("2026-11-28T05:59:59Z", true),
                ("2026-11-28T06:00:00Z", false),
                ("2026-11-27T05:00:00Z", false),
                ("2026-11-28T22:00:00Z", false),
            ],
        );
    }

    #[test]
    fn clocks_that_are_put_forward_are_those_of_the_zone() {
        // Berlin: +1 until 2026-03-29, +2 from then on.
        let moments = [("2026-03-28T08:00:00+01:00", true), ("2026-03-30T08:00:00+02:00", true)];
        within("daily 08:00-09:00 Europe/Berlin", &moments);
        within("daily 08:00-09:00 Europe/Berlin", &[("2026-03-30T07:30:00Z", false)]);
    }

    #[test]
    fn each_part_may_be_left_out() {
        within("sat-sun", &[("2026-11-28T00:00:00Z", true), ("2026-11-30T00:00:00Z", false)]);
        within("23:00-24:00", &[("2026-11-28T23:59:59Z", true), ("2026-11-28T22:59:59Z", false)]);
        within("Asia/Tokyo", &[("2026-11-28T23:59:59Z", true)]);
        within("mon,wed-thu", &[("2026-12-03T00:00:00Z", true), ("2026-12-01T00:00:00Z", false)]);
    }

    #[test]
    fn what_names_no_times_is_said() {
        for (text, why) in [
            ("", "the text is empty"),
            ("workdays 8-20", "`8-20` are no hours of a day"),
            ("daily 08:00-25:00", "`08:00-25:00` are no hours of a day"),
            ("08:00-08:00", "`08:00-08:00` are no hours of a day"),
            ("workday", "`workday` is neither days, nor hours, nor a time zone of the tz database"),
            ("daily UTC 08:00-20:00", "`08:00-20:00` comes after days, hours and zone"),
        ] {
            assert_eq!(ActiveTimes::parse([text]).unwrap_err(), NoTimes(why.to_owned()), "{text}");
        }
    }
}
