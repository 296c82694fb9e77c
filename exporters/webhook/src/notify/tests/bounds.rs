//! Many alarms, old alarms, and clocks that are wrong.

use std::collections::BTreeMap;

use serde_json::json;

use super::{SECOND, alarm, at, firing, notifier, resolved};
use crate::alarm::Alarm;
use crate::notify::calendar::Calendar;
use crate::notify::room::MAX_ALARMS;

/// 5,000 series of 100 services at once, and over at once.
#[test]
fn a_storm_is_a_handful_of_messages() {
    let mut notifier = notifier(json!({"group_by": ["service"], "group_wait": "5s", "max_age": "0s"}));
    let storm = |state: &str, seconds: i64| -> Vec<Alarm> {
        let one = |number: usize| {
            let (name, service) = (number.to_string(), format!("s{}", number % 100));
            alarm(&name, state, seconds, &[("service", &service)])
        };
        (0..5000).map(one).collect()
    };
    notifier.receive(storm("firing", 0), 0);
    let messages = at(&mut notifier, 5);
    assert_eq!(messages.len(), 5, "the largest message has 1,000");
    assert_eq!(messages.iter().map(|message| message.split(' ').count()).sum::<usize>(), 5000);
    notifier.receive(storm("resolved", 100), 100 * SECOND);
    assert_eq!(at(&mut notifier, 100).len(), 5);
    assert!(notifier.state().groups.is_empty() && notifier.state().alarms.is_empty());
}

#[test]
fn more_alarms_than_there_is_room_for_are_refused_by_number() {
    let mut notifier = notifier(json!({"max_age": "0s"}));
    let many = (0..MAX_ALARMS).map(|number| firing(&number.to_string(), 0)).collect();
    assert!(notifier.receive(many, 0).is_empty());
    let more = vec![resolved("0", 1), firing("x", 1), firing("y", 1), firing("1", 2)];
    assert_eq!(notifier.receive(more, 0), [2], "the resolved one has made room for the first");
}

#[test]
fn a_steady_lag_hides_alarms_for_ten_minutes_and_not_for_ever() {
    let mut notifier =
        notifier(json!({"group_wait": "0s", "group_interval": "0s", "match": {"service": "f"}}));
    let lag = 1200;
    notifier.receive(vec![firing("f", 0)], lag * SECOND);
    let mut told = Vec::new();
    for second in (0..900).step_by(10) {
        // Others that are not wanted, and the same again.
        notifier.receive(vec![firing("other", second), firing("f", second)], (lag + second) * SECOND);
        told.extend(at(&mut notifier, lag + second).into_iter().map(|message| (second, message)));
    }
    assert!(told.len() == 1 && told[0].0 <= 600, "{told:?}");
}

#[test]
fn a_clock_that_was_ahead_delays_nothing() {
    let mut notifier = notifier(json!({"group_wait": "5s", "group_interval": "60s", "max_age": "0s"}));
    let day = 86_400;
    notifier.receive(vec![firing("a", 0)], day * SECOND);
    assert_eq!(at(&mut notifier, day + 5), ["+a"]);
    notifier.receive(vec![firing("b", 1)], 100 * SECOND);
    let told: Vec<i64> = (100..400).filter(|second| !at(&mut notifier, *second).is_empty()).collect();
    assert!(told.len() == 1 && told[0] <= 165, "{told:?}");
}

/// Alarms that are over before they are told: nothing is ever due.
#[test]
fn what_is_over_is_remembered_within_bounds_also_when_nothing_is_told() {
    let mut notifier = notifier(json!({"group_wait": "5m", "max_age": "0s"}));
    for number in 0..MAX_ALARMS as i64 + 5_000 {
        let name = number.to_string();
        notifier.receive(vec![firing(&name, number), resolved(&name, number)], number * SECOND);
    }
    assert!(notifier.state().ended.len() <= MAX_ALARMS, "{}", notifier.state().ended.len());
    let last = (MAX_ALARMS + 4_999).to_string();
    assert!(notifier.state().ended.contains_key(&last), "the newest are remembered");
    at(&mut notifier, MAX_ALARMS as i64 + 5_000 + 3_601);
    assert!(notifier.state().ended.is_empty(), "for an hour");
}

/// Robots that are away for good, and alarms that come and go meanwhile.
#[test]
fn what_waits_for_a_target_that_is_away_has_a_bound() {
    let keys = json!({"group_by": ["..."], "group_wait": "0s", "group_interval": "0s", "max_age": "0s"});
    let mut notifier = notifier(keys);
    let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    for round in 0..100 {
        let state = if round % 2 == 0 { "firing" } else { "resolved" };
        let alarms = names.iter().map(|name| alarm(name, state, round, &[])).collect();
        notifier.receive(alarms, round * SECOND);
        notifier.evaluate(round * SECOND, &Calendar::default());
    }
    let waiting: usize = notifier.state().outbox.iter().map(|message| message.alarms.len()).sum();
    assert!(waiting <= MAX_ALARMS, "{waiting}");
    let mut heard: BTreeMap<String, char> = BTreeMap::new();
    for second in 100..110 {
        for word in at(&mut notifier, second).iter().flat_map(|message| message.split(' ')) {
            heard.insert(word[1..].to_owned(), word.chars().next().unwrap());
        }
    }
    assert!(heard.values().all(|sign| *sign == '-'), "the last that people hear is the truth");
    assert!(notifier.state().alarms.is_empty() && notifier.state().outbox.is_empty());
}

#[test]
fn long_alarms_are_bounded_by_their_bytes() {
    let mut notifier = notifier(json!({"max_age": "0s"}));
    let text = "x".repeat(100_000);
    let many = (0..1000).map(|number| alarm(&number.to_string(), "firing", 0, &[("message", &text)]));
    let refused = notifier.receive(many.collect(), 0);
    assert!(!refused.is_empty());
    assert!(serde_json::to_vec(notifier.state()).unwrap().len() < 40 << 20);
    assert_eq!(notifier.state().alarms.len() + refused.len(), 1000);
}

/// A message that a clock ahead made is not older than all others for ever.
#[test]
fn a_message_of_a_clock_that_was_ahead_has_the_age_of_the_others() {
    let mut notifier = notifier(json!({"group_wait": "0s", "max_age": "0s"}));
    notifier.receive(vec![firing("a", 0)], 86_400 * SECOND);
    notifier.evaluate(86_400 * SECOND, &Calendar::default());
    notifier.evaluate(100 * SECOND, &Calendar::default());
    assert_eq!(notifier.oldest_ms(), Some(100 * SECOND));
}
