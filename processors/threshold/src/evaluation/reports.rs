//! The evaluator's metrics and its lines in the log, each of which is limited.

use std::sync::Arc;

use weir_alarms::Alarm;
use weir_component::{Clock, Context, LogLimit};
use weir_pdata::expr::Failures;

use crate::metrics::EvaluationMetrics;
use crate::rule::Rule;

/// Tells of one evaluator.
pub(crate) struct Reports {
    pub(crate) metrics: EvaluationMetrics,
    id: String,
    clock: Arc<dyn Clock>,
    full: LogLimit,
    errors: LogLimit,
    templates: LogLimit,
}

impl Reports {
    pub(crate) fn new(context: &Context) -> Reports {
        Reports {
            metrics: EvaluationMetrics::new(context),
            id: context.id.to_string(),
            clock: context.clock.clone(),
            full: LogLimit::every_ms(10_000),
            errors: LogLimit::every_ms(10_000),
            templates: LogLimit::every_ms(10_000),
        }
    }

    /// A shard goes on with alarms that fired before.
    pub(crate) fn restored(&self, firing: usize) {
        tracing::info!("{}: {firing} alarms that fired before go on", self.id);
    }

    /// These alarms are raised, and so many series are remembered.
    pub(crate) fn settle(&self, alarms: &[Alarm], series: usize, past_windows: usize) {
        for alarm in alarms {
            self.metrics.alarms(alarm.severity, alarm.firing).inc();
        }
        self.metrics.series.set(i64::try_from(series).unwrap_or(i64::MAX));
        self.metrics.past_windows.set(i64::try_from(past_windows).unwrap_or(i64::MAX));
    }

    /// A window is not kept for the time when a rule looks back to it, since so many are.
    pub(crate) fn past_refused(&self, rule: &Rule, windows: usize) {
        self.metrics.past_refused.inc();
        if let Some(suppressed) = self.full.allow(self.clock.now_ms()) {
            let (id, name) = (&self.id, &rule.name);
            tracing::error!(
                suppressed,
                "{id}: {windows} past windows are kept already: `offset( )` of rule `{name}` will be NULL for \
                 some windows; raise `max_past_windows`"
            );
        }
    }

    /// A series raises no alarm, since `max_series` are remembered.
    pub(crate) fn series_refused(&self, rule: &Rule, max_series: usize) {
        self.metrics.series_refused.inc();
        if let Some(suppressed) = self.full.allow(self.clock.now_ms()) {
            let (id, max, name) = (&self.id, max_series, &rule.name);
            tracing::error!(
                suppressed,
                "{id}: {max} series have alarms already, rule `{name}` raises none for another one; \
                 raise `max_series`"
            );
        }
    }

    /// The conditions of a rule failed on a whole batch of windows, or on some of it.
    pub(crate) fn conditions_failed<T, E: std::fmt::Display>(
        &self,
        rule: &Rule,
        truth: &Result<T, E>,
        failures: &Failures,
        batch: usize,
    ) {
        let (windows, error, what): (_, &dyn std::fmt::Display, _) = match (truth, failures) {
            (Err(error), _) => (batch, error, "did not evaluate"),
            (Ok(_), Failures { rows, first: Some(error) }) => (*rows, error, "is false for"),
            (Ok(_), Failures { first: None, .. }) => return,
        };
        self.metrics.evaluation_errors.inc_by(windows as u64);
        if let Some(suppressed) = self.errors.allow(self.clock.now_ms()) {
            let (id, name) = (&self.id, &rule.name);
            tracing::warn!(suppressed, "{id}: rule `{name}` {what} {windows} windows: {error}");
        }
    }

    /// The message template of a rule failed on an alarm.
    pub(crate) fn template_failed(&self, rule: &Rule, problem: &str) {
        self.metrics.template_errors.inc();
        if let Some(suppressed) = self.templates.allow(self.clock.now_ms()) {
            let (id, name) = (&self.id, &rule.name);
            tracing::warn!(suppressed, "{id}: the message template of rule `{name}` fails: {problem}");
        }
    }
}
