//! The two halves of the processor: lanes hand their windows to the trunk, and the trunk evaluates all
//! windows.
//!
//! * On a lane, batches of windows go to the trunk and everything else passes. So windows that come straight
//!   from a receiver are evaluated like those of an `aggregate`. The watermark of a lane without windows says
//!   nothing about windows.
//! * On the trunk every batch of windows is forwarded once, and its alarms follow it. The alarms hold a clone
//!   of the batch's ack, and are behind its fence.
//! * Alarms that resolve because their rule is gone are remembered until they are delivered.
//! * When windows come again after a failure or a restart, the evaluator returns to its state before them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_alarms::{Alarm, fingerprint};
use weir_component::delivery::{Shard, TrunkStart};
use weir_component::{
    Context, LaneMessage, LanesHold, Outlet, SharedWatermarks, Stage, TrunkMessage, TrunkWatermark, Watermark,
};
use weir_pdata::{Ack, AckSink, EventBatch, Origin, Outcome, Signal};

use crate::evaluation::evaluator::Evaluator;
use crate::evaluation::series::Series;
use crate::evaluation::windows::WindowStream;
use crate::state::history::History;
use crate::state::journal::Journal;

/// The half on a lane.
#[derive(Default)]
pub(crate) struct LaneHalf {
    brings_windows: bool,
}

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) if batch.signal == Signal::Windows => {
                self.brings_windows = true;
                out.to_trunk(LaneMessage::Batch(batch));
            }
            LaneMessage::Batch(_) => out.forward(message),
            LaneMessage::Watermark(_) if !self.brings_windows => {
                out.to_trunk(LaneMessage::Idle(Duration::ZERO));
                out.forward(message);
            }
            LaneMessage::Watermark(_) | LaneMessage::Idle(_) | LaneMessage::Drain => {
                out.to_trunk(message.clone());
                out.forward(message);
            }
        }
    }
}

/// The half on the trunk.
pub(crate) struct TrunkHalf {
    evaluator: Evaluator,
    history: History,
    journal: Option<Journal>,
    /// Alarms that belong to no window, on their way.
    leaving: Vec<(Arc<Delivered>, Vec<Series>)>,
    watermark: TrunkWatermark,
    id: String,
}

impl TrunkHalf {
    pub(crate) fn new(
        evaluator: Evaluator,
        history: History,
        journal: Option<Journal>,
        trunk: &TrunkStart,
        context: &Context,
    ) -> TrunkHalf {
        let (id, clock) = (context.id.to_string(), Arc::clone(&context.clock));
        TrunkHalf {
            evaluator,
            history,
            journal,
            leaving: Vec::new(),
            watermark: TrunkWatermark::new(trunk, LanesHold::OnceTheyTell, id.as_str().into(), clock),
            id,
        }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        self.restore_new_shards();
        let evaluated = batch.as_columns().filter(|_| batch.signal == Signal::Windows);
        let evaluated = evaluated.map(|columns| self.evaluator.evaluate(columns)).unwrap_or_default();
        for (_, gone) in self.leaving.extract_if(.., |(delivered, _)| delivered.0.load(Ordering::Acquire)) {
            gone.iter().for_each(|series| self.evaluator.forget_without_rule(series));
        }
        if !evaluated.ends.is_empty() {
            self.remember(&evaluated.ends, &batch.ack);
        }
        // With what they say: rules may be others when the window comes again.
        let identity = batch
            .origin
            .identity
            .as_ref()
            .map(|window| Arc::from(format!("{window}/{}/{}", self.id, content(&evaluated.alarms))));
        let origin = Origin::derived(batch.origin.lane.clone(), identity).behind(batch.origin.fence.clone());
        let ack = batch.ack.clone();
        out.forward(LaneMessage::Batch(batch));
        self.alarms(&evaluated.alarms, origin, ack, out);
    }

    /// Takes up what the evaluation has changed; the windows' inputs wait until it is safe.
    fn remember(&mut self, ends: &BTreeMap<WindowStream, i64>, ack: &Ack) {
        let entries = self.history.record(ends, self.evaluator.take_changes());
        let Some(journal) = &mut self.journal else { return };
        let ends = self.history.ends_of(ends.keys());
        journal.write(&entries, ends, ack.clone(), self.history.remembered());
    }

    /// The memory of opened shards is as it was before the windows that come again.
    fn restore_new_shards(&mut self) {
        for start in self.history.start_new_shards() {
            self.evaluator.restore_shard(start);
        }
    }

    fn alarms(&self, alarms: &[Alarm], origin: Origin, ack: Ack, out: &mut Outlet) {
        if alarms.is_empty() {
            return;
        }
        match weir_alarms::to_batch(alarms) {
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

    /// Moves on as far as lanes and stages before say.
    fn advance(&mut self, out: &mut Outlet) {
        self.watermark.advance(Shard::default());
        let Some(watermark) = self.watermark.forward() else { return };
        self.restore_new_shards();
        self.history.trim();
        let (alarms, gone) = self.evaluator.boundary();
        if !alarms.is_empty() {
            let delivered = Arc::new(Delivered(AtomicBool::new(false)));
            let ack = Ack::new(delivered.clone(), 0);
            self.leaving.push((delivered, gone));
            self.alarms(&alarms, Origin::derived(self.id.as_str().into(), None), ack, out);
        }
        out.forward(LaneMessage::Watermark(watermark));
    }
}

/// The same whenever the same alarms are raised.
fn content(alarms: &[Alarm]) -> String {
    let text = |alarm: &Alarm| format!("{}/{}/{}/", alarm.fingerprint, alarm.state(), alarm.time);
    fingerprint(alarms.iter().flat_map(|alarm| text(alarm).into_bytes()))
}

/// Whether alarms have been delivered.
struct Delivered(AtomicBool);

impl AckSink for Delivered {
    /// No window says it again.
    fn reads_again(&self) -> bool {
        false
    }

    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.store(outcome == Outcome::Done, Ordering::Release);
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(start) => {
                self.history.open(&start);
                let lanes = SharedWatermarks::default();
                self.watermark.open(&start, Shard::default(), lanes, Watermark::MIN);
            }
            TrunkMessage::ReceiverReady(receiver) => {
                self.watermark.receiver_ready(&receiver);
                self.advance(out);
            }
            TrunkMessage::LanesClosed(lanes) => {
                for lane in lanes.iter() {
                    self.watermark.close(*lane);
                }
                self.advance(out);
                for lane in lanes.iter() {
                    if let Some(shard) = self.history.close(*lane) {
                        self.evaluator.forget(shard);
                    }
                }
            }
            TrunkMessage::FromLane(lane, message) => match message {
                LaneMessage::Batch(batch) => self.batch(batch, out),
                LaneMessage::Watermark(watermark) => {
                    self.watermark.set_lane(lane, watermark);
                    self.advance(out);
                }
                LaneMessage::Idle(_) => {
                    self.watermark.set_lane_idle(lane);
                    self.advance(out);
                }
                // Nothing of a lane is kept here.
                LaneMessage::Drain => {}
            },
            TrunkMessage::Derived(message) => match message {
                LaneMessage::Batch(batch) => self.batch(batch, out),
                LaneMessage::Watermark(watermark) => {
                    self.watermark.set_stage_before(watermark);
                    self.advance(out);
                }
                LaneMessage::Idle(_) | LaneMessage::Drain => out.forward(message),
            },
        }
    }
}
