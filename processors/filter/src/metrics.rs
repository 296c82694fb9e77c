//! The metrics of `filter`.

use prometheus_client::metrics::counter::Counter;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};
use weir_pdata::Signal;

const KEPT: Metric = counter("weir_filter_kept_rows", "Rows that the conditions of their signal have kept.");
const DROPPED: Metric =
    counter("weir_filter_dropped_rows", "Rows that the conditions of their signal have dropped.");
const FAILED: Metric = counter(
    "weir_filter_failed_rows",
    "Rows on which a condition failed, once for each condition; error_mode says what becomes of them.",
);

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[KEPT, DROPPED, FAILED];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["processor", "signal"] }
}

/// The counters of one signal.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) kept: Counter,
    pub(crate) dropped: Counter,
    pub(crate) failed: Counter,
}

impl Counters {
    /// Those of the processor with this context.
    pub(crate) fn new(context: &Context, signal: Signal) -> Counters {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id, signal.name()]);
        Counters { kept: counter(&KEPT), dropped: counter(&DROPPED), failed: counter(&FAILED) }
    }
}
