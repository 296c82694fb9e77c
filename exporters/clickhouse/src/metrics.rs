//! The metrics that this exporter adds.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};

const MOVED: Metric = Metric {
    name: "weir_clickhouse_moved_values",
    help: "Values that do not fit their column (type, range, time before 1970 or after 2106) and are in the table's map as text.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const UNPLACED: Metric = Metric {
    name: "weir_clickhouse_unplaced_values",
    help: "Values that found no place in the table: it has neither a column nor a map for them.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const REFUSED_BY_VIEWS: Metric = Metric {
    name: "weir_clickhouse_rows_refused_by_views",
    help: "Rows that are in the table, and missing behind it: a materialized view refused an insert that they were in.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const FOUND: Metric = Metric {
    name: "weir_clickhouse_found_rows",
    help: "Rows of inserts that were repeated late, and that the table was found to have already.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

const CREATED: Metric = Metric {
    name: "weir_clickhouse_created_columns",
    help: "Keys of spans that have a column.",
    kind: MetricKind::Gauge,
    labels: &["exporter"],
};
const FAILED_ALTERS: Metric = Metric {
    name: "weir_clickhouse_failed_alters",
    help: "Statements that should have added columns for keys, and failed. They are tried again.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const UNCOUNTED: Metric = Metric {
    name: "weir_clickhouse_uncounted_keys",
    help: "Attributes whose keys were not counted: too many keys came at once, or the key is longer than 256 bytes. Their values are stored.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

const DISK_FREE: Metric = Metric {
    name: "weir_clickhouse_disk_free_percent",
    help: "Free space of a disk that has rows of the database, in whole percent.",
    kind: MetricKind::Gauge,
    labels: &["exporter", "disk"],
};
const DROPPED: Metric = Metric {
    name: "weir_clickhouse_dropped_partitions",
    help: "Days of a table that were deleted because a disk was almost full.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

/// All of them.
pub(crate) const METRICS: &[Metric] =
    &[MOVED, UNPLACED, REFUSED_BY_VIEWS, FOUND, CREATED, FAILED_ALTERS, UNCOUNTED, DISK_FREE, DROPPED];

/// Of the server's disks.
pub(crate) struct DiskMetrics {
    context: Context,
    pub(crate) dropped: Counter,
}

impl DiskMetrics {
    pub(crate) fn new(context: &Context) -> DiskMetrics {
        let dropped = context.telemetry.counter(&DROPPED, &[&context.id.to_string()]);
        DiskMetrics { context: context.clone(), dropped }
    }

    /// How much of a disk is free.
    pub(crate) fn free(&self, disk: &str, percent: f64) {
        let gauge = self.context.telemetry.gauge(&DISK_FREE, &[&self.context.id.to_string(), disk]);
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
        gauge.set(percent.clamp(0.0, 100.0) as i64);
    }
}

/// Of columns for keys.
pub(crate) struct ColumnMetrics {
    pub(crate) created: Gauge,
    pub(crate) failed_alters: Counter,
    pub(crate) uncounted: Counter,
}

impl ColumnMetrics {
    pub(crate) fn new(context: &Context) -> ColumnMetrics {
        let id = context.id.to_string();
        ColumnMetrics {
            created: context.telemetry.gauge(&CREATED, &[&id]),
            failed_alters: context.telemetry.counter(&FAILED_ALTERS, &[&id]),
            uncounted: context.telemetry.counter(&UNCOUNTED, &[&id]),
        }
    }
}

/// The counters of one exporter.
pub(crate) struct Metrics {
    pub(crate) moved: Counter,
    pub(crate) unplaced: Counter,
    pub(crate) refused_by_views: Counter,
    pub(crate) found: Counter,
}

impl Metrics {
    pub(crate) fn new(context: &Context) -> Metrics {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        Metrics {
            moved: counter(&MOVED),
            unplaced: counter(&UNPLACED),
            refused_by_views: counter(&REFUSED_BY_VIEWS),
            found: counter(&FOUND),
        }
    }
}
