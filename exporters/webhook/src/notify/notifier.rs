//! Decides which alarms are told when, and together. No I/O; the time is given.
//!
//! * An alarm waits in its group for `group_wait` if the group is new, and until `group_interval` after the
//!   group's last message. The message tells of what has changed since.
//! * A group of which alarms fire is told again after `repeat_interval`.
//! * A firing alarm that is hidden (maintenance, silence, inhibition) is told when nothing hides it any more,
//!   if it still fires. The end of an alarm is told if its beginning was.
//! * An alarm that was older than `max_age` when it came is told when no such alarm has come for a minute, if
//!   it still fires. So a backlog tells of what is still true at its end.
//! * [`State`] is all there is: a notifier with the same state goes on as this one would.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::calendar::Calendar;
use super::config::{Inhibition, Settings};
use super::matcher::label;
use super::state::{Ended, Group, Message, Note, Outcome, State, Tracked};
use crate::alarm::Alarm;

/// Alarms that were late wait until none has come for this long.
const CATCHING_UP_MS: i64 = 60_000;
/// But each waits for this long at most.
const LONGEST_WAIT_MS: i64 = 600_000;
/// What is over is remembered for this long, or for `max_age`: a replay brings it again.
const REMEMBERED_MS: i64 = 3_600_000;
/// How often it is looked whether hidden alarms are still hidden.
const HIDDEN_MS: i64 = 1_000;
/// Alarms that are tracked at most.
pub(crate) const MAX_ALARMS: usize = 20_000;
/// From this many messages that wait for their turn on, they become one.
const DIGEST: usize = 3;

/// What tells people, and what it has told them.
#[derive(Debug)]
pub(crate) struct Notifier {
    settings: Settings,
    state: State,
    notes: Vec<Note>,
}

impl Notifier {
    /// A notifier that goes on with this state.
    pub(crate) fn new(settings: Settings, state: State) -> Notifier {
        Notifier { settings, state, notes: Vec::new() }
    }

    /// What has to survive a restart.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// When the oldest message that waits was made.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.state.outbox.front().map(|message| message.made_ms)
    }

    /// What became of alarms since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Takes alarms, in the order of their events. The same ones again change nothing. Gives the numbers of
    /// those for which there is no room.
    pub(crate) fn receive(&mut self, alarms: Vec<Alarm>, now_ms: i64) -> Vec<usize> {
        let mut refused = Vec::new();
        for (number, alarm) in alarms.into_iter().enumerate() {
            let fingerprint = key(&alarm);
            let known = self.state.alarms.get(&fingerprint);
            if known.is_some_and(|known| is_newer_or_same(&known.alarm, &alarm))
                || self.has_ended(&fingerprint, &alarm)
            {
                continue;
            }
            if known.is_none() && self.state.alarms.len() >= MAX_ALARMS && alarm.is_firing() {
                refused.push(number);
                continue;
            }
            match (alarm.is_firing(), known.is_some()) {
                (true, _) => self.fires(fingerprint, alarm, now_ms),
                (false, true) => self.is_over(&fingerprint, alarm, now_ms),
                // Nobody was told of its beginning.
                (false, false) => {
                    if self.settings.matcher.matches(&alarm) {
                        self.note(&alarm, Outcome::Suppressed, UNHEARD, 0);
                    }
                }
            }
        }
        refused
    }

    /// Whether it is part of what is over: it comes again.
    fn has_ended(&self, fingerprint: &str, alarm: &Alarm) -> bool {
        let time = alarm.millis("time");
        let ended = self.state.ended.get(fingerprint);
        ended.is_some_and(|ended| ended.time > time || (ended.time == time && !is_start(alarm)))
    }

    /// Forgets what has been over for long. A clock that was ahead keeps nothing.
    fn forget_ended(&mut self, now_ms: i64) {
        let keep = REMEMBERED_MS.max(self.settings.max_age_ms);
        self.state.ended.retain(|_, ended| (now_ms - keep..=now_ms + keep).contains(&ended.at_ms));
        while self.state.ended.len() > MAX_ALARMS {
            self.state.ended.pop_first();
        }
    }

    fn fires(&mut self, fingerprint: String, alarm: Alarm, now_ms: i64) {
        let is_wanted = self.settings.matcher.matches(&alarm);
        if !is_wanted && self.settings.inhibit.is_empty() {
            return;
        }
        let event_ms = alarm.millis("time").unwrap_or(now_ms);
        let max_age = self.settings.max_age_ms;
        let known = self.state.alarms.get(&fingerprint).cloned();
        let known = known.filter(|known| known.alarm.is_firing());
        let late = max_age > 0 && now_ms.saturating_sub(event_ms) > max_age;
        if late && is_wanted && known.is_none() {
            self.state.catching_up_until = now_ms + CATCHING_UP_MS;
        }
        // An alarm stays in its group, whatever its other labels become, and as late as it came first.
        let (group, old, hidden, came_ms, refused) = match known {
            Some(known) => (known.group, known.old, known.hidden, known.came_ms, known.refused),
            None => (None, late, None, now_ms, false),
        };
        let group = is_wanted.then(|| self.join(&alarm, &fingerprint, group, now_ms));
        self.state.alarms.insert(fingerprint, Tracked { alarm, group, old, hidden, came_ms, refused });
    }

    fn is_over(&mut self, fingerprint: &str, alarm: Alarm, now_ms: i64) {
        let Some(tracked) = self.state.alarms.get_mut(fingerprint) else { return };
        tracked.alarm = alarm;
        let group = tracked.group.clone();
        let group = group.and_then(|name| self.state.groups.get_mut(&name));
        let Some(group) = group else {
            self.forget(fingerprint, None, now_ms);
            return;
        };
        let is_told = group.told.contains(fingerprint);
        if is_told && self.settings.send_resolved {
            group.next_ms = group.next_ms.min(group.opens_ms.max(now_ms));
            return;
        }
        let reason = if is_told { "send_resolved: false" } else { "it was over before it was sent" };
        self.forget(fingerprint, Some(reason), now_ms);
    }

    /// Puts the alarm into its group, which has something to do then. Gives the group's name.
    fn join(&mut self, alarm: &Alarm, fingerprint: &str, known: Option<String>, now_ms: i64) -> String {
        let by_all = self.settings.group_by.iter().any(|name| name == "...");
        let labels: BTreeMap<String, String> = if by_all {
            alarm.subject().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        } else {
            self.settings.group_by.iter().map(|name| (name.clone(), label(alarm, name).to_owned())).collect()
        };
        let name = known.unwrap_or_else(|| {
            if by_all {
                return fingerprint.to_owned();
            }
            labels.values().fold(String::new(), |name, value| format!("{name}{}:{value}", value.len()))
        });
        let opens_ms = now_ms.saturating_add(self.settings.group_wait_ms);
        let group = self.state.groups.entry(name.clone()).or_insert_with(|| Group {
            labels,
            next_ms: i64::MAX,
            opens_ms,
            ..Group::default()
        });
        group.next_ms = group.next_ms.min(group.opens_ms.max(now_ms));
        group.members.insert(fingerprint.to_owned());
        name
    }

    /// Removes an alarm, and its group with its last alarm.
    fn forget(&mut self, fingerprint: &str, suppressed: Option<&str>, now_ms: i64) {
        let Some(tracked) = self.state.alarms.remove(fingerprint) else { return };
        let ended = Ended { time: tracked.alarm.millis("time"), at_ms: now_ms };
        self.state.ended.insert(fingerprint.to_owned(), ended);
        if let Some(name) = &tracked.group
            && let Some(group) = self.state.groups.get_mut(name)
        {
            group.members.remove(fingerprint);
            group.told.remove(fingerprint);
            if group.members.is_empty() {
                self.state.groups.remove(name);
            }
        }
        if let Some(reason) = suppressed {
            self.note(&tracked.alarm, Outcome::Suppressed, reason, 0);
        }
    }

    /// Makes the messages that are due. Says whether the state has changed.
    pub(crate) fn evaluate(&mut self, now_ms: i64, calendar: &Calendar) -> bool {
        let (settings, state) = (&self.settings, &mut self.state);
        // Times on disk may be those of a clock that was ahead.
        let longest = settings.group_wait_ms.max(settings.group_interval_ms);
        state.catching_up_until = state.catching_up_until.min(now_ms + CATCHING_UP_MS);
        for group in state.groups.values_mut() {
            let opens_ms = group.opens_ms.min(now_ms.saturating_add(longest));
            if opens_ms < group.opens_ms || group.last_ms.is_some_and(|last| last > now_ms) {
                group.last_ms = group.last_ms.map(|last| last.min(now_ms));
                (group.opens_ms, group.next_ms) = (opens_ms, opens_ms);
            }
        }
        let due = state.groups.iter().filter(|(_, group)| group.next_ms <= now_ms);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return false;
        }
        let sources: Vec<Sources> =
            self.settings.inhibit.iter().map(|rule| Sources::of(rule, self.state.alarms.values())).collect();
        let mut changed = false;
        for name in &due {
            changed |= self.tell(name, now_ms, calendar, &sources);
        }
        self.forget_ended(now_ms);
        changed
    }

    /// Makes the message about a group if there is one. Says whether more than the next time has changed.
    fn tell(&mut self, name: &str, now_ms: i64, calendar: &Calendar, sources: &[Sources]) -> bool {
        let Some(mut group) = self.state.groups.get(name).cloned() else { return false };
        let mut changed = false;
        let (mut new, mut still, mut over, mut passed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut hidden = false;
        for fingerprint in &group.members {
            let Some(tracked) = self.state.alarms.get(fingerprint) else { continue };
            let is_told = group.told.contains(fingerprint);
            if !tracked.alarm.is_firing() {
                over.push(fingerprint.clone());
                continue;
            }
            let waited = now_ms.saturating_sub(tracked.came_ms);
            let waits = tracked.old
                && !is_told
                && now_ms < self.state.catching_up_until
                && (0..LONGEST_WAIT_MS).contains(&waited);
            let why = if waits {
                Some("max_age: it came late, and later alarms may end it".to_owned())
            } else {
                let by_calendar = calendar.hides(&tracked.alarm, now_ms).map(str::to_owned);
                by_calendar.or_else(|| inhibited(&self.settings.inhibit, sources, &tracked.alarm))
            };
            if tracked.alarm.is_event() && why.is_some() {
                passed.push((fingerprint.clone(), why));
                continue;
            }
            hidden |= why.is_some();
            let refused = tracked.refused && !is_told;
            if why.is_some() && why != tracked.hidden && !is_told {
                let reason = why.clone().unwrap_or_default();
                let alarm = tracked.alarm.clone();
                self.notes.push(Note { alarm, outcome: Outcome::Suppressed, reason, attempts: 0 });
            }
            if let Some(tracked) =
                self.state.alarms.get_mut(fingerprint).filter(|tracked| tracked.hidden != why)
            {
                tracked.hidden = why.clone();
                changed = true;
            }
            match (is_told, why.is_some()) {
                (true, false) => still.push(fingerprint.clone()),
                (false, false) if !refused => new.push(fingerprint.clone()),
                _ => {}
            }
        }
        let repeat = self.settings.repeat_interval_ms;
        let repeats = repeat > 0
            && !still.is_empty()
            && group.last_ms.is_some_and(|last| now_ms >= last.saturating_add(repeat));
        let news = !new.is_empty() || !over.is_empty();
        let tells = (news || repeats) && now_ms >= group.opens_ms;
        if tells {
            let mut told = new.clone();
            if repeats || self.settings.tells_all {
                told.extend(still.iter().cloned());
            }
            told.extend(over.iter().cloned());
            let alarms = told.iter().filter_map(|fingerprint| self.state.alarms.get(fingerprint));
            let alarms: Vec<Alarm> = alarms.map(|tracked| tracked.alarm.clone()).collect();
            self.post(now_ms, &group.labels, &alarms, &new.iter().cloned().collect());
            changed = true;
            group.last_ms = Some(now_ms);
            group.opens_ms = now_ms.saturating_add(self.settings.group_interval_ms);
            group.told.extend(new.iter().cloned());
        }
        let look_again = if hidden { now_ms + HIDDEN_MS } else { i64::MAX };
        let opens = if news && !tells { group.opens_ms } else { i64::MAX };
        let repeats_at = match group.last_ms {
            Some(last) if repeat > 0 && !group.told.is_empty() => {
                last.saturating_add(repeat).max(group.opens_ms)
            }
            _ => i64::MAX,
        };
        group.next_ms = look_again.min(opens).min(repeats_at);
        self.state.groups.insert(name.to_owned(), group);
        if tells {
            // What happened once is over when it is told.
            let is_event =
                |name: &&String| self.state.alarms.get(*name).is_some_and(|tracked| tracked.alarm.is_event());
            let events: Vec<String> = new.iter().filter(is_event).cloned().collect();
            over.iter().chain(&events).for_each(|fingerprint| self.forget(fingerprint, None, now_ms));
        }
        for (fingerprint, why) in passed {
            self.forget(&fingerprint, why.as_deref(), now_ms);
            changed = true;
        }
        changed
    }

    /// Puts a message, or several that are not larger than a request may be, behind those that wait.
    fn post(
        &mut self,
        made_ms: i64,
        labels: &BTreeMap<String, String>,
        alarms: &[Alarm],
        new: &BTreeSet<String>,
    ) {
        for alarms in alarms.chunks(self.settings.max_rows.max(1)) {
            let number = self.state.next;
            self.state.next += 1;
            let new = alarms.iter().map(key).filter(|key| new.contains(key)).collect();
            let (labels, alarms) = (labels.clone(), alarms.to_vec());
            self.state.outbox.push_back(Message { number, made_ms, labels, alarms, attempts: 0, new });
        }
    }

    /// The message to be sent next. Those that wait become one when there are several and people read them.
    pub(crate) fn next_message(&mut self) -> Option<Message> {
        // One that was tried stays as it is: it may have been taken.
        let tried = self.state.outbox.iter().take_while(|message| message.attempts > 0).count();
        if self.settings.digests && self.state.outbox.len() - tried > DIGEST {
            self.merge(tried);
        }
        let message = self.state.outbox.front_mut()?;
        message.attempts += 1;
        Some(message.clone())
    }

    /// The messages from there on in as few as possible: of each alarm only the last that is known, and
    /// nothing of those that are over and that nobody has heard of.
    fn merge(&mut self, from: usize) {
        let merged: Vec<Message> = self.state.outbox.drain(from..).collect();
        let made_ms = merged.first().map_or(0, |message| message.made_ms);
        let new: BTreeSet<String> = merged.iter().flat_map(|message| message.new.clone()).collect();
        let all: Vec<Alarm> = merged.into_iter().flat_map(|message| message.alarms).collect();
        let mut seen = BTreeSet::new();
        let mut last: Vec<Alarm> = all.into_iter().rev().filter(|alarm| seen.insert(key(alarm))).collect();
        last.reverse();
        let (unheard, last): (Vec<Alarm>, Vec<Alarm>) =
            last.into_iter().partition(|alarm| !alarm.is_firing() && new.contains(&key(alarm)));
        unheard.iter().for_each(|alarm| self.note(alarm, Outcome::Suppressed, UNHEARD, 0));
        self.post(made_ms, &BTreeMap::new(), &last, &new);
    }

    /// The message was delivered, after so many attempts.
    pub(crate) fn delivered(&mut self, number: u64, attempts: u32) {
        for alarm in self.take(number).into_iter().flat_map(|message| message.alarms) {
            self.note(&alarm, Outcome::Sent, "", attempts);
        }
    }

    /// The message is given up. Gives its alarms. Nobody has heard of those that were new: they are told
    /// again if `again`, when the group's next message may be, and their ends are not told.
    pub(crate) fn given_up(
        &mut self,
        number: u64,
        attempts: u32,
        reason: &str,
        again: bool,
        now_ms: i64,
    ) -> Vec<Alarm> {
        let Some(Message { alarms, new, .. }) = self.take(number) else { return Vec::new() };
        alarms.iter().for_each(|alarm| self.note(alarm, Outcome::Failed, reason, attempts));
        let unheard: Vec<String> = alarms.iter().map(key).filter(|key| new.contains(key)).collect();
        let opens_ms = now_ms.saturating_add(self.settings.group_interval_ms);
        for key in &unheard {
            let Some(tracked) = self.state.alarms.get_mut(key) else { continue };
            tracked.refused = !again;
            let group = tracked.group.as_ref().and_then(|name| self.state.groups.get_mut(name));
            if let Some(group) = group {
                group.told.remove(key);
                group.opens_ms = group.opens_ms.max(opens_ms);
                group.next_ms = group.next_ms.min(group.opens_ms);
            }
        }
        let is_end = |alarm: &Alarm| !alarm.is_firing() && unheard.contains(&key(alarm));
        let mut ends = Vec::new();
        for message in &mut self.state.outbox {
            ends.extend(message.alarms.extract_if(.., |alarm| is_end(alarm)));
        }
        self.state.outbox.retain(|message| !message.alarms.is_empty());
        ends.iter().for_each(|alarm| self.note(alarm, Outcome::Suppressed, UNHEARD, 0));
        // Their ends may be known and not told yet.
        for key in unheard {
            if self.state.alarms.get(&key).is_some_and(|tracked| !tracked.alarm.is_firing()) {
                self.forget(&key, Some(UNHEARD), now_ms);
            }
        }
        alarms
    }

    /// The target takes less at once, or not all of it: the message becomes two. Says whether it did; one
    /// alarm cannot be parted.
    pub(crate) fn split(&mut self, number: u64) -> bool {
        let Some(at) = self.state.outbox.iter().position(|message| message.number == number) else {
            return false;
        };
        let Some(message) = self.state.outbox.get_mut(at).filter(|message| message.alarms.len() > 1) else {
            return false;
        };
        let second = message.alarms.split_off(message.alarms.len().div_ceil(2));
        let rest = Message { number: self.state.next, alarms: second, ..message.clone() };
        self.state.next += 1;
        self.state.outbox.insert(at + 1, rest);
        true
    }

    fn take(&mut self, number: u64) -> Option<Message> {
        let at = self.state.outbox.iter().position(|message| message.number == number)?;
        self.state.outbox.remove(at)
    }

    fn note(&mut self, alarm: &Alarm, outcome: Outcome, reason: &str, attempts: u32) {
        self.notes.push(Note { alarm: alarm.clone(), outcome, reason: reason.to_owned(), attempts });
    }
}

/// Why the end of an alarm is not sent.
const UNHEARD: &str = "its beginning was not sent";

/// The name of an alarm: each event is one of its own.
fn key(alarm: &Alarm) -> String {
    let fingerprint = alarm.text("fingerprint");
    if !alarm.is_event() {
        return fingerprint.to_owned();
    }
    let time = alarm.millis("time").unwrap_or_default();
    format!("{fingerprint}@{time}-{}", alarm.starts_at())
}

/// Whether it begins something that may follow the end of the one before at the same time.
fn is_start(alarm: &Alarm) -> bool {
    alarm.is_firing() && !alarm.is_event()
}

/// Whether what is known is at least as new: alarms may come again after a crash.
fn is_newer_or_same(known: &Alarm, alarm: &Alarm) -> bool {
    let (known_time, time) = (known.millis("time"), alarm.millis("time"));
    known_time > time || (known_time == time && known.text("state") == alarm.text("state"))
}

/// The alarms that hide others by one rule.
struct Sources {
    /// The values of `equal`, of alarms that cannot be hidden by the rule themselves.
    plain: HashSet<Vec<String>>,
    /// Of the others, which hide no alarms of their own kind.
    both: HashSet<Vec<String>>,
}

impl Sources {
    fn of<'a>(rule: &Inhibition, alarms: impl Iterator<Item = &'a Tracked>) -> Sources {
        let mut sources = Sources { plain: HashSet::new(), both: HashSet::new() };
        for Tracked { alarm, .. } in alarms {
            if alarm.is_firing() && !alarm.is_event() && rule.source.matches(alarm) {
                let set = if rule.target.matches(alarm) { &mut sources.both } else { &mut sources.plain };
                set.insert(rule.values(alarm));
            }
        }
        sources
    }
}

fn inhibited(rules: &[Inhibition], sources: &[Sources], alarm: &Alarm) -> Option<String> {
    let hides = |(rule, sources): &(&Inhibition, &Sources)| {
        let values = rule.values(alarm);
        rule.target.matches(alarm)
            && (sources.plain.contains(&values)
                || (!rule.source.matches(alarm) && sources.both.contains(&values)))
    };
    let (rule, _) = rules.iter().zip(sources).find(hides)?;
    Some(format!("inhibited by an alarm with the same {}", rule.equal.join(", ")))
}
