//! Fragments of sessions on a lane.
//!
//! A fragment holds the events of one group that follow each other within the gap, up to the next time at
//! which sessions may be cut ([`Cells`]). It goes to the trunk when the lane's watermark reaches the
//! millisecond before its start, and not when it ends. The trunk closes a session when the combined watermark
//! reaches its end, and must then have every fragment that could join it. So a fragment gathers about
//! `out_of_orderness` of events, and sessions are put together on the trunk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use weir_component::Watermark;
use weir_pdata::Held;

use crate::group::groups::{GroupLimit, Groups, Slot};
use crate::group::key::Key;
use crate::lane::input::{Assignment, BatchInput, PartialResult};
use crate::partial;
use crate::state::GroupState;
use crate::window::{Cells, NANOS, Span};

/// Groups below which emptied ones are not cleaned up.
const FEW: usize = 64;

/// The fragments of one group, by start. Those of one cell do not touch.
type Fragments = BTreeMap<i64, Box<Fragment>>;

/// The fragments of all groups.
pub(crate) struct OpenSessions {
    gap: i64,
    lateness: i64,
    cells: Cells,
    groups: Groups<Fragments>,
    /// Groups that have fragments.
    busy: usize,
    fragments: usize,
    /// Starts of fragments with their group. Some are out of date: the fragment has left or joined an earlier
    /// one.
    due: BinaryHeap<Reverse<(i64, usize)>>,
}

struct Fragment {
    span: Span,
    /// Where the next cell begins.
    limit: i64,
    state: GroupState,
    inputs: Held,
}

impl OpenSessions {
    /// Sessions that end when nothing came for `gap` milliseconds, and are closed for good `lateness` later.
    pub(crate) fn new(gap: i64, lateness: i64, cells: Cells) -> OpenSessions {
        let due = BinaryHeap::new();
        OpenSessions { gap, lateness, cells, groups: Groups::default(), busy: 0, fragments: 0, due }
    }

    /// How many there are.
    pub(crate) fn fragments(&self) -> usize {
        self.fragments
    }

    /// Every event has a session: at least its own, which ends `gap` later. It is late when the lane's
    /// watermark has closed that.
    pub(crate) fn assign(&self, time: i64, watermark: Watermark) -> Assignment {
        let fits = |time: &i64| time.checked_mul(NANOS).is_some();
        match time.checked_add(self.gap).filter(|end| fits(end) && fits(&time)) {
            None => Assignment::OutOfRange,
            Some(end) if Span { start: time, end }.is_closed(self.lateness, watermark) => {
                Assignment::Late(Span { start: time, end })
            }
            Some(_) => Assignment::InWindow,
        }
    }

    /// Adds a row. Whether it went into the overflow group.
    pub(crate) fn add(&mut self, input: &BatchInput<'_>, row: usize, time: i64, nanos: i64) -> bool {
        let BatchInput { operator, rows, hasher, events, ack } = *input;
        let span = Span { start: time, end: time.saturating_add(self.gap) };
        let columns = operator.group_by.len();
        let full = self.fragments >= operator.max_states();
        let limit = if full { GroupLimit::Reached(columns) } else { GroupLimit::Below };
        let mut slot = self.groups.slot(rows, row, hasher, limit, Fragments::new);
        if let Slot::Existing(group) = slot
            && full
            && !self.groups.state(group).is_some_and(|held| is_met(held, span))
        {
            slot = Slot::Overflow(self.groups.overflow(columns, hasher, Fragments::new));
        }
        let (Slot::Existing(group) | Slot::New(group) | Slot::Overflow(group)) = slot;
        let Some(held) = self.groups.state(group) else { return false };
        let before = held.len();
        let fragment = join(held, span, self.cells, || operator.new_state());
        events.add(row, nanos, &mut fragment.state);
        fragment.inputs.add(ack.clone());
        if fragment.span.start == time {
            self.due.push(Reverse((time, group)));
        }
        self.busy += usize::from(before == 0);
        self.fragments = self.fragments + held.len() - before;
        matches!(slot, Slot::Overflow(_))
    }

    /// Takes the fragments that the trunk must have before this watermark of the lane.
    pub(crate) fn take_due(&mut self, watermark: Watermark, keys: usize) -> Option<PartialResult> {
        // One that starts where a session ends joins it.
        let limit = watermark.0.saturating_add(1);
        let mut partials: Vec<(usize, Fragment)> = Vec::new();
        while let Some(Reverse((start, group))) = self.due.peek().copied()
            && start <= limit
        {
            self.due.pop();
            let Some(held) = self.groups.state(group) else { continue };
            let before = partials.len();
            while let Some(first) = held.first_entry().filter(|first| *first.key() <= limit) {
                partials.push((group, *first.remove()));
            }
            let over = partials.len() - before;
            self.fragments = self.fragments.saturating_sub(over);
            self.busy -= usize::from(over > 0 && held.is_empty());
        }
        if partials.is_empty() {
            return None;
        }
        let rows: Vec<(Span, &Key, &GroupState)> = partials
            .iter()
            .filter_map(|(group, fragment)| Some((fragment.span, self.groups.key(*group)?, &fragment.state)))
            .collect();
        let written = partial::write(keys, &rows.iter().copied());
        let mut inputs = Held::default();
        partials.into_iter().for_each(|(_, fragment)| inputs.absorb(fragment.inputs));
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
            .flat_map(|(group, (_, held))| held.keys().map(move |start| Reverse((*start, group))))
            .collect();
    }
}

/// Whether an event with this span makes no new fragment, or one in the place of others.
fn is_met(held: &Fragments, span: Span) -> bool {
    held.range(..=span.end).next_back().is_some_and(|(_, fragment)| fragment.span.touches(span))
}

/// The fragment for an event with this span: it joins the ones of its cell that it touches into one.
fn join(held: &mut Fragments, span: Span, cells: Cells, new: impl FnOnce() -> GroupState) -> &mut Fragment {
    let before = held.range(..=span.start).next_back();
    let before = before.filter(|(_, one)| one.span.end >= span.start && span.start < one.limit);
    let known = before.map(|(start, one)| (*start, one.limit, one.span.end));
    let (start, limit) = match known {
        Some((start, limit, _)) => (start, limit),
        None => (span.start, cells.start_of(cells.of(span.start).saturating_add(1))),
    };
    let mut joined: Option<Box<Fragment>> = None;
    // Only what it makes longer can meet another one.
    if known.is_none_or(|(.., end)| end < span.end) {
        let last = span.end.min(limit.saturating_sub(1)).max(start);
        while let Some(next) = held.range(start..=last).find(|(at, _)| **at > start).map(|(at, _)| *at)
            && let Some(other) = held.remove(&next)
        {
            match &mut joined {
                Some(one) => one.absorb(*other),
                None => joined = Some(other),
            }
        }
    }
    let fragment = held.entry(start).or_insert_with(|| {
        let alone = || Box::new(Fragment { span, limit, state: new(), inputs: Held::default() });
        joined.take().unwrap_or_else(alone)
    });
    fragment.span = fragment.span.cover(span);
    if let Some(other) = joined {
        fragment.absorb(*other);
    }
    fragment
}

impl Fragment {
    /// Takes everything that another one has.
    fn absorb(&mut self, other: Fragment) {
        self.span = self.span.cover(other.span);
        self.state.merge(&other.state);
        self.inputs.absorb(other.inputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A span, and one with the number of its events.
    type Bounds = (i64, i64);
    type Counted = (i64, i64, u64);

    /// Cells that no test crosses but one.
    const WIDE: Cells = Cells::new(2_000);

    /// The fragment of each of these spans, and the fragments at the end. Each span counts as one event.
    fn joined(spans: &[Bounds]) -> (Vec<Bounds>, Vec<Counted>) {
        let mut held = Fragments::new();
        let becomes = spans.iter().map(|(start, end)| {
            let fragment = join(&mut held, Span { start: *start, end: *end }, WIDE, GroupState::default);
            fragment.state.count += 1;
            (fragment.span.start, fragment.span.end)
        });
        let becomes = becomes.collect();
        (becomes, held.values().map(|one| (one.span.start, one.span.end, one.state.count)).collect())
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

    #[test]
    fn fragments_of_two_cells_stay_apart() {
        let (becomes, held) = joined(&[(998, 1001), (1000, 1003), (999, 1002), (1001, 1004), (997, 1000)]);
        assert_eq!(becomes, [(998, 1001), (1000, 1003), (998, 1002), (1000, 1004), (997, 1002)]);
        assert_eq!(held, [(997, 1002, 3), (1000, 1004, 2)]);
    }
}
