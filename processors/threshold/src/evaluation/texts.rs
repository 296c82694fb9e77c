//! The parts of an alarm that people read: the message, the annotations and the runbook.

use std::cell::OnceCell;

use serde_json::{Map, Value};
use weir_alarms::{Alarm, Message};

use crate::evaluation::reports::Reports;
use crate::evaluation::template_context::default_message;
use crate::rule::Rule;

/// Gives an alarm its message and what else its rule says of it. The names of templates are in `context`.
pub(crate) fn write(
    rule: &Rule,
    alarm: &mut Alarm,
    context: impl Fn(&Alarm) -> Map<String, Value>,
    reports: &Reports,
) {
    let names = OnceCell::new();
    let context = || names.get_or_init(|| context(alarm)).clone();
    let message = text(rule, &rule.message, context, || default_message(alarm), reports);
    let annotations = annotations(rule, context, reports);
    (alarm.message, alarm.annotations, alarm.runbook) = (message, annotations, rule.extras.runbook.clone());
}

/// The same for an alarm that has its message.
pub(crate) fn annotate(
    rule: &Rule,
    alarm: &mut Alarm,
    context: impl Fn(&Alarm) -> Map<String, Value>,
    reports: &Reports,
) {
    let names = OnceCell::new();
    let context = || names.get_or_init(|| context(alarm)).clone();
    let annotations = annotations(rule, context, reports);
    (alarm.annotations, alarm.runbook) = (annotations, rule.extras.runbook.clone());
}

fn annotations(
    rule: &Rule,
    context: impl Fn() -> Map<String, Value>,
    reports: &Reports,
) -> Vec<(std::sync::Arc<str>, String)> {
    let annotations = rule.extras.annotations.iter();
    let texts = annotations
        .map(|(name, template)| (name.clone(), text(rule, template, &context, String::new, reports)));
    texts.collect()
}

fn text(
    rule: &Rule,
    template: &Message,
    context: impl FnOnce() -> Map<String, Value>,
    default: impl Fn() -> String,
    reports: &Reports,
) -> String {
    let rendered = template.render(context, default);
    if let Some(problem) = rendered.problem {
        reports.template_failed(rule, &problem);
    }
    rendered.text
}
