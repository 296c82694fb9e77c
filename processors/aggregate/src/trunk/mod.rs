//! The half on the trunk: partial results of all lanes into windows that fire.
//!
//! * The watermark is the minimum over lanes that are not idle, and waits for every receiver ([`TrunkWatermark`]). When it passes a window's last
//!   millisecond the window fires: one batch per window (of sessions: per advance), rows ordered by key, then the watermark.
//! * A fired window stays for `allowed_lateness`. What still comes for it makes it fire again, once per message of a
//!   lane that moves the lane's watermark (the end of a batch): the groups that have something new, each with everything it
//!   has, and the next `firing` number.
//! * Nothing that a lane sends is late: the lane has left that out, by its own watermark, and the trunk waits for that.
//! * What a lane contributed is kept apart until the last window that it is in has fired. When a lane closes before its
//!   stream has ended, that share is taken back and its inputs fail: they are read again by the lane's next owner, and
//!   must not count twice. Lanes whose windows are added up end with one message, and that fires nothing by itself.
//! * A window must not begin to leave when its lanes have another owner ([`Fence`]).
//! * Lanes of one shard make windows together, those of different shards apart.
//! * The watermark up to which windows have left is marked with them (`Marks`), so that what has been delivered once is not
//!   computed again from parts.
//! * Messages of earlier stages of the trunk pass. The watermark that goes on is the least of theirs and the own one; it
//!   never goes back.

pub mod firing;
pub mod key_table;
pub mod results;
pub mod running_sums;
pub mod session;
pub mod session_chain;
pub mod slice;
pub mod tumbling_sliding;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use weir_component::delivery::{LaneStart, Shard, TrunkStart};
use weir_component::{
    LaneId, LaneMessage, LanesHold, Outlet, Stage, TrunkMessage, TrunkWatermark, Watermark,
};
use weir_pdata::{Ack, EventBatch, Fence, Held, Origin, Signal};

use crate::metrics::Live;
use crate::operator::Operator;
use crate::partial::Partial;
use crate::state::codec::Malformed;
use crate::trunk::results::Head;
use crate::trunk::session::Sessions;
use crate::trunk::tumbling_sliding::FixedWindows;
use crate::window::{Cells, Span, Windows};

/// The stage.
pub struct TrunkHalf {
    operator: Arc<Operator>,
    layout: SchemaRef,
    trunk: TrunkStart,
    shards: BTreeMap<Shard, Part>,
    watermark: TrunkWatermark,
    live: Live,
}

/// The windows of one shard. It begins with its first lane, and is forgotten with its last one.
struct Part {
    shard: Shard,
    /// When it began, by the clock: no two that fire windows of one input again have the same.
    run: i64,
    /// What its lanes are of. `None`: of one of them nobody keeps positions, so that nothing comes again as it was.
    sources: Option<BTreeSet<Arc<str>>>,
    /// Lanes that read again what an earlier owner has read: how far they are, and how far its windows were delivered. Sessions
    /// that were open then end only when all of them have come so far.
    behind: BTreeMap<LaneId, (Watermark, Watermark)>,
    /// Windows that began until here are left out: they had another meaning.
    cut: Option<Watermark>,
    store: Store,
    /// Those of the open lanes, and one of all of them.
    fences: BTreeMap<LaneId, Fence>,
    fence: Option<Fence>,
}

/// The windows that wait, by kind.
enum Store {
    Fixed(Box<FixedWindows>),
    Sessions(Sessions),
}

/// How a lane begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Its share of windows that are over at this watermark has been delivered.
    pub delivered: Watermark,
    /// It was delivered with another configuration: what it had of windows that began until then may not come again.
    pub cut: Option<Watermark>,
    /// How many owners it has had before.
    pub generation: u32,
    /// The shard of its share in windows that others have delivered without it.
    pub own: Shard,
}

impl Begin {
    /// How many owners may have let this window fire before, each with other contents. None, when it fires once: whoever
    /// computes it has the same.
    pub fn owners(self, window: Span, lateness: i64) -> u32 {
        if lateness > 0 || window.is_over(self.delivered) { self.generation } else { 0 }
    }
}

/// Windows that fire now.
#[derive(Default)]
pub struct Fired {
    /// Their rows, ordered by window and key: a batch for each window at a fixed place, one for all sessions.
    pub batches: Vec<(Head, Result<RecordBatch, ArrowError>)>,
    /// The inputs that wait for them.
    pub inputs: Held,
}

impl TrunkHalf {
    /// The trunk's half of this operator.
    pub fn new(operator: Arc<Operator>, trunk: TrunkStart) -> TrunkHalf {
        trunk.marks.declare(&operator.id, Arc::clone(&operator.fingerprint));
        let (id, clock) = (Arc::clone(&operator.id), Arc::clone(&operator.clock));
        let watermark = TrunkWatermark::new(&trunk, LanesHold::FromTheStart, id, clock);
        TrunkHalf {
            layout: results::layout(&operator.group_by, &operator.measures),
            live: operator.metrics.live(),
            operator,
            watermark,
            trunk,
            shards: BTreeMap::new(),
        }
    }

    fn open(&mut self, start: &LaneStart) {
        let shard = start.shard;
        let lanes = self.operator.progress.of(start.lane).unwrap_or_default();
        let delivered = start.watermark(&self.operator.id);
        if self.watermark.open(start, shard, lanes, delivered) {
            self.trunk.marks.restart(&self.operator.id, shard);
            let run = self.operator.clock.now_ms();
            self.shards.insert(shard, Part::new(shard, run, &self.operator));
        }
        if let Some(part) = self.shards.get_mut(&shard) {
            part.open(start, delivered, &self.operator);
        }
    }

    fn close(&mut self, lanes: &[LaneId]) {
        for lane in lanes {
            let Some(closed) = self.watermark.close(*lane) else { continue };
            if let Some(part) = self.shards.get_mut(&closed.shard) {
                part.close(*lane, closed.has_ended);
            }
            if closed.was_last {
                self.shards.remove(&closed.shard);
            }
        }
        self.count_groups();
    }

    fn lane_says(&mut self, lane: LaneId, message: LaneMessage, out: &mut Outlet) {
        let Some(shard) = self.watermark.shard(lane) else { return };
        let Some(part) = self.shards.get_mut(&shard) else { return };
        match message {
            LaneMessage::Batch(batch) => {
                part.merge(lane, batch, self.watermark.of_lanes(shard), &self.operator);
                self.count_groups();
                return;
            }
            LaneMessage::Watermark(watermark) => {
                self.watermark.set_lane(lane, watermark);
                part.reads_again(lane, Some(watermark));
            }
            LaneMessage::Idle(_) => {
                self.watermark.set_lane_idle(lane);
                part.reads_again(lane, None);
            }
            LaneMessage::Drain => return,
        }
        self.advance(shard, out);
    }

    /// Moves on as far as the lanes of a shard say, when windows wait for no receiver.
    fn advance(&mut self, shard: Shard, out: &mut Outlet) {
        let Some(part) = self.shards.get_mut(&shard) else { return };
        let moved = self.watermark.advance(shard);
        let combined = self.watermark.of_lanes(shard);
        let fired = part.store.fire(part.reached(combined), &self.layout);
        if moved.is_some() || !fired.batches.is_empty() {
            // Until the windows that are left out are over, a restart has to leave them out, too.
            let goes_on = part.cut.is_none_or(|cut| combined.0 > cut.0.saturating_add(self.operator.reach()));
            let mark = match goes_on {
                true => self.trunk.marks.emit(&self.operator.id, part.shard, combined),
                false => Ack::none(),
            };
            let part = &*part;
            emit(&self.operator, &self.trunk.pipeline, part, fired, mark, out);
        }
        self.count_groups();
        if moved.is_some() {
            self.forward_watermark(out);
        }
    }

    fn count_groups(&mut self) {
        self.live.set(self.shards.values().map(|part| part.store.groups()).sum());
    }

    /// Windows of all lanes and stages before are still to come at most after this one.
    fn forward_watermark(&mut self, out: &mut Outlet) {
        if let Some(watermark) = self.watermark.forward() {
            out.forward(LaneMessage::Watermark(watermark));
        }
    }
}

impl Part {
    fn new(shard: Shard, run: i64, operator: &Arc<Operator>) -> Part {
        let store = match &operator.window {
            Windows::Event(slices) | Windows::Processing(slices) => {
                Store::Fixed(Box::new(FixedWindows::new(operator.clone(), slices.clone())))
            }
            Windows::Session { gap, longest } => {
                Store::Sessions(Sessions::new(operator.clone(), *gap, Cells::new(*longest)))
            }
        };
        Part {
            shard,
            run,
            sources: Some(BTreeSet::new()),
            behind: BTreeMap::new(),
            cut: None,
            fences: BTreeMap::new(),
            fence: None,
            store,
        }
    }

    fn open(&mut self, start: &LaneStart, delivered: Watermark, operator: &Operator) {
        let cut = start.of_another(&operator.id, &operator.fingerprint);
        if let Some(fence) = &start.fence {
            self.fences.insert(start.lane, fence.clone());
            self.fence_all();
        }
        if delivered > Watermark::MIN && matches!(self.store, Store::Sessions(_)) {
            self.behind.insert(start.lane, (Watermark::MIN, delivered));
        }
        self.store.begin(start.lane, Begin { delivered, cut, generation: start.generation, own: start.own });
        if let Some(cut) = cut.filter(|cut| Some(*cut) > self.cut) {
            self.cut = Some(cut);
            tracing::warn!(
                processor = %operator.id, shard = self.shard.0, watermark = %cut,
                "the windows of this processor are not those of the last run: window, time, where, group_by, measures or \
                 signals have changed. Windows that began until this watermark (milliseconds since 1970) are not computed \
                 with the new settings, because what was read for them before may not be read again; what was stored of \
                 them stays. All later ones are whole."
            );
        }
        match (&mut self.sources, &start.source) {
            (Some(sources), Some(source)) => drop(sources.insert(Arc::clone(source))),
            (sources, _) => *sources = None,
        }
    }

    /// A lane that reads again has come this far; `None`: to the end of what there is.
    fn reads_again(&mut self, lane: LaneId, to: Option<Watermark>) {
        let Some((reached, delivered)) = self.behind.get_mut(&lane) else { return };
        *reached = to.map_or(Watermark::MAX, |to| to.max(*reached));
        if *reached >= *delivered {
            self.behind.remove(&lane);
        }
    }

    /// The watermark by which windows are over, when that of the lanes is this one.
    fn reached(&self, lanes: Watermark) -> Watermark {
        let behind = self.behind.values().map(|(reached, _)| *reached).min();
        behind.map_or(lanes, |behind| behind.min(lanes))
    }

    /// A lane is closed. What it has brought is read again, unless its stream has ended.
    fn close(&mut self, lane: LaneId, has_ended: bool) {
        self.behind.remove(&lane);
        if self.fences.remove(&lane).is_some() {
            self.fence_all();
        }
        if !has_ended {
            self.store.take_back(lane);
        }
    }

    /// Closed when a lane of these windows has another owner. With lanes of several receivers there is none: what the others brought would
    /// fail, too, though nobody has taken it.
    fn fence(&self) -> Option<Fence> {
        let one = self.sources.as_ref().is_some_and(|sources| sources.len() == 1);
        self.fence.clone().filter(|_| one)
    }

    fn fence_all(&mut self) {
        let all: Vec<Fence> = self.fences.values().cloned().collect();
        self.fence = (!all.is_empty()).then(|| Fence::all(all));
    }

    fn merge(&mut self, lane: LaneId, batch: EventBatch, lanes: Watermark, operator: &Operator) {
        let Some(columns) = batch.as_columns().cloned() else { return };
        // Fails the inputs unless they are kept or released below.
        let inputs = Held::new(batch.ack);
        let merged = match Partial::open(&columns, operator.group_by.len()) {
            Ok(Some(partial)) => self.store.merge(lane, &partial, inputs, self.reached(lanes)),
            Ok(None) => {
                drop(inputs.release());
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = merged {
            operator.metrics.lost.inc();
            tracing::error!(processor = %operator.id, %lane, "a partial result could not be read: {error}");
        }
    }

    /// What these rows are. Windows at fixed places that fire once are the same whenever they are computed again. With
    /// `allowed_lateness` what a firing has depends on what came before it, so no two runs have a firing in common.
    fn identity(&self, operator: &Operator, pipeline: &str, shard: Shard, head: Head) -> Option<Arc<str>> {
        let Windows::Event(_) = operator.window else { return None };
        let sources = self.sources.as_ref()?.iter().map(|source| &**source).collect::<Vec<_>>().join("+");
        let (name, meaning, end, firing) =
            (&operator.id, &operator.fingerprint, head.span.end, head.firing.number());
        let run = if operator.allowed_lateness > 0 { format!("/{}", self.run) } else { String::new() };
        Some(Arc::from(format!("{sources}/{pipeline}/{name}#{meaning}/{end}/{}/{firing}{run}", shard.0)))
    }
}

/// Emits the results of these windows: one batch for each window at a fixed place. The mark and the inputs wait for all.
fn emit(operator: &Operator, pipeline: &str, part: &Part, fired: Fired, mark: Ack, out: &mut Outlet) {
    // The mark settles first: a position that depends on it is never written down without it.
    let inputs = Held::new(Ack::in_order([mark, fired.inputs.release()]));
    let mut batches = Vec::new();
    for (head, rows) in fired.batches {
        let shard = head.apart.unwrap_or(part.shard);
        match rows.and_then(|rows| results::with_shard(&rows, shard)) {
            Ok(columns) => {
                let identity = part.identity(operator, pipeline, shard, head);
                let origin = Origin::derived(operator.id.clone(), identity).behind(part.fence());
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

    /// A lane begins.
    fn begin(&mut self, lane: LaneId, begin: Begin) {
        match self {
            Store::Fixed(windows) => windows.begin(lane, begin),
            Store::Sessions(sessions) => sessions.begin(lane, begin),
        }
    }

    fn fire(&mut self, watermark: Watermark, layout: &SchemaRef) -> Fired {
        match self {
            Store::Fixed(windows) => windows.fire(watermark, layout),
            Store::Sessions(sessions) => sessions.fire(watermark, layout),
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
            TrunkMessage::LaneOpened(start) => self.open(&start),
            TrunkMessage::FromLane(lane, message) => self.lane_says(lane, message, out),
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
