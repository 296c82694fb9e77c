//! Sessions on the trunk: fragments of all lanes, joined when the watermark passes their end.
//!
//! The fragments of each lane are kept apart until their session is closed for good. So they can be removed
//! when the lane closes: the next owner of the lane reads all of it again. Sessions that an earlier owner has
//! delivered are left out. The fragments of one session are found by their spans alone, and not by order or
//! lane. Sessions that never fall silent are cut ([`session_chain`](crate::trunk::session_chain)).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_component::{LaneId, Watermark};
use weir_pdata::Held;

use crate::group::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::state::GroupState;
use crate::state::codec::Malformed;
use crate::trunk::firing::Firing;
use crate::trunk::lane_history::LaneHistory;
use crate::trunk::results::{Fired, Head, Rows};
use crate::trunk::session_chain::{Fragment, Group, latest};
use crate::window::{Cells, Span};

/// The fragments of all groups.
pub(crate) struct Sessions {
    operator: Arc<Operator>,
    gap: i64,
    cells: Cells,
    hasher: KeyHasher,
    groups: BTreeMap<Key, Group>,
    fragments: usize,
    /// When to look at a chain again: the time, its group and its start. Some are out of date.
    due: BTreeSet<(i64, Key, i64)>,
    /// The history of the open lanes and of those that have ended.
    lanes: BTreeMap<LaneId, LaneHistory>,
}

/// A session that fires.
struct Row {
    span: Span,
    firing: Firing,
    key: Key,
    state: GroupState,
}

impl Sessions {
    /// Sessions that end when nothing came for `gap` milliseconds.
    pub(crate) fn new(operator: Arc<Operator>, gap: i64, cells: Cells) -> Sessions {
        Sessions {
            operator,
            gap,
            cells,
            hasher: KeyHasher::default(),
            groups: BTreeMap::new(),
            fragments: 0,
            due: BTreeSet::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// A lane opens.
    pub(crate) fn open_lane(&mut self, lane: LaneId, history: LaneHistory) {
        self.lanes.insert(lane, history);
    }

    /// How many fragments there are.
    pub(crate) fn fragments(&self) -> usize {
        self.fragments
    }

    /// Adds fragments of a lane.
    ///
    /// # Errors
    /// When they cannot be read; nothing of them counts then.
    pub(crate) fn merge(
        &mut self,
        lane: LaneId,
        partial: &Partial<'_>,
        inputs: Held,
        watermark: Watermark,
    ) -> Result<(), Malformed> {
        let operator = Arc::clone(&self.operator);
        let states = partial.states(&|| operator.new_state())?;
        if (0..partial.rows()).any(|row| partial.span(row).millis() < self.gap) {
            return Err(Malformed("a fragment of a session is shorter than the gap"));
        }
        let key_columns = partial.keys();
        let hasher = self.hasher.clone();
        let rows = KeyRows::new(&key_columns, &hasher, partial.rows());
        let overflow = Key::overflow(operator.group_by.len());
        let ack = inputs.release();
        let mut folded = 0_u64;
        // Those of later cells first: one that is cut off from the session that it continues is late only
        // without it.
        let mut states: Vec<(usize, GroupState)> = states.into_iter().enumerate().collect();
        states.sort_by_key(|(row, _)| Reverse(self.cells.of(partial.span(*row).start)));
        for (row, state) in states {
            let (span, count) = (partial.span(row), state.count);
            let mut key = rows.key(row);
            if self.fragments >= operator.max_states() && key != overflow {
                let group = self.groups.get(&key);
                if !group.is_some_and(|group| group.chain_with(span, self.cells).1) {
                    folded = folded.saturating_add(count);
                    key = overflow.clone();
                }
            }
            if !self.groups.contains_key(&key) {
                self.groups.insert(key.clone(), Group::default());
            }
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let (chain, _) = group.chain_with(span, self.cells);
            let session = chain.part(span.start, self.cells);
            if session.is_closed(operator.allowed_lateness, watermark) {
                // It would be in a part that was cut off and is closed, though its own time is not: the lane
                // cannot know.
                operator.note_late(count, session, watermark);
                if group.len() == 0 {
                    self.groups.remove(&key);
                }
                continue;
            }
            let before = group.len();
            let inputs = Held::new(ack.clone());
            let chain =
                group.insert(lane, Fragment { span, fresh: true, state, inputs, firing: None }, self.cells);
            self.fragments = (self.fragments + group.len()).saturating_sub(before);
            self.due.insert((chain.due, key, chain.span.start));
        }
        operator.note_overflow(folded / operator.unit());
        Ok(())
    }

    /// Takes the sessions that are over at this watermark and have something new.
    pub(crate) fn fire(&mut self, watermark: Watermark, layout: &SchemaRef) -> Fired {
        let (mut rows, mut inputs) = (Vec::new(), Held::default());
        while let Some((at, ..)) = self.due.first()
            && *at <= watermark.0
            && let Some((at, key, start)) = self.due.pop_first()
        {
            self.fire_chain(at, &key, start, watermark, &mut rows, &mut inputs);
        }
        rows.sort_by(|a, b| (a.span.end, a.span.start, &a.key).cmp(&(b.span.end, b.span.start, &b.key)));
        let head = rows.first().map(|row| Head { span: row.span, firing: row.firing, apart: None });
        let batches = head.map(|head| {
            let mut columns = Rows::new(&self.operator, false, rows.len());
            rows.iter().for_each(|row| columns.push(row.span, row.firing, &row.key, &row.state));
            (head, columns.finish(layout))
        });
        Fired { batches: batches.into_iter().collect(), inputs }
    }

    fn fire_chain(
        &mut self,
        at: i64,
        key: &Key,
        start: i64,
        watermark: Watermark,
        rows: &mut Vec<Row>,
        inputs: &mut Held,
    ) {
        let (lateness, cells) = (self.operator.allowed_lateness, self.cells);
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(mut chain) = group.take_due(start, at) else { return };
        let before = group.len();
        let ids = group.fragment_ids(chain.span);
        let parts = chain.parts(&ids, cells);
        let mut due: Option<i64> = None;
        // The first fragment that is still needed.
        let mut needed = None;
        for part in &parts {
            let gone = part.span.is_closed(lateness, watermark);
            if part.span.is_over(watermark) {
                let own = ids.get(part.fragments.clone()).unwrap_or_default();
                let shared = &*group;
                let own_parts =
                    || own.iter().filter_map(move |id| shared.fragment(*id).map(|one| (id.0, one)));
                if own_parts().any(|(_, one)| one.fresh) {
                    let before = own_parts().fold(None, |firing, (_, one)| latest(firing, one.firing));
                    let firing = before.unwrap_or_else(|| first_firing(&self.lanes, part.span, lateness));
                    let sum = add_up(&self.lanes, own_parts(), part.span, lateness, self.gap);
                    rows.extend(sum.map(|state| Row { span: part.span, firing, key: key.clone(), state }));
                    for id in ids.get(part.shown_by.clone()).unwrap_or_default() {
                        if let Some(one) = group.fragment_mut(*id) {
                            inputs.add(one.inputs.another_ack());
                        }
                    }
                    for id in own {
                        if let Some(one) = group.fragment_mut(*id) {
                            one.fresh = false;
                            one.firing = Some(firing.next(watermark));
                        }
                    }
                }
            }
            if !gone {
                needed.get_or_insert(part.shown_by.start);
                let next = match part.span.is_over(watermark) {
                    true => part.span.last().saturating_add(lateness),
                    false => part.span.last(),
                };
                due = Some(due.map_or(next, |due| due.min(next)));
            }
        }
        let needed = needed.unwrap_or(ids.len());
        group.release(ids.get(..needed).unwrap_or_default(), inputs);
        if let (Some(due), Some((_, start))) = (due, ids.get(needed)) {
            chain.shorten(*start, parts.len(), cells);
            chain.due = due;
            self.due.insert((due, key.clone(), *start));
            group.put_back(chain);
        }
        self.fragments = (self.fragments + group.len()).saturating_sub(before);
        if group.len() == 0 {
            self.groups.remove(key);
        }
    }

    /// Removes what a lane contributed to sessions that are not closed for good.
    pub(crate) fn remove_lane(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        let (fragments, due, cells) = (&mut self.fragments, &mut self.due, self.cells);
        self.groups.retain(|key, group| {
            let before = group.len();
            for chain in group.remove_lane(lane, cells) {
                due.insert((chain.due, key.clone(), chain.span.start));
            }
            *fragments = (*fragments + group.len()).saturating_sub(before);
            group.len() > 0
        });
    }
}

/// The state of a session. `None`: earlier owners of its lanes have delivered it and it cannot change any
/// more, or it was theirs with another configuration, and a part of it may be missing.
fn add_up<'a>(
    lanes: &BTreeMap<LaneId, LaneHistory>,
    fragments: impl Iterator<Item = (LaneId, &'a Fragment)>,
    session: Span,
    lateness: i64,
    gap: i64,
) -> Option<GroupState> {
    let reconfigured_at = lanes.values().filter_map(|history| history.reconfigured_at).max();
    if reconfigured_at.is_some_and(|mark| session.start <= mark.0.saturating_add(gap)) {
        return None;
    }
    // One that still takes late events has all of its inputs again, and fires again with what it has.
    let is_delivered =
        |lane: LaneId| lanes.get(&lane).is_some_and(|history| session.is_closed(lateness, history.delivered));
    let mut left = fragments.filter(|(lane, _)| !is_delivered(*lane));
    let mut sum = left.next()?.1.state.clone();
    left.for_each(|(_, fragment)| sum.merge(&fragment.state));
    Some(sum)
}

/// The number of a session's first firing here: above those of earlier owners, if they have let it fire.
fn first_firing(lanes: &BTreeMap<LaneId, LaneHistory>, session: Span, lateness: i64) -> Firing {
    Firing::first(
        lanes.values().map(|history| history.owners_that_fired(session, lateness)).max().unwrap_or(0),
    )
}
