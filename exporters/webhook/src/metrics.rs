//! The metrics of the exporter.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};

use crate::notify::Outcome;

const NOTIFICATIONS: Metric = Metric {
    name: "weir_webhook_notifications",
    help: "Alarms that were sent; with `notify` also those that were given up (failed) or suppressed.",
    kind: MetricKind::Counter,
    labels: &["component", "outcome"],
};
const FAILURES: Metric = Metric {
    name: "weir_webhook_failures",
    help: "Messages that a target did not take.",
    kind: MetricKind::Counter,
    labels: &["component"],
};
const DELAY: Metric = Metric {
    name: "weir_webhook_delay_seconds",
    help: "From the event time of an alarm until its target has taken it.",
    kind: MetricKind::Histogram,
    labels: &["component"],
};
const OLDEST: Metric = Metric {
    name: "weir_webhook_oldest_undelivered_seconds",
    help: "The age of the oldest message that a target with `notify` has not taken.",
    kind: MetricKind::Gauge,
    labels: &["component"],
};
const FIRING: Metric = Metric {
    name: "weir_webhook_firing_alarms",
    help: "Alarms that fire, of a target with `notify`.",
    kind: MetricKind::Gauge,
    labels: &["component"],
};

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[NOTIFICATIONS, FAILURES, DELAY, OLDEST, FIRING];

/// The metrics of one exporter.
pub(crate) struct Metrics {
    outcomes: [(Outcome, Counter); 3],
    failures: Counter,
    delay: Histogram,
    oldest: Gauge,
    firing: Gauge,
}

impl Metrics {
    pub(crate) fn new(context: &Context) -> Metrics {
        let (id, telemetry) = (context.id.to_string(), &context.telemetry);
        let outcome = |outcome: Outcome| (outcome, telemetry.counter(&NOTIFICATIONS, &[&id, outcome.name()]));
        Metrics {
            outcomes: [Outcome::Sent, Outcome::Failed, Outcome::Suppressed].map(outcome),
            failures: telemetry.counter(&FAILURES, &[&id]),
            delay: telemetry.histogram(&DELAY, &[&id]),
            oldest: telemetry.gauge(&OLDEST, &[&id]),
            firing: telemetry.gauge(&FIRING, &[&id]),
        }
    }

    /// An alarm had this outcome.
    pub(crate) fn count(&self, outcome: Outcome) {
        for (_, counter) in self.outcomes.iter().filter(|(known, _)| *known == outcome) {
            counter.inc();
        }
    }

    /// A request was not taken.
    pub(crate) fn failure(&self) {
        self.failures.inc();
    }

    /// An alarm was taken so long after its event.
    pub(crate) fn delay(&self, millis: i64) {
        self.delay.observe(millis.max(0) as f64 / 1000.0);
    }

    /// So many alarms fire.
    pub(crate) fn firing(&self, alarms: usize) {
        self.firing.set(i64::try_from(alarms).unwrap_or(i64::MAX));
    }

    /// The age of the oldest message that waits.
    pub(crate) fn oldest(&self, millis: Option<i64>) {
        self.oldest.set(millis.unwrap_or_default().max(0) / 1000);
    }
}
