//! What the receiver counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Telemetry;
use weir_component::telemetry::{Metric, MetricKind};

const RECORDS: Metric = counter("weir_receiver_records", "Records read from the input.");
const BYTES: Metric = counter("weir_receiver_bytes", "Bytes of the records read from the input.");
const REJECTED: Metric = counter(
    "weir_receiver_rejected_records",
    "Records that cannot be decoded or are too large. They go to the dead letters.",
);
const ESCAPED: Metric = counter(
    "weir_receiver_escaped_texts",
    "Texts that were not UTF-8 and are stored with the bytes in question escaped.",
);
const EMPTY: Metric = counter("weir_receiver_empty_records", "Valid records without any event.");
const REFUSED: Metric = Metric {
    name: "weir_skywalking_refused_reports",
    help: "Reports of agents that were not taken, by protocol and by what they were answered.",
    kind: MetricKind::Counter,
    labels: &["receiver", "protocol", "status"],
};
const CONNECTIONS: Metric = Metric {
    name: "weir_skywalking_connections",
    help: "Open connections of agents, by protocol.",
    kind: MetricKind::Gauge,
    labels: &["receiver", "protocol"],
};

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] = &[RECORDS, BYTES, REJECTED, ESCAPED, EMPTY, REFUSED, CONNECTIONS];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["receiver"] }
}

/// The counters of one receiver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) rejected: Counter,
    pub(crate) escaped: Counter,
    pub(crate) empty: Counter,
    telemetry: Telemetry,
    receiver: String,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str) -> Metrics {
        let of = |metric: &Metric| telemetry.counter(metric, &[receiver]);
        Metrics {
            records: of(&RECORDS),
            bytes: of(&BYTES),
            rejected: of(&REJECTED),
            escaped: of(&ESCAPED),
            empty: of(&EMPTY),
            telemetry: telemetry.clone(),
            receiver: receiver.to_owned(),
        }
    }

    /// A report was answered with this status instead of success.
    pub(crate) fn refused(&self, protocol: &str, status: &str) {
        self.telemetry.counter(&REFUSED, &[&self.receiver, protocol, status]).inc();
    }

    /// The open connections of a protocol.
    pub(crate) fn connections(&self, protocol: &str) -> Gauge {
        self.telemetry.gauge(&CONNECTIONS, &[&self.receiver, protocol])
    }
}
