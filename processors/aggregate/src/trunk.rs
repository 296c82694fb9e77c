//! The half on the trunk: partial results of all lanes into windows that fire once.
//!
//! * The watermark is the minimum over lanes that are not idle ([`LaneWatermarks`]). When it passes a window's last
//!   millisecond the window fires: one batch per advance, rows ordered by window and key, then the watermark.
//! * A partial result of a window that has fired is late: dropped, its events counted, its inputs done.
//! * What a lane contributed is kept apart until the window fires. When a lane closes before its stream has ended,
//!   its share is taken back and its inputs fail: they are read again by the lane's next owner, and must not count
//!   twice. A closing lane fires nothing by itself; the next message of another lane does.
//! * Messages of earlier stages of the trunk pass; a watermark that would go back does not.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use weir_component::watermark::LaneWatermarks;
use weir_component::{LaneId, LaneMessage, Outlet, Stage, TrunkMessage, Watermark};
use weir_pdata::{EventBatch, Held, Origin, Signal};

use crate::codec::Malformed;
use crate::groups::{Groups, Place, Room};
use crate::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::results::{self, Row};
use crate::state::GroupState;

/// The stage.
pub struct TrunkHalf {
    operator: Arc<Operator>,
    layout: SchemaRef,
    hasher: KeyHasher,
    lanes: LaneWatermarks,
    /// Lanes whose stream has ended: nothing of them is read again.
    ended: BTreeSet<LaneId>,
    /// By start.
    windows: BTreeMap<i64, Window>,
    /// Groups in all windows.
    groups: usize,
    /// The latest watermark that was forwarded.
    forwarded: Watermark,
}

#[derive(Default)]
struct Window {
    keys: Groups<()>,
    shares: BTreeMap<LaneId, Share>,
}

/// What one lane contributed to one window: states by the index of their key.
#[derive(Default)]
struct Share {
    states: BTreeMap<usize, GroupState>,
    inputs: Held,
}

impl TrunkHalf {
    /// The trunk's half of this operator.
    pub fn new(operator: Arc<Operator>) -> TrunkHalf {
        TrunkHalf {
            layout: results::layout(&operator.group_by, &operator.measures),
            operator,
            hasher: KeyHasher::default(),
            lanes: LaneWatermarks::default(),
            ended: BTreeSet::new(),
            windows: BTreeMap::new(),
            groups: 0,
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
        if let Err(error) = self.merge_columns(lane, &columns, inputs) {
            self.operator.metrics.lost.inc();
            tracing::error!(processor = %self.operator.id, %lane, "a partial result could not be read: {error}");
        }
    }

    fn merge_columns(&mut self, lane: LaneId, columns: &RecordBatch, inputs: Held) -> Result<(), Malformed> {
        let operator = Arc::clone(&self.operator);
        let Some(partial) = Partial::open(columns, operator.group_by.len())? else {
            drop(inputs.release());
            return Ok(());
        };
        if operator.window.is_over(partial.start(), self.lanes.combined()) {
            note_late(&operator, &partial, self.lanes.combined());
            drop(inputs.release());
            return Ok(());
        }
        // All rows are read before any counts: a malformed one must leave nothing behind.
        let states: Vec<GroupState> = (0..partial.rows())
            .map(|row| partial.state(row, operator.new_state()))
            .collect::<Result<_, _>>()?;
        let key_columns = partial.keys();
        let rows = KeyRows::new(&key_columns, &self.hasher, partial.rows());
        let overflow = Key::overflow(operator.group_by.len());
        let window = self.windows.entry(partial.start()).or_default();
        let share = window.shares.entry(lane).or_default();
        let mut folded = 0_u64;
        for (row, state) in states.into_iter().enumerate() {
            let room = if self.groups < operator.max_groups {
                Room::Free
            } else {
                Room::Full(operator.group_by.len())
            };
            let before = window.keys.len();
            let place = window.keys.place(&rows, row, &self.hasher, room, || ());
            self.groups += window.keys.len() - before;
            let (Place::Known(group) | Place::New(group) | Place::Overflow(group)) = place;
            if matches!(place, Place::Overflow(_)) && !rows.matches(row, &overflow) {
                folded = folded.saturating_add(state.count);
            }
            add(&mut share.states, group, state);
        }
        share.inputs.absorb(inputs);
        operator.note_overflow(folded);
        Ok(())
    }

    fn advance(&mut self, out: &mut Outlet) {
        let Some(watermark) = self.lanes.advance() else { return };
        let mut fired = BTreeMap::new();
        while let Some(first) = self.windows.first_entry()
            && self.operator.window.is_over(*first.key(), watermark)
        {
            let (start, window) = first.remove_entry();
            self.groups = self.groups.saturating_sub(window.keys.len());
            fired.insert(start, window);
        }
        self.emit(fired, out);
        self.forward_watermark(watermark, out);
    }

    /// Emits one batch with the results of these windows.
    fn emit(&self, fired: BTreeMap<i64, Window>, out: &mut Outlet) {
        let mut inputs = Held::default();
        let mut rows = Vec::new();
        let mut windows = Vec::with_capacity(fired.len());
        for (start, Window { keys, shares }) in fired {
            let mut merged: BTreeMap<usize, GroupState> = BTreeMap::new();
            for share in shares.into_values() {
                inputs.absorb(share.inputs);
                for (group, state) in share.states {
                    add(&mut merged, group, state);
                }
            }
            windows.push((start, keys, merged));
        }
        for (start, keys, merged) in &mut windows {
            let mut sorted: Vec<(usize, &Key)> = keys.iter().map(|(key, ())| key).enumerate().collect();
            sorted.sort_unstable_by(|a, b| a.1.cmp(b.1));
            rows.extend(
                sorted.into_iter().filter_map(|(group, key)| {
                    Some(Row { start: *start, key, state: merged.remove(&group)? })
                }),
            );
        }
        if rows.is_empty() {
            drop(inputs.release());
            return;
        }
        match results::write(&self.layout, &self.operator, &rows) {
            Ok(columns) => {
                let origin = Origin { lane: self.operator.id.clone(), positions: 0..0 };
                let batch = EventBatch::columns(Signal::Windows, columns, origin, inputs.release());
                out.forward(LaneMessage::Batch(batch));
            }
            Err(error) => {
                // The inputs fail with `inputs` and are read again.
                self.operator.metrics.lost.inc();
                tracing::error!(processor = %self.operator.id, rows = rows.len(), "results could not be written: {error}");
            }
        }
    }

    fn forward_watermark(&mut self, watermark: Watermark, out: &mut Outlet) {
        if watermark > self.forwarded {
            self.forwarded = watermark;
            out.forward(LaneMessage::Watermark(watermark));
        }
    }

    fn close(&mut self, lane: LaneId) {
        self.lanes.close(lane);
        if self.ended.remove(&lane) {
            return;
        }
        for window in self.windows.values_mut() {
            window.shares.remove(&lane);
        }
        let groups = &mut self.groups;
        self.windows.retain(|_, window| {
            let keep = !window.shares.is_empty();
            if !keep {
                *groups = groups.saturating_sub(window.keys.len());
            }
            keep
        });
    }
}

fn add(states: &mut BTreeMap<usize, GroupState>, group: usize, state: GroupState) {
    match states.entry(group) {
        Entry::Vacant(entry) => {
            entry.insert(state);
        }
        Entry::Occupied(mut entry) => entry.get_mut().merge(&state),
    }
}

fn note_late(operator: &Operator, partial: &Partial<'_>, watermark: Watermark) {
    let events = partial.events();
    operator.metrics.late.inc_by(events);
    if let Some(held_back) = operator.logs.late.allow(operator.clock.now_ms()) {
        tracing::warn!(
            processor = %operator.id, events, window_start = partial.start(), %watermark, held_back,
            "events came after their window was emitted and are left out; raise out_of_orderness if this is common"
        );
    }
}

impl Stage<TrunkMessage> for TrunkHalf {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        match message {
            TrunkMessage::LaneOpened(lane) => self.lanes.open(lane, Watermark::MIN),
            TrunkMessage::FromLane(lane, message) => self.lane_says(lane, message, out),
            TrunkMessage::LaneClosed(lane) => self.close(lane),
            TrunkMessage::Derived(LaneMessage::Watermark(watermark)) => {
                self.forward_watermark(watermark, out);
            }
            TrunkMessage::Derived(message) => out.forward(message),
        }
    }
}
