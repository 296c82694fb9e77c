//! The metrics of the OpenTelemetry Collector, under its names and in its form, where they mean the same
//! here. Its dashboards show them: counters without `_total`, a name for each signal.
//!
//! | Collector | here |
//! |---|---|
//! | accepted by a receiver | sent down its lanes; of `otlp` and `skywalking`, delivered, or in the queue where that is the answer |
//! | refused by a receiver | items of requests of `otlp` and `skywalking` that were not taken; their clients have them |
//! | sent by an exporter | taken by the destination |
//! | failed to send | refused by the destination for good: in the dead letters, or, of `otlp`, left out of a request that the server has taken; attempts that are repeated are none |
//! | queue size, capacity | bytes, as with `sizer: bytes` |
//! | incoming and outgoing items of a processor | rows into and out of its half on lanes |

use prometheus_client::metrics::counter::Counter;
use weir_pdata::Signal;

use crate::Telemetry;
use crate::telemetry::{Metric, MetricKind};

const RECEIVER: &[&str] = &["receiver", "transport"];
const EXPORTER: &[&str] = &["exporter"];

const ACCEPTED_HELP: &str = "Items that a receiver has brought into the pipelines.";
const REFUSED_HELP: &str = "Items of requests that a receiver has not taken; their clients have them.";
const SENT_HELP: &str = "Items that the destination has taken.";
const FAILED_HELP: &str = "Items that the destination will not take. They are in the dead letters, unless it does not say which they are.";

const ACCEPTED: [Metric; 3] = [
    items("otelcol_receiver_accepted_spans", ACCEPTED_HELP, RECEIVER),
    items("otelcol_receiver_accepted_log_records", ACCEPTED_HELP, RECEIVER),
    items("otelcol_receiver_accepted_metric_points", ACCEPTED_HELP, RECEIVER),
];
const REFUSED: [Metric; 3] = [
    items("otelcol_receiver_refused_spans", REFUSED_HELP, RECEIVER),
    items("otelcol_receiver_refused_log_records", REFUSED_HELP, RECEIVER),
    items("otelcol_receiver_refused_metric_points", REFUSED_HELP, RECEIVER),
];
const SENT: [Metric; 3] = [
    items("otelcol_exporter_sent_spans", SENT_HELP, EXPORTER),
    items("otelcol_exporter_sent_log_records", SENT_HELP, EXPORTER),
    items("otelcol_exporter_sent_metric_points", SENT_HELP, EXPORTER),
];
const SEND_FAILED: [Metric; 3] = [
    items("otelcol_exporter_send_failed_spans", FAILED_HELP, EXPORTER),
    items("otelcol_exporter_send_failed_log_records", FAILED_HELP, EXPORTER),
    items("otelcol_exporter_send_failed_metric_points", FAILED_HELP, EXPORTER),
];

/// Bytes in the queue of an exporter.
pub(crate) const QUEUE_SIZE: Metric = Metric {
    name: "otelcol_exporter_queue_size",
    help: "Bytes that wait in the queue or are being exported.",
    kind: MetricKind::Gauge,
    labels: EXPORTER,
};
/// Bytes that it may have.
pub(crate) const QUEUE_CAPACITY: Metric = Metric {
    name: "otelcol_exporter_queue_capacity",
    help: "Bytes that the queue may have (queue.max_bytes).",
    kind: MetricKind::Gauge,
    labels: EXPORTER,
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[
    ACCEPTED[0],
    ACCEPTED[1],
    ACCEPTED[2],
    REFUSED[0],
    REFUSED[1],
    REFUSED[2],
    SENT[0],
    SENT[1],
    SENT[2],
    SEND_FAILED[0],
    SEND_FAILED[1],
    SEND_FAILED[2],
    QUEUE_SIZE,
    QUEUE_CAPACITY,
];

const fn items(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, kind: MetricKind::CollectorCounter, labels }
}

/// Counters of items, one for each signal that the Collector has.
#[derive(Clone, Debug)]
pub struct ItemCounters([Counter; 3]);

impl ItemCounters {
    /// Items that this receiver has brought, over this transport.
    #[must_use]
    pub fn accepted(telemetry: &Telemetry, receiver: &str, transport: &str) -> ItemCounters {
        ItemCounters(ACCEPTED.map(|metric| telemetry.counter(&metric, &[receiver, transport])))
    }

    /// Items that this receiver has not taken.
    fn refused(telemetry: &Telemetry, receiver: &str, transport: &str) -> ItemCounters {
        ItemCounters(REFUSED.map(|metric| telemetry.counter(&metric, &[receiver, transport])))
    }

    /// Items that the destination of this exporter has taken.
    pub(crate) fn sent(telemetry: &Telemetry, exporter: &str) -> ItemCounters {
        ItemCounters(SENT.map(|metric| telemetry.counter(&metric, &[exporter])))
    }

    /// Items that it will not take.
    pub(crate) fn send_failed(telemetry: &Telemetry, exporter: &str) -> ItemCounters {
        ItemCounters(SEND_FAILED.map(|metric| telemetry.counter(&metric, &[exporter])))
    }

    /// Counts items of a signal. Windows and alarms are none of the Collector's.
    pub fn add(&self, signal: Signal, items: u64) {
        let counter = match signal {
            Signal::Traces => &self.0[0],
            Signal::Logs => &self.0[1],
            Signal::Metrics => &self.0[2],
            Signal::Windows | Signal::Alarms => return,
        };
        counter.inc_by(items);
    }
}

/// The items of requests, by whether they were taken.
#[derive(Clone, Debug)]
pub struct AnsweredItems {
    accepted: ItemCounters,
    refused: ItemCounters,
}

impl AnsweredItems {
    /// Those that come to this receiver over this transport.
    #[must_use]
    pub fn new(telemetry: &Telemetry, receiver: &str, transport: &str) -> AnsweredItems {
        AnsweredItems {
            accepted: ItemCounters::accepted(telemetry, receiver, transport),
            refused: ItemCounters::refused(telemetry, receiver, transport),
        }
    }

    /// Counts items of a signal, of which so many are refused, and the others taken.
    pub fn count(&self, signal: Signal, items: u64, refused: u64) {
        let refused = refused.min(items);
        self.accepted.add(signal, items - refused);
        self.refused.add(signal, refused);
    }
}
