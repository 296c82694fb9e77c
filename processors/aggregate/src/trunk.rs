//! The half on the trunk: partial results of all lanes into windows that fire.
//!
//! * The watermark is the minimum over lanes that are not idle ([`LaneWatermarks`]). When it passes a window's last
//!   millisecond the window fires: one batch per advance, rows ordered by window and key, then the watermark.
//! * A fired window stays for `allowed_lateness`. What still comes for it makes it fire again, once per message of a
//!   lane that moves the lane's watermark (the end of a batch), with everything it has and the next `firing` number.
//! * A partial result whose last window is closed for good is late: dropped, its events counted, its inputs done.
//! * What a lane contributed is kept apart until the last window that it is in has fired. When a lane closes before its
//!   stream has ended, that share is taken back and its inputs fail: they are read again by the lane's next owner, and
//!   must not count twice. A closing lane fires nothing by itself; the next message of another lane does.
//! * Messages of earlier stages of the trunk pass. The watermark that goes on is the least of theirs and the own one; it
//!   never goes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::SchemaRef;
use weir_component::watermark::LaneWatermarks;
use weir_component::{LaneId, LaneMessage, Outlet, Stage, TrunkMessage, Watermark};
use weir_pdata::{Ack, EventBatch, Held, Origin, Signal};

use crate::codec::Malformed;
use crate::config::Late;
use crate::fixed::FixedWindows;
use crate::metrics::Live;
use crate::operator::Operator;
use crate::partial::Partial;
use crate::results::{self, Row};
use crate::sessions::Sessions;
use crate::window::{Span, Windows};

/// The stage.
pub struct TrunkHalf {
    operator: Arc<Operator>,
    layout: SchemaRef,
    lanes: LaneWatermarks,
    /// Lanes whose stream has ended: nothing of them is read again.
    ended: BTreeSet<LaneId>,
    store: Store,
    live: Live,
    /// The watermark of the stage before, when there is one that tells it.
    before: Option<Watermark>,
    /// The latest watermark that was forwarded.
    forwarded: Watermark,
}

/// The windows that wait, by kind.
enum Store {
    Fixed(FixedWindows),
    Sessions(Sessions),
}

/// Windows that fire now.
#[derive(Default)]
pub struct Fired {
    /// Their rows, ordered by window and key.
    pub rows: Vec<Row>,
    /// The inputs that wait for them.
    pub inputs: Held,
}

/// Another handle to the inputs that are held.
pub fn also(held: &mut Held) -> Held {
    let ack: Ack = std::mem::take(held).release();
    *held = Held::new(ack.clone());
    Held::new(ack)
}

/// Counts events of a partial result that is late.
pub fn note_late(operator: &Operator, events: u64, window: Span, watermark: Watermark) {
    operator.note_late(events, window, watermark);
    if operator.late == Late::Output {
        operator.metrics.unmarked.inc_by(events);
    }
}

impl TrunkHalf {
    /// The trunk's half of this operator.
    pub fn new(operator: Arc<Operator>) -> TrunkHalf {
        let store = match &operator.window {
            Windows::Event(slices) | Windows::Processing(slices) => {
                Store::Fixed(FixedWindows::new(operator.clone(), slices.clone()))
            }
            Windows::Session { gap } => Store::Sessions(Sessions::new(operator.clone(), *gap)),
        };
        operator.progress.store(i64::MIN, Ordering::Release);
        TrunkHalf {
            layout: results::layout(&operator.group_by, &operator.measures),
            live: operator.metrics.live(),
            operator,
            lanes: LaneWatermarks::default(),
            ended: BTreeSet::new(),
            store,
            before: None,
            forwarded: Watermark::MIN,
        }
    }

    fn lane_says(&mut self, lane: LaneId, message: LaneMessage, out: &mut Outlet) {
        match message {
            LaneMessage::Batch(batch) => self.merge(lane, batch),
            LaneMessage::Watermark(watermark) => {
                self.lanes.set(lane, watermark);
                if watermark == Watermark::MAX {
                    self.ended.insert(lane);
                }
                self.advance(out);
            }
            LaneMessage::Idle(_) => {
                self.lanes.set_idle(lane);
                self.advance(out);
            }
            LaneMessage::Drain => {}
        }
    }

    fn merge(&mut self, lane: LaneId, batch: EventBatch) {
        let Some(columns) = batch.as_columns().cloned() else { return };
        // Fails the inputs unless they are kept or released below.
        let inputs = Held::new(batch.ack);
        let merged = match Partial::open(&columns, self.operator.group_by.len()) {
            Ok(Some(partial)) => self.store.merge(lane, &partial, inputs, self.lanes.combined()),
            Ok(None) => {
                drop(inputs.release());
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = merged {
            self.operator.metrics.lost.inc();
            tracing::error!(processor = %self.operator.id, %lane, "a partial result could not be read: {error}");
        }
        self.live.set(self.store.groups());
    }

    fn advance(&mut self, out: &mut Outlet) {
        let moved = self.lanes.advance();
        if let Some(watermark) = moved {
            self.operator.progress.fetch_max(watermark.0, Ordering::AcqRel);
        }
        let fired = self.store.fire(self.lanes.combined());
        self.live.set(self.store.groups());
        self.emit(fired, out);
        if moved.is_some() {
            self.forward_watermark(out);
        }
    }

    /// Emits one batch with the results of these windows.
    fn emit(&self, fired: Fired, out: &mut Outlet) {
        if fired.rows.is_empty() {
            drop(fired.inputs.release());
            return;
        }
        match results::write(&self.layout, &self.operator, &fired.rows) {
            Ok(columns) => {
                let origin = Origin { lane: self.operator.id.clone(), positions: 0..0 };
                let batch = EventBatch::columns(Signal::Windows, columns, origin, fired.inputs.release());
                out.forward(LaneMessage::Batch(batch));
            }
            Err(error) => {
                // The inputs fail with `fired` and are read again.
                self.operator.metrics.lost.inc();
                let rows = fired.rows.len();
                tracing::error!(processor = %self.operator.id, rows, "results could not be written: {error}");
            }
        }
    }

    /// Forwards the least of the own watermark and that of the stage before: windows of both are still to come.
    fn forward_watermark(&mut self, out: &mut Outlet) {
        let own = self.lanes.combined();
        let watermark = match self.before {
            Some(before) if self.lanes.is_idle() => before,
            Some(before) => before.min(own),
            None => own,
        };
        if watermark > self.forwarded {
            self.forwarded = watermark;
            out.forward(LaneMessage::Watermark(watermark));
        }
    }

    fn close(&mut self, lane: LaneId) {
        self.lanes.close(lane);
        if !self.ended.remove(&lane) {
            self.store.take_back(lane);
            self.live.set(self.store.groups());
        }
    }
}

impl Store {
    fn merge(
        &mut self,
        lane: LaneId,
        partial: &Partial<'_>,
        inputs: Held,
        watermark: Watermark,
    ) -> Result<(), Malformed> {
        match self {
            Store::Fixed(windows) => windows.merge(lane, partial, inputs, watermark),
            Store::Sessions(sessions) => sessions.merge(lane, partial, inputs, watermark),
        }
    }

    fn fire(&mut self, watermark: Watermark) -> Fired {
        match self {
            Store::Fixed(windows) => windows.fire(watermark),
            Store::Sessions(sessions) => sessions.fire(watermark),
        }
    }

    fn take_back(&mut self, lane: LaneId) {
        match self {
            Store::Fixed(windows) => windows.take_back(lane),
            Store::Sessions(sessions) => sessions.take_back(lane),
        }
    }

    fn groups(&self) -> usize {
        match self {
            Store::Fixed(windows) => windows.groups(),
            Store::Sessions(sessions) => sessions.fragments(),
        }
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(lane) => self.lanes.open(lane, Watermark::MIN),
            TrunkMessage::FromLane(lane, message) => self.lane_says(lane, message, out),
            TrunkMessage::LaneClosed(lane) => self.close(lane),
            TrunkMessage::Derived(LaneMessage::Watermark(watermark)) => {
                self.before = self.before.max(Some(watermark));
                self.forward_watermark(out);
            }
            TrunkMessage::Derived(message) => out.forward(message),
        }
    }
}
