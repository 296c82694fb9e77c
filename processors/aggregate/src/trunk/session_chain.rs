//! Sessions of one group on the trunk: the fragments of all lanes, the chains that they form, and the parts
//! of long chains.
//!
//! A chain is a run of fragments that touch. One that never falls silent is cut at fixed times ([`Cells`]):
//! its first part has the first two cells, each later part one cell. For a reader of the results a part is a
//! session of its own. A part keeps the inputs of the two cells before it, and the chain keeps their
//! fragments, so that a restart cuts at the same times.
//!
//! Finding, joining and cutting cost the logarithm of the size of the group.

use std::collections::BTreeMap;
use std::ops::Range;

use weir_component::LaneId;
use weir_pdata::Held;

use crate::state::GroupState;
use crate::trunk::firing::Firing;
use crate::window::{Cells, Span};

/// The fragments and chains of one group.
#[derive(Default)]
pub(crate) struct Group {
    /// By lane and start. Those of one lane and cell do not touch.
    fragments: BTreeMap<FragmentId, Box<Fragment>>,
    /// By start. None touches another.
    chains: BTreeMap<i64, Chain>,
}

/// The lane and the start of a fragment.
pub(crate) type FragmentId = (LaneId, i64);

/// The share of one lane in one cell of a chain.
pub(crate) struct Fragment {
    /// When it is.
    pub(crate) span: Span,
    /// Its part has not fired since something was added.
    pub(crate) fresh: bool,
    /// The metrics.
    pub(crate) state: GroupState,
    /// Its inputs.
    pub(crate) inputs: Held,
    /// How its part fires next, if it has fired.
    pub(crate) firing: Option<Firing>,
}

/// Fragments that touch each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// From the first start to the last end.
    pub(crate) span: Span,
    /// The start of the last fragment.
    last: i64,
    /// The cell from which parts are counted.
    first_cell: i64,
    /// It has been cut: the first cell stays what it is.
    is_cut: bool,
    /// When to look at it again: a part of it may fire, or is closed for good.
    pub(crate) due: i64,
}

/// A part of a chain.
pub(crate) struct SessionPart {
    /// When it is.
    pub(crate) span: Span,
    /// Its fragments among those that [`Group::fragment_ids`] gave.
    pub(crate) fragments: Range<usize>,
    /// Those, and the ones before them that show where it is cut.
    pub(crate) shown_by: Range<usize>,
}

impl Group {
    /// How many fragments there are.
    pub(crate) fn len(&self) -> usize {
        self.fragments.len()
    }

    /// The chain that a fragment with this span would be part of, and whether it would touch anything.
    pub(crate) fn chain_with(&self, span: Span, cells: Cells) -> (Chain, bool) {
        let mut chain =
            Chain { span, last: span.start, first_cell: cells.of(span.start), is_cut: false, due: i64::MAX };
        let mut cut_from: Option<i64> = None;
        let touched = self.touched(span);
        let touches = !touched.is_empty();
        for other in touched {
            chain.span = chain.span.cover(other.span);
            chain.last = chain.last.max(other.last);
            if other.is_cut {
                cut_from = Some(cut_from.map_or(other.first_cell, |from| from.min(other.first_cell)));
                chain.due = chain.due.min(other.due);
            }
        }
        chain.first_cell = cut_from.unwrap_or_else(|| cells.of(chain.span.start));
        chain.is_cut = cut_from.is_some();
        (chain, touches)
    }

    /// At most a few: they do not touch each other.
    fn touched(&self, span: Span) -> Vec<Chain> {
        let chains = self.chains.range(..=span.end).rev().map(|(_, chain)| *chain);
        chains.take_while(|chain| chain.span.touches(span)).collect()
    }

    /// Adds a fragment; it joins those of its lane and cell that it touches. The chain that it is part of
    /// now.
    pub(crate) fn insert(&mut self, lane: LaneId, mut fragment: Fragment, cells: Cells) -> Chain {
        let span = fragment.span;
        let (mut chain, _) = self.chain_with(span, cells);
        let touched = self.touched(span);
        for other in &touched {
            self.chains.remove(&other.span.start);
        }
        // Where the part of the new fragment ends, and those of the chains that were one part until now.
        let whole = touched.iter().filter(|other| !other.is_cut).map(|other| other.span.start);
        for start in whole.chain([span.start]) {
            chain.due = chain.due.min(chain.part(start, cells).last());
        }
        self.chains.insert(chain.span.start, chain);

        let cell = cells.of(span.start);
        let (begin, end) = (cells.start_of(cell), cells.start_of(cell.saturating_add(1)).saturating_sub(1));
        loop {
            let last = fragment.span.end.min(end);
            let near = self.fragments.range((lane, begin)..=(lane, last)).next_back();
            let near = near.filter(|(_, other)| other.span.touches(fragment.span)).map(|(id, _)| *id);
            let Some(other) = near.and_then(|id| self.fragments.remove(&id)) else { break };
            fragment.join(*other);
        }
        self.fragments.insert((lane, fragment.span.start), Box::new(fragment));
        chain
    }

    /// Takes a chain out that begins here, when it is due at this time; its fragments stay.
    pub(crate) fn take_due(&mut self, start: i64, due: i64) -> Option<Chain> {
        self.chains.get(&start).filter(|chain| chain.due == due)?;
        self.chains.remove(&start)
    }

    /// Puts a chain back that was taken, with what is left of it.
    pub(crate) fn put_back(&mut self, chain: Chain) {
        self.chains.insert(chain.span.start, chain);
    }

    /// The fragments of a chain, in the order of time.
    pub(crate) fn fragment_ids(&self, span: Span) -> Vec<FragmentId> {
        let mut ids = Vec::new();
        let mut from = Some(LaneId(0));
        while let Some(lane) = from
            && let Some((&(lane, _), _)) = self.fragments.range((lane, i64::MIN)..).next()
        {
            ids.extend(self.fragments.range((lane, span.start)..(lane, span.end)).map(|(id, _)| *id));
            from = lane.0.checked_add(1).map(LaneId);
        }
        ids.sort_unstable_by_key(|(lane, start)| (*start, *lane));
        ids
    }

    /// A fragment.
    pub(crate) fn fragment(&self, id: FragmentId) -> Option<&Fragment> {
        self.fragments.get(&id).map(|fragment| &**fragment)
    }

    /// A fragment, to be changed.
    pub(crate) fn fragment_mut(&mut self, id: FragmentId) -> Option<&mut Fragment> {
        self.fragments.get_mut(&id).map(|fragment| &mut **fragment)
    }

    /// Nothing needs these fragments any more but what waits for `inputs`.
    pub(crate) fn release(&mut self, ids: &[FragmentId], inputs: &mut Held) {
        for id in ids {
            if let Some(fragment) = self.fragments.remove(id) {
                inputs.absorb(fragment.inputs);
            }
        }
    }

    /// Removes what a lane contributed, and finds the chains again. Those that have changed.
    pub(crate) fn remove_lane(&mut self, lane: LaneId, cells: Cells) -> Vec<Chain> {
        let before = self.fragments.len();
        self.fragments.retain(|(of, _), _| *of != lane);
        if self.fragments.len() == before {
            return Vec::new();
        }
        let old = std::mem::take(&mut self.chains);
        let mut spans: Vec<Span> = self.fragments.values().map(|fragment| fragment.span).collect();
        spans.sort_unstable();
        let mut spans = spans.into_iter().peekable();
        while let Some(first) = spans.next() {
            let (mut span, mut last) = (first, first.start);
            while let Some(next) = spans.next_if(|next| next.touches(span)) {
                (span, last) = (span.cover(next), next.start);
            }
            let was = old.range(..=span.start).next_back().map(|(_, chain)| *chain).filter(|was| was.is_cut);
            let first_cell = was.map_or_else(|| cells.of(span.start), |was| was.first_cell);
            let due = was.map_or(i64::MAX, |was| was.due);
            let mut chain = Chain { span, last, first_cell, is_cut: was.is_some(), due };
            chain.due = chain.due.min(chain.part(span.start, cells).last());
            self.chains.insert(span.start, chain);
        }
        self.chains.values().copied().collect()
    }
}

impl Fragment {
    fn join(&mut self, other: Fragment) {
        self.span = self.span.cover(other.span);
        self.fresh |= other.fresh;
        self.state.merge(&other.state);
        self.inputs.absorb(other.inputs);
        self.firing = latest(self.firing, other.firing);
    }
}

/// The later of two firings.
pub(crate) fn latest(one: Option<Firing>, other: Option<Firing>) -> Option<Firing> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

impl Chain {
    /// The part that a fragment with this start is in.
    pub(crate) fn part(&self, start: i64, cells: Cells) -> Span {
        let number = self.number(start, cells);
        let begin = if self.is_first(number) { self.span.start } else { cells.start_of(number) };
        let next = cells.start_of(number.saturating_add(1));
        Span { start: begin, end: if self.last >= next { next } else { self.span.end } }
    }

    /// The number of a part: its last cell.
    fn number(&self, start: i64, cells: Cells) -> i64 {
        cells.of(start).max(self.first_cell.saturating_add(1))
    }

    fn is_first(&self, number: i64) -> bool {
        number <= self.first_cell.saturating_add(1)
    }

    /// The parts, in the order of time, of a chain with these fragments.
    pub(crate) fn parts(&self, ids: &[FragmentId], cells: Cells) -> Vec<SessionPart> {
        let number = |at: usize| ids.get(at).map(|(_, start)| self.number(*start, cells));
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(first) = number(at) {
            let from = at;
            while number(at) == Some(first) {
                at += 1;
            }
            let begin = ids.get(from).map_or(self.span.start, |(_, start)| *start);
            let end = if at < ids.len() { cells.start_of(first.saturating_add(1)) } else { self.span.end };
            let shown = cells.start_of(first.saturating_sub(2));
            let shown = ids.partition_point(|(_, start)| *start < shown).min(from);
            let span = Span { start: begin, end };
            parts.push(SessionPart { span, fragments: from..at, shown_by: shown..at });
        }
        parts
    }

    /// Everything before the fragment that starts here is gone, if there was anything, and it has
    /// been cut if it has several parts.
    pub(crate) fn shorten(&mut self, start: i64, parts: usize, cells: Cells) {
        if start > self.span.start {
            self.first_cell = self.first_cell.max(cells.of(start));
            self.span.start = start;
        }
        self.is_cut |= parts > 1;
    }
}
