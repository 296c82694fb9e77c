//! Lengths of time as people write them: `7s`, `500ms`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A length of time, written as numbers with units: `ns`, `us`, `ms`, `s`, `m`, `h`, `d` (86400 s).
///
/// Parts may be joined (`1h30m`) and have decimals (`1.5s`). A number without unit is an error, except `0`.
/// `Display` gives the shortest such text; parsing it gives the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Duration(StdDuration);

/// Why a text is not a [`Duration`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("a duration is missing; write for example `7s`")]
    Empty,
    /// Below zero.
    #[error("`{0}` is negative; a duration cannot be")]
    Negative(String),
    /// A plain number.
    #[error("`{0}` has no unit; write for example `{0}s` or `{0}ms`")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("`{unit}` in `{text}` is not a unit of time; use ns, us, ms, s, m, h or d")]
    Unit {
        /// The whole text.
        text: String,
        /// The part that is no unit.
        unit: String,
    },
    /// Anything else.
    #[error("`{0}` is not a duration; write for example `7s`, `500ms`, `1h30m`")]
    Form(String),
    /// More than 2^64 seconds.
    #[error("`{0}` is too long")]
    TooLong(String),
}

impl Duration {
    /// Zero.
    pub const ZERO: Self = Self(StdDuration::ZERO);

    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(StdDuration::from_millis(millis))
    }

    /// As the standard type.
    #[must_use]
    pub const fn get(self) -> StdDuration {
        self.0
    }

    /// Whole milliseconds, cut off at `i64::MAX`.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// True for zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for StdDuration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl From<StdDuration> for Duration {
    fn from(duration: StdDuration) -> Self {
        Self(duration)
    }
}

/// Units by name, in nanoseconds. Longest first for `Display`.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || DurationError::Form(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(DurationError::Empty);
        }
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
        {
            return Err(DurationError::Negative(text.to_owned()));
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            if number.is_empty() {
                return Err(form());
            }
            if tail.is_empty() {
                return Err(DurationError::NoUnit(text.to_owned()));
            }
            let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let scale =
                UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale).ok_or_else(|| {
                    if unit.is_empty() {
                        form()
                    } else {
                        DurationError::Unit { text: text.to_owned(), unit: unit.to_owned() }
                    }
                })?;
            let part = decimal(number, scale).map_err(|overflow| {
                if overflow { DurationError::TooLong(text.to_owned()) } else { form() }
            })?;
            total = total.checked_add(part).ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
            rest = tail;
        }
        let too_long = |_| DurationError::TooLong(text.to_owned());
        let seconds = u64::try_from(total / 1_000_000_000).map_err(too_long)?;
        let nanos = u32::try_from(total % 1_000_000_000).map_err(too_long)?;
        Ok(Self(StdDuration::new(seconds, nanos)))
    }
}

/// `number` times `scale`, rounded down. `Err(true)` is overflow, `Err(false)` is not a number.
pub(crate) fn decimal(number: &str, scale: u128) -> Result<u128, bool> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(false);
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| true)? };
    let mut value = whole.checked_mul(scale).ok_or(true)?;
    let mut unit = scale;
    for digit in fraction.chars().take(30) {
        // Exact down to the smallest unit: scale is a multiple of a power of ten or two, the rest is cut off.
        let digit = u128::from(digit.to_digit(10).ok_or(false)?);
        value += digit * unit / 10;
        unit /= 10;
        if unit == 0 {
            break;
        }
    }
    Ok(value)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, scale) in UNITS {
            if rest >= scale {
                write!(f, "{}{name}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `7s`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, nanos) in [
            ("7s", 7_000_000_000),
            ("500ms", 500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1d", 86_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.25ms", 250_000),
            ("10us", 10_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().get().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, why) in [
            ("7", "`7` has no unit; write for example `7s` or `7ms`"),
            ("-3s", "`-3s` is negative; a duration cannot be"),
            ("-3", "`-3` is negative; a duration cannot be"),
            ("7 s", "`7 s` is not a duration; write for example `7s`, `500ms`, `1h30m`"),
            ("7parsecs", "`parsecs` in `7parsecs` is not a unit of time; use ns, us, ms, s, m, h or d"),
            ("soon", "`soon` is not a duration; write for example `7s`, `500ms`, `1h30m`"),
            ("", "a duration is missing; write for example `7s`"),
            ("99999999999999999999999d", "`99999999999999999999999d` is too long"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap_err().to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn display_round_trips(seconds: u64, nanos in 0u32..1_000_000_000) {
            let duration = Duration(StdDuration::new(seconds, nanos));
            prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<Duration>();
        }
    }
}
