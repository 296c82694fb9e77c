//! Decides which alarms are told when, and together. No I/O; the time is given.
//!
//! * An alarm waits in its group for `group_wait` if the group is new, and until `group_interval` after the
//!   group's last message. The message tells of what has changed since.
//! * A group of which alarms fire is told again after `repeat_interval`.
//! * A firing alarm that is hidden (maintenance, silence, inhibition) is told when nothing hides it any more,
//!   if it still fires. The end of an alarm is told if its beginning was.
//! * An alarm that was older than `max_age` when it came is told when no such alarm has come for a minute, if
//!   it still fires. So a backlog tells of what is still true at its end.
//! * An alarm of which nothing was heard for `resolve_timeout` is over: its end was lost.
//! * At most [`MAX_ALARMS`] alarms are tracked, and about as many wait in messages. While those have no room,
//!   nothing more is told; what was to be told then is told as it is later.
//! * [`State`] is all there is: a notifier with the same state goes on as this one would.

use std::collections::BTreeMap;

use weir_config::Duration;

use super::calendar::Calendar;
use super::config::Settings;
use super::inhibition::Sources;
use super::matcher::label;
use super::room::{MAX_ALARMS, Room};
use super::state::{Ended, Group, Note, Outcome, State, Tracked};
use crate::alarm::Alarm;

/// Alarms that were late wait until none has come for this long.
const CATCHING_UP_MS: i64 = 60_000;
/// What is over is remembered for this long, or for `max_age`: a replay brings it again.
const REMEMBERED_MS: i64 = 3_600_000;
/// How often it is looked which alarms are over, and what may be forgotten.
const SWEEP_MS: i64 = 1_000;
/// It is not known when an alarm was heard of: at the next sweep.
const UNKNOWN_MS: i64 = 0;
/// And their bytes: the state is one value of a storage, which has 64 MiB.
const MAX_BYTES: usize = 20 << 20;

/// What tells people, and what it has told them.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(super) settings: Settings,
    pub(super) state: State,
    pub(super) notes: Vec<Note>,
    /// For messages.
    pub(super) room: Room,
    swept_ms: Option<i64>,
}

impl Notifier {
    /// A notifier that goes on with this state. While Weir was down nothing could be heard: the time of
    /// `resolve_timeout` begins anew.
    pub(crate) fn new(settings: Settings, mut state: State) -> Notifier {
        state.alarms.values_mut().for_each(|tracked| tracked.heard_ms = UNKNOWN_MS);
        Notifier { settings, state, notes: Vec::new(), room: Room::default(), swept_ms: None }
    }

    /// What has to survive a restart.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The same, to be written as a whole.
    pub(crate) fn state_to_write(&mut self) -> &State {
        self.state.generation += 1;
        &self.state
    }

    /// What became of alarms since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Takes alarms, in the order of their events. The same ones again change nothing. Gives the numbers of
    /// those for which there is no room.
    pub(crate) fn receive(&mut self, alarms: Vec<Alarm>, now_ms: i64) -> Vec<usize> {
        let mut refused = Vec::new();
        let mut bytes: usize = self.state.alarms.values().map(|known| known.alarm.line().len()).sum();
        for (number, alarm) in alarms.into_iter().enumerate() {
            let fingerprint = key(&alarm);
            let known = self.state.alarms.get(&fingerprint);
            if known.is_some_and(|known| is_newer_or_same(&known.alarm, &alarm))
                || self.has_ended(&fingerprint, &alarm)
            {
                continue;
            }
            let length = alarm.line().len();
            let is_full = self.state.alarms.len() >= MAX_ALARMS || bytes.saturating_add(length) > MAX_BYTES;
            if known.is_none() && is_full && alarm.is_firing() {
                refused.push(number);
                continue;
            }
            bytes += length - known.map_or(0, |known| known.alarm.line().len()).min(length);
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

    /// Takes those as over of which nothing was heard for too long, and forgets what has been over for long.
    /// A clock that was ahead keeps nothing. Says whether people may have to be told.
    fn sweep(&mut self, now_ms: i64) -> bool {
        if self.swept_ms.is_some_and(|swept| (0..SWEEP_MS).contains(&(now_ms - swept))) {
            return false;
        }
        self.swept_ms = Some(now_ms);
        let keep = REMEMBERED_MS.max(self.settings.max_age_ms);
        let is_kept = |ended: &Ended| (now_ms - keep..=now_ms + keep).contains(&ended.at_ms);
        self.state.ended.retain(|_, ended| is_kept(ended));
        let timeout = self.settings.resolve_timeout_ms;
        let mut lost = Vec::new();
        for (fingerprint, tracked) in &mut self.state.alarms {
            if tracked.heard_ms <= UNKNOWN_MS || tracked.heard_ms > now_ms {
                tracked.heard_ms = now_ms;
            }
            let ended = tracked.heard_ms.saturating_add(timeout);
            if timeout > 0 && ended <= now_ms && tracked.alarm.is_firing() {
                lost.push((fingerprint.clone(), ended));
            }
        }
        for (fingerprint, ended) in &lost {
            let Some(tracked) = self.state.alarms.get(fingerprint) else { continue };
            let rule = tracked.alarm.text("rule");
            let timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or_default());
            let message = format!("resolved: {rule}: nothing was heard of it for {timeout}");
            let over = tracked.alarm.over(*ended, &message);
            self.is_over(fingerprint, over, now_ms);
        }
        !lost.is_empty()
    }

    fn fires(&mut self, fingerprint: String, alarm: Alarm, now_ms: i64) {
        let known = self.state.alarms.get(&fingerprint).cloned();
        // An alarm stays in its group, whatever its labels become.
        let group = known.as_ref().and_then(|known| known.group.clone());
        let is_wanted = group.is_some() || self.settings.matcher.matches(&alarm);
        if !is_wanted && self.settings.inhibit.is_empty() {
            return;
        }
        let event_ms = alarm.millis("time").unwrap_or(now_ms);
        let max_age = self.settings.max_age_ms;
        let known = known.filter(|known| known.alarm.is_firing());
        let late = max_age > 0 && now_ms.saturating_sub(event_ms) > max_age;
        if late && is_wanted && known.is_none() {
            self.state.catching_up_until = now_ms + CATCHING_UP_MS;
        }
        // And it is as late as it came first.
        let (old, hidden, came_ms, refused) = match known {
            Some(known) => (known.old, known.hidden, known.came_ms, known.refused),
            None => (late, None, now_ms, false),
        };
        let group = is_wanted.then(|| self.join(&alarm, &fingerprint, group, now_ms));
        let heard_ms = now_ms;
        let tracked = Tracked { alarm, group, old, hidden, came_ms, heard_ms, refused };
        self.state.alarms.insert(fingerprint, tracked);
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
    pub(super) fn forget(&mut self, fingerprint: &str, suppressed: Option<&str>, now_ms: i64) {
        let Some(tracked) = self.state.alarms.remove(fingerprint) else { return };
        if self.state.ended.len() >= MAX_ALARMS {
            self.forget_older_ends();
        }
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

    /// Forgets the older half of what is over.
    fn forget_older_ends(&mut self) {
        let mut times: Vec<i64> = self.state.ended.values().map(|ended| ended.at_ms).collect();
        let half = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(half);
        let middle = *middle;
        self.state.ended.retain(|_, ended| ended.at_ms > middle);
    }

    /// Makes the messages that are due. Says whether the state has changed.
    pub(crate) fn evaluate(&mut self, now_ms: i64, calendar: &Calendar) -> bool {
        let mut changed = self.sweep(now_ms);
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
        for message in &mut state.outbox {
            message.made_ms = message.made_ms.min(now_ms);
        }
        let due = state.groups.iter().filter(|(_, group)| group.next_ms <= now_ms);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return changed;
        }
        let sources: Vec<Sources> =
            self.settings.inhibit.iter().map(|rule| Sources::of(rule, self.state.alarms.values())).collect();
        self.room = Room::beside(&self.state.outbox);
        for name in &due {
            changed |= self.tell(name, now_ms, calendar, &sources);
        }
        changed
    }

    pub(super) fn note(&mut self, alarm: &Alarm, outcome: Outcome, reason: &str, attempts: u32) {
        self.notes.push(Note { alarm: alarm.clone(), outcome, reason: reason.to_owned(), attempts });
    }
}

/// Why the end of an alarm is not sent.
pub(super) const UNHEARD: &str = "its beginning was not sent";

/// The name of an alarm: each event is one of its own.
pub(super) fn key(alarm: &Alarm) -> String {
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
