//! Sessions on the trunk: fragments of all lanes, joined when the watermark passes their end.
//!
//! Fragments of different lanes are kept apart until their session is closed for good, so that the share of a lane that
//! closes can be taken back: the lane's next owner reads all of it again. What an earlier owner has delivered is left out. Which fragments make one session is found anew each time from their spans, so it depends neither on
//! the order in which they came nor on their lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_component::{LaneId, Watermark};
use weir_pdata::Held;

use crate::codec::Malformed;
use crate::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::results::{Head, Rows};
use crate::state::GroupState;
use crate::trunk::{Begin, Fired, also, note_late};
use crate::window::Span;

/// The fragments of all groups.
pub struct Sessions {
    operator: Arc<Operator>,
    gap: i64,
    hasher: KeyHasher,
    groups: BTreeMap<Key, Vec<Fragment>>,
    fragments: usize,
    /// When to look at a group again: a session of it may fire, or is closed for good. Some are out of date.
    due: BTreeSet<(i64, Key)>,
    /// How the open lanes began, and those that have ended.
    lanes: BTreeMap<LaneId, Begin>,
}

struct Fragment {
    /// The lane that it came from.
    lane: LaneId,
    /// Its session has not fired since something was added.
    fresh: bool,
    span: Span,
    state: GroupState,
    inputs: Held,
    /// How often the session has fired.
    firings: u32,
}

/// A session that fires.
struct Row {
    span: Span,
    firing: u32,
    key: Key,
    state: GroupState,
}

impl Sessions {
    /// Sessions that end when nothing came for `gap` milliseconds.
    pub fn new(operator: Arc<Operator>, gap: i64) -> Sessions {
        Sessions {
            operator,
            gap,
            hasher: KeyHasher::default(),
            groups: BTreeMap::new(),
            fragments: 0,
            due: BTreeSet::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// A lane begins.
    pub fn begin(&mut self, lane: LaneId, begin: Begin) {
        self.lanes.insert(lane, begin);
    }

    /// How many fragments there are.
    pub fn fragments(&self) -> usize {
        self.fragments
    }

    /// Adds fragments of a lane. One is late, dropped and counted, when the session that it makes or joins is closed for good.
    ///
    /// # Errors
    /// When they cannot be read; nothing of them counts then.
    pub fn merge(
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
        for (row, state) in states.into_iter().enumerate() {
            let (span, count) = (partial.span(row), state.count);
            let mut key = rows.key(row);
            if self.fragments >= operator.room() && self.session(&key, span) == span && key != overflow {
                folded = folded.saturating_add(count);
                key = overflow.clone();
            }
            let session = self.session(&key, span);
            if session.is_gone(operator.allowed_lateness, watermark) {
                note_late(&operator, count, session, watermark);
                continue;
            }
            let inputs = Held::new(ack.clone());
            self.insert(&key, Fragment { lane, fresh: true, span, state, inputs, firings: 0 });
            self.due.insert((session.last(), key));
        }
        operator.note_overflow(folded);
        Ok(())
    }

    /// The session of which a fragment with this span would be part.
    fn session(&self, key: &Key, span: Span) -> Span {
        let mut session = span;
        let Some(held) = self.groups.get(key) else { return session };
        loop {
            let touching = held.iter().filter(|fragment| fragment.span.touches(session));
            let joined = touching.fold(session, |session, fragment| session.cover(fragment.span));
            if joined == session {
                return session;
            }
            session = joined;
        }
    }

    /// Adds a fragment; it joins those of its lane that it touches.
    fn insert(&mut self, key: &Key, mut fragment: Fragment) {
        if !self.groups.contains_key(key) {
            self.groups.insert(key.clone(), Vec::new());
        }
        let Some(held) = self.groups.get_mut(key) else { return };
        while let Some(at) =
            held.iter().position(|other| other.lane == fragment.lane && other.span.touches(fragment.span))
        {
            let other = held.swap_remove(at);
            self.fragments = self.fragments.saturating_sub(1);
            fragment.span = fragment.span.cover(other.span);
            fragment.firings = fragment.firings.max(other.firings);
            fragment.state.merge(&other.state);
            fragment.inputs.absorb(other.inputs);
        }
        held.push(fragment);
        self.fragments += 1;
    }

    /// Takes the sessions that are over at this watermark and have something new.
    pub fn fire(&mut self, watermark: Watermark, layout: &SchemaRef) -> Fired {
        let (mut rows, mut inputs) = (Vec::new(), Held::default());
        while let Some((at, _)) = self.due.first()
            && *at <= watermark.0
            && let Some((_, key)) = self.due.pop_first()
        {
            self.fire_group(key, watermark, &mut rows, &mut inputs);
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

    fn fire_group(&mut self, key: Key, watermark: Watermark, rows: &mut Vec<Row>, inputs: &mut Held) {
        let lateness = self.operator.allowed_lateness;
        let Some(mut held) = self.groups.remove(&key) else { return };
        self.fragments = self.fragments.saturating_sub(held.len());
        held.sort_by_key(|fragment| fragment.span);
        let mut kept: Vec<Fragment> = Vec::new();
        let mut rest = held.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut session = first.span;
            let mut parts = vec![first];
            while let Some(next) = rest.next_if(|next| next.span.touches(session)) {
                session = session.cover(next.span);
                parts.push(next);
            }
            if !session.is_over(watermark) {
                self.due.insert((session.last(), key.clone()));
                kept.append(&mut parts);
                continue;
            }
            let gone = session.is_gone(lateness, watermark);
            if parts.iter().any(|part| part.fresh) {
                let firing = parts.iter().map(|part| part.firings).max().unwrap_or(0);
                let firing = if firing == 0 { self.first_firing(session) } else { firing };
                let sum = self.add_up(&parts, session);
                rows.extend(sum.map(|state| Row { span: session, firing, key: key.clone(), state }));
                for part in &mut parts {
                    inputs.absorb(also(&mut part.inputs));
                    part.fresh = false;
                    part.firings = firing.saturating_add(1);
                }
            }
            if gone {
                parts.into_iter().for_each(|part| drop(part.inputs.release()));
            } else {
                self.due.insert((session.last().saturating_add(lateness), key.clone()));
                kept.append(&mut parts);
            }
        }
        if !kept.is_empty() {
            self.fragments += kept.len();
            self.groups.insert(key, kept);
        }
    }

    /// The state of a session. `None`: earlier owners of its lanes have delivered it, and it cannot change any more.
    fn add_up(&self, parts: &[Fragment], session: Span) -> Option<GroupState> {
        let is_delivered = |lane: LaneId| {
            let begin = self.lanes.get(&lane).filter(|_| self.operator.allowed_lateness == 0);
            begin.is_some_and(|begin| session.is_over(begin.delivered))
        };
        let mut left = parts.iter().filter(|part| !is_delivered(part.lane));
        let mut sum = left.next()?.state.clone();
        left.for_each(|part| sum.merge(&part.state));
        Some(sum)
    }

    /// The number of a session's first firing here: above those of earlier owners, if they have let it fire.
    fn first_firing(&self, session: Span) -> u32 {
        self.lanes.values().map(|begin| begin.first_firing(session)).max().unwrap_or(0)
    }

    /// Takes back what a lane contributed to sessions that are not closed for good.
    pub fn take_back(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        let fragments = &mut self.fragments;
        self.groups.retain(|_, held| {
            let before = held.len();
            held.retain(|fragment| fragment.lane != lane);
            *fragments = fragments.saturating_sub(before - held.len());
            !held.is_empty()
        });
    }
}
