//! The receiver's metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::records::{BYTES, EMPTY, ESCAPED, RECORDS, REJECTED};
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{RecordCounters, Telemetry};

const COMMIT_FAILURES: Metric =
    counter("weir_kafka_commit_failures", "Commits of offsets that Kafka refused or that got no answer.");
const ERRORS: Metric =
    counter("weir_kafka_errors", "Errors that the Kafka client reported and that are retried.");
const LOST: Metric =
    counter("weir_kafka_lost_records", "Records that were deleted from the topic before they were read.");
const PARTIAL: Metric = gauge(
    "weir_kafka_partial_windows",
    "1 while this gateway has only part of a topic and each partition's windows are apart.",
);
const ASSIGNED: Metric = gauge("weir_kafka_assigned_partitions", "Partitions that this receiver reads.");
const LAG: Metric = partition_gauge(
    "weir_kafka_lag",
    "Records between the last one that was read and the end of the partition.",
);
const PAUSED: Metric = partition_gauge(
    "weir_kafka_paused",
    "1 while nothing is taken of the partition because its pipeline is behind.",
);
const OLDEST: Metric = partition_gauge(
    "weir_kafka_oldest_unacknowledged_seconds",
    "How long the oldest record that was read has been waiting for its exports and windows.",
);
const COMMITTED: Metric = partition_gauge(
    "weir_kafka_committed_offset",
    "The offset at which the group would go on after a restart.",
);

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] = &[
    RECORDS,
    BYTES,
    REJECTED,
    ESCAPED,
    EMPTY,
    COMMIT_FAILURES,
    ERRORS,
    LOST,
    ASSIGNED,
    PARTIAL,
    LAG,
    PAUSED,
    OLDEST,
    COMMITTED,
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["receiver"] }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, labels: &["receiver"] }
}

const fn partition_gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, labels: &["receiver", "topic", "partition"] }
}

/// The counters of one receiver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) of_records: RecordCounters,
    pub(crate) commit_failures: Counter,
    pub(crate) errors: Counter,
    pub(crate) lost: Counter,
    pub(crate) assigned: Gauge,
    pub(crate) partial: Gauge,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str) -> Metrics {
        let of = |metric: &Metric| telemetry.counter(metric, &[receiver]);
        Metrics {
            of_records: RecordCounters::new(telemetry, receiver),
            commit_failures: of(&COMMIT_FAILURES),
            errors: of(&ERRORS),
            lost: of(&LOST),
            assigned: telemetry.gauge(&ASSIGNED, &[receiver]),
            partial: telemetry.gauge(&PARTIAL, &[receiver]),
        }
    }
}

/// The gauges of one partition.
pub(crate) struct PartitionMetrics {
    pub(crate) lag: Gauge,
    pub(crate) paused: Gauge,
    pub(crate) committed: Gauge,
    pub(crate) oldest: Gauge,
}

impl PartitionMetrics {
    pub(crate) fn new(
        telemetry: &Telemetry,
        receiver: &str,
        topic: &str,
        partition: i32,
    ) -> PartitionMetrics {
        let partition = partition.to_string();
        let of = |metric: &Metric| telemetry.gauge(metric, &[receiver, topic, &partition]);
        PartitionMetrics {
            lag: of(&LAG),
            paused: of(&PAUSED),
            committed: of(&COMMITTED),
            oldest: of(&OLDEST),
        }
    }
}

impl Drop for PartitionMetrics {
    /// Another gateway reports on the partition from now on.
    fn drop(&mut self) {
        self.lag.set(0);
        self.paused.set(0);
        self.oldest.set(0);
    }
}
