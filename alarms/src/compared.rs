//! The comparison in a condition: the `measure` and `threshold` columns of an alarm.
//!
//! * `measure op number` (or turned round) gives both.
//! * Any other condition gives its first column as the measure, and no threshold.

use std::sync::Arc;

use weir_pdata::expr::Expr;

/// A measure and the number it is compared with, as far as a condition has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// A column.
    pub measure: Option<Arc<str>>,
    /// In the unit of the column.
    pub threshold: Option<f64>,
}

impl Compared {
    /// Reads the text of a condition.
    #[must_use]
    pub fn of(condition: &Expr) -> Compared {
        let text = condition.to_string();
        if let Some((measure, threshold)) =
            simple(&text).filter(|(name, _)| condition.names().contains(*name))
        {
            return Compared { measure: Some(measure.into()), threshold: Some(threshold) };
        }
        let first = condition.names().iter().filter_map(|name| Some((position(&text, name)?, name))).min();
        Compared { measure: first.map(|(_, name)| name.as_str().into()), threshold: None }
    }
}

fn simple(text: &str) -> Option<(&str, f64)> {
    let at = text.find(['<', '>', '=', '!'])?;
    let (left, rest) = text.split_at(at);
    let operators = [">=", "<=", "<>", "!=", ">", "<", "="];
    let right = operators.iter().find_map(|operator| rest.strip_prefix(operator))?;
    let (left, right) = (left.trim(), right.trim());
    let pair = |named, numeric| Some((name(named)?, number(numeric)?));
    pair(left, right).or_else(|| pair(right, left))
}

fn name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return (!quoted.contains('"')).then_some(quoted);
    }
    let bare =
        !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(in_name);
    bare.then_some(text)
}

fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Keeps out `inf` and `nan`, which Rust reads as numbers and SQL as names.
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Where a name stands as a word of its own.
fn position(text: &str, name: &str) -> Option<usize> {
    text.match_indices(name).map(|(at, _)| at).find(|&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(in_name) && !after.is_some_and(in_name)
    })
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Option<String>, Option<f64>) {
        let compared = Compared::of(&Expr::parse_condition(text).unwrap());
        (compared.measure.map(|measure| measure.to_string()), compared.threshold)
    }

    #[test]
    fn a_simple_comparison_gives_measure_and_threshold() {
        for (text, measure, threshold) in [
            ("p99_duration_ns > 2000000000", "p99_duration_ns", 2e9),
            ("p99_duration_ns>=2e9", "p99_duration_ns", 2e9),
            ("0.95 > success_rate", "success_rate", 0.95),
            ("\"count\" < 10", "count", 10.0),
            ("http.errors != 0", "http.errors", 0.0),
            ("gap > -1.5", "gap", -1.5),
        ] {
            assert_eq!(of(text), (Some(measure.to_owned()), Some(threshold)), "{text}");
        }
    }

    #[test]
    fn any_other_condition_gives_its_first_column() {
        for (text, measure) in [
            ("p99_duration_ns > 1 AND count > 10", Some("p99_duration_ns")),
            ("error_count / count > 0.1", Some("error_count")),
            ("max_duration_ns > avg_duration_ns", Some("max_duration_ns")),
            ("avg_duration_ns * 2 > 10", Some("avg_duration_ns")),
            ("true", None),
        ] {
            assert_eq!(of(text), (measure.map(str::to_owned), None), "{text}");
        }
    }
}
