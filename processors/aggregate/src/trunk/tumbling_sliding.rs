//! Windows at fixed places on the trunk: slices of all lanes, added up to windows when they are over.
//!
//! A slice is kept until its last window is closed for good. Until then each lane's share is apart and holds its inputs:
//! when the lane goes, its share goes with it, and the lane's next owner reads all of it again.
//!
//! A window that has fired and gets something late fires again with the groups that changed, as a whole each.
//!
//! What a lane's earlier owner has delivered is not delivered again: its share counts only in windows that were not over
//! then. With `allowed_lateness` such windows may still change, so there groups fire again with everything they have, and
//! with numbers above those of the earlier owner.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use foldhash::fast::RandomState;
use weir_component::delivery::Shard;
use weir_component::{LaneId, Watermark};
use weir_pdata::Held;

use crate::group::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::state::GroupState;
use crate::state::codec::Malformed;
use crate::trunk::firing::Firing;
use crate::trunk::key_table::KeyTable;
use crate::trunk::lane_history::Begin;
use crate::trunk::results::{Fired, Head, Rows};
use crate::trunk::running_sums::Running;
use crate::trunk::slice::{Of, Slice};
use crate::window::{Assigned, Slices, Span};

/// Numbers of groups.
type Numbers = HashSet<u32, RandomState>;

/// The slices, and which of their windows have fired.
pub struct FixedWindows {
    operator: Arc<Operator>,
    slices: Slices,
    hasher: KeyHasher,
    /// The keys of all slices.
    keys: KeyTable,
    /// By start.
    kept: BTreeMap<i64, Slice>,
    /// The window that fired last, while the next one can be made of it.
    running: Running,
    /// Groups in all slices.
    groups: usize,
    /// The watermark up to which windows have fired.
    reached: Watermark,
    /// How a window fires next that has fired, while it still takes late events.
    fired: BTreeMap<Span, Firing>,
    /// Windows that are over and have something new, and in which groups.
    changed: BTreeMap<Span, Numbers>,
    /// How the open lanes began, and those that have ended.
    lanes: BTreeMap<LaneId, Begin>,
}

impl FixedWindows {
    /// No windows yet.
    pub fn new(operator: Arc<Operator>, slices: Slices) -> FixedWindows {
        FixedWindows {
            operator,
            slices,
            hasher: KeyHasher::default(),
            keys: KeyTable::default(),
            kept: BTreeMap::new(),
            running: Running::default(),
            groups: 0,
            reached: Watermark::MIN,
            fired: BTreeMap::new(),
            changed: BTreeMap::new(),
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

    /// Adds a partial result of a lane. None is late: the trunk waits for the watermark by which its lane has judged.
    ///
    /// # Errors
    /// When it cannot be read; nothing of it counts then, and its inputs fail.
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
        let of = Of { lane, from: partial.from()? };
        if last.is_gone(lateness, watermark) || !of.counts_in(last) {
            return Err(Malformed("its last window is closed for good"));
        }
        // All rows are read before any counts: a malformed one must leave nothing behind.
        let states = partial.states(&|| operator.new_state())?;
        let key_columns = partial.keys();
        let rows = KeyRows::new(&key_columns, &self.hasher, partial.rows());
        let columns = operator.group_by.len();
        let overflow = Key::overflow(columns);
        if self.running.covers(span) {
            self.running = Running::default();
        }
        let slice = self.kept.entry(span.start).or_insert_with(|| Slice::new(span));
        let mut share = slice.shares.remove(&of).unwrap_or_default();
        share.reserve(states.len());
        let windows = self.slices.windows(span).take_while(|window| window.is_over(watermark));
        let takes = |window: &Span| of.counts_in(*window) && !window.is_gone(lateness, watermark);
        let again: Vec<Span> = windows.filter(takes).collect();
        let mut numbers = Vec::new();
        let mut folded = 0_u64;
        for (row, state) in states.into_iter().enumerate() {
            let known = self.keys.find(&rows, row);
            let number = match known {
                Some(number) if slice.has(number) => number,
                _ if self.groups < operator.room() => known.unwrap_or_else(|| self.keys.insert(&rows, row)),
                _ => {
                    if !rows.matches(row, &overflow) {
                        folded = folded.saturating_add(state.count);
                    }
                    self.keys.overflow(columns, &self.hasher)
                }
            };
            self.groups += usize::from(slice.join(number, &mut self.keys));
            share.add(number, state);
            if !again.is_empty() {
                numbers.push(number);
            }
        }
        share.tidy();
        share.inputs.absorb(inputs);
        slice.shares.insert(of, share);
        operator.note_overflow(folded);
        for window in again {
            self.changed.entry(window).or_default().extend(&numbers);
        }
        Ok(())
    }

    /// Takes the windows that are over at this watermark, and the groups of those that were over before which have something
    /// new.
    pub fn fire(&mut self, watermark: Watermark, layout: &SchemaRef) -> Fired {
        let lateness = self.operator.allowed_lateness;
        let mut due: BTreeMap<Span, Option<Numbers>> = BTreeMap::new();
        for (window, groups) in std::mem::take(&mut self.changed) {
            let firing = self.fired.get(&window).copied().unwrap_or_default();
            if window.is_gone(lateness, watermark) || firing.may_be(watermark, lateness) {
                due.insert(window, Some(groups));
            } else {
                self.changed.insert(window, groups);
            }
        }
        self.find_due(watermark, &mut due);
        self.reached = self.reached.max(watermark);
        let cut = self.lanes.values().filter_map(|begin| begin.cut).max();
        let mut fired = Fired::default();
        for (window, groups) in due {
            if cut.is_some_and(|cut| window.start <= cut.0) {
                continue;
            }
            let firing = self.fired.get(&window).copied().unwrap_or_else(|| self.first_firing(window));
            let head = Head { span: window, firing, apart: self.apart(window) };
            let rows = match groups {
                Some(groups) => self.changes(head, &groups, layout, &mut fired.inputs),
                None => self.whole(head, watermark, layout, &mut fired.inputs),
            };
            let Some(rows) = rows else { continue };
            if !window.is_gone(lateness, watermark) {
                self.fired.insert(window, firing.next(watermark));
            }
            fired.batches.push((head, rows));
        }
        self.clean(watermark);
        fired
    }

    /// All groups of a window. `None`: it has none.
    fn whole(
        &mut self,
        head: Head,
        watermark: Watermark,
        layout: &SchemaRef,
        inputs: &mut Held,
    ) -> Option<Result<RecordBatch, ArrowError>> {
        let gone = head.span.is_gone(self.operator.allowed_lateness, watermark);
        let sums = self.add_up(head.span, gone, inputs);
        let sums = sums.as_ref().unwrap_or(&self.running);
        (!sums.is_empty()).then(|| sums.write(&mut self.keys, head, &self.operator, layout))
    }

    /// These groups of a window, ordered by key. `None`: it has none of them any more.
    fn changes(
        &mut self,
        head: Head,
        groups: &Numbers,
        layout: &SchemaRef,
        inputs: &mut Held,
    ) -> Option<Result<RecordBatch, ArrowError>> {
        let mut sums: BTreeMap<&Key, GroupState> = BTreeMap::new();
        for (_, slice) in self.kept.range_mut(head.span.start..head.span.end) {
            for (_, share) in slice.shares.iter_mut().filter(|(of, _)| of.counts_in(head.span)) {
                let mut has_some = false;
                for (number, state) in share.iter().filter(|(number, _)| groups.contains(number)) {
                    let Some(key) = self.keys.key(number) else { continue };
                    has_some = true;
                    sums.entry(key).and_modify(|sum| sum.merge(state)).or_insert_with(|| state.clone());
                }
                if has_some {
                    inputs.add(share.inputs.another_ack());
                }
            }
        }
        if sums.is_empty() {
            return None;
        }
        let mut rows = Rows::new(&self.operator, true, sums.len());
        sums.iter().for_each(|(key, state)| rows.push(head.span, head.firing, key, state));
        Some(rows.finish(layout))
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
    fn first_firing(&self, window: Span) -> Firing {
        let lateness = self.operator.allowed_lateness;
        Firing::first(self.lanes.values().map(|begin| begin.owners(window, lateness)).max().unwrap_or(0))
    }

    /// Windows that this watermark passes and the one before did not.
    fn find_due(&self, watermark: Watermark, due: &mut BTreeMap<Span, Option<Numbers>>) {
        let from = self.reached.0.saturating_sub(self.slices.longest());
        for (_, slice) in self.kept.range(from..) {
            let mut windows = self.slices.windows_after(slice.span, self.reached).peekable();
            // Windows of later slices are not earlier.
            if windows.peek().is_some_and(|window| !window.is_over(watermark)) {
                break;
            }
            due.extend(windows.take_while(|window| window.is_over(watermark)).map(|window| (window, None)));
        }
    }

    /// The sums of a window, and another handle to its inputs. `None`: they are the running ones.
    ///
    /// A window of one slice that is not needed any more is taken, else the slices stay.
    fn add_up(&mut self, window: Span, gone: bool, inputs: &mut Held) -> Option<Running> {
        let mut sums = Running::default();
        if gone && self.slices.per_window() == 1 {
            // Its keys are still needed to write it: the slice itself goes with `clean`.
            for share in
                self.kept.get_mut(&window.start).into_iter().flat_map(|slice| slice.shares.values_mut())
            {
                inputs.absorb(std::mem::take(&mut share.inputs));
                sums.take(share);
            }
            return Some(sums);
        }
        let lanes = self.operator.allowed_lateness == 0;
        let lanes = lanes.then_some(&self.lanes);
        let is_delivered = |lane: &LaneId| {
            let begin = lanes.and_then(|lanes| lanes.get(lane));
            begin.is_some_and(|begin| window.is_over(begin.delivered))
        };
        let mut whole = self.slices.per_window() > 1;
        for (_, slice) in self.kept.range_mut(window.start..window.end) {
            for (of, share) in &mut slice.shares {
                whole &= of.from == i64::MIN;
                if !of.counts_in(window) {
                    continue;
                }
                if is_delivered(&of.lane) {
                    whole = false;
                } else {
                    inputs.add(share.inputs.another_ack());
                }
            }
        }
        if whole {
            self.running.advance(window, &self.kept);
            return None;
        }
        for (_, slice) in self.kept.range(window.start..window.end) {
            let left = slice.shares.iter().filter(|(of, _)| of.counts_in(window) && !is_delivered(&of.lane));
            left.for_each(|(_, share)| sums.add(share));
        }
        Some(sums)
    }

    /// Forgets slices and windows that are closed for good.
    fn clean(&mut self, watermark: Watermark) {
        let lateness = self.operator.allowed_lateness;
        while let Some(first) = self.kept.first_entry()
            && self.slices.last_window(first.get().span).is_none_or(|last| last.is_gone(lateness, watermark))
        {
            let slice = first.remove();
            self.groups = self.groups.saturating_sub(slice.groups());
            self.running.leave(&slice);
            slice.release(&mut self.keys);
        }
        self.forget_keys();
        while let Some(first) = self.fired.first_entry()
            && first.key().is_gone(lateness, watermark)
        {
            first.remove();
        }
    }

    /// Takes back what a lane contributed to windows that have not all fired.
    pub fn take_back(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        self.running = Running::default();
        let (groups, keys) = (&mut self.groups, &mut self.keys);
        self.kept.retain(|_, slice| {
            slice.shares.retain(|of, _| of.lane != lane);
            let keep = !slice.shares.is_empty();
            if !keep {
                *groups = groups.saturating_sub(slice.groups());
                slice.leave(keys);
            }
            keep
        });
        self.forget_keys();
    }

    /// Forgets keys that no slice has.
    fn forget_keys(&mut self) {
        if let Some(numbers) = self.keys.renumber() {
            self.running = Running::default();
            self.kept.values_mut().for_each(|slice| slice.renumber(&numbers));
            for groups in self.changed.values_mut() {
                let new = groups.iter().filter_map(|old| numbers.get(*old as usize).copied());
                *groups = new.filter(|new| *new != u32::MAX).collect();
            }
        }
    }
}
