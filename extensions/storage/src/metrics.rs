//! The metrics of a storage.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Telemetry;
use weir_component::telemetry::{Metric, MetricKind};

const LABELS: &[&str] = &["storage", "queue"];

const BYTES: Metric = Metric {
    name: "weir_storage_queue_bytes",
    help: "Bytes of a queue's segments on disk.",
    kind: MetricKind::Gauge,
    labels: LABELS,
};
const RECORDS: Metric = Metric {
    name: "weir_storage_queue_records",
    help: "Records of a queue that are not acknowledged.",
    kind: MetricKind::Gauge,
    labels: LABELS,
};
const CORRUPT_RECORDS: Metric = Metric {
    name: "weir_storage_corrupt_records",
    help: "Records that were lost to damage, or that their reader could not use, and values of the state (`queue` is empty).",
    kind: MetricKind::Counter,
    labels: LABELS,
};
const CORRUPT_SEGMENTS: Metric = Metric {
    name: "weir_storage_corrupt_segments",
    help: "Segments in which damage was found.",
    kind: MetricKind::Counter,
    labels: LABELS,
};
const TORN_TAILS: Metric = Metric {
    name: "weir_storage_torn_tails",
    help: "Interrupted writes found at the end of a queue by a start, and cut off.",
    kind: MetricKind::Counter,
    labels: LABELS,
};
const ERRORS: Metric = Metric {
    name: "weir_storage_errors",
    help: "Failed reads and writes of a queue, tried again.",
    kind: MetricKind::Counter,
    labels: LABELS,
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[BYTES, RECORDS, CORRUPT_RECORDS, CORRUPT_SEGMENTS, TORN_TAILS, ERRORS];

/// The metrics of one queue.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    /// Bytes of the segments.
    pub bytes: Gauge,
    /// Records not acknowledged.
    pub records: Gauge,
    /// Records lost to damage.
    pub corrupt_records: Counter,
    /// Segments with damage.
    pub corrupt_segments: Counter,
    /// Interrupted writes.
    pub torn_tails: Counter,
    /// Failed reads and writes.
    pub errors: Counter,
}

impl QueueMetrics {
    /// The metrics of this queue.
    #[must_use]
    pub fn new(telemetry: &Telemetry, storage: &str, queue: &str) -> QueueMetrics {
        let counter = |metric| telemetry.counter(metric, &[storage, queue]);
        let gauge = |metric| telemetry.gauge(metric, &[storage, queue]);
        QueueMetrics {
            bytes: gauge(&BYTES),
            records: gauge(&RECORDS),
            corrupt_records: counter(&CORRUPT_RECORDS),
            corrupt_segments: counter(&CORRUPT_SEGMENTS),
            torn_tails: counter(&TORN_TAILS),
            errors: counter(&ERRORS),
        }
    }

    /// The counter of values of the state that were quarantined.
    #[must_use]
    pub fn corrupt_values(telemetry: &Telemetry, storage: &str) -> Counter {
        telemetry.counter(&CORRUPT_RECORDS, &[storage, ""])
    }
}
