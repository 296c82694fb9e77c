//! The metrics of `sample`.

use prometheus_client::metrics::counter::Counter;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};
use weir_pdata::Signal;

const KEPT: Metric = counter("weir_sample_kept_rows", "Rows whose traces stay.");
const DROPPED: Metric = counter("weir_sample_dropped_rows", "Rows whose traces are dropped.");
const STRICTER: Metric = counter(
    "weir_sample_stricter_rows",
    "Rows that stay as they came, because they were sampled more strictly before.",
);
const INCONSISTENT: Metric = counter(
    "weir_sample_inconsistent_rows",
    "Rows that came with a threshold by which they should have been dropped. The threshold counts as missing.",
);
const UNTRACED: Metric = counter("weir_sample_untraced_rows", "Rows without a trace id; they stay.");

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[KEPT, DROPPED, STRICTER, INCONSISTENT, UNTRACED];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["processor", "signal"] }
}

/// Rows of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
    pub(crate) stricter: u64,
    pub(crate) inconsistent: u64,
    pub(crate) untraced: u64,
}

/// The counters of one signal.
#[derive(Clone, Debug)]
pub(crate) struct Counters([Counter; 5]);

impl Counters {
    /// Those of the processor with this context.
    pub(crate) fn new(context: &Context, signal: Signal) -> Counters {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(&metric, &[&id, signal.name()]);
        Counters([KEPT, DROPPED, STRICTER, INCONSISTENT, UNTRACED].map(counter))
    }

    /// Adds the rows of a batch.
    pub(crate) fn add(&self, counts: Counts) {
        let Counts { kept, dropped, stricter, inconsistent, untraced } = counts;
        for (counter, rows) in self.0.iter().zip([kept, dropped, stricter, inconsistent, untraced]) {
            counter.inc_by(rows);
        }
    }
}
