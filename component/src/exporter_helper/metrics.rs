//! The metrics of every exporter.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::queue::delay::DELAY;
use crate::Context;
use crate::telemetry::{Metric, MetricKind};

const SENT: Metric = Metric {
    name: "weir_exporter_sent_rows",
    help: "Rows that the destination has taken.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const RETRIES: Metric = Metric {
    name: "weir_exporter_retries",
    help: "Exports that failed and are tried again.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const REJECTED: Metric = Metric {
    name: "weir_exporter_rejected_rows",
    help: "Rows that the destination will not take; they are in the dead letters.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const ABANDONED: Metric = Metric {
    name: "weir_exporter_abandoned_rows",
    help: "Rows not delivered when the program stopped: their input is read again by the next start, or they are in the dead letters or on disk.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const QUEUE_BYTES: Metric = Metric {
    name: "weir_exporter_queue_bytes",
    help: "Bytes that wait in the queue or are being exported.",
    kind: MetricKind::Gauge,
    labels: &["exporter"],
};

const SUPPRESSED: Metric = Metric {
    name: "weir_exporter_suppressed_rows",
    help: "Rows read again that had been exported before, and were left out.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[SENT, RETRIES, REJECTED, ABANDONED, SUPPRESSED, DELAY, QUEUE_BYTES];

/// The metrics of one exporter.
#[derive(Clone)]
pub(crate) struct HelperMetrics {
    pub sent: Counter,
    pub retries: Counter,
    pub rejected: Counter,
    pub abandoned: Counter,
    pub suppressed: Counter,
    pub queue_bytes: Gauge,
}

impl HelperMetrics {
    pub(crate) fn new(context: &Context) -> HelperMetrics {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        HelperMetrics {
            sent: counter(&SENT),
            retries: counter(&RETRIES),
            rejected: counter(&REJECTED),
            abandoned: counter(&ABANDONED),
            suppressed: counter(&SUPPRESSED),
            queue_bytes: context.telemetry.gauge(&QUEUE_BYTES, &[&id]),
        }
    }
}
