//! What the receiver counts, besides what every server does.

use prometheus_client::metrics::counter::Counter;
use weir_component::records::{BYTES, EMPTY, ESCAPED, RECORDS, REJECTED};
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{RecordCounters, Telemetry};
use weir_server::metrics::{CONNECTIONS, REQUESTS, UNANSWERED, WAITING};

const REJECTED_ITEMS: Metric = Metric {
    name: "weir_receiver_rejected_items",
    help: "Items (spans, log records, data points) that cannot be decoded, of requests whose other items are taken.",
    kind: MetricKind::Counter,
    labels: &["receiver"],
};

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] =
    &[RECORDS, BYTES, REJECTED, REJECTED_ITEMS, ESCAPED, EMPTY, REQUESTS, UNANSWERED, CONNECTIONS, WAITING];

/// What lanes count.
#[derive(Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) of_records: RecordCounters,
    pub(crate) rejected_items: Counter,
}

impl LaneMetrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str) -> LaneMetrics {
        LaneMetrics {
            of_records: RecordCounters::new(telemetry, receiver),
            rejected_items: telemetry.counter(&REJECTED_ITEMS, &[receiver]),
        }
    }
}
