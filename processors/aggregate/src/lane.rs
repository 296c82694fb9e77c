//! The half on a lane: events into windows, windows over into partial results for the trunk.
//!
//! * Batches are forwarded as they came. A window keeps the acks of the batches that have rows in it.
//! * After each batch the lane's watermark is the latest time seen, less the out-of-orderness and 1 ms. Events
//!   that `where` leaves out move it too. Windows that it passes leave for the trunk, then it leaves itself.
//! * A lane that brings nothing windows could take (other signals, times far in the future) for `idle_timeout`
//!   is idle: one wrong clock must not hold the windows of all other lanes.
//! * An idle lane lets go of its open windows too: it no longer holds the trunk back, which may fire them.
//! * A lane never calls an event late: an event of a window that has left makes a supplement, and the trunk judges.
//! * `Drain` gives up open windows: their inputs fail and are read again by the next owner.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use weir_component::{LaneMessage, Outlet, Stage, Watermark};
use weir_pdata::{EventBatch, Held, Origin, Signal};

use crate::events::Events;
use crate::groups::{Groups, Place, Room};
use crate::key::{self, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial;
use crate::state::GroupState;
use crate::window::floor_ms;

/// Silence between two messages counts up to this: sources that are quiet say so about once a second, so a
/// longer one is back-pressure, which is not idleness.
const LONGEST_SILENCE: i64 = 1_000;

/// The stage.
pub struct LaneHalf {
    operator: Arc<Operator>,
    hasher: KeyHasher,
    /// Open windows, in rising order of start. Few: what `out_of_orderness` spans, and one or two.
    windows: Vec<OpenWindow>,
    /// Groups in all open windows.
    groups: usize,
    /// The latest time seen, in milliseconds.
    mark: Option<i64>,
    watermark: Watermark,
    /// Wall-clock time of the last batch.
    last_batch: Option<i64>,
    /// How long there have been only batches without a single event that windows could take.
    nothing_usable: Duration,
}

struct OpenWindow {
    start: i64,
    groups: Groups<GroupState>,
    inputs: Held,
}

/// Events of one batch that are in no window, or not in their own group.
#[derive(Default)]
struct Outside {
    timeless: u64,
    future: u64,
    overflow: u64,
}

impl LaneHalf {
    /// A lane's half of this operator.
    pub fn new(operator: Arc<Operator>) -> LaneHalf {
        LaneHalf {
            operator,
            hasher: KeyHasher::default(),
            windows: Vec::new(),
            groups: 0,
            mark: None,
            watermark: Watermark::MIN,
            last_batch: None,
            nothing_usable: Duration::ZERO,
        }
    }

    /// Puts the events of a batch into windows. Whether one of them had a usable time.
    fn aggregate(&mut self, batch: &EventBatch, columns: &RecordBatch, now: i64) -> bool {
        let operator = Arc::clone(&self.operator);
        let events = Events::read(columns, batch.signal, &operator);
        let key_columns = key::columns(columns, &operator.group_by);
        let hasher = self.hasher.clone();
        let rows = KeyRows::new(&key_columns, &hasher, columns.num_rows());
        let horizon = now.saturating_add(operator.max_future);
        let mut outside = Outside::default();
        let mut usable = false;
        let mut at = usize::MAX;
        for row in 0..columns.num_rows() {
            let Some(nanos) = events.time(row) else {
                outside.timeless += 1;
                continue;
            };
            let time = floor_ms(nanos);
            if time > horizon {
                outside.future += 1;
                continue;
            }
            let Some(start) = operator.window.start(time) else {
                outside.timeless += 1;
                continue;
            };
            usable = true;
            self.mark = Some(self.mark.map_or(time, |mark| mark.max(time)));
            if !events.is_selected(row) {
                continue;
            }
            if self.windows.get(at).is_none_or(|window| window.start != start) {
                at = self.window(start);
                self.windows[at].inputs.add(batch.ack.clone());
            }
            let window = &mut self.windows[at];
            let before = window.groups.len();
            let room = if self.groups < operator.max_groups {
                Room::Free
            } else {
                Room::Full(operator.group_by.len())
            };
            let place = window.groups.place(&rows, row, &hasher, room, || operator.new_state());
            self.groups += window.groups.len() - before;
            let (Place::Known(group) | Place::New(group) | Place::Overflow(group)) = place;
            outside.overflow += u64::from(matches!(place, Place::Overflow(_)));
            if let Some(state) = window.groups.state(group) {
                events.add(row, nanos, state);
            }
        }
        outside.report(&operator, now);
        if let Some(error) = events.failed() {
            operator.metrics.failed.inc_by(columns.num_rows() as u64);
            if let Some(held_back) = operator.logs.failed.allow(now) {
                tracing::error!(
                    processor = %operator.id, lane = %batch.origin.lane, positions = ?batch.origin.positions,
                    events = columns.num_rows(), held_back, "an expression failed on a batch: {error}"
                );
            }
        }
        usable
    }

    /// The index of the window that starts at `start`; it is made when it is not there.
    fn window(&mut self, start: i64) -> usize {
        match self.windows.binary_search_by_key(&start, |window| window.start) {
            Ok(at) => at,
            Err(at) => {
                let window = OpenWindow { start, groups: Groups::default(), inputs: Held::default() };
                self.windows.insert(at, window);
                at
            }
        }
    }

    /// Sends every window that the watermark has passed, then the watermark.
    fn advance(&mut self, to: Watermark, out: &mut Outlet) {
        self.watermark = self.watermark.max(to);
        let watermark = self.watermark;
        let over =
            self.windows.partition_point(|window| self.operator.window.is_over(window.start, watermark));
        self.leave(over, out);
        out.to_trunk(LaneMessage::Watermark(watermark));
    }

    /// Sends every open window, then that the lane is idle. What comes later for these windows is a supplement.
    fn idle(&mut self, quiet: Duration, out: &mut Outlet) {
        self.leave(self.windows.len(), out);
        out.to_trunk(LaneMessage::Idle(quiet));
    }

    /// Sends the first `count` windows to the trunk.
    fn leave(&mut self, count: usize, out: &mut Outlet) {
        for window in self.windows.drain(..count) {
            self.groups = self.groups.saturating_sub(window.groups.len());
            match partial::write(window.start, self.operator.group_by.len(), &window.groups) {
                Ok(columns) => {
                    let origin = Origin { lane: self.operator.id.clone(), positions: 0..0 };
                    let ack = window.inputs.release();
                    out.to_trunk(LaneMessage::Batch(EventBatch::columns(
                        Signal::Windows,
                        columns,
                        origin,
                        ack,
                    )));
                }
                Err(error) => {
                    // The window's inputs fail with it and are read again.
                    self.operator.metrics.lost.inc();
                    tracing::error!(
                        processor = %self.operator.id, window_start = window.start, groups = window.groups.len(),
                        "a partial result could not be written: {error}"
                    );
                }
            }
        }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        let now = self.operator.clock.now_ms();
        let silence =
            self.last_batch.replace(now).map_or(0, |last| now.saturating_sub(last).clamp(0, LONGEST_SILENCE));
        let columns = batch.as_columns().filter(|_| self.operator.signals.contains(&batch.signal)).cloned();
        let usable = columns.is_some_and(|columns| self.aggregate(&batch, &columns, now));
        out.forward(LaneMessage::Batch(batch));
        if usable {
            self.nothing_usable = Duration::ZERO;
            let mark = self.mark.map(|mark| Watermark::after(mark, self.operator.out_of_orderness));
            self.advance(mark.unwrap_or(Watermark::MIN), out);
            return;
        }
        self.nothing_usable += Duration::from_millis(silence.unsigned_abs());
        if self.nothing_usable >= self.operator.idle_timeout {
            self.idle(self.nothing_usable, out);
        }
    }
}

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) => self.batch(batch, out),
            LaneMessage::Watermark(watermark) => {
                self.advance(watermark, out);
                out.forward(LaneMessage::Watermark(watermark));
            }
            LaneMessage::Idle(quiet) => {
                if quiet >= self.operator.idle_timeout {
                    self.idle(quiet, out);
                }
                out.forward(LaneMessage::Idle(quiet));
            }
            LaneMessage::Drain => {
                self.windows.clear();
                self.groups = 0;
                out.forward(LaneMessage::Drain);
            }
        }
    }
}

impl Outside {
    fn report(self, operator: &Operator, now: i64) {
        operator.note_overflow(self.overflow);
        if self.future > 0 {
            operator.metrics.future.inc_by(self.future);
            if let Some(held_back) = operator.logs.future.allow(now) {
                tracing::warn!(
                    processor = %operator.id, events = self.future, max_future_ms = operator.max_future, held_back,
                    "events from the future are kept out of windows; check the clocks of their hosts"
                );
            }
        }
        if self.timeless > 0 {
            operator.metrics.timeless.inc_by(self.timeless);
            if let Some(held_back) = operator.logs.timeless.allow(now) {
                tracing::warn!(
                    processor = %operator.id, events = self.timeless, column = %operator.time, held_back,
                    "events without a usable time are kept out of windows"
                );
            }
        }
    }
}
