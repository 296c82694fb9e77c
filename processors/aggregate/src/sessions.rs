//! Sessions on the trunk: fragments of all lanes, joined when the watermark passes their end.
//!
//! Fragments of different lanes are kept apart until their session fires, so that the share of a lane that closes can
//! be taken back. Which fragments make one session is found anew each time from their spans, so it depends neither on
//! the order in which they came nor on their lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_component::{LaneId, Watermark};
use weir_pdata::Held;

use crate::codec::Malformed;
use crate::key::{Key, KeyHasher, KeyRows};
use crate::operator::Operator;
use crate::partial::Partial;
use crate::results::Row;
use crate::state::GroupState;
use crate::trunk::{Fired, note_late};
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
}

struct Fragment {
    /// The lane that it came from. `None`: a session that has fired and still takes late events.
    lane: Option<LaneId>,
    span: Span,
    state: GroupState,
    inputs: Held,
    /// How often the session has fired.
    firings: u32,
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
        }
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
            self.insert(&key, Fragment { lane: Some(lane), span, state, inputs, firings: 0 });
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
            fragment.state.merge(&other.state);
            fragment.inputs.absorb(other.inputs);
        }
        held.push(fragment);
        self.fragments += 1;
    }

    /// Takes the sessions that are over at this watermark and have something new.
    pub fn fire(&mut self, watermark: Watermark) -> Fired {
        let mut fired = Fired::default();
        while let Some((at, _)) = self.due.first()
            && *at <= watermark.0
            && let Some((_, key)) = self.due.pop_first()
        {
            self.fire_group(key, watermark, &mut fired);
        }
        fired
            .rows
            .sort_by(|a, b| (a.span.end, a.span.start, &a.key).cmp(&(b.span.end, b.span.start, &b.key)));
        fired
    }

    fn fire_group(&mut self, key: Key, watermark: Watermark, fired: &mut Fired) {
        let lateness = self.operator.allowed_lateness;
        let Some(mut held) = self.groups.remove(&key) else { return };
        self.fragments = self.fragments.saturating_sub(held.len());
        held.sort_by_key(|fragment| fragment.span);
        let mut kept: Vec<Fragment> = Vec::new();
        let mut rest = held.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut session = first.span;
            let mut others = Vec::new();
            while let Some(next) = rest.next_if(|next| next.span.touches(session)) {
                session = session.cover(next.span);
                others.push(next);
            }
            let again = session.last().saturating_add(lateness);
            let is_new = first.lane.is_some() || others.iter().any(|part| part.lane.is_some());
            if !session.is_over(watermark) {
                self.due.insert((session.last(), key.clone()));
                kept.push(first);
                kept.append(&mut others);
            } else if is_new {
                let joined = join(first, others, session, &mut fired.inputs);
                let (firing, state) = (joined.firings, joined.state.clone());
                if !session.is_gone(lateness, watermark) {
                    self.due.insert((again, key.clone()));
                    kept.push(Fragment { firings: firing.saturating_add(1), ..joined });
                }
                fired.rows.push(Row { span: session, firing, key: key.clone(), state });
            } else if !session.is_gone(lateness, watermark) {
                self.due.insert((again, key.clone()));
                kept.push(first);
                kept.append(&mut others);
            }
        }
        if !kept.is_empty() {
            self.fragments += kept.len();
            self.groups.insert(key, kept);
        }
    }

    /// Takes back what a lane contributed to sessions that have not fired.
    pub fn take_back(&mut self, lane: LaneId) {
        let fragments = &mut self.fragments;
        self.groups.retain(|_, held| {
            let before = held.len();
            held.retain(|fragment| fragment.lane != Some(lane));
            *fragments = fragments.saturating_sub(before - held.len());
            !held.is_empty()
        });
    }
}

/// One fragment of several, the first of them given apart: a session that has fired as often as the one among them that
/// fired most.
fn join(mut joined: Fragment, others: Vec<Fragment>, span: Span, inputs: &mut Held) -> Fragment {
    for other in others {
        joined.state.merge(&other.state);
        joined.firings = joined.firings.max(other.firings);
        joined.inputs.absorb(other.inputs);
    }
    inputs.absorb(std::mem::take(&mut joined.inputs));
    Fragment { lane: None, span, ..joined }
}
