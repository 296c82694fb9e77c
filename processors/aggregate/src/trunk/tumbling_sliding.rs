//! Tumbling and sliding windows on the trunk: slices of all lanes, merged to windows when they are over.
//!
//! A slice is kept until its last window is closed for good. Until then the groups of each lane are apart and
//! hold their inputs. When the lane closes they are removed, and the next owner of the lane reads all of it
//! again.
//!
//! When something late comes for a window that has fired, it fires again: a row for each group that has
//! changed, with the whole result.
//!
//! Windows that an earlier owner of a lane has delivered are not delivered again: the groups of the lane
//! count only in windows that were not over then. With `allowed_lateness` such windows may still change. Then
//! groups fire again with their whole result, and with numbers above those of the earlier owner.

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
use crate::trunk::lane_history::LaneHistory;
use crate::trunk::results::{Fired, Head, Rows};
use crate::trunk::running_sums::RunningSums;
use crate::trunk::slice::{LaneSliceKey, Slice};
use crate::window::{SliceAt, Slices, Span};

/// Numbers of groups.
type Numbers = HashSet<u32, RandomState>;

/// The slices, and which of their windows have fired.
pub(crate) struct FixedWindows {
    operator: Arc<Operator>,
    slices: Slices,
    hasher: KeyHasher,
    /// The keys of all slices.
    keys: KeyTable,
    /// By start.
    kept: BTreeMap<i64, Slice>,
    /// The window that fired last, while the next one can be made of it.
    running: RunningSums,
    /// Groups in all slices.
    groups: usize,
    /// The watermark up to which windows have fired.
    reached: Watermark,
    /// How a window fires next that has fired, while it still takes late events.
    fired: BTreeMap<Span, Firing>,
    /// Windows that are over and have something new, and in which groups.
    changed: BTreeMap<Span, Numbers>,
    /// The history of the open lanes and of those that have ended.
    lanes: BTreeMap<LaneId, LaneHistory>,
}

impl FixedWindows {
    /// No windows yet.
    pub(crate) fn new(operator: Arc<Operator>, slices: Slices) -> FixedWindows {
        FixedWindows {
            operator,
            slices,
            hasher: KeyHasher::default(),
            keys: KeyTable::default(),
            kept: BTreeMap::new(),
            running: RunningSums::default(),
            groups: 0,
            reached: Watermark::MIN,
            fired: BTreeMap::new(),
            changed: BTreeMap::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// A lane opens.
    pub(crate) fn open_lane(&mut self, lane: LaneId, history: LaneHistory) {
        self.lanes.insert(lane, history);
    }

    /// Groups in all slices.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Adds a partial result of a lane. None is late: the lane has left out what is, and the trunk waits for
    /// the lane.
    ///
    /// # Errors
    /// When it cannot be read; nothing of it counts then, and its inputs fail.
    pub(crate) fn merge(
        &mut self,
        lane: LaneId,
        partial: &Partial<'_>,
        inputs: Held,
        watermark: Watermark,
    ) -> Result<(), Malformed> {
        let operator = Arc::clone(&self.operator);
        let lateness = operator.allowed_lateness;
        let span = partial.slice()?;
        let last = self
            .slices
            .last_window(span)
            .filter(|_| self.slices.slice_at(span.start) == SliceAt::Slice(span));
        let last = last.ok_or(Malformed("its slice is not one of this operator's windows"))?;
        let of = LaneSliceKey { lane, from: partial.from()? };
        if last.is_closed(lateness, watermark) || !of.counts_in(last) {
            return Err(Malformed("its last window is closed for good"));
        }
        // All rows are read before any counts: a malformed one must leave nothing behind.
        let states = partial.states(&|| operator.new_state())?;
        let key_columns = partial.keys();
        let rows = KeyRows::new(&key_columns, &self.hasher, partial.rows());
        let columns = operator.group_by.len();
        let overflow = Key::overflow(columns);
        if self.running.covers(span) {
            self.running = RunningSums::default();
        }
        let slice = self.kept.entry(span.start).or_insert_with(|| Slice::new(span));
        let mut lane_slice = slice.lanes.remove(&of).unwrap_or_default();
        lane_slice.reserve(states.len());
        let windows = self.slices.windows(span).take_while(|window| window.is_over(watermark));
        let takes = |window: &Span| of.counts_in(*window) && !window.is_closed(lateness, watermark);
        let again: Vec<Span> = windows.filter(takes).collect();
        let mut numbers = Vec::new();
        let mut folded = 0_u64;
        for (row, state) in states.into_iter().enumerate() {
            let known = self.keys.find(&rows, row);
            let number = match known {
                Some(number) if slice.has(number) => number,
                _ if self.groups < operator.max_states() => {
                    known.unwrap_or_else(|| self.keys.insert(&rows, row))
                }
                _ => {
                    if !rows.matches(row, &overflow) {
                        folded = folded.saturating_add(state.count);
                    }
                    self.keys.overflow(columns, &self.hasher)
                }
            };
            self.groups += usize::from(slice.add_group(number, &mut self.keys));
            lane_slice.add(number, state);
            if !again.is_empty() {
                numbers.push(number);
            }
        }
        lane_slice.merge_duplicates();
        lane_slice.inputs.absorb(inputs);
        slice.lanes.insert(of, lane_slice);
        operator.note_overflow(folded / operator.unit());
        for window in again {
            self.changed.entry(window).or_default().extend(&numbers);
        }
        Ok(())
    }

    /// Takes the windows that are over at this watermark, and the groups of those that were over before which
    /// have something new.
    pub(crate) fn fire(&mut self, watermark: Watermark, layout: &SchemaRef) -> Fired {
        let lateness = self.operator.allowed_lateness;
        let mut due: BTreeMap<Span, Option<Numbers>> = BTreeMap::new();
        for (window, groups) in std::mem::take(&mut self.changed) {
            let firing = self.fired.get(&window).copied().unwrap_or_default();
            if window.is_closed(lateness, watermark) || firing.may_be(watermark, lateness) {
                due.insert(window, Some(groups));
            } else {
                self.changed.insert(window, groups);
            }
        }
        self.find_due(watermark, &mut due);
        self.reached = self.reached.max(watermark);
        let reconfigured_at = self.lanes.values().filter_map(|history| history.reconfigured_at).max();
        let mut fired = Fired::default();
        for (window, groups) in due {
            if reconfigured_at.is_some_and(|mark| window.start <= mark.0) {
                continue;
            }
            let firing = self.fired.get(&window).copied().unwrap_or_else(|| self.first_firing(window));
            let head = Head { span: window, firing, apart: self.apart(window) };
            let rows = match groups {
                Some(groups) => self.changes(head, &groups, layout, &mut fired.inputs),
                None => self.whole(head, watermark, layout, &mut fired.inputs),
            };
            let Some(rows) = rows else { continue };
            if !window.is_closed(lateness, watermark) {
                self.fired.insert(window, firing.next(watermark));
            }
            fired.batches.push((head, rows));
        }
        self.clean(watermark, &mut fired.inputs);
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
        let gone = head.span.is_closed(self.operator.allowed_lateness, watermark);
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
            for (_, lane_slice) in slice.lanes.iter_mut().filter(|(of, _)| of.counts_in(head.span)) {
                let mut has_some = false;
                for (number, state) in lane_slice.iter().filter(|(number, _)| groups.contains(number)) {
                    let Some(key) = self.keys.key(number) else { continue };
                    has_some = true;
                    sums.entry(key).and_modify(|sum| sum.merge(state)).or_insert_with(|| state.clone());
                }
                if has_some {
                    inputs.add(lane_slice.inputs.another_ack());
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
        let left: Vec<&LaneHistory> =
            self.lanes.values().filter(|history| !window.is_over(history.delivered)).collect();
        // The same one whether a lane has appeared meanwhile or not.
        let own = left.iter().map(|history| (history.generation == 0, history.own_shard)).min();
        own.filter(|_| left.len() < self.lanes.len()).map(|(_, own)| own)
    }

    /// The number of a window's first firing here: above those of earlier owners, if they have let it fire.
    fn first_firing(&self, window: Span) -> Firing {
        let lateness = self.operator.allowed_lateness;
        Firing::first(
            self.lanes.values().map(|history| history.owners_that_fired(window, lateness)).max().unwrap_or(0),
        )
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
    fn add_up(&mut self, window: Span, gone: bool, inputs: &mut Held) -> Option<RunningSums> {
        let mut sums = RunningSums::default();
        let lanes = self.operator.allowed_lateness == 0;
        let lanes = lanes.then_some(&self.lanes);
        let is_delivered = |lane: &LaneId| {
            let history = lanes.and_then(|lanes| lanes.get(lane));
            history.is_some_and(|history| window.is_over(history.delivered))
        };
        if gone && self.slices.per_window() == 1 {
            // Its keys are still needed to write it: the slice itself goes with `clean`.
            let slice = self.kept.get_mut(&window.start);
            for (of, lane_slice) in slice.into_iter().flat_map(|slice| &mut slice.lanes) {
                inputs.absorb(std::mem::take(&mut lane_slice.inputs));
                if !is_delivered(&of.lane) {
                    sums.take(lane_slice);
                }
            }
            return Some(sums);
        }
        let mut whole = self.slices.per_window() > 1;
        for (_, slice) in self.kept.range_mut(window.start..window.end) {
            for (of, lane_slice) in &mut slice.lanes {
                whole &= of.from == i64::MIN;
                if !of.counts_in(window) {
                    continue;
                }
                if is_delivered(&of.lane) {
                    whole = false;
                } else {
                    inputs.add(lane_slice.inputs.another_ack());
                }
            }
        }
        if whole {
            self.running.advance(window, &self.kept);
            return None;
        }
        for (_, slice) in self.kept.range(window.start..window.end) {
            let left = slice.lanes.iter().filter(|(of, _)| of.counts_in(window) && !is_delivered(&of.lane));
            left.for_each(|(_, lane_slice)| sums.add(lane_slice));
        }
        Some(sums)
    }

    /// Forgets slices and windows that are closed for good. Their inputs come to those that wait.
    fn clean(&mut self, watermark: Watermark, inputs: &mut Held) {
        let lateness = self.operator.allowed_lateness;
        while let Some(first) = self.kept.first_entry()
            && self
                .slices
                .last_window(first.get().span)
                .is_none_or(|last| last.is_closed(lateness, watermark))
        {
            let slice = first.remove();
            self.groups = self.groups.saturating_sub(slice.groups());
            self.running.remove_slice(&slice);
            slice.release(&mut self.keys, inputs);
        }
        self.forget_keys();
        while let Some(first) = self.fired.first_entry()
            && first.key().is_closed(lateness, watermark)
        {
            first.remove();
        }
    }

    /// Removes what a lane contributed to windows that have not all fired.
    pub(crate) fn remove_lane(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        self.running = RunningSums::default();
        let (groups, keys) = (&mut self.groups, &mut self.keys);
        self.kept.retain(|_, slice| {
            slice.lanes.retain(|of, _| of.lane != lane);
            let keep = !slice.lanes.is_empty();
            if !keep {
                *groups = groups.saturating_sub(slice.groups());
                slice.release_keys(keys);
            }
            keep
        });
        self.forget_keys();
    }

    /// Forgets keys that no slice has.
    fn forget_keys(&mut self) {
        if let Some(numbers) = self.keys.renumber() {
            self.running = RunningSums::default();
            self.kept.values_mut().for_each(|slice| slice.renumber(&numbers));
            for groups in self.changed.values_mut() {
                let new = groups.iter().filter_map(|old| numbers.get(*old as usize).copied());
                *groups = new.filter(|new| *new != u32::MAX).collect();
            }
        }
    }
}
