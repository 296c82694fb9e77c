//! The sums of one window, which become those of the next one.
//!
//! From one sliding window to the next, slices are added at the end and removed at the start. Their groups
//! are added and subtracted; other groups are not touched. Where a value cannot be subtracted (see
//! [`subtract`](crate::state)) it is computed again from the slices that stay.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::operator::Operator;
use crate::state::GroupState;
use crate::state::subtract::Left;
use crate::trunk::key_table::KeyTable;
use crate::trunk::results::{Head, Rows};
use crate::trunk::slice::{LaneSlice, Slice};
use crate::window::Span;

/// Sums by the number of the key.
#[derive(Default)]
pub(crate) struct RunningSums {
    /// Slices that start from here on are in it, and those that start before there.
    covers: Option<Span>,
    sums: Vec<Sum>,
    /// Groups that have something.
    filled: usize,
    /// Groups of which something is to be computed again.
    stale: usize,
}

#[derive(Default)]
struct Sum {
    /// How many states have been added.
    parts: u32,
    /// How much of the state is right.
    left: Left,
    state: GroupState,
}

impl RunningSums {
    /// Whether no group has anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether this slice is in it.
    pub(crate) fn covers(&self, slice: Span) -> bool {
        self.covers.is_some_and(|covers| covers.holds(slice.start))
    }

    /// Becomes the sums of this window.
    pub(crate) fn advance(&mut self, window: Span, slices: &BTreeMap<i64, Slice>) {
        let follows = |covers: &Span| {
            covers.start <= window.start
                && (covers.start..=window.end).contains(&covers.end)
                && window.start < covers.end
        };
        let before = self.covers.filter(follows).unwrap_or_else(|| {
            *self = RunningSums::default();
            Span { start: window.start, end: window.start }
        });
        self.covers = Some(window);
        for (_, slice) in slices.range(before.end..window.end) {
            slice.lanes.values().for_each(|lane_slice| self.add(lane_slice));
        }
        for (_, slice) in slices.range(before.start..window.start) {
            self.subtract(slice);
        }
        if self.stale > 0 {
            self.recompute(slices.range(window.start..window.end).map(|(_, slice)| slice));
        }
    }

    /// Removes a slice that is the first of those covered, if it is one of them.
    pub(crate) fn remove_slice(&mut self, slice: &Slice) {
        if let Some(covers) = self.covers.filter(|covers| covers.holds(slice.span.start)) {
            self.subtract(slice);
            self.covers = Some(Span { start: slice.span.end.min(covers.end), end: covers.end });
        }
    }

    /// Adds the groups of a lane.
    pub(crate) fn add(&mut self, lane_slice: &LaneSlice) {
        for (number, state) in lane_slice.iter() {
            let sum = self.sum(number);
            if sum.parts == 0 {
                sum.state.clone_from(state);
            } else {
                sum.state.merge(state);
            }
            sum.parts += 1;
        }
    }

    /// Adds the groups of a lane and takes what it holds.
    pub(crate) fn take(&mut self, lane_slice: &mut LaneSlice) {
        for (number, state) in lane_slice.take() {
            let sum = self.sum(number);
            if sum.parts == 0 {
                sum.state = state;
            } else {
                sum.state.merge(&state);
            }
            sum.parts += 1;
        }
    }

    fn sum(&mut self, number: u32) -> &mut Sum {
        let at = number as usize;
        if at >= self.sums.len() {
            self.sums.resize_with(at + 1, Sum::default);
        }
        let sum = &mut self.sums[at];
        self.filled += usize::from(sum.parts == 0);
        sum
    }

    fn subtract(&mut self, slice: &Slice) {
        for (number, state) in slice.lanes.values().flat_map(LaneSlice::iter) {
            let Some(sum) = self.sums.get_mut(number as usize) else { continue };
            let was_stale = sum.left != Left::All;
            if sum.parts <= 1 {
                *sum = Sum::default();
                self.filled -= 1;
            } else {
                sum.parts -= 1;
                sum.left = sum.left.max(sum.state.subtract(state));
            }
            self.stale = self.stale + usize::from(sum.left != Left::All) - usize::from(was_stale);
        }
    }

    fn recompute<'a>(&mut self, slices: impl Iterator<Item = &'a Slice>) {
        self.sums.iter_mut().for_each(|sum| sum.state.reset(sum.left));
        for (number, state) in slices.flat_map(|slice| slice.lanes.values().flat_map(LaneSlice::iter)) {
            if let Some(sum) = self.sums.get_mut(number as usize) {
                sum.state.merge_again(state, sum.left);
            }
        }
        self.sums.iter_mut().for_each(|sum| sum.left = Left::All);
        self.stale = 0;
    }

    /// A row for each group, ordered by key.
    ///
    /// # Errors
    /// When Arrow does not take the columns.
    pub(crate) fn write(
        &self,
        keys: &mut KeyTable,
        head: Head,
        operator: &Operator,
        layout: &SchemaRef,
    ) -> Result<RecordBatch, ArrowError> {
        let mut rows = Rows::new(operator, true, self.filled);
        for (number, key) in keys.ordered() {
            if let Some(sum) = self.sums.get(number as usize).filter(|sum| sum.parts > 0) {
                rows.push(head.span, head.firing, key, &sum.state);
            }
        }
        rows.finish(layout)
    }
}
