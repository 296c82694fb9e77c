//! The message about a group: what is new, what still fires, what is over, and what is hidden.

use super::calendar::Calendar;
use super::inhibition::{Sources, inhibited};
use super::notifier::Notifier;
use super::state::{Note, Outcome};
use crate::alarm::Alarm;

/// Alarms that came late wait for those that are late, too, but for this long at most.
const LONGEST_WAIT_MS: i64 = 600_000;
/// How often it is looked whether hidden alarms are still hidden, and whether there is room.
const HIDDEN_MS: i64 = 1_000;

impl Notifier {
    /// Makes the message about a group if there is one. Says whether more than the next time has changed.
    pub(super) fn tell(&mut self, name: &str, now_ms: i64, calendar: &Calendar, sources: &[Sources]) -> bool {
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
        let mut tells = (news || repeats) && now_ms >= group.opens_ms;
        let mut alarms: Vec<Alarm> = Vec::new();
        if tells {
            let still = still.iter().filter(|_| repeats || self.settings.tells_all);
            let told = new.iter().chain(still).chain(&over);
            let tracked = told.filter_map(|fingerprint| self.state.alarms.get(fingerprint));
            alarms.extend(tracked.map(|tracked| tracked.alarm.clone()));
        }
        let no_room = tells && !self.room.has(&alarms);
        if no_room {
            tells = false;
        }
        if tells {
            self.post(now_ms, &group.labels, &alarms, &new.iter().cloned().collect());
            changed = true;
            group.last_ms = Some(now_ms);
            group.opens_ms = now_ms.saturating_add(self.settings.group_interval_ms);
            group.told.extend(new.iter().cloned());
        }
        let look_again = if hidden || no_room { now_ms + HIDDEN_MS } else { i64::MAX };
        let opens = if news && !tells && !no_room { group.opens_ms } else { i64::MAX };
        let repeats_at = match group.last_ms {
            Some(last) if repeat > 0 && !group.told.is_empty() && !no_room => {
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
}
