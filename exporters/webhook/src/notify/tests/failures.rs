//! Targets that are away or refuse, and what comes again.

use serde_json::{Value, json};

use super::{SECOND, at, firing, notifier, resolved};
use crate::alarm::Alarm;
use crate::notify::calendar::Calendar;
use crate::notify::notifier::Notifier;

/// What a pattern finds happens once: it has an end when it is raised.
fn event(fingerprint: &str, seconds: i64) -> Alarm {
    let mut fields: Value = serde_json::from_str(firing(fingerprint, seconds).line()).unwrap();
    fields["ends_at"] = (seconds * SECOND).into();
    Alarm::of(&fields)
}

#[test]
fn each_event_is_told_once_and_forgotten() {
    let rule = json!({"source": {"service": "p"}, "target": {"service": "a"}, "equal": []});
    let keys = json!({"group_wait": "0s", "group_interval": "0s", "max_age": "0s", "inhibit": [rule]});
    let mut notifier = notifier(keys);
    notifier.receive(vec![event("p", 1)], SECOND);
    assert_eq!(at(&mut notifier, 1), ["+p"]);
    notifier.receive(vec![event("p", 1), event("p", 5)], 5 * SECOND);
    assert_eq!(at(&mut notifier, 5), ["+p"], "the second match, and the first not again");
    assert!(notifier.state().alarms.is_empty(), "it fires no more");
    notifier.receive(vec![firing("a", 6)], 6 * SECOND);
    assert_eq!(at(&mut notifier, 6), ["+a"], "and hides nothing");
    assert!(at(&mut notifier, 100_000).iter().all(|message| !message.contains('p')), "nor is it repeated");
}

/// Gives up the message that is sent next.
fn give_up(notifier: &mut Notifier, seconds: i64) {
    let message = notifier.next_message().unwrap();
    notifier.given_up(message.number, message.attempts, "away", true, seconds * SECOND);
}

#[test]
fn a_message_that_is_too_large_or_refused_is_parted() {
    let mut notifier = notifier(json!({"group_wait": "0s", "max_age": "0s"}));
    notifier.receive(vec![firing("a", 0), firing("b", 0), firing("c", 0)], 0);
    notifier.evaluate(0, &Calendar::default());
    let message = notifier.next_message().unwrap();
    assert!(notifier.split(message.number));
    let sizes: Vec<usize> = notifier.state().outbox.iter().map(|message| message.alarms.len()).collect();
    assert_eq!(sizes, [2, 1]);
    assert!(notifier.split(message.number) && !notifier.split(message.number));
    let given_up = notifier.given_up(message.number, 1, "no", false, 0);
    assert_eq!(given_up, [firing("a", 0)]);
    assert_eq!(notifier.take_notes().len(), 1);
}

#[test]
fn what_was_given_up_was_not_told() {
    let keys = json!({"group_wait": "0s", "group_interval": "60s", "repeat_interval": "0s", "max_age": "0s"});
    let mut notifier = notifier(keys.clone());
    notifier.receive(vec![firing("a", 0)], 0);
    notifier.evaluate(0, &Calendar::default());
    give_up(&mut notifier, 900);
    assert_eq!(at(&mut notifier, 960), ["+a"], "it is told when the target is back");
    let mut ended = self::notifier(keys);
    ended.receive(vec![firing("a", 0), firing("b", 0)], 0);
    ended.evaluate(0, &Calendar::default());
    ended.receive(vec![resolved("a", 100)], 100 * SECOND);
    ended.evaluate(100 * SECOND, &Calendar::default());
    assert_eq!(ended.state().outbox.len(), 2);
    give_up(&mut ended, 900);
    assert_eq!(at(&mut ended, 901), Vec::<String>::new(), "nobody has heard of what is over");
    assert_eq!(at(&mut ended, 960), ["+b"]);
    ended.receive(vec![resolved("b", 961)], 961 * SECOND);
    assert_eq!(at(&mut ended, 1100), ["-b"]);
}

#[test]
fn a_target_that_refuses_an_alarm_is_not_asked_again_and_again() {
    let mut notifier = notifier(json!({"group_wait": "0s", "group_interval": "1s", "max_age": "0s"}));
    notifier.receive(vec![firing("bad", 0)], 0);
    notifier.evaluate(0, &Calendar::default());
    let message = notifier.next_message().unwrap();
    notifier.given_up(message.number, 1, "refused", false, 0);
    notifier.receive(vec![firing("good", 5)], 5 * SECOND);
    assert_eq!(at(&mut notifier, 10), ["+good"]);
    notifier.receive(vec![resolved("bad", 20)], 20 * SECOND);
    assert!(at(&mut notifier, 100).is_empty());
}

#[test]
fn alarms_of_windows_that_come_again_are_not_told_again() {
    let mut notifier = notifier(json!({"group_wait": "0s", "group_interval": "0s"}));
    let past = || vec![firing("a", 0), resolved("a", 7)];
    notifier.receive(vec![firing("a", 0)], 0);
    assert_eq!(at(&mut notifier, 0), ["+a"]);
    notifier.receive(vec![resolved("a", 7)], 7 * SECOND);
    assert_eq!(at(&mut notifier, 7), ["-a"]);
    for row in past() {
        notifier.receive(vec![row], 600 * SECOND);
        assert!(at(&mut notifier, 600).is_empty());
    }
    notifier.receive(vec![firing("a", 610)], 610 * SECOND);
    assert_eq!(at(&mut notifier, 610), ["+a"]);
}

#[test]
fn what_waits_behind_a_message_that_fails_becomes_a_digest_without_what_nobody_heard() {
    let keys = json!({"group_by": ["service"], "group_wait": "0s", "group_interval": "0s", "max_age": "0s"});
    let mut notifier = notifier(keys);
    notifier.receive(vec![firing("first", 0)], 0);
    notifier.evaluate(0, &Calendar::default());
    let first = notifier.next_message().unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        notifier.receive(vec![firing(name, 1)], SECOND);
    }
    notifier.evaluate(SECOND, &Calendar::default());
    notifier.receive(vec![resolved("a", 2)], 2 * SECOND);
    notifier.evaluate(2 * SECOND, &Calendar::default());
    let again = notifier.next_message().unwrap();
    assert_eq!((again.number, again.alarms.len()), (first.number, 1), "the first stays as it was");
    notifier.delivered(again.number, again.attempts);
    assert_eq!(at(&mut notifier, 3), ["+b +c +d +e"]);
}
