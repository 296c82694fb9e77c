//! The rules of the notifier, in its own time.

mod bounds;
mod failures;
mod random;
mod telling;

use serde_json::{Value, json};

use crate::alarm::Alarm;
use crate::notify::calendar::Calendar;
use crate::notify::config::{NotifyKeys, Settings};
use crate::notify::notifier::Notifier;
use crate::notify::state::State;

const SECOND: i64 = 1000;

fn settings(keys: Value) -> Settings {
    let keys: NotifyKeys = serde_json::from_value(keys).unwrap();
    assert!(keys.problems().is_empty());
    keys.settings(1000, true, false, true)
}

fn notifier(keys: Value) -> Notifier {
    Notifier::new(settings(keys), State::default())
}

fn alarm(fingerprint: &str, state: &str, seconds: i64, more: &[(&str, &str)]) -> Alarm {
    let mut fields = json!({
        "fingerprint": fingerprint, "state": state, "time": seconds * SECOND, "rule": "slow",
        "severity": "high", "service": fingerprint, "starts_at": 0
    });
    for (name, value) in more {
        fields[*name] = (*value).into();
    }
    Alarm::of(&fields)
}

fn firing(fingerprint: &str, seconds: i64) -> Alarm {
    alarm(fingerprint, "firing", seconds, &[])
}

fn resolved(fingerprint: &str, seconds: i64) -> Alarm {
    alarm(fingerprint, "resolved", seconds, &[])
}

/// Lets the time pass to this second; gives the messages that were made and delivered, as texts.
fn at(notifier: &mut Notifier, seconds: i64) -> Vec<String> {
    at_with(notifier, seconds, &Calendar::default())
}

fn at_with(notifier: &mut Notifier, seconds: i64, calendar: &Calendar) -> Vec<String> {
    notifier.evaluate(seconds * SECOND, calendar);
    let mut told = Vec::new();
    while let Some(message) = notifier.next_message() {
        let each = message.alarms.iter().map(|alarm| {
            let sign = if alarm.is_firing() { '+' } else { '-' };
            format!("{sign}{}", alarm.text("fingerprint"))
        });
        told.push(each.collect::<Vec<_>>().join(" "));
        notifier.delivered(message.number, message.attempts);
    }
    told
}
