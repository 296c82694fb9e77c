//! The names that message templates know, and the text of alarms without a template.

use serde_json::{Map, Value, json};

use crate::alarm::Alarm;
use crate::rule::Rule;
use crate::windows::{Window, Windows};

/// Every column of the window by name (`a.b` for dotted ones, and `labels['a.b']`), and above them what the alarm says:
/// `rule`, `severity` (also `level`), `state`, `measure`, `value`, `threshold`, `labels`, `operator`, `window_start`,
/// `window_end`, `time`, `starts_at`, and `operatorName` for `operation`.
///
/// `value` and `threshold` have the measure's unit; for classic rules they are milliseconds, as their thresholds are
/// written. `value_ms` and `threshold_ms` are there when the measure is in nanoseconds.
pub(crate) fn facts(rule: &Rule, alarm: &Alarm, windows: &Windows<'_>, window: &Window) -> Value {
    let mut facts = Map::new();
    for (name, value) in windows.numbers(window.row) {
        insert(&mut facts, name, number(Some(value)));
    }
    let mut labels = Map::new();
    for (name, value) in &window.labels {
        insert(&mut facts, name, json!(value));
        labels.insert(name.to_string(), json!(value));
    }
    if let Some(operation) = window.label("operation") {
        facts.insert("operatorName".to_owned(), json!(operation));
    }
    let in_ns = alarm.measure.as_deref().is_some_and(|measure| measure.ends_with("_ns"));
    let to_ms = |ns: Option<f64>| number(ns.map(ms));
    if in_ns {
        facts.insert("value_ms".to_owned(), to_ms(alarm.value));
        facts.insert("threshold_ms".to_owned(), to_ms(alarm.threshold));
    }
    let quantity = |value| if in_ns && rule.speaks_ms() { to_ms(value) } else { number(value) };
    let severity = alarm.severity.name();
    for (name, value) in [
        ("rule", json!(&*alarm.rule)),
        ("severity", json!(severity)),
        ("level", json!(severity)),
        ("state", json!(alarm.state())),
        ("measure", json!(alarm.measure.as_deref())),
        ("value", quantity(alarm.value)),
        ("threshold", quantity(alarm.threshold)),
        ("operator", json!(window.operator)),
        ("window_start", json!(window.start.and_then(timestamp))),
        ("window_end", json!(timestamp(window.end))),
        ("time", json!(timestamp(alarm.time))),
        ("starts_at", json!(timestamp(alarm.starts_at))),
        ("labels", Value::Object(labels)),
    ] {
        facts.insert(name.to_owned(), value);
    }
    Value::Object(facts)
}

/// The text of an alarm whose rule has no template.
pub(crate) fn default_message(alarm: &Alarm) -> String {
    let mut text = if alarm.firing { alarm.severity.name() } else { "resolved" }.to_owned();
    text.push_str(": ");
    text.push_str(&alarm.rule);
    text.push(':');
    for (name, value) in &alarm.labels {
        text.push_str(&format!(" {name}={value}"));
    }
    if let Some(measure) = &alarm.measure {
        let shown = |value: Option<f64>| match value {
            Some(ns) if measure.ends_with("_ns") => format!("{} ms", ms(ns)),
            Some(value) => value.to_string(),
            None => "unknown".to_owned(),
        };
        text.push_str(&format!(" {measure} {}", shown(alarm.value)));
        if alarm.threshold.is_some() {
            text.push_str(&format!(", threshold {}", shown(alarm.threshold)));
        }
    }
    text
}

/// Milliseconds with at most three decimals.
fn ms(ns: f64) -> f64 {
    (ns / 1e3).round() / 1e3
}

/// A whole number without `.0`; null when there is none.
fn number(value: Option<f64>) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Some(value) if value.fract() == 0.0 && value.abs() < EXACT => json!(value as i64),
        value => json!(value),
    }
}

/// RFC 3339.
fn timestamp(ns: i64) -> Option<String> {
    let time = arrow::temporal_conversions::timestamp_ns_to_datetime(ns)?;
    Some(format!("{}Z", time.to_string().replace(' ', "T")))
}

/// `a.b` is found as `a.b` in a template, up to eight parts. What is there already stays.
fn insert(facts: &mut Map<String, Value>, name: &str, value: Value) {
    insert_at(facts, name, value, 8);
}

fn insert_at(facts: &mut Map<String, Value>, name: &str, value: Value, depth: usize) {
    match name.split_once('.').filter(|_| depth > 1) {
        None => drop(facts.entry(name).or_insert(value)),
        Some((first, rest)) => {
            if let Value::Object(inner) = facts.entry(first).or_insert_with(|| Value::Object(Map::new())) {
                insert_at(inner, rest, value, depth - 1);
            }
        }
    }
}
