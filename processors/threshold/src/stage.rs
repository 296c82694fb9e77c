//! The two halves of the processor: lanes hand their windows to the trunk, and the trunk evaluates all
//! windows.
//!
//! * On a lane, batches of windows go to the trunk and everything else passes. So windows that come straight
//!   from a receiver are evaluated like those of an `aggregate`. The watermark of a lane without windows says
//!   nothing about windows.
//! * On the trunk every batch of windows is forwarded once, and its alarms follow it. The alarms hold a clone
//!   of the batch's ack, and are behind its fence.
//! * Alarms that belong to no window (their rule is gone, or windows stay away) have an ack of their own.
//!   Until they are delivered their series are remembered as they were before, and windows that are evaluated
//!   after them are not acknowledged.
//! * Time goes on with the watermark. When all lanes have been silent, it goes on with the clock.
//! * When windows come again after a failure or a restart, the evaluator returns to its state before them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_alarms::{Alarm, fingerprint};
use weir_component::delivery::{Shard, TrunkStart};
use weir_component::{
    Context, LaneId, LaneMessage, LanesHold, Outlet, SharedWatermarks, Stage, TrunkMessage, TrunkWatermark,
    Watermark,
};
use weir_pdata::{Ack, AckSink, EventBatch, Held, Origin, Outcome, Signal};

use crate::evaluation::evaluator::{Between, Evaluator};
use crate::evaluation::series_table::SeriesName;
use crate::evaluation::windows::WindowStream;
use crate::state::history::History;
use crate::state::journal::Journal;

/// The half on a lane.
#[derive(Default)]
pub(crate) struct LaneHalf {
    brings_windows: bool,
    /// The trunk has heard that nothing comes.
    is_silent: bool,
}

impl Stage<LaneMessage> for LaneHalf {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) if batch.signal == Signal::Windows => {
                self.brings_windows = true;
                self.is_silent = false;
                out.to_trunk(LaneMessage::Batch(batch));
            }
            LaneMessage::Batch(_) => {
                // Events break the silence, though windows of this lane still do not hold others.
                if std::mem::take(&mut self.is_silent) && !self.brings_windows {
                    out.to_trunk(LaneMessage::Idle(Duration::ZERO));
                }
                out.forward(message);
            }
            LaneMessage::Watermark(_) if !self.brings_windows => {
                self.is_silent = false;
                out.to_trunk(LaneMessage::Idle(Duration::ZERO));
                out.forward(message);
            }
            LaneMessage::Watermark(_) | LaneMessage::Idle(_) | LaneMessage::Drain => {
                self.is_silent = matches!(message, LaneMessage::Idle(_));
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
    /// Alarms that belong to no window, on their way, and the series that they are of.
    leaving: Vec<(Arc<Delivered>, Vec<SeriesName>)>,
    /// For how long each open lane has been silent.
    silences: HashMap<LaneId, Duration>,
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
            silences: HashMap::new(),
            watermark: TrunkWatermark::new(trunk, LanesHold::OnceTheyTell, id.as_str().into(), clock),
            id,
        }
    }

    fn batch(&mut self, batch: EventBatch, out: &mut Outlet) {
        self.restore_new_shards();
        let evaluated = batch.as_columns().filter(|_| batch.signal == Signal::Windows);
        let evaluated = evaluated.map(|columns| self.evaluator.evaluate(columns)).unwrap_or_default();
        self.take_delivered();
        for (delivered, _) in &self.leaving {
            delivered.hold(&batch.ack);
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

    /// What became of series whose alarms are delivered is written down from now on.
    fn take_delivered(&mut self) {
        for (_, names) in self.leaving.extract_if(.., |(delivered, _)| delivered.is_done()) {
            self.evaluator.delivered(names);
        }
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
        let between = self.evaluator.boundary(watermark);
        self.between(between, out);
        out.forward(LaneMessage::Watermark(watermark));
    }

    /// A lane has been silent for so long; with the others, perhaps.
    fn silence(&mut self, lane: LaneId, silence: Duration, out: &mut Outlet) {
        let Some(known) = self.silences.get_mut(&lane) else { return };
        *known = silence;
        let Some(least) = self.silences.values().min().filter(|least| !least.is_zero()) else { return };
        let least = i64::try_from(least.as_nanos()).unwrap_or(i64::MAX);
        let between = self.evaluator.silence(least);
        self.between(between, out);
    }

    /// Sends alarms that belong to no window.
    fn between(&mut self, (alarms, names): Between, out: &mut Outlet) {
        if !self.leaving.is_empty() {
            self.take_delivered();
            self.remember(&BTreeMap::new(), &Ack::none());
        }
        if alarms.is_empty() {
            return;
        }
        let delivered = Arc::new(Delivered::default());
        let ack = Ack::new(delivered.clone(), 0);
        self.leaving.push((delivered, names));
        let identity = format!("{}/between/{}", self.id, content(&alarms));
        self.alarms(&alarms, Origin::derived(self.id.as_str().into(), Some(identity.into())), ack, out);
    }
}

/// The same whenever the same alarms are raised.
fn content(alarms: &[Alarm]) -> String {
    let text = |alarm: &Alarm| format!("{}/{}/{}/", alarm.fingerprint, alarm.state(), alarm.time);
    fingerprint(alarms.iter().flat_map(|alarm| text(alarm).into_bytes()))
}

/// Whether alarms have been delivered, and the windows that wait for that.
#[derive(Default)]
struct Delivered(Mutex<Delivery>);

#[derive(Default)]
struct Delivery {
    is_done: bool,
    waiting: Vec<Held>,
}

impl Delivered {
    fn is_done(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_done
    }

    /// Inputs of windows wait for it, unless it is done.
    fn hold(&self, ack: &Ack) {
        let mut delivery = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !delivery.is_done {
            delivery.waiting.push(Held::new(ack.clone()));
        }
    }
}

impl AckSink for Delivered {
    /// No window says it again.
    fn reads_again(&self) -> bool {
        false
    }

    fn settle(&self, _: u64, outcome: Outcome) {
        let waiting = {
            let mut delivery = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            delivery.is_done = outcome == Outcome::Done;
            std::mem::take(&mut delivery.waiting)
        };
        // Dropping what is held fails the inputs, and they are read again.
        if outcome == Outcome::Done {
            waiting.into_iter().for_each(|held| drop(held.release()));
        }
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(start) => {
                self.history.open(&start);
                self.silences.insert(start.lane, Duration::ZERO);
                let lanes = SharedWatermarks::default();
                self.watermark.open(&start, Shard::default(), lanes, Watermark::MIN);
                if start.signal.is_some_and(|signal| signal != Signal::Windows) {
                    // It never brings windows, so nothing waits for it.
                    self.watermark.set_lane_idle(start.lane);
                }
            }
            TrunkMessage::ReceiverReady(receiver) => {
                self.watermark.receiver_ready(&receiver);
                self.advance(out);
            }
            TrunkMessage::LanesClosed(lanes) => {
                for lane in lanes.iter() {
                    self.watermark.close(*lane);
                    self.silences.remove(lane);
                }
                self.advance(out);
                for lane in lanes.iter() {
                    if let Some(shard) = self.history.close(*lane) {
                        self.evaluator.forget(shard);
                    }
                }
            }
            TrunkMessage::FromLane(lane, message) => match message {
                LaneMessage::Batch(batch) => {
                    self.silence(lane, Duration::ZERO, out);
                    self.batch(batch, out);
                }
                LaneMessage::Watermark(watermark) => {
                    self.silence(lane, Duration::ZERO, out);
                    self.watermark.set_lane(lane, watermark);
                    self.advance(out);
                }
                LaneMessage::Idle(silence) => {
                    self.watermark.set_lane_idle(lane);
                    self.advance(out);
                    self.silence(lane, silence, out);
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
