//! The metrics of lanes and trunks.

use weir_component::BACKWARDS;
use weir_component::telemetry::{Metric, MetricKind};

pub(super) const ACCEPTED: Metric = Metric {
    name: "weir_receiver_accepted_rows",
    help: "Rows that a receiver has sent down its lanes. A record that is not decoded counts as one row.",
    kind: MetricKind::Counter,
    labels: &["receiver", "signal"],
};
pub(super) const LANES: Metric = Metric {
    name: "weir_receiver_lanes",
    help: "Lanes that a receiver has open.",
    kind: MetricKind::Gauge,
    labels: &["receiver"],
};
pub(super) const DERIVED: Metric = Metric {
    name: "weir_pipeline_derived_rows",
    help: "Rows that the processors of a pipeline have made on its trunk: windows and alarms.",
    kind: MetricKind::Counter,
    labels: &["pipeline", "signal"],
};
pub(super) const WATERMARK: Metric = Metric {
    name: "weir_pipeline_watermark_ms",
    help: "The event time that a pipeline's trunk has reached, in milliseconds since 1970. Its lag is `time() * 1000` less this.",
    kind: MetricKind::Gauge,
    labels: &["pipeline"],
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[ACCEPTED, BACKWARDS, LANES, DERIVED, WATERMARK];
