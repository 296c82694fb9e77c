//! What the receiver counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Telemetry;
use weir_component::telemetry::{Metric, MetricKind};

const EVENTS: Metric = counter("weir_ebpf_events", "Events read from the ring of the kernel.");
const LOST: Metric = Metric {
    name: "weir_ebpf_lost_events",
    help: "Events that the kernel could not tell, by kind (data, tcp, process): the ring was full.",
    kind: MetricKind::Counter,
    labels: &["receiver", "kind"],
};
const UNSEEN: Metric = Metric {
    name: "weir_ebpf_unseen",
    help: "What the kernel did not look at because a map was full (connections), or could not copy (pieces).",
    kind: MetricKind::Counter,
    labels: &["receiver", "what"],
};
const REQUESTS: Metric = counter("weir_ebpf_requests", "Requests that were seen, with and without rows.");
const SAMPLED: Metric = counter(
    "weir_ebpf_sampled_requests",
    "Requests without a row: there were more than `http.max_rows_per_second`.",
);
const UNPAIRED: Metric = Metric {
    name: "weir_ebpf_unpaired",
    help: "What could not be paired: responses without a request that was seen, requests beyond those that may wait on one connection, connections of HTTP/2 of which a piece was missed.",
    kind: MetricKind::Counter,
    labels: &["receiver", "what"],
};
const CONNECTIONS: Metric = gauge("weir_ebpf_connections", "Connections whose requests are followed.");
const PROCESSES: Metric = gauge("weir_ebpf_processes", "Processes that are known.");
const HOOKS: Metric = Metric {
    name: "weir_ebpf_hooks",
    help: "Places in the kernel: 1 when the program there runs, 0 when it does not.",
    kind: MetricKind::Gauge,
    labels: &["receiver", "hook"],
};

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] =
    &[EVENTS, LOST, UNSEEN, REQUESTS, SAMPLED, UNPAIRED, CONNECTIONS, PROCESSES, HOOKS];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["receiver"] }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, labels: &["receiver"] }
}

/// The counters of one receiver.
pub(crate) struct Metrics {
    pub(crate) events: Counter,
    pub(crate) requests: Counter,
    pub(crate) sampled: Counter,
    pub(crate) connections: Gauge,
    pub(crate) processes: Gauge,
    /// Data, tcp, process.
    pub(crate) lost: [Counter; 3],
    /// Connections, pieces.
    pub(crate) unseen: [Counter; 2],
    /// Responses, requests, connections.
    pub(crate) unpaired: [Counter; 3],
    telemetry: Telemetry,
    receiver: String,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str) -> Metrics {
        let counter = |metric: &Metric| telemetry.counter(metric, &[receiver]);
        let of = |metric: &Metric, label: &str| telemetry.counter(metric, &[receiver, label]);
        Metrics {
            events: counter(&EVENTS),
            requests: counter(&REQUESTS),
            sampled: counter(&SAMPLED),
            connections: telemetry.gauge(&CONNECTIONS, &[receiver]),
            processes: telemetry.gauge(&PROCESSES, &[receiver]),
            lost: ["data", "tcp", "process"].map(|kind| of(&LOST, kind)),
            unseen: ["connections", "pieces"].map(|what| of(&UNSEEN, what)),
            unpaired: ["responses", "requests", "connections"].map(|what| of(&UNPAIRED, what)),
            telemetry: telemetry.clone(),
            receiver: receiver.to_owned(),
        }
    }

    /// Whether the program at a place runs.
    pub(crate) fn hook(&self, place: &str, runs: bool) {
        self.telemetry.gauge(&HOOKS, &[&self.receiver, place]).set(runs.into());
    }
}
