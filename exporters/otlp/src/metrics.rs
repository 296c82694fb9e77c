//! What the exporter counts.

use prometheus_client::metrics::counter::Counter;
use weir_component::Telemetry;
use weir_component::telemetry::{Metric, MetricKind};

const FORWARDED: Metric = Metric {
    name: "weir_otlp_forwarded_requests",
    help: "Requests that were forwarded as they came, without being decoded.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const REJECTED: Metric = Metric {
    name: "weir_otlp_rejected_items",
    help: "Items (spans, log records, data points) that the server did not take of requests that it took.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

/// Every metric of the exporter.
pub(crate) const ALL: &[Metric] = &[FORWARDED, REJECTED];

/// The counters of one exporter.
pub(crate) struct Metrics {
    pub(crate) forwarded: Counter,
    pub(crate) rejected: Counter,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, exporter: &str) -> Metrics {
        Metrics {
            forwarded: telemetry.counter(&FORWARDED, &[exporter]),
            rejected: telemetry.counter(&REJECTED, &[exporter]),
        }
    }
}
