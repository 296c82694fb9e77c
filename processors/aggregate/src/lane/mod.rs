//! The half on a lane: events into slices or fragments of sessions, and those to the trunk.
//!
//! * Batches are forwarded as they came. The slices and fragments hold the acks of the batches that have rows
//!   in them.
//! * The watermark of the lane is the latest event time, less the out-of-orderness and 1 ms. Events that
//!   `where` leaves out move it, too. After each batch everything that the watermark has passed goes to the
//!   trunk, and then the watermark.
//! * An event moves the watermark at most as far as its arrival and `max_ahead`. Its window is that of its
//!   own time. The arrival is the append time of the record where Kafka keeps it, else the time of the clock
//!   ([`event_clocks`](weir_component::event_clocks)).
//! * An event is late when the watermark of its own lane has closed its last window for good. Late events are
//!   in no window; with `late: output` they get `late` = true. The watermark moves with every event, so
//!   batches do not matter. An event beyond the bound that is not late is in those of its windows that the
//!   lane's watermark has not closed.
//! * A lane is idle when it has brought no usable event for `idle_timeout`: only other signals, or times far
//!   in the future. One wrong clock must not delay the windows of all lanes. An idle lane sends all that it
//!   has gathered, because the trunk may fire those windows.
//! * A lane of another signal ([`LaneStart::signal`]) is idle from the start.
//! * A lane that opens, or wakes from idleness, takes the trunk's watermark as its own ([`LaneWatermark`]).
//! * For windows of the time of arrival the clock is the event time, and the watermark is the millisecond
//!   before it. Every message moves it, `Idle` too.
//! * Windows that were delivered before the lane began are left out. Their events are counted as repeated,
//!   and not as late.
//! * With `max_drift` the lane shares its watermark, so that no lane runs far ahead of the slowest.
//! * `Drain` gives up what is gathered: its inputs fail, and the next owner reads them again.

mod events;
mod input;
mod left_out;
mod open_windows;
mod outcome;
mod points;
mod session;
mod tumbling_sliding;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch, TimestampNanosecondArray};
use arrow::compute::{max, min};
use weir_component::delivery::LaneStart;
use weir_component::event_clocks::BatchClocks;
use weir_component::{Aligned, IdleDetector, LaneMessage, LaneWatermark, Outlet, Stage, Watermark};
use weir_pdata::expr::Failures;
use weir_pdata::late::{self, LatePolicy};
use weir_pdata::{EventBatch, Origin, Signal};

use crate::group::key::{self, KeyHasher, KeyRows};
use crate::lane::events::Events;
use crate::lane::input::{Assignment, BatchInput};
use crate::lane::left_out::LeftOut;
use crate::lane::open_windows::OpenWindows;
use crate::metrics::GroupsGauge;
use crate::operator::Operator;
use crate::window::{NANOS, Windows, floor_ms};

/// The stage.
pub(crate) struct LaneHalf {
    operator: Arc<Operator>,
    hasher: KeyHasher,
    open: OpenWindows,
    groups_gauge: GroupsGauge,
    /// The latest time seen, less the out-of-orderness and 1 ms; or more, if the trunk's was when the lane
    /// opened or woke.
    watermark: LaneWatermark,
    /// The lane's part in keeping lanes together, with `max_drift`.
    aligned: Option<Aligned>,
    idle: IdleDetector,
    /// It brings no event of the operator's signals, so nothing waits for it.
    is_foreign: bool,
    /// Windows that are over at this watermark were delivered before the lane began.
    delivered: Watermark,
    /// Events before this position were read before the lane began.
    read_before: i64,
}

/// The outcome of a batch.
struct BatchSummary {
    /// One of its events had a usable time.
    usable: bool,
    /// The rows that are late for every window.
    late: Vec<usize>,
    /// The lane's watermark after it.
    watermark: Watermark,
}

impl LaneHalf {
    /// A lane's half of this operator.
    pub(crate) fn new(operator: Arc<Operator>, start: &LaneStart) -> LaneHalf {
        let delivered = operator.delivered(start);
        // What is read again of a session that was open then lies before that watermark, each event on its
        // own.
        let from = if let Windows::Session { .. } = operator.window { Watermark::MIN } else { delivered };
        let mut watermark = operator.watermarks.join(start.shard, start.lane, from);
        let aligned = operator.alignment.as_ref();
        let aligned = aligned.map(|alignment| alignment.join(start.lane, watermark.get()));
        let is_foreign = !operator.takes(start.signal);
        if !operator.waits_for(start) {
            // The trunk knows it, too.
            watermark.become_idle();
        }
        if let Some(aligned) = aligned.as_ref().filter(|_| is_foreign) {
            aligned.idle();
        }
        LaneHalf {
            open: OpenWindows::new(&operator),
            aligned,
            idle: IdleDetector::new(operator.idle_timeout),
            is_foreign,
            delivered,
            read_before: start.read,
            groups_gauge: operator.metrics.groups_gauge(),
            operator,
            hasher: KeyHasher::default(),
            watermark,
        }
    }

    /// The time of arrival, when that is what windows are made of. It does not go back, nor into a window
    /// that has fired.
    fn arrival(&self, now: i64) -> Option<i64> {
        let Windows::Processing(_) = self.operator.window else { return None };
        // The end of the stream is no time.
        let after = |mark: Watermark| if mark < Watermark::MAX { mark.0.saturating_add(1) } else { i64::MIN };
        Some(now.max(after(self.watermark.get())))
    }

    /// Puts the events of a batch into windows.
    fn aggregate(&mut self, batch: &EventBatch, columns: &RecordBatch, now: i64) -> BatchSummary {
        let operator = Arc::clone(&self.operator);
        let events = Events::read(columns, batch.signal, &operator);
        let key_columns = key::columns(columns, &operator.group_by);
        let hasher = self.hasher.clone();
        let rows = KeyRows::new(&key_columns, &hasher, columns.num_rows());
        let ack = batch.ack.for_windows();
        let input =
            BatchInput { operator: &operator, rows: &rows, hasher: &hasher, events: &events, ack: &ack };
        let mut clocks = operator.clocks.batch(columns, now);
        let arrival = self.arrival(now);
        let repeated = batch.origin.positions.start < self.read_before;
        let mut left_out = LeftOut::default();
        let mut summary = BatchSummary::nothing(self.watermark.get());
        self.open.start_batch();
        if let Some(times) = events.times()
            && let Some(reached) = self.in_time(times, &clocks)
        {
            left_out.timeless += times.null_count() as u64;
            left_out.overflow += self.open.add_in_time(&input, times);
            (summary.usable, summary.watermark) = (true, reached);
        } else {
            self.add_each(
                &input,
                columns.num_rows(),
                (arrival, repeated),
                &mut clocks,
                (&mut left_out, &mut summary),
            );
        }
        if let Some(window) = left_out.late {
            operator.note_late(summary.late.len() as u64, window, summary.watermark);
        }
        clocks.report(summary.usable);
        left_out.report(&operator, now);
        operator.note_unmeasured(events.unmeasured(), now);
        if let Failures { rows, first: Some(error) } = events.failures() {
            operator.metrics.failed.inc_by(*rows as u64);
            if let Some(suppressed) = operator.logs.failed.allow(now) {
                tracing::error!(
                    processor = %operator.id, lane = %batch.origin.lane, positions = ?batch.origin.positions,
                    events = rows, suppressed, "an expression failed on events, and counts as NULL for them: {error}"
                );
            }
        }
        summary
    }

    /// The watermark after a batch with these times, when it is certain that none of its events is from the
    /// future, ahead of its arrival, or late for one of its windows. As the watermark moves with each event,
    /// that is so when the earliest would be in time after the latest.
    fn in_time(&mut self, times: &TimestampNanosecondArray, clocks: &BatchClocks<'_>) -> Option<Watermark> {
        let Windows::Event(_) = self.operator.window else { return None };
        let (earliest, latest) = (floor_ms(min(times)?), floor_ms(max(times)?));
        if !clocks.is_past(latest) {
            return None;
        }
        if self.watermark.is_idle() {
            self.watermark.wake();
        }
        let reached = self.watermark.get().max(Watermark::after(latest, self.operator.out_of_orderness));
        self.open.are_in_time(earliest, latest, reached).then_some(reached)
    }

    /// Puts the events of a batch into windows, each by the watermark that the lane has come to before it.
    fn add_each(
        &mut self,
        input: &BatchInput<'_>,
        rows: usize,
        (arrival, repeated): (Option<i64>, bool),
        clocks: &mut BatchClocks<'_>,
        (left_out, summary): (&mut LeftOut, &mut BatchSummary),
    ) {
        let (operator, events) = (input.operator, input.events);
        let mut watermark = self.watermark.get();
        let mut idle = self.watermark.is_idle();
        // How far events of this batch have moved the watermark.
        let mut reached = i64::MIN;
        for row in 0..rows {
            let (time, nanos) = match (arrival, events.time(row)) {
                (Some(arrival), nanos) => (arrival, nanos.unwrap_or_else(|| arrival.saturating_mul(NANOS))),
                (None, Some(nanos)) => (floor_ms(nanos), nanos),
                (None, None) => {
                    left_out.timeless += 1;
                    continue;
                }
            };
            if arrival.is_none() && clocks.is_future(row, time) {
                continue;
            }
            if idle {
                watermark = watermark.max(self.watermark.wake());
                idle = false;
            }
            let assignment = self.open.assign(time, watermark);
            if assignment == Assignment::OutOfRange {
                left_out.timeless += 1;
                continue;
            }
            summary.usable = true;
            // An earlier event than one that arrived at the same time moves nothing.
            if arrival.is_none() && !(time <= reached && clocks.is_same_arrival()) {
                // One fast clock must not close the windows of all others.
                let reach = clocks.reach(row, time);
                reached = reached.max(reach);
                watermark = watermark.max(Watermark::after(reach, operator.out_of_orderness));
            }
            if !events.is_selected(row) {
                continue;
            }
            match assignment {
                Assignment::InWindow => {
                    left_out.overflow += u64::from(self.open.add(input, row, time, nanos));
                }
                Assignment::Late(window)
                    if (repeated || operator.emit_from.is_some()) && window.is_over(self.delivered) =>
                {
                    left_out.repeated += 1;
                }
                Assignment::Late(window) => {
                    left_out.late.get_or_insert(window);
                    summary.late.push(row);
                }
                Assignment::Gap | Assignment::OutOfRange => {}
            }
        }
        summary.watermark = watermark;
    }

    /// Sends what the trunk must have before the watermark, then the watermark.
    fn advance(&mut self, to: Watermark, out: &mut Outlet) {
        if self.watermark.is_idle() {
            self.watermark.wake();
        }
        let watermark = self.watermark.raise(to);
        if let Some(aligned) = &self.aligned {
            aligned.advance(watermark);
        }
        self.send_due(watermark, out);
        out.to_trunk(LaneMessage::Watermark(watermark));
    }

    /// Sends all that is gathered, then that the lane is idle. What comes later for it is a supplement.
    fn become_idle(&mut self, idle: Duration, out: &mut Outlet) {
        if let Some(aligned) = &self.aligned {
            aligned.idle();
        }
        self.send_due(Watermark::MAX, out);
        self.watermark.become_idle();
        out.to_trunk(LaneMessage::Idle(idle));
    }

    /// Sends what the trunk must have before this watermark.
    fn send_due(&mut self, before: Watermark, out: &mut Outlet) {
        for (written, inputs) in self.open.take_due(before, self.operator.group_by.len()) {
            match written {
                Ok(columns) => {
                    let origin = Origin::derived(self.operator.id.clone(), None);
                    let batch = EventBatch::columns(Signal::Windows, columns, origin, inputs.release());
                    out.to_trunk(LaneMessage::Batch(batch));
                }
                Err(error) => {
                    // The inputs fail with it and are read again.
                    self.operator.metrics.lost.inc();
                    tracing::error!(
                        processor = %self.operator.id, watermark = %self.watermark.get(),
                        "a partial result could not be written: {error}"
                    );
                }
            }
        }
        self.groups_gauge.set(self.open.groups());
    }

    /// For windows of the time of arrival: everything before now has come.
    fn tick(&mut self, out: &mut Outlet) {
        if let Some(arrival) = self.arrival(self.operator.clock.now_ms()) {
            self.advance(Watermark(arrival.saturating_sub(1)), out);
        }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        let now = self.operator.clock.now_ms();
        let columns = batch.as_columns().filter(|_| self.operator.signals.contains(&batch.signal)).cloned();
        let summary = match columns {
            Some(columns) => self.aggregate(&batch, &columns, now),
            None => BatchSummary::nothing(self.watermark.get()),
        };
        let batch =
            if self.operator.late == LatePolicy::Output { late::mark(batch, &summary.late) } else { batch };
        out.forward(LaneMessage::Batch(batch));
        let idle = self.idle.batch(now, summary.usable);
        if let Windows::Processing(_) = self.operator.window {
            self.tick(out);
        } else if summary.usable {
            self.advance(summary.watermark, out);
        } else if let Some(idle) = idle {
            self.become_idle(idle, out);
        }
    }

    fn watermark(&mut self, watermark: Watermark, out: &mut Outlet) {
        match self.operator.window {
            // Only the end of the stream says anything about the time of arrival.
            Windows::Processing(_) if watermark < Watermark::MAX => self.tick(out),
            _ => self.advance(watermark, out),
        }
    }

    fn silence(&mut self, silence: Duration, out: &mut Outlet) {
        if let Windows::Processing(_) = self.operator.window {
            self.tick(out);
        } else if let Some(idle) = self.idle.silence(silence) {
            self.become_idle(idle, out);
        }
    }
}

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        if self.is_foreign && !matches!(message, LaneMessage::Drain) {
            // Windows of the time of arrival go on by its messages, too.
            if let Windows::Processing(_) = self.operator.window {
                self.tick(out);
            } else if !self.watermark.is_idle() {
                self.become_idle(Duration::ZERO, out);
            }
            if let LaneMessage::Watermark(watermark) = message {
                self.watermark(watermark, out);
            }
            return out.forward(match message {
                LaneMessage::Batch(batch) if self.operator.late == LatePolicy::Output => {
                    LaneMessage::Batch(late::mark(batch, &[]))
                }
                other => other,
            });
        }
        match message {
            LaneMessage::Batch(batch) => self.batch(batch, out),
            LaneMessage::Watermark(watermark) => {
                self.watermark(watermark, out);
                out.forward(LaneMessage::Watermark(watermark));
            }
            LaneMessage::Idle(silence) => {
                self.silence(silence, out);
                out.forward(LaneMessage::Idle(silence));
            }
            LaneMessage::Drain => {
                self.aligned = None; // it may stay open for a while, but brings nothing more
                self.open = OpenWindows::new(&self.operator);
                self.groups_gauge.set(0);
                out.forward(LaneMessage::Drain);
            }
        }
    }
}

impl BatchSummary {
    /// No event yet.
    fn nothing(watermark: Watermark) -> BatchSummary {
        BatchSummary { usable: false, late: Vec::new(), watermark }
    }
}
