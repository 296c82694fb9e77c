//! Fragments of sessions on a lane.
//!
//! A fragment holds events of one group that follow each other within the gap. It leaves for the trunk as soon as the
//! lane's watermark reaches the millisecond before its start, not when it ends: the trunk closes a session of another
//! lane when the watermark of all reaches its end, and must then have every fragment that could join it. So a fragment
//! gathers about `out_of_orderness` of events, and sessions come together on the trunk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_component::Watermark;
use weir_pdata::Held;

use crate::groups::{Groups, Place, Room};
use crate::key::Key;
use crate::open::{Input, Leaving, Verdict};
use crate::partial;
use crate::state::GroupState;
use crate::window::{NANOS, Span};

/// Groups below which emptied ones are not cleaned up.
const FEW: usize = 64;

/// The fragments of all groups.
pub struct OpenSessions {
    gap: i64,
    groups: Groups<Vec<Fragment>>,
    /// Groups that have fragments.
    busy: usize,
    fragments: usize,
    /// Starts of fragments with their group. Some are out of date: the fragment has left or joined an earlier one.
    due: BinaryHeap<Reverse<(i64, usize)>>,
}

struct Fragment {
    span: Span,
    state: GroupState,
    inputs: Held,
}

impl OpenSessions {
    /// Sessions that end when nothing came for `gap` milliseconds.
    pub fn new(gap: i64) -> OpenSessions {
        OpenSessions { gap, groups: Groups::default(), busy: 0, fragments: 0, due: BinaryHeap::new() }
    }

    /// How many there are.
    pub fn fragments(&self) -> usize {
        self.fragments
    }

    /// Every event has a session; whether it is late is judged on the trunk.
    pub fn judge(&self, time: i64) -> Verdict {
        let end = time.checked_add(self.gap).and_then(|end| end.checked_mul(NANOS));
        if end.is_some() && time.checked_mul(NANOS).is_some() { Verdict::Taken } else { Verdict::Beyond }
    }

    /// Adds a row. Whether it went into the overflow group.
    pub fn add(&mut self, input: &Input<'_>, row: usize, time: i64, nanos: i64) -> bool {
        let Input { operator, rows, hasher, events, ack } = *input;
        let span = Span { start: time, end: time.saturating_add(self.gap) };
        let columns = operator.group_by.len();
        let full = self.fragments >= operator.room();
        let room = if full { Room::Full(columns) } else { Room::Free };
        let mut place = self.groups.place(rows, row, hasher, room, Vec::new);
        if let Place::Known(group) = place
            && full
            && !self
                .groups
                .state(group)
                .is_some_and(|held| held.iter().any(|fragment| fragment.span.touches(span)))
        {
            place = Place::Overflow(self.groups.overflow(columns, hasher, Vec::new));
        }
        let (Place::Known(group) | Place::New(group) | Place::Overflow(group)) = place;
        let Some(held) = self.groups.state(group) else { return false };
        let before = held.len();
        let fragment = join(held, span, || operator.new_state());
        events.add(row, nanos, &mut fragment.state);
        fragment.inputs.add(ack.clone());
        if fragment.span.start == time {
            self.due.push(Reverse((time, group)));
        }
        self.busy += usize::from(before == 0);
        self.fragments = self.fragments + held.len() - before;
        matches!(place, Place::Overflow(_))
    }

    /// Takes the fragments that the trunk must have before this watermark of the lane.
    pub fn leave(&mut self, watermark: Watermark, keys: usize) -> Option<Leaving> {
        // One that starts where a session ends joins it.
        let limit = watermark.0.saturating_add(1);
        let mut leaving: Vec<(usize, Fragment)> = Vec::new();
        while let Some(Reverse((start, group))) = self.due.peek().copied()
            && start <= limit
        {
            self.due.pop();
            let Some(held) = self.groups.state(group) else { continue };
            let over = held.partition_point(|fragment| fragment.span.start <= limit);
            self.fragments = self.fragments.saturating_sub(over);
            leaving.extend(held.drain(..over).map(|fragment| (group, fragment)));
            self.busy -= usize::from(over > 0 && held.is_empty());
        }
        if leaving.is_empty() {
            return None;
        }
        let rows: Vec<(Span, &Key, &GroupState)> = leaving
            .iter()
            .filter_map(|(group, fragment)| Some((fragment.span, self.groups.key(*group)?, &fragment.state)))
            .collect();
        let written = partial::write(keys, &rows.iter().copied());
        let mut inputs = Held::default();
        leaving.into_iter().for_each(|(_, fragment)| inputs.absorb(fragment.inputs));
        self.clean();
        Some((written, inputs))
    }

    /// Frees groups without fragments, when they are most of all.
    fn clean(&mut self) {
        if self.busy > 0 && (self.groups.len() <= FEW || self.busy * 2 >= self.groups.len()) {
            return;
        }
        self.groups.retain(|held| !held.is_empty());
        let groups = self.groups.iter().enumerate();
        self.due = groups
            .flat_map(|(group, (_, held))| held.iter().map(move |one| Reverse((one.span.start, group))))
            .collect();
    }
}

/// The fragment for an event with this span: it joins the ones it touches into one.
fn join(held: &mut Vec<Fragment>, span: Span, new: impl FnOnce() -> GroupState) -> &mut Fragment {
    let first = held.partition_point(|fragment| fragment.span.end < span.start);
    let after = held.partition_point(|fragment| fragment.span.start <= span.end);
    if first >= after {
        held.insert(first, Fragment { span, state: new(), inputs: Held::default() });
        return &mut held[first];
    }
    let others: Vec<Fragment> = held.drain(first + 1..after).collect();
    let joined = &mut held[first];
    joined.span = joined.span.cover(span);
    for other in others {
        joined.span = joined.span.cover(other.span);
        joined.state.merge(&other.state);
        joined.inputs.absorb(other.inputs);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A span, and one with the number of its events.
    type Bounds = (i64, i64);
    type Counted = (i64, i64, u64);

    /// What becomes of each of these spans, and what is there at last. Each counts as one event.
    fn joined(spans: &[Bounds]) -> (Vec<Bounds>, Vec<Counted>) {
        let mut held = Vec::new();
        let becomes = spans.iter().map(|(start, end)| {
            let fragment = join(&mut held, Span { start: *start, end: *end }, GroupState::default);
            fragment.state.count += 1;
            (fragment.span.start, fragment.span.end)
        });
        let becomes = becomes.collect();
        (becomes, held.iter().map(|one| (one.span.start, one.span.end, one.state.count)).collect())
    }

    #[test]
    fn v15_windows_that_touch_become_one_and_keep_what_they_have() {
        let (_, held) = joined(&[(0, 1), (1, 2), (2, 3), (4, 5), (5, 6)]);
        assert_eq!(held, [(0, 3, 3), (4, 6, 2)]);
        let (becomes, held) = joined(&[(0, 4), (3, 5), (4, 6), (11, 14), (10, 13), (12, 15)]);
        assert_eq!(becomes, [(0, 4), (0, 5), (0, 6), (11, 14), (10, 14), (10, 15)]);
        assert_eq!(held, [(0, 6, 3), (10, 15, 3)]);
    }

    #[test]
    fn v15_a_late_window_joins_those_on_both_sides() {
        let (becomes, held) = joined(&[(0, 3), (5, 8), (10, 13), (8, 10), (3, 5)]);
        assert_eq!(becomes[3..], [(5, 13), (0, 13)]);
        assert_eq!(held, [(0, 13, 5)]);
    }
}
