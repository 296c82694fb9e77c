//! Windows at fixed places on the trunk: slices of all lanes, added up to windows when they are over.
//!
//! A slice is kept until its last window is closed for good. Until that window has fired, each lane's share is apart and
//! holds its inputs; then shares become one state, and the inputs leave with the results. What comes later, within
//! `allowed_lateness`, is a share again until the windows that it belongs to have fired again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_component::{LaneId, Watermark};
use weir_pdata::Held;

use crate::codec::Malformed;
use crate::groups::{Groups, Place, Room};
use crate::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::results::Row;
use crate::state::GroupState;
use crate::trunk::{Fired, also, note_late};
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
}

struct Slice {
    span: Span,
    /// What every window of the slice has fired with.
    keys: Groups<Option<GroupState>>,
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
        }
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
            let place = slice.keys.place(&rows, row, &self.hasher, room, || None);
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
            let mut groups = self.add_up(*window, gone, &mut fired.inputs);
            if groups.is_empty() {
                continue;
            }
            groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let firing = self.fired.get(window).copied().unwrap_or(0);
            if !gone {
                self.fired.insert(*window, firing.saturating_add(1));
            }
            fired.rows.extend(groups.into_iter().map(|(key, state)| Row {
                span: *window,
                firing,
                key,
                state,
            }));
        }
        for window in &due {
            for (_, slice) in self.kept.range_mut(window.start..window.end) {
                if self.slices.last_window(slice.span).is_none_or(|last| last.is_over(watermark)) {
                    slice.settle();
                }
            }
        }
        self.clean(watermark);
        fired
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
            for (index, (_, settled)) in slice.keys.iter().enumerate() {
                if let (Some(state), Some((hash, key))) = (settled, slice.keys.key(index)) {
                    all.entry(hash, key, || self.operator.new_state()).merge(state);
                }
            }
            for share in slice.shares.values_mut() {
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
        }
        while let Some(first) = self.fired.first_entry()
            && first.key().is_gone(lateness, watermark)
        {
            first.remove();
        }
    }

    /// Takes back what a lane contributed to windows that have not all fired.
    pub fn take_back(&mut self, lane: LaneId) {
        let groups = &mut self.groups;
        self.kept.retain(|_, slice| {
            slice.shares.remove(&lane);
            let keep = !slice.shares.is_empty() || slice.keys.iter().any(|(_, settled)| settled.is_some());
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

    /// Every window has fired: the inputs leave with their results, and shares become one state.
    fn settle(&mut self) {
        for share in std::mem::take(&mut self.shares).into_values() {
            drop(share.inputs.release());
            for (group, state) in share.states {
                match self.keys.state(group) {
                    Some(Some(settled)) => settled.merge(&state),
                    Some(settled) => *settled = Some(state),
                    None => {}
                }
            }
        }
    }

    fn into_groups(mut self, inputs: &mut Held) -> Vec<(Key, GroupState)> {
        for share in self.shares.values_mut() {
            inputs.absorb(also(&mut share.inputs));
        }
        self.settle();
        self.keys.into_entries().filter_map(|(key, state)| Some((key, state?))).collect()
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
