//! The two halves of the processor: lanes hand their windows to the trunk, and the trunk judges all windows.
//!
//! * On a lane, batches of windows leave to the trunk; everything else passes. So windows that come straight from a
//!   receiver are judged like those of an `aggregate`.
//! * On the trunk every batch of windows is forwarded, exactly once, and its alarms after it. The alarms hold
//!   a clone of the batch's ack.

use std::sync::Arc;

use weir_component::watermark::LaneWatermarks;
use weir_component::{Context, LaneMessage, Outlet, Stage, TrunkMessage, Watermark};
use weir_pdata::{Ack, EventBatch, Origin, Signal};

use crate::alarm::{self, Alarm};
use crate::judge::Judge;

/// The half on a lane.
pub(crate) struct LaneHalf;

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) if batch.signal == Signal::Windows => {
                out.to_trunk(LaneMessage::Batch(batch));
            }
            LaneMessage::Batch(_) => out.forward(message),
            LaneMessage::Watermark(_) | LaneMessage::Idle(_) | LaneMessage::Drain => {
                out.to_trunk(message.clone());
                out.forward(message);
            }
        }
    }
}

/// The half on the trunk.
pub(crate) struct TrunkHalf {
    judge: Judge,
    /// Of the lanes of this pipeline: the watermark of windows that come straight from receivers.
    lanes: LaneWatermarks,
    /// A stage before this one on the trunk tells the watermark; the lanes' own is then ahead of its windows.
    derived: bool,
    forwarded: Watermark,
    id: String,
}

impl TrunkHalf {
    pub(crate) fn new(judge: Judge, context: &Context) -> TrunkHalf {
        TrunkHalf {
            judge,
            lanes: LaneWatermarks::default(),
            derived: false,
            forwarded: Watermark::MIN,
            id: context.id.to_string(),
        }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        let judged = batch.as_columns().filter(|_| batch.signal == Signal::Windows);
        let alarms = judged.map(|columns| self.judge.judge(columns)).unwrap_or_default();
        let identity =
            batch.origin.identity.as_ref().map(|window| Arc::from(format!("{window}/{}", self.id)));
        let origin = Origin::derived(batch.origin.lane.clone(), identity);
        let ack = batch.ack.clone();
        out.forward(LaneMessage::Batch(batch));
        self.alarms(&alarms, origin, ack, out);
    }

    fn alarms(&self, alarms: &[Alarm], origin: Origin, ack: Ack, out: &mut Outlet) {
        if alarms.is_empty() {
            return;
        }
        match alarm::to_batch(alarms) {
            Ok(columns) => {
                out.forward(LaneMessage::Batch(EventBatch::columns(Signal::Alarms, columns, origin, ack)));
            }
            Err(error) => {
                // Never seen; but an alarm must not vanish as if it had been delivered.
                ack.fail();
                tracing::error!("{}: {} alarms could not be built: {error}", self.id, alarms.len());
            }
        }
    }

    fn watermark(&mut self, watermark: Watermark, out: &mut Outlet) {
        if watermark <= self.forwarded {
            return;
        }
        self.forwarded = watermark;
        let alarms = self.judge.boundary();
        let origin = Origin::derived(self.id.as_str().into(), None);
        self.alarms(&alarms, origin, Ack::none(), out);
        out.forward(LaneMessage::Watermark(watermark));
    }

    fn lanes_moved(&mut self, out: &mut Outlet) {
        if let Some(watermark) = self.lanes.advance().filter(|_| !self.derived) {
            self.watermark(watermark, out);
        }
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(start) => self.lanes.open(start.lane, Watermark::MIN),
            TrunkMessage::LaneClosed(lane) => {
                self.lanes.close(lane);
                self.lanes_moved(out);
            }
            TrunkMessage::FromLane(lane, message) => match message {
                LaneMessage::Batch(batch) => self.batch(batch, out),
                LaneMessage::Watermark(watermark) => {
                    self.lanes.set(lane, watermark);
                    self.lanes_moved(out);
                }
                LaneMessage::Idle(_) => {
                    self.lanes.set_idle(lane);
                    self.lanes_moved(out);
                }
                // Nothing of a lane is kept here.
                LaneMessage::Drain => {}
            },
            TrunkMessage::Derived(message) => match message {
                LaneMessage::Batch(batch) => self.batch(batch, out),
                LaneMessage::Watermark(watermark) => {
                    self.derived = true;
                    self.watermark(watermark, out);
                }
                LaneMessage::Idle(_) | LaneMessage::Drain => out.forward(message),
            },
        }
    }
}
