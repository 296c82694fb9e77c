//! The metrics that this exporter adds.

use prometheus_client::metrics::counter::Counter;
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

/// All of them.
pub(crate) const METRICS: &[Metric] = &[MOVED, UNPLACED, REFUSED_BY_VIEWS, FOUND];

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
