//! The events of all keys: buffered until the watermark, then taken in order of time.
//!
//! * Events of one millisecond are taken in order of arrival.
//! * The input of an event is done when the event has been taken and no partial match has it. The input of an
//!   event in a live partial match is held until the match ends; without `within` it is not, because that may
//!   be never.
//! * Keys, buffered events, and partial matches of a key are bounded. What exceeds a bound is refused or
//!   dropped, and counted.
//! * Dropping the store fails the inputs that it still holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_component::LaneId;
use weir_pdata::{Ack, Fence};

use crate::nfa::{Match, Nfa, Outcome, Sequence};

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Keys with buffered events or partial matches.
    pub(crate) keys: usize,
    /// Events of all keys that wait for the watermark.
    pub(crate) buffered: usize,
    /// Partial matches of one key.
    pub(crate) partials: usize,
}

/// The part of an event that is kept.
#[derive(Debug)]
pub(crate) struct Event {
    /// Milliseconds.
    pub(crate) time: i64,
    /// Bit `i`: step `i` holds.
    pub(crate) truth: u64,
    /// Where the window began, in nanoseconds.
    pub(crate) window_start: Option<i64>,
    /// The columns that messages name, in the order of the configuration. Empty when no step holds.
    pub(crate) values: Box<[serde_json::Value]>,
    pub(crate) ack: Ack,
    /// The lane that it came from; `None` when it was derived on the trunk.
    pub(crate) lane: Option<LaneId>,
    /// Closed when its inputs have another owner.
    pub(crate) fence: Option<Fence>,
}

/// A match of one key.
pub(crate) struct FoundMatch {
    /// The texts of the key columns; `None` for NULL.
    pub(crate) key: Arc<[Option<String>]>,
    pub(crate) events: Match<Event>,
    /// The inputs of its events.
    pub(crate) ack: Ack,
    /// Those of its events, each once.
    pub(crate) fences: Vec<Fence>,
}

impl FoundMatch {
    /// Whether both have the same fences.
    pub(crate) fn has_fences_of(&self, other: &FoundMatch) -> bool {
        let is_known = |fence: &Fence| other.fences.iter().any(|known| known.is_same(fence));
        self.fences.len() == other.fences.len() && self.fences.iter().all(is_known)
    }
}

/// The results of a watermark.
#[derive(Default)]
pub(crate) struct Advanced {
    /// In order of the time of the last event, then of the key.
    pub(crate) found: Vec<FoundMatch>,
    /// Partial matches that were not complete in time.
    pub(crate) expired: u64,
    /// Partial matches dropped because their key had too many.
    pub(crate) dropped: u64,
}

/// Why an event is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are `keys` keys already.
    Keys,
    /// There are `buffered` events already.
    Buffer,
}

/// The store.
pub(crate) struct Keys {
    sequence: Arc<Sequence>,
    limits: Limits,
    by_text: HashMap<Arc<str>, usize>,
    slots: Vec<Option<Key>>,
    free: Vec<usize>,
    /// When a key is due: at its first buffered event, or at the end of its oldest partial match.
    due: BTreeSet<(i64, usize)>,
    arrivals: u64,
    buffered: usize,
}

struct Key {
    text: Arc<str>,
    parts: Arc<[Option<String>]>,
    /// By time and arrival.
    buffer: BTreeMap<(i64, u64), Event>,
    nfa: Nfa<Event>,
    due: Option<i64>,
}

impl Keys {
    pub(crate) fn new(sequence: Arc<Sequence>, limits: Limits) -> Keys {
        Keys {
            sequence,
            limits,
            by_text: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            due: BTreeSet::new(),
            arrivals: 0,
            buffered: 0,
        }
    }

    /// Keys with buffered events or partial matches.
    pub(crate) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Events that wait for the watermark.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Keeps an event until the watermark reaches it. `text` tells keys apart, `parts` is called for a new
    /// one.
    ///
    /// # Errors
    /// There is no room. The event is then left out.
    pub(crate) fn add(
        &mut self,
        text: &str,
        parts: impl FnOnce() -> Arc<[Option<String>]>,
        event: Event,
    ) -> Result<(), Refused> {
        if self.buffered >= self.limits.buffered {
            return Err(Refused::Buffer);
        }
        let at = match self.by_text.get(text) {
            Some(at) => *at,
            None if self.by_text.len() >= self.limits.keys => return Err(Refused::Keys),
            None => self.insert(text, parts()),
        };
        let Some(Some(key)) = self.slots.get_mut(at) else { return Ok(()) };
        let time = event.time;
        key.buffer.insert((time, self.arrivals), event);
        self.arrivals += 1;
        self.buffered += 1;
        if key.due.is_none_or(|due| time < due) {
            if let Some(due) = key.due.replace(time) {
                self.due.remove(&(due, at));
            }
            self.due.insert((time, at));
        }
        Ok(())
    }

    fn insert(&mut self, text: &str, parts: Arc<[Option<String>]>) -> usize {
        let text: Arc<str> = text.into();
        let key = Key { text: text.clone(), parts, buffer: BTreeMap::new(), nfa: Nfa::default(), due: None };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(key);
        }
        self.by_text.insert(text, at);
        at
    }

    /// The watermark is here: takes every event up to it.
    pub(crate) fn advance(&mut self, watermark: i64) -> Advanced {
        let mut advanced = Advanced::default();
        while let Some((due, at)) = self.due.first().copied()
            && due <= watermark
        {
            self.due.pop_first();
            self.process(at, watermark, &mut advanced);
        }
        if watermark == i64::MAX {
            for at in 0..self.slots.len() {
                self.process(at, watermark, &mut advanced);
            }
        }
        let time = |found: &FoundMatch| found.events.last().map(|(_, event)| event.time);
        advanced.found.sort_by(|a, b| (time(a), &a.key).cmp(&(time(b), &b.key)));
        advanced
    }

    /// Takes the events of one key up to the watermark.
    fn process(&mut self, at: usize, watermark: i64, advanced: &mut Advanced) {
        let Some(Some(key)) = self.slots.get_mut(at) else { return };
        let later =
            if watermark == i64::MAX { BTreeMap::new() } else { key.buffer.split_off(&(watermark + 1, 0)) };
        let due = std::mem::replace(&mut key.buffer, later);
        self.buffered = self.buffered.saturating_sub(due.len());
        let mut outcome = Outcome::default();
        for mut event in due.into_values() {
            let ack = event.ack.clone();
            if self.sequence.within.is_none() {
                event.ack = Ack::none();
            }
            let moment = (event.time, event.truth);
            key.nfa.event(&self.sequence, moment, event, self.limits.partials, &mut outcome);
            advanced.take(&key.parts, &mut outcome, &ack);
        }
        key.nfa.advance(&self.sequence, watermark, &mut outcome);
        if watermark == i64::MAX {
            key.nfa.end(&mut outcome);
        }
        advanced.take(&key.parts, &mut outcome, &Ack::none());
        self.schedule(at);
    }

    /// Notes when a key is due next, or removes it.
    fn schedule(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Some(key) = slot else { return };
        if let Some(due) = key.due.take() {
            self.due.remove(&(due, at));
        }
        if key.buffer.is_empty() && key.nfa.is_empty() {
            self.by_text.remove(&key.text);
            *slot = None;
            self.free.push(at);
            return;
        }
        let first = key.buffer.first_key_value().map(|((time, _), _)| *time);
        key.due = first.into_iter().chain(key.nfa.deadline(&self.sequence)).min();
        self.due.extend(key.due.map(|due| (due, at)));
    }

    /// A lane has gone before its end: its events are given up, buffered ones and those in partial matches.
    /// Their inputs fail and are read again. (Without `within` partial matches stay: their inputs are not
    /// read again.) Tells how many partial matches.
    pub(crate) fn give_up(&mut self, lane: LaneId, advanced: &mut Advanced) -> u64 {
        let mut partials = 0;
        let is_lost = |event: &Event| event.lane == Some(lane);
        for at in 0..self.slots.len() {
            let Some(Some(key)) = self.slots.get_mut(at) else { continue };
            let before = key.buffer.len();
            let keeps = |event: &mut Event| {
                if is_lost(event) {
                    event.ack.fail();
                }
                !is_lost(event)
            };
            key.buffer.retain(|_, event| keeps(event));
            self.buffered = self.buffered.saturating_sub(before - key.buffer.len());
            if self.sequence.within.is_some() {
                key.nfa.held().filter(|event| is_lost(event)).for_each(|event| event.ack.fail());
                let mut outcome = Outcome::default();
                partials += key.nfa.give_up(is_lost, &mut outcome);
                advanced.take(&key.parts, &mut outcome, &Ack::none());
            }
            self.schedule(at);
        }
        partials
    }
}

impl Advanced {
    fn take(&mut self, key: &Arc<[Option<String>]>, outcome: &mut Outcome<Event>, last: &Ack) {
        for events in outcome.matches.drain(..) {
            let acks = events.iter().map(|(_, event)| event.data.ack.clone());
            let ack = Ack::join(acks.chain([last.clone()]));
            let mut fences: Vec<Fence> = Vec::new();
            // Nobody else has an event without one.
            let all_fenced = events.iter().all(|(_, event)| event.data.fence.is_some());
            for fence in
                events.iter().filter(|_| all_fenced).filter_map(|(_, event)| event.data.fence.as_ref())
            {
                if !fences.iter().any(|known| known.is_same(fence)) {
                    fences.push(fence.clone());
                }
            }
            self.found.push(FoundMatch { key: key.clone(), events, ack, fences });
        }
        self.expired += outcome.expired.drain(..).len() as u64;
        self.dropped += std::mem::take(&mut outcome.dropped);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        for key in self.slots.iter().flatten() {
            key.buffer.values().chain(key.nfa.held()).for_each(|event| event.ack.fail());
        }
    }
}
