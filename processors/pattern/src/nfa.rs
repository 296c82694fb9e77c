//! The sequence as a state machine: one [`Nfa`] per key takes its events in order of time and gives matches.
//!
//! The rules are those of Flink's CEP:
//! * Every event that fits the first step begins a partial match. An event may be part of several matches.
//! * To the next event of a match, *strict* means the very next one of the key, *relaxed* the first one that
//!   fits (others are skipped), *any* each one that fits.
//! * A step that may take one more event or be left does both: each way is a partial match of its own.
//! * A partial match is over when `time - start >= within`: an event at just that time does not complete it.
//!
//! No clock, no I/O. Memory: one node per event taken, shared by the partial matches that go on from it.

use std::sync::Arc;

/// The sequence to find. Step `i` holds for an event when bit `i` of its truth is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// 1 to 64 steps.
    pub(crate) steps: Vec<Step>,
    /// Milliseconds from the first to the last event, exclusive.
    pub(crate) within: Option<i64>,
    pub(crate) skip: Skip,
}

/// One step: `min` to `max` events that fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// From the last event of the step before to the first of this one. Of no meaning for the first step.
    pub(crate) join: Contiguity,
    /// Between the events of this step.
    pub(crate) inner: Contiguity,
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// Which events may stand between two of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contiguity {
    /// None.
    Strict,
    /// Those that do not fit.
    Relaxed,
    /// All.
    Any,
}

/// Where to go on after a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// With every partial match: an event may be in several matches.
    Nothing,
    /// After the last event of the match. The match that begins first wins: others wait until none that began
    /// before them can complete.
    PastLastEvent,
}

/// An event that is part of at least one match.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) time: i64,
    /// Its number in the key's order.
    number: u64,
    pub(crate) data: T,
}

/// The events of a match with their steps, in order.
pub(crate) type Match<T> = Vec<(usize, Arc<Taken<T>>)>;

/// The outcome of events and time.
#[derive(Debug)]
pub(crate) struct Outcome<T> {
    pub(crate) matches: Vec<Match<T>>,
    /// Partial matches that were not complete in time.
    pub(crate) expired: Vec<Match<T>>,
    /// Partial matches dropped because there were too many.
    pub(crate) dropped: u64,
}

impl<T> Default for Outcome<T> {
    fn default() -> Outcome<T> {
        Outcome { matches: Vec::new(), expired: Vec::new(), dropped: 0 }
    }
}

/// The partial matches of one key.
#[derive(Debug)]
pub(crate) struct Nfa<T> {
    /// In the order of their beginnings.
    live: Vec<Partial<T>>,
    /// Complete, but one that began earlier may still complete and win.
    waiting: Vec<(Beginning, Arc<Trail<T>>)>,
    events: u64,
}

/// The first event of a match.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    time: i64,
    number: u64,
}

/// A match that lacks events.
#[derive(Debug)]
struct Partial<T> {
    beginning: Beginning,
    trail: Arc<Trail<T>>,
    /// How many events the last step has taken.
    taken: u32,
    /// Whether the last step may take one more event.
    more: bool,
    /// Whether the step after it may begin.
    on: bool,
}

/// The events taken so far, from the last one back.
#[derive(Debug)]
struct Trail<T> {
    step: usize,
    event: Arc<Taken<T>>,
    before: Option<Arc<Trail<T>>>,
}

impl Contiguity {
    /// Whether an event is taken that fits or not, and whether a later one may be taken in its place.
    fn offer(self, fits: bool) -> (bool, bool) {
        match self {
            Contiguity::Strict => (fits, false),
            Contiguity::Relaxed => (fits, !fits),
            Contiguity::Any => (fits, true),
        }
    }
}

impl<T> Default for Nfa<T> {
    fn default() -> Nfa<T> {
        Nfa { live: Vec::new(), waiting: Vec::new(), events: 0 }
    }
}

impl<T> Nfa<T> {
    /// Whether nothing has begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.waiting.is_empty()
    }

    /// How many partial matches there are.
    pub(crate) fn len(&self) -> usize {
        self.live.len() + self.waiting.len()
    }

    /// When the next partial match will be over.
    pub(crate) fn deadline(&self, sequence: &Sequence) -> Option<i64> {
        Some(self.live.first()?.beginning.time.saturating_add(sequence.within?))
    }

    /// Takes the next event. `time` never goes back; at most `most` partial matches are kept, the oldest go.
    pub(crate) fn event(
        &mut self,
        sequence: &Sequence,
        (time, truth): (i64, u64),
        data: T,
        most: usize,
        outcome: &mut Outcome<T>,
    ) {
        self.advance(sequence, time, outcome);
        let fits = |step: usize| truth >> step & 1 == 1;
        if self.live.is_empty() && !fits(0) {
            return;
        }
        let number = self.events;
        self.events += 1;
        let event = Arc::new(Taken { time, number, data });
        let mut found = Found { sequence, event: &event, live: Vec::new(), complete: Vec::new() };
        for mut partial in std::mem::take(&mut self.live) {
            let at = partial.trail.step;
            let step = sequence.steps.get(at);
            let more = step.filter(|_| partial.more).map(|step| step.inner.offer(fits(at)));
            let next = sequence.steps.get(at + 1);
            let on = next.filter(|_| partial.on).map(|next| next.join.offer(fits(at + 1)));
            let (trail, beginning, taken) = (partial.trail.clone(), partial.beginning, partial.taken);
            partial.more = more.is_some_and(|(_, stays)| stays);
            partial.on = on.is_some_and(|(_, stays)| stays);
            if partial.more || partial.on {
                found.live.push(partial);
            }
            if more.is_some_and(|(takes, _)| takes) {
                found.take(beginning, Some(&trail), at, taken + 1);
            }
            if on.is_some_and(|(takes, _)| takes) {
                found.take(beginning, Some(&trail), at + 1, 1);
            }
        }
        if fits(0) {
            found.take(Beginning { time, number }, None, 0, 1);
        }
        let Found { live, complete, .. } = found;
        self.live = live;
        match sequence.skip {
            Skip::Nothing => outcome.matches.extend(complete.iter().map(|(_, trail)| trail.events())),
            Skip::PastLastEvent => self.waiting.extend(complete),
        }
        let surplus = self.len().saturating_sub(most).min(self.live.len());
        self.live.drain(..surplus);
        outcome.dropped += surplus as u64;
        self.settle(outcome);
    }

    /// Time has come this far: drops the partial matches that are over.
    pub(crate) fn advance(&mut self, sequence: &Sequence, time: i64, outcome: &mut Outcome<T>) {
        let Some(within) = sequence.within else { return };
        let over = self.live.partition_point(|partial| partial.beginning.time.saturating_add(within) <= time);
        if over > 0 {
            outcome.expired.extend(self.live.drain(..over).map(|partial| partial.trail.events()));
            self.settle(outcome);
        }
    }

    /// No event comes any more: partial matches are over, and those that waited for them are matches.
    pub(crate) fn end(&mut self, outcome: &mut Outcome<T>) {
        outcome.expired.extend(self.live.drain(..).map(|partial| partial.trail.events()));
        self.settle(outcome);
    }

    /// Drops the partial matches with an event for which `is_lost` says so. Tells how many.
    pub(crate) fn give_up(&mut self, is_lost: impl Fn(&T) -> bool, outcome: &mut Outcome<T>) -> u64 {
        let before = self.len();
        let keeps = |trail: &Trail<T>| !trail.iter().any(|(_, event)| is_lost(&event.data));
        self.live.retain(|partial| keeps(&partial.trail));
        self.waiting.retain(|(_, trail)| keeps(trail));
        let lost = before - self.len();
        if lost > 0 {
            self.settle(outcome);
        }
        lost as u64
    }

    /// The events of all partial matches; one may come several times.
    pub(crate) fn held(&self) -> impl Iterator<Item = &T> {
        let live = self.live.iter().map(|partial| &partial.trail);
        let trails = live.chain(self.waiting.iter().map(|(_, trail)| trail));
        trails.flat_map(|trail| trail.iter().map(|(_, event)| &event.data))
    }

    /// Makes the matches that wait for no other one.
    fn settle(&mut self, outcome: &mut Outcome<T>) {
        // The first of the earliest: with the same beginning, the one that was complete first.
        while let Some((at, (beginning, _))) =
            self.waiting.iter().enumerate().min_by_key(|(_, (beginning, _))| beginning.number)
            && self.live.first().is_none_or(|partial| partial.beginning.number >= beginning.number)
        {
            let (_, trail) = self.waiting.remove(at);
            let last = trail.event.number;
            self.live.retain(|partial| partial.beginning.number > last);
            self.waiting.retain(|(beginning, _)| beginning.number > last);
            outcome.matches.push(trail.events());
        }
    }
}

/// Where an event leads.
struct Found<'a, T> {
    sequence: &'a Sequence,
    event: &'a Arc<Taken<T>>,
    live: Vec<Partial<T>>,
    complete: Vec<(Beginning, Arc<Trail<T>>)>,
}

impl<T> Found<'_, T> {
    /// The event is the `taken`-th of `step`, after `before`.
    fn take(&mut self, beginning: Beginning, before: Option<&Arc<Trail<T>>>, step: usize, taken: u32) {
        let Some(Step { min, max, .. }) = self.sequence.steps.get(step).copied() else { return };
        let trail = Arc::new(Trail { step, event: self.event.clone(), before: before.cloned() });
        let is_last = step + 1 == self.sequence.steps.len();
        let (more, enough) = (taken < max, taken >= min);
        if enough && is_last {
            self.complete.push((beginning, trail.clone()));
        }
        let on = enough && !is_last;
        if more || on {
            self.live.push(Partial { beginning, trail, taken, more, on });
        }
    }
}

impl<T> Trail<T> {
    fn iter(&self) -> impl Iterator<Item = (usize, &Arc<Taken<T>>)> {
        std::iter::successors(Some(self), |trail| trail.before.as_deref())
            .map(|trail| (trail.step, &trail.event))
    }

    fn events(&self) -> Match<T> {
        let mut events: Match<T> = self.iter().map(|(step, event)| (step, event.clone())).collect();
        events.reverse();
        events
    }
}
