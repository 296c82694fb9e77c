//! What the receiver counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Telemetry;
use weir_component::telemetry::{Metric, MetricKind};

use crate::answer::{Answer, Reason};

const RECORDS: Metric = counter("weir_receiver_records", "Records read from the input.");
const BYTES: Metric = counter("weir_receiver_bytes", "Bytes of the records read from the input.");
const REJECTED: Metric = counter(
    "weir_receiver_rejected_records",
    "Records that cannot be decoded or are too large. They go to the dead letters.",
);
const REJECTED_ITEMS: Metric = counter(
    "weir_receiver_rejected_items",
    "Items (spans, log records, data points) that cannot be decoded, of requests whose other items are taken.",
);
const ESCAPED: Metric = counter(
    "weir_receiver_escaped_texts",
    "Texts that were not UTF-8 and are stored with the bytes in question escaped.",
);
const EMPTY: Metric = counter("weir_receiver_empty_records", "Valid records without any event.");
const REQUESTS: Metric = Metric {
    name: "weir_receiver_requests",
    help: "Requests by what they were answered: ok, partial, or why they were refused.",
    kind: MetricKind::Counter,
    labels: &["receiver", "transport", "outcome"],
};
const UNANSWERED: Metric = Metric {
    name: "weir_receiver_unanswered_requests",
    help: "Requests whose client was gone before there was an answer.",
    kind: MetricKind::Counter,
    labels: &["receiver", "transport"],
};
const CONNECTIONS: Metric = Metric {
    name: "weir_receiver_connections",
    help: "Connections that are open.",
    kind: MetricKind::Gauge,
    labels: &["receiver", "transport"],
};
const WAITING: Metric = Metric {
    name: "weir_receiver_waiting_bytes",
    help: "Bytes of requests that no lane has taken yet; queue.max_bytes is their bound.",
    kind: MetricKind::Gauge,
    labels: &["receiver"],
};

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] =
    &[RECORDS, BYTES, REJECTED, REJECTED_ITEMS, ESCAPED, EMPTY, REQUESTS, UNANSWERED, CONNECTIONS, WAITING];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["receiver"] }
}

/// What lanes count.
#[derive(Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) rejected: Counter,
    pub(crate) rejected_items: Counter,
    pub(crate) escaped: Counter,
    pub(crate) empty: Counter,
    pub(crate) waiting: Gauge,
}

impl LaneMetrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str) -> LaneMetrics {
        let of = |metric: &Metric| telemetry.counter(metric, &[receiver]);
        LaneMetrics {
            records: of(&RECORDS),
            bytes: of(&BYTES),
            rejected: of(&REJECTED),
            rejected_items: of(&REJECTED_ITEMS),
            escaped: of(&ESCAPED),
            empty: of(&EMPTY),
            waiting: telemetry.gauge(&WAITING, &[receiver]),
        }
    }
}

/// What one protocol counts.
pub(crate) struct ServerMetrics {
    pub(crate) connections: Gauge,
    pub(crate) unanswered: Counter,
    taken: Counter,
    partly: Counter,
    refused: [Counter; Reason::ALL.len()],
}

impl ServerMetrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str, transport: &str) -> ServerMetrics {
        let of = |outcome: &str| telemetry.counter(&REQUESTS, &[receiver, transport, outcome]);
        ServerMetrics {
            connections: telemetry.gauge(&CONNECTIONS, &[receiver, transport]),
            unanswered: telemetry.counter(&UNANSWERED, &[receiver, transport]),
            taken: of("ok"),
            partly: of("partial"),
            refused: Reason::ALL.map(|reason| of(reason.name())),
        }
    }

    /// A request gets this answer.
    pub(crate) fn answered(&self, answer: &Answer) {
        let counter = match answer {
            Answer::Taken => &self.taken,
            Answer::Partly { .. } => &self.partly,
            Answer::Refused(refusal) => &self.refused[refusal.reason as usize],
        };
        counter.inc();
    }
}
