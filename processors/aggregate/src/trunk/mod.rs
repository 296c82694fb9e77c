//! The half on the trunk: partial results of all lanes into windows that fire.
//!
//! * The watermark is the minimum over lanes that are not idle. It waits for every receiver
//!   ([`TrunkWatermark`]).
//! * A window fires when the watermark passes its last millisecond: one batch for each window (for sessions:
//!   for each advance), with rows ordered by key. The watermark follows.
//! * A fired window stays for `allowed_lateness`. A partial result for it makes it fire again at the end of
//!   the batch: a row for each group that has changed, with the whole result, and the next `firing` number.
//! * No partial result is late: the lane has left out late events by its own watermark, and the trunk waits
//!   for that watermark.
//! * The groups of each lane are kept apart until the last window that they are in has fired. When a lane
//!   closes before its stream has ended, they are removed and its inputs fail: the next owner of the lane
//!   reads them again, and no event counts twice. Lanes whose windows are merged close with one message,
//!   which fires nothing.
//! * A window must not begin to leave after one of its lanes has got another owner
//!   ([`Fence`](weir_pdata::Fence)).
//! * Lanes of one shard make windows together, those of different shards apart.
//! * Each advance is marked with its watermark (`Marks`), so that delivered windows are not computed again
//!   from a part of their input.
//! * Messages of earlier stages pass. The watermark that goes on is the least of theirs and the own one.

mod firing;
mod inputs;
mod key_table;
mod lane_history;
mod results;
mod running_sums;
mod session;
mod session_chain;
mod shard_windows;
mod slice;
mod tumbling_sliding;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_component::delivery::{LaneStart, Shard, TrunkStart};
use weir_component::{LaneId, LaneMessage, LanesHold, Outlet, Stage, TrunkMessage, TrunkWatermark};
use weir_pdata::{Ack, EventBatch, Held, Origin, Signal};

use crate::metrics::GroupsGauge;
use crate::operator::Operator;
use crate::output_schema;
use crate::trunk::results::Fired;
use crate::trunk::shard_windows::ShardWindows;

/// The stage.
pub(crate) struct TrunkHalf {
    operator: Arc<Operator>,
    layout: SchemaRef,
    trunk: TrunkStart,
    shards: BTreeMap<Shard, ShardWindows>,
    watermark: TrunkWatermark,
    groups_gauge: GroupsGauge,
}

impl TrunkHalf {
    /// The trunk's half of this operator.
    pub(crate) fn new(operator: Arc<Operator>, trunk: TrunkStart) -> TrunkHalf {
        trunk.marks.declare(&operator.id, Arc::clone(&operator.fingerprint));
        let (id, clock) = (Arc::clone(&operator.id), Arc::clone(&operator.clock));
        let watermark = TrunkWatermark::new(&trunk, LanesHold::FromTheStart, id, clock);
        TrunkHalf {
            layout: output_schema::layout(&operator.group_by, &operator.measures),
            groups_gauge: operator.metrics.groups_gauge(),
            operator,
            watermark,
            trunk,
            shards: BTreeMap::new(),
        }
    }

    fn open(&mut self, start: &LaneStart) {
        let shard = start.shard;
        let lanes = self.operator.watermarks.take_joined(start.lane).unwrap_or_default();
        let delivered = self.operator.delivered(start);
        if self.watermark.open(start, shard, lanes, delivered) {
            self.trunk.marks.restart(&self.operator.id, shard);
            let run = self.operator.clock.now_ms();
            self.shards.insert(shard, ShardWindows::new(shard, run, &self.operator));
        }
        if !self.operator.waits_for(start) {
            self.watermark.set_lane_idle(start.lane);
        }
        self.trunk.marks.open(&self.operator.id, shard, start.lane);
        if let Some(windows) = self.shards.get_mut(&shard) {
            windows.open(start, delivered, &self.operator);
        }
    }

    fn close(&mut self, lanes: &[LaneId]) {
        for lane in lanes {
            let Some(closed) = self.watermark.close(*lane) else { continue };
            if let Some(windows) = self.shards.get_mut(&closed.shard) {
                windows.close(*lane, closed.has_ended);
            }
            if closed.was_last {
                self.shards.remove(&closed.shard);
            }
        }
        self.count_groups();
    }

    fn handle_lane(&mut self, lane: LaneId, message: LaneMessage, out: &mut Outlet) {
        let Some(shard) = self.watermark.shard(lane) else { return };
        let Some(windows) = self.shards.get_mut(&shard) else { return };
        match message {
            LaneMessage::Batch(batch) => {
                windows.merge(lane, batch, self.watermark.of_lanes(shard), &self.operator);
                self.count_groups();
                return;
            }
            LaneMessage::Watermark(watermark) => {
                self.watermark.set_lane(lane, watermark);
                windows.note_reread(lane, Some(watermark));
            }
            LaneMessage::Idle(_) => {
                self.watermark.set_lane_idle(lane);
                windows.note_reread(lane, None);
            }
            LaneMessage::Drain => return,
        }
        self.advance(shard, out);
    }

    /// Moves on as far as the lanes of a shard say, when windows wait for no receiver.
    fn advance(&mut self, shard: Shard, out: &mut Outlet) {
        let Some(windows) = self.shards.get_mut(&shard) else { return };
        let moved = self.watermark.advance(shard);
        let combined = self.watermark.of_lanes(shard);
        let mut fired = windows.fire(combined, &self.layout);
        if moved.is_some() || !fired.batches.is_empty() || !fired.inputs.is_empty() {
            // Until the windows that are left out are over, a restart has to leave them out, too.
            let goes_on = windows
                .reconfigured_at()
                .is_none_or(|mark| combined.0 > mark.0.saturating_add(self.operator.reach()));
            let mark = match goes_on {
                true => {
                    let (held, sharers) = (Held::new(fired.inputs.another_ack()), windows.sharers());
                    self.trunk.marks.emit_holding(&self.operator.id, shard, combined, sharers, held)
                }
                false => Ack::none(),
            };
            let windows = &*windows;
            emit(&self.operator, &self.trunk.pipeline, windows, fired, mark, out);
        }
        self.count_groups();
        if moved.is_some() {
            self.forward_watermark(out);
        }
    }

    fn count_groups(&mut self) {
        self.groups_gauge.set(self.shards.values().map(ShardWindows::groups).sum());
    }

    /// Windows of all lanes and stages before are still to come at most after this one.
    fn forward_watermark(&mut self, out: &mut Outlet) {
        if let Some(watermark) = self.watermark.forward() {
            out.forward(LaneMessage::Watermark(watermark));
        }
    }
}

/// Emits the results of these windows: one batch for each window at a fixed place. The mark and the inputs
/// wait for all.
fn emit(
    operator: &Operator,
    pipeline: &str,
    windows: &ShardWindows,
    fired: Fired,
    mark: Ack,
    out: &mut Outlet,
) {
    // The mark settles first: a position that depends on it is never written down without it.
    let inputs = Held::new(Ack::in_order([mark, fired.inputs.release()]));
    let mut batches = Vec::new();
    for (head, rows) in fired.batches {
        let shard = head.apart.unwrap_or(windows.shard());
        match rows.and_then(|rows| results::with_shard(&rows, shard)) {
            Ok(columns) => {
                let identity = windows.identity(operator, pipeline, shard, head);
                let origin = Origin::derived(operator.id.clone(), identity).behind(windows.fence());
                batches.push(EventBatch::columns(Signal::Windows, columns, origin, Ack::none()));
            }
            Err(error) => {
                // The inputs fail and are read again.
                operator.metrics.lost.inc();
                let window_start = head.span.start;
                tracing::error!(processor = %operator.id, window_start, "results could not be written: {error}");
                return;
            }
        }
    }
    let ack = inputs.release();
    for batch in batches {
        out.forward(LaneMessage::Batch(EventBatch { ack: ack.clone(), ..batch }));
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(start) => self.open(&start),
            TrunkMessage::FromLane(lane, message) => self.handle_lane(lane, message, out),
            TrunkMessage::LanesClosed(lanes) => self.close(&lanes),
            TrunkMessage::ReceiverReady(receiver) => {
                self.watermark.receiver_ready(&receiver);
                self.advance(Shard::default(), out);
            }
            TrunkMessage::Derived(LaneMessage::Watermark(watermark)) => {
                self.watermark.set_stage_before(watermark);
                self.forward_watermark(out);
            }
            TrunkMessage::Derived(message) => out.forward(message),
        }
    }
}
