//! The half on the trunk: events of all lanes and of the stages before, in order of time, into alarms.
//!
//! * Every batch of windows or alarms is forwarded at once. With `late: output` late rows get `late` = true.
//! * When the watermark moves, the events up to it are taken. The alarms of their matches are forwarded, then
//!   the watermark.
//! * A window or alarm is late when its time is at or before the watermark; a window that fires again always
//!   is. Late traces, logs and metrics are left out on their lane. The trunk drops none.
//! * What came from a lane that closes before its end is given up. The lane's next owner reads it again.
//! * An alarm does not begin to leave when all of its events have another owner, who raises it ([`Fence`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_component::delivery::{Shard, TrunkStart};
use weir_component::{
    LaneId, LaneMessage, LanesHold, Outlet, Stage, TrunkMessage, TrunkWatermark, Watermark,
};
use weir_pdata::expr::ExprError;
use weir_pdata::late::{self, LatePolicy};
use weir_pdata::{Ack, EventBatch, Fence, Origin, Signal};

use crate::alarm;
use crate::keys::{Advanced, Event, FoundMatch, Keys, Refused};
use crate::operator::Operator;
use crate::rows::{Rows, Times, selected};

/// The stage.
pub(crate) struct TrunkHalf {
    operator: Arc<Operator>,
    watermark: TrunkWatermark,
    keys: Keys,
    is_strict: bool,
    /// Those of the open lanes.
    fences: BTreeMap<LaneId, Fence>,
}

/// Rows of one batch that are left out.
#[derive(Default)]
struct LeftOut {
    late: Vec<usize>,
    timeless: u64,
    refused_keys: u64,
    refused_buffer: u64,
}

impl TrunkHalf {
    /// The trunk's half of this operator.
    pub(crate) fn new(operator: Arc<Operator>, trunk: &TrunkStart) -> TrunkHalf {
        let hold = match operator.reads_derived() {
            true => LanesHold::OnceTheyTell,
            false => LanesHold::FromTheStart,
        };
        let (id, clock) = (Arc::clone(&operator.id), Arc::clone(&operator.clock));
        TrunkHalf {
            watermark: TrunkWatermark::new(trunk, hold, id, clock),
            keys: Keys::new(operator.sequence.clone(), operator.limits),
            is_strict: operator.is_strict(),
            fences: BTreeMap::new(),
            operator,
        }
    }

    /// A batch of the input: its rows are kept, and forwarded when they have not passed on a lane.
    fn input(&mut self, mut batch: EventBatch, lane: Option<LaneId>, out: &mut Outlet) {
        let passes_here = self.operator.reads_derived();
        if let Some(columns) = batch.as_columns().cloned() {
            let of_lane = || lane.and_then(|lane| self.fences.get(&lane)).cloned();
            let fence = batch.origin.fence.clone().or_else(of_lane);
            match self.keep(&columns, &batch.ack.for_windows(), lane, fence.as_ref()) {
                Ok(late) if self.operator.late == LatePolicy::Drop => drop(late),
                Ok(late) if passes_here => batch = late::mark(batch, &late),
                // The lane has left out what is late.
                Ok(_) => {}
                Err(error) => self.operator.note_failed(columns.num_rows(), &error),
            }
        }
        if passes_here {
            out.forward(LaneMessage::Batch(batch));
        }
    }

    /// Keeps the rows of a batch until the watermark. The rows that are late.
    fn keep(
        &mut self,
        columns: &RecordBatch,
        ack: &Ack,
        lane: Option<LaneId>,
        fence: Option<&Fence>,
    ) -> Result<Vec<usize>, ExprError> {
        let operator = self.operator.clone();
        // The lane's half has left out what `where` does not select.
        let rows_selected = if operator.reads_derived() { selected(columns, &operator)? } else { None };
        let rows = Rows::read(columns, &operator)?;
        let times = Times::of(columns, &operator);
        // Of events the lane's half has left out those from the future.
        let of_lane = lane.is_some() && operator.reads_derived();
        let mut clocks = operator.clocks.batch(columns, operator.clock.now_ms());
        let watermark = self.watermark.forwarded();
        let mut left_out = LeftOut::default();
        let mut key = String::new();
        for row in 0..columns.num_rows() {
            if rows_selected.as_ref().is_some_and(|rows| !rows.value(row)) {
                continue;
            }
            let Some(time) = times.get(row) else {
                left_out.timeless += 1;
                continue;
            };
            if of_lane && clocks.is_future(row, time) {
                continue;
            }
            // Late events are left out on their lane, by its own watermark; the trunk waits for that.
            if operator.reads_derived() && Watermark(time) <= watermark {
                left_out.late.push(row);
                continue;
            }
            let truth = rows.truth(row);
            if truth == 0 && !self.is_strict {
                continue;
            }
            rows.write_key(row, &mut key);
            let event = Event {
                time,
                truth,
                window_start: rows.window_start(row),
                values: if truth == 0 { Box::default() } else { rows.values(row) },
                ack: ack.clone(),
                lane,
                fence: fence.cloned(),
            };
            match self.keys.add(&key, || rows.key(row), event) {
                Ok(()) => {}
                Err(Refused::Keys) => left_out.refused_keys += 1,
                Err(Refused::Buffer) => left_out.refused_buffer += 1,
            }
        }
        clocks.report_left_out();
        left_out.report(&operator, watermark);
        self.set_gauges();
        Ok(left_out.late)
    }

    /// Moves on as far as lanes and stages before say.
    fn advance(&mut self, out: &mut Outlet) {
        let lanes = self.watermark.advance(Shard::default());
        let forward = self.watermark.forward();
        // Events wait for their lanes only.
        if let Some(now) = if self.operator.reads_derived() { forward } else { lanes } {
            let advanced = self.keys.advance(now.0);
            self.emit(&advanced, out);
        }
        if let Some(watermark) = forward {
            out.forward(LaneMessage::Watermark(watermark));
        }
    }

    fn emit(&self, advanced: &Advanced, out: &mut Outlet) {
        let operator = &self.operator;
        operator.metrics.matches.inc_by(advanced.found.len() as u64);
        operator.metrics.timed_out.inc_by(advanced.expired);
        operator.metrics.dropped.inc_by(advanced.dropped);
        if advanced.dropped > 0
            && let Some(suppressed) = operator.logs.dropped.allow(operator.clock.now_ms())
        {
            tracing::warn!(
                processor = %operator.id, dropped = advanced.dropped, suppressed,
                max_partial_matches = operator.limits.partials,
                "a key has too many partial matches: the oldest are dropped; shorten `within` or raise max_partial_matches"
            );
        }
        self.set_gauges();
        let mut found = advanced.found.as_slice();
        while let Some(first) = found.first() {
            let alike = found.iter().take_while(|other| other.has_fences_of(first)).count();
            let (batch, rest) = found.split_at(alike.max(1));
            self.emit_alike(batch, &first.fences, out);
            found = rest;
        }
    }

    /// Emits the alarms of matches with the same fences.
    fn emit_alike(&self, found: &[FoundMatch], fences: &[Fence], out: &mut Outlet) {
        let operator = &self.operator;
        let ack = Ack::join(found.iter().map(|found| found.ack.clone()));
        let fence = match fences {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(Fence::while_any(several.to_vec())),
        };
        match weir_alarms::to_batch(&alarm::of(found, operator)) {
            Ok(columns) => {
                let origin = Origin::derived(operator.id.clone(), None).behind(fence);
                out.forward(LaneMessage::Batch(EventBatch::columns(Signal::Alarms, columns, origin, ack)));
            }
            Err(error) => {
                // Never seen; but an alarm must not vanish as if it had been delivered.
                ack.fail();
                tracing::error!(
                    processor = %operator.id, alarms = found.len(), "alarms could not be built: {error}"
                );
            }
        }
    }

    fn give_up(&mut self, lane: LaneId, out: &mut Outlet) {
        let mut advanced = Advanced::default();
        let given_up = self.keys.give_up(lane, &mut advanced);
        self.operator.metrics.given_up.inc_by(given_up);
        self.emit(&advanced, out);
    }

    fn handle_lane(&mut self, lane: LaneId, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) => self.input(batch, Some(lane), out),
            LaneMessage::Watermark(watermark) => {
                self.watermark.set_lane(lane, watermark);
                self.advance(out);
            }
            LaneMessage::Idle(_) => {
                self.watermark.set_lane_idle(lane);
                self.advance(out);
            }
            LaneMessage::Drain if self.watermark.has_ended(lane) => {}
            LaneMessage::Drain => self.give_up(lane, out),
        }
    }

    fn set_gauges(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.operator.metrics.keys.set(number(self.keys.len()));
        self.operator.metrics.buffered.set(number(self.keys.buffered()));
    }
}

impl LeftOut {
    fn report(&self, operator: &Operator, watermark: Watermark) {
        let (metrics, logs, id) = (&operator.metrics, &operator.logs, &operator.id);
        let now = operator.clock.now_ms();
        operator.note_late(self.late.len(), watermark);
        metrics.timeless.inc_by(self.timeless);
        metrics.refused_keys.inc_by(self.refused_keys);
        metrics.refused_buffer.inc_by(self.refused_buffer);
        if self.timeless > 0
            && let Some(suppressed) = logs.timeless.allow(now)
        {
            tracing::warn!(
                processor = %id, events = self.timeless, column = operator.time, suppressed,
                "events without a time are in no match"
            );
        }
        let refused = self.refused_keys + self.refused_buffer;
        if refused > 0
            && let Some(suppressed) = logs.refused.allow(now)
        {
            let (by_keys, by_buffer) = (self.refused_keys, self.refused_buffer);
            tracing::error!(
                processor = %id, by_keys, by_buffer, suppressed,
                "events are left out because max_keys or max_buffered_events is reached; raise it or use fewer keys"
            );
        }
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(start) => {
                let lanes = self.operator.watermarks.take_joined(start.lane).unwrap_or_default();
                self.watermark.open(&start, Shard::default(), lanes, Watermark::MIN);
                if !self.operator.takes(start.signal) {
                    self.watermark.set_lane_idle(start.lane);
                }
                if let Some(fence) = start.fence {
                    self.fences.insert(start.lane, fence);
                }
            }
            TrunkMessage::ReceiverReady(receiver) => {
                self.watermark.receiver_ready(&receiver);
                self.advance(out);
            }
            TrunkMessage::FromLane(lane, message) => self.handle_lane(lane, message, out),
            TrunkMessage::LanesClosed(lanes) => {
                for lane in lanes.iter().copied() {
                    self.fences.remove(&lane);
                    if self.watermark.close(lane).is_some_and(|closed| !closed.has_ended) {
                        self.give_up(lane, out);
                    }
                }
                self.advance(out);
            }
            TrunkMessage::Derived(LaneMessage::Batch(batch))
                if batch.signal == self.operator.input && self.operator.reads_derived() =>
            {
                self.input(batch, None, out);
            }
            TrunkMessage::Derived(LaneMessage::Watermark(watermark)) => {
                self.watermark.set_stage_before(watermark);
                self.advance(out);
            }
            TrunkMessage::Derived(message) => out.forward(message),
        }
    }
}
