//! What `aggregate` counts.

use prometheus_client::metrics::counter::Counter;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};

const LATE: Metric = counter(
    "weir_aggregate_late_events",
    "Events left out because their window had already been emitted when they reached the trunk.",
);
const FUTURE: Metric = counter(
    "weir_aggregate_future_events",
    "Events left out of windows because their time is further than max_future ahead of the clock.",
);
const TIMELESS: Metric = counter(
    "weir_aggregate_timeless_events",
    "Events left out of windows because their time is NULL or outside the years 1677 to 2262.",
);
const OVERFLOW: Metric = counter(
    "weir_aggregate_overflow_events",
    "Events counted in the group __overflow__ because max_groups was reached.",
);
const FAILED: Metric = counter(
    "weir_aggregate_failed_events",
    "Events on which where or a measure failed: left out of windows, or of that measure.",
);
const LOST: Metric = counter(
    "weir_aggregate_lost_partials",
    "Partial results that could not be written or read. Their inputs fail and are read again.",
);

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[LATE, FUTURE, TIMELESS, OVERFLOW, FAILED, LOST];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["processor"] }
}

/// The counters of one operator.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub late: Counter,
    pub future: Counter,
    pub timeless: Counter,
    pub overflow: Counter,
    pub failed: Counter,
    pub lost: Counter,
}

impl Metrics {
    /// The counters of the processor with this context.
    pub fn new(context: &Context) -> Metrics {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        Metrics {
            late: counter(&LATE),
            future: counter(&FUTURE),
            timeless: counter(&TIMELESS),
            overflow: counter(&OVERFLOW),
            failed: counter(&FAILED),
            lost: counter(&LOST),
        }
    }
}
