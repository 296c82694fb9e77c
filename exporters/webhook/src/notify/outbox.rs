//! Messages that wait for the target: made, merged, sent, parted, given up.

use std::collections::{BTreeMap, BTreeSet};

use super::notifier::{Notifier, UNHEARD, key};
use super::state::{Message, Outcome};
use crate::alarm::Alarm;

/// From this many messages that wait for their turn on, they become one.
const DIGEST: usize = 3;
impl Notifier {
    /// When the oldest message that waits was made.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.state.outbox.front().map(|message| message.made_ms)
    }

    /// Takes up that these messages were delivered after the state was written.
    pub(crate) fn were_sent(&mut self, numbers: &BTreeSet<u64>) {
        self.state.outbox.retain(|message| !numbers.contains(&message.number));
    }

    /// Puts a message, or several that are not larger than a request may be, behind those that wait.
    pub(super) fn post(
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
            self.room.take(alarms);
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
}
