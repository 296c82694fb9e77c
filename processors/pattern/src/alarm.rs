//! From matches to alarms: one each.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_alarms::template_context::{insert, rfc3339};
use weir_alarms::{Alarm, fingerprint, series_key, template_context};
use weir_pdata::Signal;

use crate::keys::{Event, FoundMatch};
use crate::nfa::Taken;
use crate::operator::{AlarmTemplate, Operator};
use crate::rows::NANOS;

/// Patterns come from the configuration: the first rule set.
const EPOCH: i64 = 1;

/// Whether a name means something in every message, so that no step may have it.
pub(crate) fn is_fact(name: &str) -> bool {
    template_context::NAMES.contains(&name) || ["events", "late"].contains(&name)
}

/// The alarms of these matches, in their order.
pub(crate) fn of(found: &[FoundMatch], operator: &Operator) -> Vec<Alarm> {
    found.iter().filter_map(|found| alarm(found, operator)).collect()
}

fn alarm(found: &FoundMatch, operator: &Operator) -> Option<Alarm> {
    let AlarmTemplate { name, severity, compared, .. } = &operator.alarm;
    let ((_, first), (_, last)) = (found.events.first()?, found.events.last()?);
    let key = operator.key.iter().zip(found.key.iter());
    let mut labels: Vec<(Arc<str>, String)> =
        key.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    labels.sort_unstable();
    let measure = operator.kept.iter().position(|name| Some(name.as_str()) == compared.measure.as_deref());
    let is_window = operator.input == Signal::Windows;
    let mut alarm = Alarm {
        time: last.time.saturating_mul(NANOS),
        rule: name.clone(),
        severity: *severity,
        firing: true,
        measure: compared.measure.clone(),
        value: measure.and_then(|at| last.data.values.get(at)).and_then(Value::as_f64),
        threshold: compared.threshold,
        window_start: first.data.window_start,
        window_end: is_window.then(|| last.time.saturating_add(1).saturating_mul(NANOS)),
        message: String::new(),
        fingerprint: fingerprint(series_key([name, severity.name()], &labels).bytes()),
        labels,
        starts_at: first.time.saturating_mul(NANOS),
        // It happened once: who tells people does not wait for its end.
        ends_at: Some(last.time.saturating_mul(NANOS)),
        epoch: EPOCH,
        annotations: Vec::new(),
        runbook: None,
    };
    alarm.message = text(&alarm, found, operator);
    Some(alarm)
}

fn text(alarm: &Alarm, found: &FoundMatch, operator: &Operator) -> String {
    let rendered = operator
        .alarm
        .message
        .render(|| context_of(alarm, found, operator), || default_text(alarm, &operator.alarm.steps));
    if let Some(problem) = rendered.problem {
        operator.metrics.template_errors.inc();
        if let Some(suppressed) = operator.logs.templates.allow(operator.clock.now_ms()) {
            tracing::warn!(processor = %operator.id, suppressed, "the message template fails: {problem}");
        }
    }
    rendered.text
}

fn default_text(alarm: &Alarm, steps: &[String]) -> String {
    let took = (alarm.time - alarm.starts_at) / NANOS;
    format!("{} {} in {took} ms", alarm.opening(), steps.join(", "))
}

/// The names that templates know. What comes first wins.
fn context_of(alarm: &Alarm, found: &FoundMatch, operator: &Operator) -> Map<String, Value> {
    let mut context = alarm.template_context();
    context.insert("events".to_owned(), json!(found.events.len()));
    for (at, name) in operator.alarm.steps.iter().enumerate() {
        let last = found.events.iter().rev().find(|(step, _)| *step == at);
        if let Some((_, event)) = last {
            let mut values = Map::new();
            insert_columns(&mut values, event, operator);
            values.insert("time".to_owned(), json!(rfc3339(event.time.saturating_mul(NANOS))));
            context.entry(name).or_insert(Value::Object(values));
        }
    }
    for (name, value) in &alarm.labels {
        insert(&mut context, name, json!(value));
    }
    if let Some((_, last)) = found.events.last() {
        insert_columns(&mut context, last, operator);
    }
    context
}

fn insert_columns(context: &mut Map<String, Value>, event: &Taken<Event>, operator: &Operator) {
    for (name, value) in operator.kept.iter().zip(&event.data.values) {
        insert(context, name, value.clone());
    }
}
