//! The windows of one shard, with the history of its lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_component::delivery::{LaneStart, Shard};
use weir_component::{LaneId, Watermark};
use weir_pdata::{EventBatch, Fence, Held};

use crate::operator::Operator;
use crate::partial::Partial;
use crate::state::codec::Malformed;
use crate::trunk::inputs::Inputs;
use crate::trunk::lane_history::LaneHistory;
use crate::trunk::results::{Fired, Head};
use crate::trunk::session::Sessions;
use crate::trunk::tumbling_sliding::FixedWindows;
use crate::window::{Cells, Windows};

/// The windows of one shard. It begins with its first lane, and is forgotten with its last one.
pub(crate) struct ShardWindows {
    shard: Shard,
    /// When it began, by the clock: no two that fire windows of one input again have the same.
    run: i64,
    /// The sources of its lanes. `None`: the positions of one of them are not kept, so nothing of it comes
    /// again as it was.
    sources: Option<BTreeSet<Arc<str>>>,
    /// The input of each lane alone, by its own shard.
    own_sources: BTreeMap<Shard, Arc<str>>,
    /// Those of the lanes that are open now.
    inputs: Inputs,
    /// Lanes that read again what an earlier owner has read: how far they are, and how far its windows were
    /// delivered. Sessions that were open then end only when all of them have come so far.
    behind: BTreeMap<LaneId, (Watermark, Watermark)>,
    /// Windows that began until here are left out: they had another meaning.
    reconfigured_at: Option<Watermark>,
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

impl ShardWindows {
    /// Without windows. `run` is the time when it begins.
    pub(crate) fn new(shard: Shard, run: i64, operator: &Arc<Operator>) -> ShardWindows {
        let store = match &operator.window {
            Windows::Event(slices) | Windows::Processing(slices) => {
                Store::Fixed(Box::new(FixedWindows::new(operator.clone(), slices.clone())))
            }
            Windows::Session { gap, longest } => {
                Store::Sessions(Sessions::new(operator.clone(), *gap, Cells::new(*longest)))
            }
        };
        ShardWindows {
            shard,
            run,
            sources: Some(BTreeSet::new()),
            own_sources: BTreeMap::new(),
            inputs: Inputs::default(),
            behind: BTreeMap::new(),
            reconfigured_at: None,
            fences: BTreeMap::new(),
            fence: None,
            store,
        }
    }

    /// A lane opens whose windows have been delivered up to a watermark.
    pub(crate) fn open(&mut self, start: &LaneStart, delivered: Watermark, operator: &Operator) {
        let reconfigured_at = start.of_another(&operator.id, &operator.fingerprint);
        if let Some(fence) = &start.fence {
            self.fences.insert(start.lane, fence.clone());
            self.combine_fences();
        }
        if delivered > Watermark::MIN && matches!(self.store, Store::Sessions(_)) {
            self.behind.insert(start.lane, (Watermark::MIN, delivered));
        }
        let history =
            LaneHistory { delivered, reconfigured_at, generation: start.generation, own_shard: start.own };
        if start.keeps_place || !operator.takes(start.signal) {
            // It has no share in any window.
            return;
        }
        self.store.open_lane(start.lane, history);
        if let Some(source) = &start.own_source {
            self.own_sources.insert(start.own, Arc::clone(source));
        }
        for (lane, history) in self.inputs.open(start, &operator.id, history) {
            if matches!(self.store, Store::Sessions(_)) {
                self.behind.entry(lane).or_insert((Watermark::MIN, history.delivered)).1 = history.delivered;
            }
            self.store.open_lane(lane, history);
        }
        if let Some(mark) = reconfigured_at.filter(|mark| Some(*mark) > self.reconfigured_at) {
            self.reconfigured_at = Some(mark);
            tracing::warn!(
                processor = %operator.id, shard = self.shard.0, watermark = %mark,
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
    pub(crate) fn note_reread(&mut self, lane: LaneId, to: Option<Watermark>) {
        let Some((reached, delivered)) = self.behind.get_mut(&lane) else { return };
        *reached = to.map_or(Watermark::MAX, |to| to.max(*reached));
        if *reached >= *delivered {
            self.behind.remove(&lane);
        }
    }

    /// Takes the windows that are over when lanes have come to this watermark.
    pub(crate) fn fire(&mut self, lanes: Watermark, layout: &SchemaRef) -> Fired {
        self.store.fire(self.reached(lanes), layout)
    }

    /// Who has a share in the windows that fire now.
    pub(crate) fn sharers(&self) -> Option<Arc<str>> {
        self.inputs.sharers()
    }

    /// The shard.
    pub(crate) fn shard(&self) -> Shard {
        self.shard
    }

    /// Groups in all windows.
    pub(crate) fn groups(&self) -> usize {
        self.store.groups()
    }

    /// Windows that began until here are left out: they had another meaning.
    pub(crate) fn reconfigured_at(&self) -> Option<Watermark> {
        self.reconfigured_at
    }

    /// The watermark by which windows are over, when that of the lanes is this one.
    fn reached(&self, lanes: Watermark) -> Watermark {
        let behind = self.behind.values().map(|(reached, _)| *reached).min();
        behind.map_or(lanes, |behind| behind.min(lanes))
    }

    /// A lane is closed. What it has brought is read again, unless its stream has ended.
    pub(crate) fn close(&mut self, lane: LaneId, has_ended: bool) {
        self.behind.remove(&lane);
        if self.fences.remove(&lane).is_some() {
            self.combine_fences();
        }
        if !has_ended {
            self.inputs.close(lane);
            self.store.remove_lane(lane);
        }
    }

    /// Closed when a lane of these windows has another owner. With lanes of several receivers there is none:
    /// it would fail what the others have brought, too, though their lanes have the same owner.
    pub(crate) fn fence(&self) -> Option<Fence> {
        let one = self.sources.as_ref().is_some_and(|sources| sources.len() == 1);
        self.fence.clone().filter(|_| one)
    }

    fn combine_fences(&mut self) {
        let all: Vec<Fence> = self.fences.values().cloned().collect();
        self.fence = (!all.is_empty()).then(|| Fence::all(all));
    }

    /// Adds what a lane has sent. Lanes have come to the watermark `lanes`.
    pub(crate) fn merge(&mut self, lane: LaneId, batch: EventBatch, lanes: Watermark, operator: &Operator) {
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

    /// The identity of these rows. Windows at fixed places that fire once are the same whenever they are
    /// computed again. With `allowed_lateness` what a firing has depends on what came before it, so no two
    /// runs have a firing in common.
    pub(crate) fn identity(
        &self,
        operator: &Operator,
        pipeline: &str,
        shard: Shard,
        head: Head,
    ) -> Option<Arc<str>> {
        let Windows::Event(_) = operator.window else { return None };
        let all =
            || Some(self.sources.as_ref()?.iter().map(|source| &**source).collect::<Vec<_>>().join("+"));
        // What is apart has the identity that it has where each lane's windows are.
        let own = self.own_sources.get(&shard).filter(|_| head.apart.is_some());
        let sources = own.map(ToString::to_string).or_else(all)?;
        let (name, meaning, end, firing) =
            (&operator.id, &operator.fingerprint, head.span.end, head.firing.number());
        let run = if operator.allowed_lateness > 0 { format!("/{}", self.run) } else { String::new() };
        Some(Arc::from(format!("{sources}/{pipeline}/{name}#{meaning}/{end}/{}/{firing}{run}", shard.0)))
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

    /// A lane opens.
    fn open_lane(&mut self, lane: LaneId, history: LaneHistory) {
        match self {
            Store::Fixed(windows) => windows.open_lane(lane, history),
            Store::Sessions(sessions) => sessions.open_lane(lane, history),
        }
    }

    fn fire(&mut self, watermark: Watermark, layout: &SchemaRef) -> Fired {
        match self {
            Store::Fixed(windows) => windows.fire(watermark, layout),
            Store::Sessions(sessions) => sessions.fire(watermark, layout),
        }
    }

    fn remove_lane(&mut self, lane: LaneId) {
        match self {
            Store::Fixed(windows) => windows.remove_lane(lane),
            Store::Sessions(sessions) => sessions.remove_lane(lane),
        }
    }

    fn groups(&self) -> usize {
        match self {
            Store::Fixed(windows) => windows.groups(),
            Store::Sessions(sessions) => sessions.fragments(),
        }
    }
}
