//! The metrics of `aggregate`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Context;
use weir_component::event_clocks::ClockMetrics;
use weir_component::telemetry::{Metric, MetricKind};

use crate::unmeasured::Unmeasured;

const LATE: Metric = counter(
    "weir_aggregate_late_events",
    "Events in no window. The watermark of their lane had closed all of their windows for good.",
);
const FUTURE: Metric = counter(
    "weir_aggregate_future_events",
    "Events left out of windows because their time is more than max_future ahead of their arrival.",
);
const AHEAD: Metric = counter(
    "weir_aggregate_ahead_events",
    "Events more than max_ahead ahead of their arrival. They are in the windows of their own time. They move the watermark to max_ahead after their arrival at most.",
);
const BEHIND: Metric = Metric {
    name: "weir_aggregate_clock_behind_ms",
    help: "Milliseconds by which the clock is behind the events of all lanes, while these are more than max_future; else 0. Meanwhile no event is in windows. The clock is that of the Kafka broker where the topic keeps append times, else that of this gateway.",
    kind: MetricKind::Gauge,
    labels: &["processor"],
};
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
    "Events on which where or a measure failed. They are left out of windows, or of that measure.",
);
const LOST: Metric = counter(
    "weir_aggregate_lost_partials",
    "Partial results that could not be written or read. Their inputs fail and are read again.",
);

const REPEATED: Metric = counter(
    "weir_aggregate_repeated_events",
    "Events read again after a restart whose windows had all been delivered before it.",
);

const UNMEASURED: Metric = Metric {
    name: "weir_aggregate_unmeasured_points",
    help: "Histogram points that are not in measures of histogram, by reason. cumulative: only delta points are measured. malformed: its bounds do not rise, or its counts do not fit them, or do not add up to count. scale: below -4 or above 20. zero_threshold: not from 0 to 1. mixed: it has other bounds than the points before it; it is in all measures but quantiles.",
    kind: MetricKind::Counter,
    labels: &["processor", "reason"],
};
const MIXED: Metric = counter(
    "weir_aggregate_mixed_histograms",
    "Results with a quantile of histogram that is NULL because the points of the group have different bounds, or some are exponential and some are not.",
);

const GROUPS: Metric = Metric {
    name: "weir_aggregate_groups",
    help: "Groups in memory on all lanes and the trunk, counted once for each slice or session they are in.",
    kind: MetricKind::Gauge,
    labels: &["processor"],
};

const HELD: Metric = Metric {
    name: "weir_aggregate_held_lanes",
    help: "Lanes that wait now because they are more than max_drift ahead of the slowest.",
    kind: MetricKind::Gauge,
    labels: &["processor"],
};

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[
    LATE, FUTURE, AHEAD, BEHIND, TIMELESS, OVERFLOW, FAILED, LOST, REPEATED, UNMEASURED, MIXED, GROUPS, HELD,
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["processor"] }
}

/// The counters of one operator.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) late: Counter,
    pub(crate) clocks: ClockMetrics,
    pub(crate) timeless: Counter,
    pub(crate) overflow: Counter,
    pub(crate) failed: Counter,
    pub(crate) lost: Counter,
    pub(crate) repeated: Counter,
    /// By the number of the reason.
    pub(crate) unmeasured: [Counter; Unmeasured::ALL.len()],
    /// Results without a quantile because of such points.
    pub(crate) mixed: Counter,
    groups: Gauge,
    /// For the alignment.
    pub(crate) held: Gauge,
}

impl Metrics {
    /// The counters of the processor with this context.
    pub(crate) fn new(context: &Context) -> Metrics {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        Metrics {
            late: counter(&LATE),
            clocks: ClockMetrics {
                future: counter(&FUTURE),
                ahead: counter(&AHEAD),
                behind: context.telemetry.gauge(&BEHIND, &[&id]),
            },
            timeless: counter(&TIMELESS),
            overflow: counter(&OVERFLOW),
            failed: counter(&FAILED),
            lost: counter(&LOST),
            repeated: counter(&REPEATED),
            unmeasured: Unmeasured::ALL
                .map(|reason| context.telemetry.counter(&UNMEASURED, &[&id, reason.name()])),
            mixed: counter(&MIXED),
            groups: context.telemetry.gauge(&GROUPS, &[&id]),
            held: context.telemetry.gauge(&HELD, &[&id]),
        }
    }

    /// A stage's share of the groups in memory.
    pub(crate) fn groups_gauge(&self) -> GroupsGauge {
        GroupsGauge { groups: 0, gauge: self.groups.clone() }
    }
}

/// How many groups one stage has in memory. Dropping it takes them off the gauge.
#[derive(Debug)]
pub(crate) struct GroupsGauge {
    groups: usize,
    gauge: Gauge,
}

impl GroupsGauge {
    /// The stage has this many now.
    pub(crate) fn set(&mut self, groups: usize) {
        let change = signed(groups) - signed(self.groups);
        if change != 0 {
            self.gauge.inc_by(change);
            self.groups = groups;
        }
    }
}

impl Drop for GroupsGauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn signed(groups: usize) -> i64 {
    i64::try_from(groups).unwrap_or(i64::MAX)
}
