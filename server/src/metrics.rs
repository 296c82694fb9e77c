//! What servers count. A receiver lists these in its own metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Telemetry;
use weir_component::telemetry::{Metric, MetricKind};

use crate::Reason;

/// Answers.
pub const REQUESTS: Metric = Metric {
    name: "weir_receiver_requests",
    help: "Requests by what they were answered: ok, partial, or why they were refused; panic: a mistake in Weir.",
    kind: MetricKind::Counter,
    labels: &["receiver", "transport", "outcome"],
};
/// Requests without one.
pub const UNANSWERED: Metric = Metric {
    name: "weir_receiver_unanswered_requests",
    help: "Requests whose client was gone before there was an answer.",
    kind: MetricKind::Counter,
    labels: &["receiver", "transport"],
};
/// Open connections.
pub const CONNECTIONS: Metric = Metric {
    name: "weir_receiver_connections",
    help: "Connections that are open.",
    kind: MetricKind::Gauge,
    labels: &["receiver", "transport"],
};
/// Bytes of requests that wait.
pub const WAITING: Metric = Metric {
    name: "weir_receiver_waiting_bytes",
    help: "Bytes of requests that no lane has taken yet; queue.max_bytes and one message more is their bound.",
    kind: MetricKind::Gauge,
    labels: &["receiver"],
};

/// The gauge of the bytes that wait, for [`Rooms`](crate::Rooms).
#[must_use]
pub fn waiting_bytes(telemetry: &Telemetry, receiver: &str) -> Gauge {
    telemetry.gauge(&WAITING, &[receiver])
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is taken.
    Taken,
    /// All but some items is taken.
    Partly,
    /// Nothing of it is taken.
    Refused(Reason),
}

/// What one protocol of a receiver counts.
#[derive(Debug)]
pub struct ServerMetrics {
    connections: Gauge,
    unanswered: Counter,
    panicked: Counter,
    taken: Counter,
    partly: Counter,
    refused: [Counter; Reason::ALL.len()],
}

impl ServerMetrics {
    /// The counters of this receiver and protocol.
    #[must_use]
    pub fn new(telemetry: &Telemetry, receiver: &str, transport: &str) -> ServerMetrics {
        let of = |outcome: &str| telemetry.counter(&REQUESTS, &[receiver, transport, outcome]);
        ServerMetrics {
            connections: telemetry.gauge(&CONNECTIONS, &[receiver, transport]),
            unanswered: telemetry.counter(&UNANSWERED, &[receiver, transport]),
            panicked: of("panic"),
            taken: of("ok"),
            partly: of("partial"),
            refused: Reason::ALL.map(|reason| of(reason.name())),
        }
    }

    /// Counts a connection until this is dropped.
    pub(crate) fn opened(&self) -> Opened<'_> {
        self.connections.inc();
        Opened(&self.connections)
    }

    /// Counts what becomes of a request: an answer, that its client has gone, or a panic.
    pub fn begin(&self) -> Begun<'_> {
        Begun { metrics: self, is_answered: false }
    }
}

/// A connection that is open.
pub(crate) struct Opened<'a>(&'a Gauge);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request that has no answer yet. It is dropped without one when its client goes, or with a panic.
#[derive(Debug)]
pub struct Begun<'a> {
    metrics: &'a ServerMetrics,
    is_answered: bool,
}

impl Begun<'_> {
    /// It gets this answer.
    pub fn answered(mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Taken => &self.metrics.taken,
            Outcome::Partly => &self.metrics.partly,
            Outcome::Refused(reason) => &self.metrics.refused[reason as usize],
        };
        counter.inc();
        self.is_answered = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let why = if std::thread::panicking() { &self.metrics.panicked } else { &self.metrics.unanswered };
        why.inc();
    }
}
