//! The metrics of a threshold processor.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_alarms::Severity;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, labels }
}

const EPOCH: Metric = gauge("weir_threshold_rule_epoch", "The epoch of the newest rule set.", &["processor"]);
const RULES: Metric = gauge("weir_threshold_rules", "Rules in force, by source.", &["processor", "source"]);
const REJECTED: Metric = counter(
    "weir_threshold_rules_rejected",
    "Records of the rules' topic that are not usable as rules, and contents of rule files that are wrong; the log has the reasons.",
    &["processor"],
);
const UNKNOWN_KEYS: Metric = gauge(
    "weir_threshold_rules_unknown_keys",
    "Different keys met in records of the rules' topic that mean nothing here; the log names each of them once.",
    &["processor"],
);
const EVALUATIONS: Metric = counter(
    "weir_threshold_evaluations",
    "Windows evaluated, once for every rule that covers them.",
    &["processor"],
);
const EVALUATION_ERRORS: Metric = counter(
    "weir_threshold_evaluation_errors",
    "Windows on which a condition of a rule failed: it is false for them. Where it does not fit the columns the rule does not evaluate them.",
    &["processor"],
);
const SKIPPED: Metric = counter(
    "weir_threshold_windows_skipped",
    "Windows that could not be evaluated: without an end, or not newer than the last one evaluated of their series.",
    &["processor", "reason"],
);
const ALARMS: Metric = counter(
    "weir_threshold_alarms",
    "Changes of alarms, by severity and new state.",
    &["processor", "severity", "state"],
);
const SERIES: Metric =
    gauge("weir_threshold_series", "Series with an alarm that fires or is about to.", &["processor"]);
const SERIES_REFUSED: Metric = counter(
    "weir_threshold_series_refused",
    "Windows that held but raised no alarm, because `max_series` was reached.",
    &["processor"],
);
const PAST_WINDOWS: Metric = gauge(
    "weir_threshold_past_windows",
    "Past windows that are kept for `offset( )` in conditions.",
    &["processor"],
);
const PAST_REFUSED: Metric = counter(
    "weir_threshold_past_windows_refused",
    "Windows that are not kept for `offset( )`, because `max_past_windows` was reached.",
    &["processor"],
);
const TEMPLATE_ERRORS: Metric = counter(
    "weir_threshold_template_errors",
    "Messages whose template failed; the alarm went out with a simpler text.",
    &["processor"],
);

const STORAGE_ERRORS: Metric = counter(
    "weir_threshold_storage_errors",
    "Failures to keep the alarms in the storage. Meanwhile their input waits.",
    &["processor"],
);

const SERIES_NOT_KEPT: Metric = counter(
    "weir_threshold_series_not_kept",
    "States of series that were not kept because the storage has no room for them; their alarms go out, and are raised once more after a restart.",
    &["processor"],
);

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[
    EPOCH,
    RULES,
    REJECTED,
    UNKNOWN_KEYS,
    EVALUATIONS,
    EVALUATION_ERRORS,
    SKIPPED,
    ALARMS,
    SERIES,
    SERIES_REFUSED,
    PAST_WINDOWS,
    PAST_REFUSED,
    TEMPLATE_ERRORS,
    STORAGE_ERRORS,
    SERIES_NOT_KEPT,
];

/// The metrics of the rules.
#[derive(Clone)]
pub(crate) struct RuleMetrics {
    pub(crate) epoch: Gauge,
    pub(crate) inline: Gauge,
    pub(crate) files: Gauge,
    pub(crate) kafka: Gauge,
    pub(crate) rejected: Counter,
    pub(crate) unknown_keys: Gauge,
}

impl RuleMetrics {
    pub(crate) fn new(context: &Context) -> RuleMetrics {
        let id = context.id.to_string();
        let telemetry = &context.telemetry;
        RuleMetrics {
            epoch: telemetry.gauge(&EPOCH, &[&id]),
            inline: telemetry.gauge(&RULES, &[&id, "inline"]),
            files: telemetry.gauge(&RULES, &[&id, "files"]),
            kafka: telemetry.gauge(&RULES, &[&id, "kafka"]),
            rejected: telemetry.counter(&REJECTED, &[&id]),
            unknown_keys: telemetry.gauge(&UNKNOWN_KEYS, &[&id]),
        }
    }

    /// Shows the state of the rules.
    pub(crate) fn set_rules(&self, epoch: i64, (inline, files, kafka): (usize, usize, usize)) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.epoch.set(epoch);
        self.inline.set(number(inline));
        self.files.set(number(files));
        self.kafka.set(number(kafka));
    }
}

/// The metrics of keeping alarms in a storage.
#[derive(Clone)]
pub(crate) struct StorageMetrics {
    pub(crate) errors: Counter,
    pub(crate) not_kept: Counter,
}

impl StorageMetrics {
    pub(crate) fn new(context: &Context) -> StorageMetrics {
        let id = context.id.to_string();
        StorageMetrics {
            errors: context.telemetry.counter(&STORAGE_ERRORS, &[&id]),
            not_kept: context.telemetry.counter(&SERIES_NOT_KEPT, &[&id]),
        }
    }
}

/// The metrics of the evaluation.
#[derive(Clone)]
pub(crate) struct EvaluationMetrics {
    pub(crate) evaluations: Counter,
    pub(crate) evaluation_errors: Counter,
    pub(crate) skipped_endless: Counter,
    pub(crate) skipped_late: Counter,
    pub(crate) series: Gauge,
    pub(crate) series_refused: Counter,
    pub(crate) past_windows: Gauge,
    pub(crate) past_refused: Counter,
    pub(crate) template_errors: Counter,
    /// Firing and resolved, by severity from high.
    alarms: [[Counter; 2]; 3],
}

impl EvaluationMetrics {
    pub(crate) fn new(context: &Context) -> EvaluationMetrics {
        let id = context.id.to_string();
        let telemetry = &context.telemetry;
        let alarms = Severity::FROM_HIGH.map(|severity| {
            ["firing", "resolved"].map(|state| telemetry.counter(&ALARMS, &[&id, severity.name(), state]))
        });
        EvaluationMetrics {
            evaluations: telemetry.counter(&EVALUATIONS, &[&id]),
            evaluation_errors: telemetry.counter(&EVALUATION_ERRORS, &[&id]),
            skipped_endless: telemetry.counter(&SKIPPED, &[&id, "no_end"]),
            skipped_late: telemetry.counter(&SKIPPED, &[&id, "late"]),
            series: telemetry.gauge(&SERIES, &[&id]),
            series_refused: telemetry.counter(&SERIES_REFUSED, &[&id]),
            past_windows: telemetry.gauge(&PAST_WINDOWS, &[&id]),
            past_refused: telemetry.counter(&PAST_REFUSED, &[&id]),
            template_errors: telemetry.counter(&TEMPLATE_ERRORS, &[&id]),
            alarms,
        }
    }

    /// The counter of alarms that went to this state.
    pub(crate) fn alarms(&self, severity: Severity, firing: bool) -> &Counter {
        let [high, mid, low] = &self.alarms;
        let [fired, resolved] = match severity {
            Severity::High => high,
            Severity::Mid => mid,
            Severity::Low => low,
        };
        if firing { fired } else { resolved }
    }
}
