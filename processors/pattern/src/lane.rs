//! The half on a lane: hands its input to the trunk, and tells how far the lane's time has come.
//!
//! * Windows and alarms leave for the trunk, which forwards them. Events go on down the lane; a copy of those that
//!   `where` selects, with the columns that are read, goes to the trunk.
//! * The lane's watermark is the latest time of its input, less the out-of-orderness and 1 ms; `where` does not matter.
//!   Until a lane has brought input it tells no watermark: it may be one of events from which windows are made.
//! * A lane that brings other signals only, or nothing usable for `idle_timeout`, is idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use weir_component::{LaneMessage, Outlet, Stage, Watermark};
use weir_pdata::EventBatch;
use weir_pdata::expr::ExprError;

use crate::late;
use crate::operator::Operator;
use crate::rows::{Times, selected};

/// Silence between two batches counts up to this: quiet sources say so about once a second, so a longer one is
/// back-pressure, which is not idleness.
const LONGEST_SILENCE: i64 = 1_000;

/// The stage.
pub(crate) struct LaneHalf {
    operator: Arc<Operator>,
    /// Whether the lane has brought input.
    carries: bool,
    /// The latest time seen, in milliseconds.
    mark: Option<i64>,
    watermark: Watermark,
    /// Wall-clock time of the last batch.
    last_batch: Option<i64>,
    /// How long there have been only batches without a usable time.
    nothing_usable: Duration,
}

impl LaneHalf {
    /// A lane's half of this operator.
    pub(crate) fn new(operator: Arc<Operator>) -> LaneHalf {
        LaneHalf {
            operator,
            carries: false,
            mark: None,
            watermark: Watermark::MIN,
            last_batch: None,
            nothing_usable: Duration::ZERO,
        }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        let now = self.operator.clock.now_ms();
        let silence =
            self.last_batch.replace(now).map_or(0, |last| now.saturating_sub(last).clamp(0, LONGEST_SILENCE));
        let input = batch.as_columns().filter(|_| batch.signal == self.operator.input).cloned();
        let usable = input.as_ref().is_some_and(|columns| self.see(columns, now));
        match input {
            Some(_) if self.operator.reads_derived() => out.to_trunk(LaneMessage::Batch(batch)),
            Some(columns) => self.pass(batch, &columns, out),
            None => out.forward(LaneMessage::Batch(batch)),
        }
        if usable {
            self.nothing_usable = Duration::ZERO;
            let mark = self.mark.map(|mark| Watermark::after(mark, self.operator.out_of_orderness));
            self.advance(mark.unwrap_or(Watermark::MIN), out);
            return;
        }
        self.nothing_usable += Duration::from_millis(silence.unsigned_abs());
        if !self.carries || self.nothing_usable >= self.operator.idle_timeout {
            out.to_trunk(LaneMessage::Idle(self.nothing_usable));
        }
    }

    /// Notes the times of a batch. Whether one of them is usable.
    fn see(&mut self, columns: &RecordBatch, now: i64) -> bool {
        self.carries = true;
        let times = Times::of(columns, &self.operator);
        let horizon = now.saturating_add(self.operator.max_future);
        let latest =
            (0..columns.num_rows()).filter_map(|row| times.get(row)).filter(|time| *time <= horizon).max();
        self.mark = self.mark.max(latest);
        latest.is_some()
    }

    /// Sends a copy of a batch of events to the trunk and forwards the batch.
    fn pass(&self, batch: EventBatch, columns: &RecordBatch, out: &mut Outlet) {
        let late = match self.copy(columns) {
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
        let wanted = if self.operator.late_output { late.as_slice() } else { &[] };
        out.forward(LaneMessage::Batch(late::mark(batch, wanted)));
    }

    /// What the trunk reads of a batch, and the rows that are late already.
    fn copy(&self, columns: &RecordBatch) -> Result<(RecordBatch, Vec<usize>), ExprError> {
        let operator = &self.operator;
        let rows = selected(columns, operator)?;
        let times = Times::of(columns, operator);
        let reached = operator.reached.load(Ordering::Acquire);
        let is_selected = |row: usize| rows.as_ref().is_none_or(|rows| rows.value(row));
        let is_late = |row: usize| is_selected(row) && times.get(row).is_some_and(|time| time <= reached);
        let all = 0..columns.num_rows();
        let late: Vec<usize> = all.clone().filter(|row| is_late(*row)).collect();
        operator.note_late(late.len(), Watermark(reached));
        let goes: BooleanArray = all.map(|row| Some(is_selected(row) && !is_late(row))).collect();
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
        self.watermark = self.watermark.max(to);
        if self.carries {
            out.to_trunk(LaneMessage::Watermark(self.watermark));
        }
    }
}

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) => self.batch(batch, out),
            LaneMessage::Watermark(watermark) => {
                self.advance(watermark, out);
                if watermark == Watermark::MAX && !self.carries {
                    out.to_trunk(LaneMessage::Idle(Duration::ZERO));
                }
                out.forward(LaneMessage::Watermark(watermark));
            }
            LaneMessage::Idle(quiet) => {
                if quiet >= self.operator.idle_timeout {
                    out.to_trunk(LaneMessage::Idle(quiet));
                }
                out.forward(LaneMessage::Idle(quiet));
            }
            LaneMessage::Drain => {
                out.to_trunk(LaneMessage::Drain);
                out.forward(LaneMessage::Drain);
            }
        }
    }
}
