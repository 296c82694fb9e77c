//! The metrics of `pattern`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::Context;
use weir_component::event_clocks::ClockMetrics;
use weir_component::telemetry::{Metric, MetricKind};

const MATCHES: Metric = counter("weir_pattern_matches", "Sequences that were complete: alarms raised.");
const TIMED_OUT: Metric =
    counter("weir_pattern_timed_out_matches", "Partial matches that were not complete within their time.");
const DROPPED: Metric = counter(
    "weir_pattern_dropped_matches",
    "Partial matches dropped because their key had max_partial_matches; the oldest go.",
);
const GIVEN_UP: Metric = counter(
    "weir_pattern_given_up_matches",
    "Partial matches given up because a lane of their events closed; those events are read again.",
);
const LATE: Metric = counter(
    "weir_pattern_late_events",
    "Events left out because their time was not after the watermark when they came.",
);
const TIMELESS: Metric =
    counter("weir_pattern_timeless_events", "Events left out because their time is NULL or missing.");
const FUTURE: Metric = counter(
    "weir_pattern_future_events",
    "Events left out because their time is more than max_future ahead of their arrival.",
);
const AHEAD: Metric = counter(
    "weir_pattern_ahead_events",
    "Events more than max_ahead ahead of their arrival. They keep their own time. They move the watermark to max_ahead after their arrival at most.",
);
const BEHIND: Metric = gauge(
    "weir_pattern_clock_behind_ms",
    "Milliseconds by which the clock is behind the events of all lanes, while these are more than max_future; else 0. Meanwhile no event is in a match. The clock is that of the Kafka broker where the topic keeps append times, else that of this gateway.",
);
const REFUSED: Metric = counter_by(
    "weir_pattern_refused_events",
    "Events left out because max_keys or max_buffered_events was reached.",
    &["processor", "reason"],
);
const FAILED: Metric = counter(
    "weir_pattern_failed_events",
    "Events on which where or a condition failed: it is false for them.",
);
const KEYS: Metric = gauge("weir_pattern_keys", "Keys with buffered events or partial matches.");
const BUFFERED: Metric = gauge("weir_pattern_buffered_events", "Events that wait for the watermark.");
const TEMPLATE_ERRORS: Metric = counter(
    "weir_pattern_template_errors",
    "Messages whose template failed; the alarm went out with a simpler text.",
);

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[
    MATCHES,
    TIMED_OUT,
    DROPPED,
    GIVEN_UP,
    LATE,
    TIMELESS,
    FUTURE,
    AHEAD,
    BEHIND,
    REFUSED,
    FAILED,
    KEYS,
    BUFFERED,
    TEMPLATE_ERRORS,
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    counter_by(name, help, &["processor"])
}

const fn counter_by(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, labels: &["processor"] }
}

/// The metrics of one processor.
pub(crate) struct Metrics {
    pub(crate) matches: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) dropped: Counter,
    pub(crate) given_up: Counter,
    pub(crate) late: Counter,
    pub(crate) timeless: Counter,
    pub(crate) clocks: ClockMetrics,
    pub(crate) refused_keys: Counter,
    pub(crate) refused_buffer: Counter,
    pub(crate) failed: Counter,
    pub(crate) keys: Gauge,
    pub(crate) buffered: Gauge,
    pub(crate) template_errors: Counter,
}

impl Metrics {
    /// The metrics of the processor with this context.
    pub(crate) fn new(context: &Context) -> Metrics {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        let gauge = |metric| context.telemetry.gauge(metric, &[&id]);
        Metrics {
            matches: counter(&MATCHES),
            timed_out: counter(&TIMED_OUT),
            dropped: counter(&DROPPED),
            given_up: counter(&GIVEN_UP),
            late: counter(&LATE),
            timeless: counter(&TIMELESS),
            clocks: ClockMetrics { future: counter(&FUTURE), ahead: counter(&AHEAD), behind: gauge(&BEHIND) },
            refused_keys: context.telemetry.counter(&REFUSED, &[&id, "max_keys"]),
            refused_buffer: context.telemetry.counter(&REFUSED, &[&id, "max_buffered_events"]),
            failed: counter(&FAILED),
            keys: gauge(&KEYS),
            buffered: gauge(&BUFFERED),
            template_errors: counter(&TEMPLATE_ERRORS),
        }
    }
}
