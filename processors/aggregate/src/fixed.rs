//! Windows at fixed places on the trunk: slices of all lanes, added up to windows when they are over.
//!
//! A slice is kept until its last window is closed for good. Until then each lane's share is apart and holds its inputs:
//! when the lane goes, its share goes with it, and the lane's next owner reads all of it again.
//!
//! What a lane's earlier owner has delivered is not delivered again: its share counts only in windows that were not over
//! then. With `allowed_lateness` such windows may still change, so there they fire again with everything they have, and
//! with numbers above those of the earlier owner.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_component::delivery::Shard;
use weir_component::{LaneId, Watermark};
use weir_pdata::Held;

use crate::codec::Malformed;
use crate::groups::{Groups, Place, Room};
use crate::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::results::Row;
use crate::state::GroupState;
use crate::trunk::{Begin, Fired, also, note_late};
use crate::window::{Assigned, Slices, Span};

/// The slices, and which of their windows have fired.
pub struct FixedWindows {
    operator: Arc<Operator>,
    slices: Slices,
    hasher: KeyHasher,
    /// By start.
    kept: BTreeMap<i64, Slice>,
    /// Groups in all slices.
    groups: usize,
    /// The watermark up to which windows have fired.
    reached: Watermark,
    /// How often a window has fired, while it still takes late events.
    fired: BTreeMap<Span, u32>,
    /// Windows that are over and have something new.
    changed: BTreeSet<Span>,
    /// How the open lanes began, and those that have ended.
    lanes: BTreeMap<LaneId, Begin>,
}

struct Slice {
    span: Span,
    keys: Groups<()>,
    shares: BTreeMap<LaneId, Share>,
}

/// What one lane contributed to one slice: states by the index of their key.
#[derive(Default)]
struct Share {
    states: BTreeMap<usize, GroupState>,
    inputs: Held,
}

impl FixedWindows {
    /// No windows yet.
    pub fn new(operator: Arc<Operator>, slices: Slices) -> FixedWindows {
        FixedWindows {
            operator,
            slices,
            hasher: KeyHasher::default(),
            kept: BTreeMap::new(),
            groups: 0,
            reached: Watermark::MIN,
            fired: BTreeMap::new(),
            changed: BTreeSet::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// A lane begins.
    pub fn begin(&mut self, lane: LaneId, begin: Begin) {
        self.lanes.insert(lane, begin);
    }

    /// Groups in all slices.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Adds a partial result of a lane. Its inputs are done when it is late.
    ///
    /// # Errors
    /// When it cannot be read; nothing of it counts then.
    pub fn merge(
        &mut self,
        lane: LaneId,
        partial: &Partial<'_>,
        inputs: Held,
        watermark: Watermark,
    ) -> Result<(), Malformed> {
        let operator = Arc::clone(&self.operator);
        let lateness = operator.allowed_lateness;
        let span = partial.slice()?;
        let last =
            self.slices.last_window(span).filter(|_| self.slices.assign(span.start) == Assigned::In(span));
        let last = last.ok_or(Malformed("its slice is not one of this operator's windows"))?;
        if last.is_gone(lateness, watermark) {
            note_late(&operator, partial.events(), last, watermark);
            drop(inputs.release());
            return Ok(());
        }
        // All rows are read before any counts: a malformed one must leave nothing behind.
        let states = partial.states(&|| operator.new_state())?;
        let key_columns = partial.keys();
        let rows = KeyRows::new(&key_columns, &self.hasher, partial.rows());
        let columns = operator.group_by.len();
        let overflow = Key::overflow(columns);
        let slice = self.kept.entry(span.start).or_insert_with(|| Slice::new(span));
        let share = slice.shares.entry(lane).or_default();
        let mut folded = 0_u64;
        for (row, state) in states.into_iter().enumerate() {
            let room = if self.groups < operator.room() { Room::Free } else { Room::Full(columns) };
            let before = slice.keys.len();
            let place = slice.keys.place(&rows, row, &self.hasher, room, || ());
            self.groups += slice.keys.len() - before;
            let (Place::Known(group) | Place::New(group) | Place::Overflow(group)) = place;
            if matches!(place, Place::Overflow(_)) && !rows.matches(row, &overflow) {
                folded = folded.saturating_add(state.count);
            }
            add(&mut share.states, group, state);
        }
        share.inputs.absorb(inputs);
        operator.note_overflow(folded);
        let windows = self.slices.windows(span).take_while(|window| window.is_over(watermark));
        self.changed.extend(windows.filter(|window| !window.is_gone(lateness, watermark)));
        Ok(())
    }

    /// Takes the windows that are over at this watermark, or are over and have something new.
    pub fn fire(&mut self, watermark: Watermark) -> Fired {
        let lateness = self.operator.allowed_lateness;
        let mut due = std::mem::take(&mut self.changed);
        self.find_due(watermark, &mut due);
        self.reached = self.reached.max(watermark);
        let mut fired = Fired::default();
        for window in &due {
            let gone = window.is_gone(lateness, watermark);
            let apart = self.apart(*window);
            let mut groups = self.add_up(*window, gone, &mut fired.inputs);
            if groups.is_empty() {
                continue;
            }
            groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let firing = self.fired.get(window).copied().unwrap_or_else(|| self.first_firing(*window));
            if !gone {
                self.fired.insert(*window, firing.saturating_add(1));
            }
            fired.rows.extend(groups.into_iter().map(|(key, state)| Row {
                span: *window,
                firing,
                apart,
                key,
                state,
            }));
        }
        self.clean(watermark);
        fired
    }

    /// The shard of what is left of a window that some lanes have delivered without the others.
    fn apart(&self, window: Span) -> Option<Shard> {
        if self.operator.allowed_lateness > 0 {
            return None;
        }
        let left = self.lanes.values().filter(|begin| !window.is_over(begin.delivered));
        let (count, own) = left.fold((0, None), |(count, own): (usize, Option<Shard>), begin| {
            (count + 1, Some(own.map_or(begin.own, |own| own.min(begin.own))))
        });
        own.filter(|_| count < self.lanes.len())
    }

    /// The number of a window's first firing here: above those of earlier owners, if they have let it fire.
    fn first_firing(&self, window: Span) -> u32 {
        self.lanes.values().map(|begin| begin.first_firing(window)).max().unwrap_or(0)
    }

    /// Windows that this watermark passes and the one before did not.
    fn find_due(&self, watermark: Watermark, due: &mut BTreeSet<Span>) {
        let from = self.reached.0.saturating_sub(self.slices.longest());
        for (_, slice) in self.kept.range(from..) {
            let mut windows = self.slices.windows_after(slice.span, self.reached).peekable();
            // Windows of later slices are not earlier.
            if windows.peek().is_some_and(|window| !window.is_over(watermark)) {
                break;
            }
            due.extend(windows.take_while(|window| window.is_over(watermark)));
        }
    }

    /// The groups of a window, and another handle to its inputs. A window of one slice that is not needed any more is
    /// taken, else the slices stay.
    fn add_up(&mut self, window: Span, gone: bool, inputs: &mut Held) -> Vec<(Key, GroupState)> {
        if gone && self.slices.per_window() == 1 {
            let slice = self.kept.remove(&window.start);
            self.groups = self.groups.saturating_sub(slice.as_ref().map_or(0, |slice| slice.keys.len()));
            return slice.map_or_else(Vec::new, |slice| slice.into_groups(inputs));
        }
        let mut all: Groups<GroupState> = Groups::default();
        for (_, slice) in self.kept.range_mut(window.start..window.end) {
            for (lane, share) in &mut slice.shares {
                let begin = self.lanes.get(lane).filter(|_| self.operator.allowed_lateness == 0);
                if begin.is_some_and(|begin| window.is_over(begin.delivered)) {
                    continue;
                }
                inputs.absorb(also(&mut share.inputs));
                for (group, state) in &share.states {
                    if let Some((hash, key)) = slice.keys.key(*group) {
                        all.entry(hash, key, || self.operator.new_state()).merge(state);
                    }
                }
            }
        }
        all.into_entries().collect()
    }

    /// Forgets slices and windows that are closed for good.
    fn clean(&mut self, watermark: Watermark) {
        let lateness = self.operator.allowed_lateness;
        while let Some(first) = self.kept.first_entry()
            && self.slices.last_window(first.get().span).is_none_or(|last| last.is_gone(lateness, watermark))
        {
            let slice = first.remove();
            self.groups = self.groups.saturating_sub(slice.keys.len());
            slice.release();
        }
        while let Some(first) = self.fired.first_entry()
            && first.key().is_gone(lateness, watermark)
        {
            first.remove();
        }
    }

    /// Takes back what a lane contributed to windows that have not all fired.
    pub fn take_back(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        let groups = &mut self.groups;
        self.kept.retain(|_, slice| {
            slice.shares.remove(&lane);
            let keep = !slice.shares.is_empty();
            if !keep {
                *groups = groups.saturating_sub(slice.keys.len());
            }
            keep
        });
    }
}

impl Slice {
    fn new(span: Span) -> Slice {
        Slice { span, keys: Groups::default(), shares: BTreeMap::new() }
    }

    /// Nothing needs the inputs any more but results that have left.
    fn release(self) {
        for share in self.shares.into_values() {
            drop(share.inputs.release());
        }
    }

    /// The groups of all lanes. The inputs go on.
    fn into_groups(self, inputs: &mut Held) -> Vec<(Key, GroupState)> {
        let mut states: Vec<Option<GroupState>> = Vec::new();
        states.resize_with(self.keys.len(), || None);
        for share in self.shares.into_values() {
            inputs.absorb(share.inputs);
            for (group, state) in share.states {
                match states.get_mut(group) {
                    Some(Some(sum)) => sum.merge(&state),
                    Some(sum) => *sum = Some(state),
                    None => {}
                }
            }
        }
        let both = self.keys.into_entries().zip(states);
        both.filter_map(|((key, ()), state)| Some((key, state?))).collect()
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
