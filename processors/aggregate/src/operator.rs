//! One configured `aggregate`: what both halves share.

use std::sync::Arc;
use std::time::Duration;

use weir_component::delivery::LaneStart;
use weir_component::event_clocks::EventClocks;
use weir_component::{Alignment, Clock, LogLimit, ShardWatermarks, Watermark};
use weir_pdata::Signal;
use weir_pdata::expr::{Expr, Measure};
use weir_pdata::late::LatePolicy;

use crate::metrics::Metrics;
use crate::state::GroupState;
use crate::state::measure::MeasureState;
use crate::state::weight::Weight;
use crate::unmeasured::UnmeasuredCounts;
use crate::window::{Span, Windows};

/// Milliseconds between log lines about the same trouble.
const LOG_INTERVAL: i64 = 10_000;

/// A checked configuration with its services. Shared by all stages of one processor.
pub(crate) struct Operator {
    /// The component's id: the column `operator`.
    pub(crate) id: Arc<str>,
    /// The windows.
    pub(crate) window: Windows,
    /// A fingerprint of their meaning.
    pub(crate) fingerprint: Arc<str>,
    /// The column of event times.
    pub(crate) time: String,
    /// How far, in milliseconds, events may be behind the latest one of their lane.
    pub(crate) out_of_orderness: i64,
    /// A lane without input for this long does not hold the others.
    pub(crate) idle_timeout: Duration,
    /// The treatment of events that are ahead of their arrival.
    pub(crate) clocks: EventClocks,
    /// For how many milliseconds after its end a window still takes late events.
    pub(crate) allowed_lateness: i64,
    /// The treatment of events that are later still.
    pub(crate) late: LatePolicy,
    /// Keeps lanes together, with `max_drift`.
    pub(crate) alignment: Option<Arc<Alignment>>,
    /// How far the lanes of each shard have come.
    pub(crate) watermarks: ShardWatermarks,
    /// Which events are aggregated.
    pub(crate) condition: Option<Expr>,
    /// How often an event counts. `None`: once.
    pub(crate) weight: Option<Expr>,
    /// Which events succeed. `None`, and where it is NULL: those whose status is no error.
    pub(crate) success: Option<Expr>,
    /// Columns and attribute keys whose values make a group.
    pub(crate) group_by: Vec<String>,
    /// The named measures, in the order of their columns.
    pub(crate) measures: Vec<(String, Measure)>,
    /// The signals whose batches are read.
    pub(crate) signals: Vec<Signal>,
    /// The most groups in open windows, per stage. See [`Operator::max_states`].
    pub(crate) max_groups: usize,
    /// Windows that are over at this watermark are not emitted.
    pub(crate) emit_from: Option<Watermark>,
    /// The metrics.
    pub(crate) metrics: Metrics,
    /// Wall-clock time.
    pub(crate) clock: Arc<dyn Clock>,
    /// For each kind of trouble.
    pub(crate) logs: Logs,
}

/// Limits of log lines.
pub(crate) struct Logs {
    /// Groups beyond `max_groups`.
    pub(crate) overflow: LogLimit,
    /// Expressions that fail.
    pub(crate) failed: LogLimit,
    /// Events that came too late.
    pub(crate) late: LogLimit,
    /// Events without a usable time.
    pub(crate) timeless: LogLimit,
    /// Histogram points of different buckets in one group.
    pub(crate) mixed: LogLimit,
    /// Histogram points in no measure.
    pub(crate) unmeasured: LogLimit,
}

impl Default for Logs {
    fn default() -> Logs {
        let limit = || LogLimit::every_ms(LOG_INTERVAL);
        Logs {
            overflow: limit(),
            failed: limit(),
            late: limit(),
            timeless: limit(),
            mixed: limit(),
            unmeasured: limit(),
        }
    }
}

impl Operator {
    /// The counts of states for one event that counts once.
    pub(crate) fn unit(&self) -> u64 {
        if self.weight.is_some() { Weight::UNIT } else { 1 }
    }

    /// The state of a new group.
    pub(crate) fn new_state(&self) -> GroupState {
        let measures = self.measures.iter();
        GroupState {
            measures: measures
                .map(|(_, measure)| MeasureState::new(measure.function, measure.argument.is_some()))
                .collect(),
            ..GroupState::default()
        }
    }

    /// Windows of a lane that begins like this are left out when they are over at this watermark: they have
    /// been delivered, or are not to be.
    pub(crate) fn delivered(&self, start: &LaneStart) -> Watermark {
        start.watermark(&self.id).max(self.emit_from.unwrap_or(Watermark::MIN))
    }

    /// Whether a lane of this signal may bring events of the operator.
    pub(crate) fn takes(&self, signal: Option<Signal>) -> bool {
        signal.is_none_or(|signal| self.signals.contains(&signal))
    }

    /// Whether windows wait for a lane that begins like this, before it has said anything. They do not for
    /// one of another signal. Neither do windows of the time of arrival for one that only keeps a place:
    /// what it brings later arrives later.
    pub(crate) fn waits_for(&self, start: &LaneStart) -> bool {
        let by_arrival = matches!(self.window, Windows::Processing(_));
        self.takes(start.signal) && !(start.keeps_place && by_arrival)
    }

    /// The most groups that a stage may hold, counted once for each slice or session that they are in.
    pub(crate) fn max_states(&self) -> usize {
        let slices = match &self.window {
            Windows::Event(slices) | Windows::Processing(slices) => slices.per_window(),
            Windows::Session { .. } => 1,
        };
        self.max_groups.saturating_mul(usize::try_from(slices).unwrap_or(1))
    }

    /// In milliseconds, how long after a time the windows that had begun by then are over. For sessions:
    /// those that are left out because a part of them may be missing.
    pub(crate) fn reach(&self) -> i64 {
        match &self.window {
            Windows::Event(slices) | Windows::Processing(slices) => slices.longest(),
            Windows::Session { gap, .. } => gap.saturating_mul(2),
        }
    }

    /// Counts events that are late for every window and warns.
    pub(crate) fn note_late(&self, events: u64, window: Span, watermark: Watermark) {
        if events == 0 {
            return;
        }
        self.metrics.late.inc_by(events);
        if let Some(suppressed) = self.logs.late.allow(self.clock.now_ms()) {
            tracing::warn!(
                processor = %self.id, events, window_start = window.start, %watermark, suppressed,
                "events came after their last window was closed and are in none; \
                 raise out_of_orderness or allowed_lateness if this is common"
            );
        }
    }

    /// Counts histogram points that are in no measure, and warns.
    pub(crate) fn note_unmeasured(&self, points: UnmeasuredCounts, now: i64) {
        if points == UnmeasuredCounts::default() {
            return;
        }
        for (counter, points) in self.metrics.unmeasured.iter().zip(points) {
            counter.inc_by(points);
        }
        if let Some(suppressed) = self.logs.unmeasured.allow(now) {
            let [cumulative, malformed, scale, zero_threshold, mixed] = points;
            tracing::warn!(
                processor = %self.id, cumulative, malformed, scale, zero_threshold, mixed, suppressed,
                "histogram points are in no measure, or in no quantile (mixed); have deltas sent in place of \
                 cumulative ones: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta"
            );
        }
    }

    /// Counts results without the quantile of a histogram, and warns.
    pub(crate) fn note_mixed(&self, results: u64) {
        if results == 0 {
            return;
        }
        self.metrics.mixed.inc_by(results);
        if let Some(suppressed) = self.logs.mixed.allow(self.clock.now_ms()) {
            tracing::warn!(
                processor = %self.id, results, suppressed,
                "histogram points of one group have different buckets, so their quantile is NULL; \
                 group by metric, or by what tells the points apart"
            );
        }
    }

    /// Counts events folded into the overflow group and warns.
    pub(crate) fn note_overflow(&self, events: u64) {
        if events == 0 {
            return;
        }
        self.metrics.overflow.inc_by(events);
        if let Some(suppressed) = self.logs.overflow.allow(self.clock.now_ms()) {
            tracing::warn!(
                processor = %self.id, events, max_groups = self.max_groups, suppressed,
                "more groups than max_groups: new ones are counted together as __overflow__; \
                 raise max_groups or group by fewer columns"
            );
        }
    }
}
