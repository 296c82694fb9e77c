//! The half on a lane: hands its input to the trunk, and tells the lane's watermark.
//!
//! * Windows and alarms go to the trunk, which forwards them. Events go on down the lane; the trunk gets a
//!   copy of those that `where` selects, with the columns that it reads.
//! * The watermark of the lane is the latest time of its input, less the out-of-orderness and 1 ms, whatever
//!   `where` selects. A lane that has brought no input tells no watermark: windows may be made of its events.
//! * An event is late when its time is at or before the watermark of its own lane. A lane that opens, or
//!   wakes from idleness, takes the trunk's watermark as its own.
//! * An event moves the watermark at most to its arrival and `max_ahead`; one beyond `max_future` is left out
//!   ([`event_clocks`](weir_component::event_clocks)).
//! * A lane that has brought only other signals is idle, and so is one without a usable event for
//!   `idle_timeout`. One that never brings the pattern's signal ([`LaneStart::signal`]) is idle from the
//!   start.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use weir_component::delivery::{LaneStart, Shard};
use weir_component::{IdleDetector, LaneMessage, LaneWatermark, Outlet, Stage, Watermark};
use weir_pdata::EventBatch;
use weir_pdata::expr::ExprError;
use weir_pdata::late::{self, LatePolicy};

use crate::operator::Operator;
use crate::rows::{Times, selected};

/// The stage.
pub(crate) struct LaneHalf {
    operator: Arc<Operator>,
    /// Whether the lane has brought input.
    brings_input: bool,
    watermark: LaneWatermark,
    idle: IdleDetector,
}

/// The times of a batch.
#[derive(Default)]
struct BatchTimes {
    /// One of its rows has a usable time.
    usable: bool,
    /// Rows that are late, rising.
    late: Vec<usize>,
    /// Rows from the future, rising.
    future: Vec<usize>,
}

impl LaneHalf {
    /// A lane's half of this operator.
    pub(crate) fn new(operator: Arc<Operator>, start: &LaneStart) -> LaneHalf {
        let mut watermark = operator.watermarks.join(Shard::default(), start.lane, Watermark::MIN);
        if !operator.takes(start.signal) {
            // The trunk knows it, too.
            watermark.become_idle();
        }
        let idle = IdleDetector::new(operator.idle_timeout);
        LaneHalf { operator, brings_input: false, watermark, idle }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        let now = self.operator.clock.now_ms();
        let input = batch.as_columns().filter(|_| batch.signal == self.operator.input).cloned();
        let seen = input.as_ref().map(|columns| self.read_times(columns, now)).unwrap_or_default();
        match input {
            Some(_) if self.operator.reads_derived() => out.to_trunk(LaneMessage::Batch(batch)),
            Some(columns) => self.pass(batch, &columns, &seen, out),
            None => out.forward(LaneMessage::Batch(batch)),
        }
        let idle = self.idle.batch(now, seen.usable);
        if seen.usable {
            self.advance(self.watermark.get(), out);
        } else if let Some(idle) = idle.or((!self.brings_input).then(|| self.idle.unusable())) {
            self.become_idle(idle, out);
        }
    }

    /// Tells the trunk that the lane is idle.
    fn become_idle(&mut self, idle: Duration, out: &mut Outlet) {
        self.watermark.become_idle();
        out.to_trunk(LaneMessage::Idle(idle));
    }

    /// Reads the times of a batch, and moves the watermark with each.
    fn read_times(&mut self, columns: &RecordBatch, now: i64) -> BatchTimes {
        self.brings_input = true;
        let times = Times::of(columns, &self.operator);
        let operator = Arc::clone(&self.operator);
        let mut clocks = operator.clocks.batch(columns, now);
        let mut seen = BatchTimes::default();
        for row in 0..columns.num_rows() {
            let Some(time) = times.get(row) else { continue };
            if clocks.is_future(row, time) {
                seen.future.push(row);
                continue;
            }
            seen.usable = true;
            if self.watermark.is_idle() {
                self.watermark.wake();
            }
            if Watermark(time) <= self.watermark.get() {
                seen.late.push(row);
            }
            // One fast clock must not close the time of all others.
            let reach = Watermark::after(clocks.reach(row, time), operator.out_of_orderness);
            self.watermark.raise(reach);
        }
        clocks.report_ahead();
        // What is made on the trunk, or passes it, is left out there.
        if !operator.reads_derived() {
            clocks.report_left_out();
            clocks.report_behind(seen.usable);
        }
        seen
    }

    /// Sends a copy of a batch of events to the trunk and forwards the batch.
    fn pass(&self, batch: EventBatch, columns: &RecordBatch, seen: &BatchTimes, out: &mut Outlet) {
        let late = match self.copy_for_trunk(columns, seen) {
            Ok((copy, late)) => {
                if copy.num_rows() > 0 {
                    out.to_trunk(LaneMessage::Batch(batch.clone().with_columns(copy)));
                }
                late
            }
            Err(error) => {
                self.operator.note_failed(columns.num_rows(), &error);
                Vec::new()
            }
        };
        let wanted = if self.operator.late == LatePolicy::Output { late.as_slice() } else { &[] };
        out.forward(LaneMessage::Batch(late::mark(batch, wanted)));
    }

    /// The columns of a batch that the trunk reads, and the late rows that `where` selects.
    fn copy_for_trunk(
        &self,
        columns: &RecordBatch,
        seen: &BatchTimes,
    ) -> Result<(RecordBatch, Vec<usize>), ExprError> {
        let operator = &self.operator;
        let rows = selected(columns, operator)?;
        let is_selected = |row: usize| rows.as_ref().is_none_or(|rows| rows.value(row));
        let late: Vec<usize> = seen.late.iter().copied().filter(|row| is_selected(*row)).collect();
        operator.note_late(late.len(), self.watermark.get());
        let is_in = |rows: &[usize], row: usize| rows.binary_search(&row).is_ok();
        let goes = |row: usize| is_selected(row) && !is_in(&late, row) && !is_in(&seen.future, row);
        let goes: BooleanArray = (0..columns.num_rows()).map(|row| Some(goes(row))).collect();
        let schema = columns.schema();
        let mut needed: Vec<usize> =
            operator.columns().filter_map(|name| schema.index_of(name).ok()).collect();
        needed.sort_unstable();
        needed.dedup();
        let copy = columns.project(&needed).and_then(|copy| filter_record_batch(&copy, &goes));
        let failed = |error: arrow::error::ArrowError| ExprError::Evaluate {
            expression: "where".to_owned(),
            message: error.to_string(),
        };
        Ok((copy.map_err(failed)?, late))
    }

    fn advance(&mut self, to: Watermark, out: &mut Outlet) {
        if self.brings_input && self.watermark.is_idle() {
            self.watermark.wake();
        }
        let watermark = self.watermark.raise(to);
        if self.brings_input {
            out.to_trunk(LaneMessage::Watermark(watermark));
        }
    }
}

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) => self.batch(batch, out),
            LaneMessage::Watermark(watermark) => {
                self.advance(watermark, out);
                if watermark == Watermark::MAX && !self.brings_input {
                    self.become_idle(Duration::ZERO, out);
                }
                out.forward(LaneMessage::Watermark(watermark));
            }
            LaneMessage::Idle(silence) => {
                if let Some(idle) = self.idle.silence(silence) {
                    self.become_idle(idle, out);
                }
                out.forward(LaneMessage::Idle(silence));
            }
            LaneMessage::Drain => {
                out.to_trunk(LaneMessage::Drain);
                out.forward(LaneMessage::Drain);
            }
        }
    }
}
