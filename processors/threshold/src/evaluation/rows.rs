//! The rows of alarms that tell of a change of a series.

use std::sync::Arc;

use weir_alarms::{Alarm, Compared, Severity};

use crate::evaluation::reports::Reports;
use crate::evaluation::series::Series;
use crate::evaluation::template_context::{context_without_window, template_context};
use crate::evaluation::texts;
use crate::evaluation::told::Change;
use crate::evaluation::windows::{Window, WindowRows, WindowStream};
use crate::rule::Rule;

/// What a rule says of a window.
pub(crate) struct Verdict<'a> {
    pub(crate) rule: &'a Arc<Rule>,
    pub(crate) windows: &'a WindowRows<'a>,
    pub(crate) window: &'a Window,
    /// The worst severity that holds.
    pub(crate) held: Option<(Severity, Compared)>,
    /// Of the rule.
    pub(crate) epoch: i64,
}

/// Adds the rows of a change.
pub(super) fn tell(
    series: &mut Series,
    key: &str,
    change: Change,
    is_active: bool,
    verdict: Verdict<'_>,
    alarms: &mut Vec<Alarm>,
    reports: &Reports,
) {
    let Verdict { rule, windows, window, held, epoch } = verdict;
    let context = |alarm: &Alarm| template_context(rule, alarm, windows, window);
    if let Change::Move { from, to } = change {
        let message = format!("{}: severity changed from {} to {}", rule.name, from.name(), to.name());
        let value = value_of(&series.compared, windows, window);
        let resolved = series.resolved(key, from, message);
        let mut resolved = Alarm { value, epoch, ..of_window(resolved, window) };
        texts::annotate(rule, &mut resolved, context, reports);
        alarms.push(resolved);
    }
    let (severity, firing) = match change {
        Change::Nothing => return,
        Change::Fire(severity) | Change::Repeat(severity) | Change::Move { to: severity, .. } => {
            (severity, true)
        }
        Change::Resolve(severity) => (severity, false),
    };
    // While it goes on at the same severity the alarm keeps what it said when it fired.
    if let Some((_, compared)) = held {
        series.compared = compared;
    }
    if matches!(change, Change::Fire(_)) {
        series.own = rule.extras.labels.clone();
    }
    let value = value_of(&series.compared, windows, window);
    let resolved = series.resolved(key, severity, String::new());
    let mut alarm = Alarm { firing, value, epoch, ..of_window(resolved, window) };
    if firing {
        alarm.ends_at = None;
    }
    if is_active {
        texts::write(rule, &mut alarm, context, reports);
    } else {
        alarm.message = format!("{} the rule is not active at this time", alarm.opening());
        texts::annotate(rule, &mut alarm, context, reports);
    }
    alarms.push(alarm);
}

/// Completes an alarm that belongs to no window.
pub(super) fn finish(alarm: &mut Alarm, rule: &Rule, stream: &WindowStream, epoch: i64, reports: &Reports) {
    alarm.epoch = epoch;
    let context = |alarm: &Alarm| context_without_window(alarm, &stream.operator);
    // Only there the message is for this alarm.
    if rule.has_no_condition() && rule.message.is_given() {
        texts::write(rule, alarm, context, reports);
    } else {
        texts::annotate(rule, alarm, context, reports);
    }
}

/// The value of the measure in a window.
fn value_of(compared: &Compared, windows: &WindowRows<'_>, window: &Window) -> Option<f64> {
    compared.measure.as_deref().and_then(|measure| windows.number(measure, window.row))
}

fn of_window(alarm: Alarm, window: &Window) -> Alarm {
    Alarm { window_start: window.start, window_end: Some(window.end), ..alarm }
}
