//! The names that message templates know, and the text of alarms without a template.

use serde_json::{Map, Value, json};
use weir_alarms::Alarm;
use weir_alarms::template_context::{insert, number, rfc3339};

use crate::evaluation::windows::{Window, WindowRows};
use crate::rule::Rule;

/// Every column of the window by name (`a.b` for dotted ones, and `labels['a.b']`), and above them what the
/// alarm says: `rule`, `severity` (also `level`), `state`, `measure`, `value`, `threshold`, `labels`,
/// `operator`, `window_start`, `window_end`, `time`, `starts_at`, and `operator_name`, `operatorName` for
/// `operation`.
///
/// `value` and `threshold` have the measure's unit; for classic rules they are milliseconds, as their
/// thresholds are written. `value_ms` and `threshold_ms` are there when the measure is in nanoseconds.
pub(crate) fn template_context(
    rule: &Rule,
    alarm: &Alarm,
    windows: &WindowRows<'_>,
    window: &Window,
) -> Map<String, Value> {
    let mut context = Map::new();
    for (name, value) in windows.numbers(window.row) {
        insert(&mut context, name, number(Some(value)));
    }
    for (name, value) in &window.labels {
        insert(&mut context, name, json!(value));
    }
    if let Some(operation) = window.label("operation") {
        for name in ["operator_name", "operatorName"] {
            context.insert(name.to_owned(), json!(operation));
        }
    }
    context.extend(alarm.template_context());
    for (name, value) in [
        ("operator", json!(window.operator)),
        ("window_start", json!(window.start.and_then(rfc3339))),
        ("window_end", json!(rfc3339(window.end))),
    ] {
        context.insert(name.to_owned(), value);
    }
    if is_in_ns(alarm) {
        for (name, ns) in [("value", alarm.value), ("threshold", alarm.threshold)] {
            let value = number(ns.map(ms));
            if rule.uses_milliseconds() {
                context.insert(name.to_owned(), value.clone());
            }
            context.insert(format!("{name}_ms"), value);
        }
    }
    context
}

/// The same for an alarm that belongs to no window: without its columns.
pub(crate) fn context_without_window(alarm: &Alarm, operator: &str) -> Map<String, Value> {
    let mut context = Map::new();
    for (name, value) in &alarm.labels {
        insert(&mut context, name, json!(value));
        if &**name == "operation" {
            context.insert("operator_name".to_owned(), json!(value));
            context.insert("operatorName".to_owned(), json!(value));
        }
    }
    context.extend(alarm.template_context());
    context.insert("operator".to_owned(), json!(operator));
    context.insert("window_end".to_owned(), json!(alarm.window_end.and_then(rfc3339)));
    if is_in_ns(alarm) {
        context.insert("value_ms".to_owned(), number(alarm.value.map(ms)));
        context.insert("threshold_ms".to_owned(), number(alarm.threshold.map(ms)));
    }
    context
}

/// The text of an alarm whose rule has no template.
pub(crate) fn default_message(alarm: &Alarm) -> String {
    let mut text = alarm.opening();
    if let Some(measure) = &alarm.measure {
        let shown = |value: Option<f64>| match value {
            Some(ns) if is_in_ns(alarm) => format!("{} ms", ms(ns)),
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

fn is_in_ns(alarm: &Alarm) -> bool {
    alarm.measure.as_deref().is_some_and(|measure| measure.ends_with("_ns"))
}

/// Milliseconds with at most three decimals.
fn ms(ns: f64) -> f64 {
    (ns / 1e3).round() / 1e3
}
