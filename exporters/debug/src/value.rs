//! One value of a batch as text for people: units, times, and nothing that a terminal would obey.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt32Type,
};
use weir_pdata::text::TextColumn;

/// The longest text that is shown of one value, characters.
pub(crate) const MAX_TEXT: usize = 1000;

/// A value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Text, as received.
    Text(&'a str),
    /// Nanoseconds since 1970, UTC.
    Time(i64),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

impl<'a> Value<'a> {
    /// The value in `row`; `None` when it is null, or of a type without a short form (lists, maps).
    pub(crate) fn of(array: &'a ArrayRef, row: usize) -> Option<Value<'a>> {
        if let Some(text) = TextColumn::new(array) {
            return text.get(row).map(Value::Text);
        }
        if row >= array.len() || array.is_null(row) {
            return None;
        }
        Some(match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Value::Time(array.as_primitive_opt::<TimestampNanosecondType>()?.value(row))
            }
            DataType::Int64 => Value::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
            DataType::Int32 => Value::Int(array.as_primitive_opt::<Int32Type>()?.value(row).into()),
            DataType::UInt32 => Value::Int(array.as_primitive_opt::<UInt32Type>()?.value(row).into()),
            DataType::Float64 => Value::Float(array.as_primitive_opt::<Float64Type>()?.value(row)),
            DataType::Boolean => Value::Bool(array.as_boolean_opt()?.value(row)),
            _ => return None,
        })
    }

    /// As a number, when it is one.
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            Value::Text(_) | Value::Time(_) | Value::Bool(_) => None,
        }
    }
}

/// The name of a measure for people: `p90_duration_ns` is `p90`, `duration_ns` is `duration`.
pub(crate) fn measure_name(column: &str) -> &str {
    column.strip_suffix("_duration_ns").or_else(|| column.strip_suffix("_ns")).unwrap_or(column)
}

/// The value of a measure, in the unit that its column name tells.
pub(crate) fn measure_value(column: &str, number: f64) -> String {
    if column.ends_with("_ns") {
        duration(number)
    } else if column == "success_rate" {
        percent(number)
    } else if column == "traffic_rate" {
        format!("{}/s", plain(number))
    } else {
        plain(number)
    }
}

/// Nanoseconds with a unit: `12 ms`, `1.20 s`.
pub(crate) fn duration(nanoseconds: f64) -> String {
    if !nanoseconds.is_finite() {
        return "-".to_owned();
    }
    let sign = if nanoseconds < 0.0 { "-" } else { "" };
    let ns = nanoseconds.abs();
    // Each limit is where the text of the smaller unit would round up to the larger one.
    match ns {
        _ if ns < 999.5 => format!("{sign}{ns:.0} ns"),
        _ if ns < 999.5e3 => format!("{sign}{:.0} µs", ns / 1e3),
        _ if ns < 9.95e6 => format!("{sign}{:.1} ms", ns / 1e6),
        _ if ns < 999.5e6 => format!("{sign}{:.0} ms", ns / 1e6),
        _ if ns < 59.995e9 => format!("{sign}{:.2} s", ns / 1e9),
        _ => {
            let seconds = (ns / 1e9).round();
            format!("{sign}{:.0} min {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0)
        }
    }
}

/// A share of 1 as percent, rounded down so that only a true 100 % is shown as one.
pub(crate) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "-".to_owned();
    }
    // The small addition keeps 0.992 from reading as 99.1.
    format!("{:.1} %", (share * 1000.0 + 1e-6).floor() / 10.0)
}

/// A number with at most three decimals.
pub(crate) fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A count with separators: `1,204`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time of day in UTC: `01:05:07`.
pub(crate) fn time_of_day(nanoseconds: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanoseconds).format("%H:%M:%S").to_string()
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time(nanoseconds: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanoseconds).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// `text` on one line and harmless: control characters and those that turn the direction of text are written
/// as escapes, so that received bytes cannot steer the terminal. At most `max` columns; what is longer ends
/// in `…`.
pub(crate) fn shown(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    let mut used = 0;
    for c in text.chars() {
        let start = line.len();
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
        used += columns(&line[start..]);
        if used > max {
            line.truncate(start);
            while columns(&line) >= max && line.pop().is_some() {}
            line.push('…');
            return line;
        }
    }
    line
}

/// How many columns of a terminal `text` takes: two for a Chinese, Japanese or Korean character or an emoji.
pub(crate) fn columns(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c,
            '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_reads_best() {
        for (nanoseconds, text) in [
            (0.0, "0 ns"),
            (999.9, "1 µs"),
            (340_000.0, "340 µs"),
            (999_600.0, "1.0 ms"),
            (1_540_000.0, "1.5 ms"),
            (9_960_000.0, "10 ms"),
            (12_000_000.0, "12 ms"),
            (999_700_000.0, "1.00 s"),
            (1_200_000_000.0, "1.20 s"),
            (59_999_000_000.0, "1 min 00 s"),
            (125_000_000_000.0, "2 min 05 s"),
            (-2_000_000.0, "-2.0 ms"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(duration(nanoseconds), text, "{nanoseconds}");
        }
    }

    #[test]
    fn only_a_true_hundred_percent_reads_as_one() {
        for (share, text) in [(1.0, "100.0 %"), (0.9999, "99.9 %"), (0.992, "99.2 %"), (0.0, "0.0 %")] {
            assert_eq!(percent(share), text, "{share}");
        }
    }

    #[test]
    fn measures_have_the_unit_of_their_column() {
        assert_eq!(
            (measure_name("p90_duration_ns"), measure_value("p90_duration_ns", 2.31e9)),
            ("p90", "2.31 s".into())
        );
        assert_eq!(measure_value("success_rate", 0.5), "50.0 %");
        assert_eq!(measure_value("traffic_rate", 12.5), "12.5/s");
        assert_eq!((measure_name("count"), measure_value("count", 120.0)), ("count", "120".into()));
    }

    #[test]
    fn counts_have_separators() {
        for (number, text) in [(0, "0"), (999, "999"), (1_204, "1,204"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn received_text_cannot_steer_the_terminal() {
        let line = shown("a\x1b[2Jb\nc\u{9b}d\u{202e}e", 100);
        assert_eq!(line, "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e");
    }

    #[test]
    fn long_text_ends_in_an_ellipsis_and_fits() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde…");
        assert_eq!(shown("支付服务支付", 6), "支付…");
        assert_eq!(shown("", 0), "");
        for max in 1..12 {
            assert!(columns(&shown("a支\x1bb付服务xyz", max)) <= max, "{max}");
        }
    }
}
