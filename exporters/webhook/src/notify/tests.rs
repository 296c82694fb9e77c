//! The rules of the notifier, in its own time.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::calendar::Calendar;
use super::config::{NotifyKeys, Settings};
use super::notifier::{MAX_ALARMS, Notifier};
use super::state::{Outcome, State};
use crate::alarm::Alarm;

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

#[test]
fn alarms_of_a_group_are_told_together_and_changes_after_the_interval() {
    let mut notifier = notifier(json!({"group_wait": "5s", "group_interval": "60s", "max_age": "0s"}));
    notifier.receive(vec![firing("a", 0)], 0);
    assert!(at(&mut notifier, 4).is_empty());
    notifier.receive(vec![firing("b", 4)], 4 * SECOND);
    assert_eq!(at(&mut notifier, 5), ["+a +b"]);
    notifier.receive(vec![resolved("a", 10), firing("c", 10)], 10 * SECOND);
    assert!(at(&mut notifier, 64).is_empty());
    assert_eq!(at(&mut notifier, 65), ["+c -a"]);
    // Nothing has happened for longer than the interval.
    notifier.receive(vec![resolved("b", 500)], 500 * SECOND);
    assert_eq!(at(&mut notifier, 500), ["-b"]);
    notifier.receive(vec![resolved("c", 600)], 600 * SECOND);
    assert_eq!(at(&mut notifier, 600), ["-c"]);
    let state = notifier.state();
    assert!(state.alarms.is_empty() && state.groups.is_empty() && state.outbox.is_empty(), "nothing is left");
}

#[test]
fn an_alarm_that_is_over_before_it_is_told_is_never_told() {
    let mut notifier = notifier(json!({"max_age": "0s"}));
    notifier.receive(vec![firing("a", 0), resolved("a", 1), resolved("never", 1)], SECOND);
    assert!(at(&mut notifier, 1000).is_empty());
    let notes: Vec<_> = notifier.take_notes().into_iter().map(|note| (note.outcome, note.reason)).collect();
    let suppressed = |reason: &str| (Outcome::Suppressed, reason.to_owned());
    let expected = [suppressed("it was over before it was sent"), suppressed("its beginning was not sent")];
    assert_eq!(notes, expected);
}

#[test]
fn what_fires_is_told_again_after_the_repeat_interval() {
    let keys = json!({"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h", "max_age": "0s"});
    let mut notifier = notifier(keys);
    notifier.receive(vec![firing("a", 0), firing("b", 0)], 0);
    assert_eq!(at(&mut notifier, 0), ["+a +b"]);
    notifier.receive(vec![resolved("b", 10)], 10 * SECOND);
    assert_eq!(at(&mut notifier, 10), ["-b"]);
    assert!(at(&mut notifier, 3609).is_empty());
    assert_eq!(at(&mut notifier, 3610), ["+a"]);
    assert!(at(&mut notifier, 3611).is_empty());
}

#[test]
fn groups_share_the_values_of_labels() {
    let mut notifier = notifier(json!({"group_by": ["zone"], "group_wait": "1s", "max_age": "0s"}));
    let zones = [("a", "eu"), ("b", "us"), ("c", "eu")];
    let alarms = zones.map(|(fingerprint, zone)| {
        let mut fields: Value = serde_json::from_str(firing(fingerprint, 0).line()).unwrap();
        fields["labels"] = json!({"zone": zone});
        Alarm::of(&fields)
    });
    notifier.receive(alarms.to_vec(), 0);
    assert_eq!(at(&mut notifier, 1), ["+a +c", "+b"]);
    let mut alone = self::notifier(json!({"group_by": ["..."], "group_wait": "1s", "max_age": "0s"}));
    alone.receive(alarms.to_vec(), 0);
    assert_eq!(at(&mut alone, 1), ["+a", "+b", "+c"]);
}

#[test]
fn only_alarms_that_match_are_told() {
    let mut notifier =
        notifier(json!({"match": {"severity": ["high", "mid"]}, "group_wait": "0s", "max_age": "0s"}));
    let low = alarm("low", "firing", 0, &[("severity", "low")]);
    notifier.receive(vec![low, firing("high", 0)], 0);
    assert_eq!(at(&mut notifier, 0), ["+high"]);
    assert_eq!(notifier.state().alarms.len(), 1, "nothing is kept of the others");
}

/// A high alarm of a service hides its low ones.
#[test]
fn an_inhibited_alarm_is_told_when_its_source_is_over_and_it_is_not() {
    let rule = json!({"source": {"severity": "high"}, "target": {"severity": "low"}, "equal": ["service"]});
    let mut notifier =
        notifier(json!({"inhibit": [rule], "group_wait": "1s", "group_interval": "1s", "max_age": "0s"}));
    let low = |fingerprint: &str, state: &str, seconds: i64, service: &str| {
        alarm(fingerprint, state, seconds, &[("severity", "low"), ("service", service)])
    };
    let high = |state: &str, seconds: i64| alarm("high", state, seconds, &[("service", "pay")]);
    notifier
        .receive(vec![low("l1", "firing", 0, "pay"), low("l2", "firing", 0, "order"), high("firing", 0)], 0);
    notifier.receive(vec![low("l3", "firing", 0, "pay")], 0);
    assert_eq!(at(&mut notifier, 1), ["+high +l2"]);
    let notes = notifier.take_notes();
    let hidden: Vec<_> = notes.iter().filter(|note| note.outcome == Outcome::Suppressed).collect();
    assert_eq!(hidden.len(), 2, "noted once: {notes:?}");
    assert_eq!(hidden[0].reason, "inhibited by an alarm with the same service");
    notifier.receive(vec![low("l3", "resolved", 5, "pay"), high("resolved", 6)], 6 * SECOND);
    assert_eq!(at(&mut notifier, 6), ["+l1 -high"], "the one that was over meanwhile was never told");
    assert!(at(&mut notifier, 60).is_empty());
}

/// Alertmanager's rule: an alarm that matches both sides is not hidden by another one that does.
#[test]
fn alarms_on_both_sides_do_not_hide_each_other() {
    let rule = json!({"source": {"rule": "slow"}, "target": {"severity": "high"}, "equal": []});
    let mut notifier = notifier(json!({"inhibit": [rule], "group_wait": "0s", "max_age": "0s"}));
    let other = alarm("c", "firing", 0, &[("rule", "errors")]);
    notifier.receive(vec![firing("a", 0), firing("b", 0), other], 0);
    assert_eq!(at(&mut notifier, 0), ["+a +b"], "`c` is no source, and hidden");
}

#[test]
fn an_alarm_that_maintenance_hides_is_told_afterwards_if_it_still_fires() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calendar.yaml");
    let text = "maintenance: [{name: switch, from: 1970-01-01T00:00, to: 1970-01-01T00:10, match: {service: [a, b]}}]";
    std::fs::write(&file, text).unwrap();
    let mut calendar = Calendar::of(&[file.display().to_string()]);
    assert!(calendar.reload().is_empty());
    let mut notifier = notifier(json!({"group_wait": "0s", "group_interval": "0s", "max_age": "0s"}));
    notifier.receive(vec![firing("a", 0), firing("b", 0), firing("c", 0)], 0);
    assert_eq!(at_with(&mut notifier, 0, &calendar), ["+c"]);
    notifier.receive(vec![resolved("b", 300)], 300 * SECOND);
    assert!(at_with(&mut notifier, 599, &calendar).is_empty());
    assert_eq!(at_with(&mut notifier, 600, &calendar), ["+a"]);
    let reasons: Vec<String> = notifier.take_notes().into_iter().map(|note| note.reason).collect();
    let times = reasons.iter().filter(|reason| *reason == "maintenance switch").count();
    assert_eq!(times, 2, "what was suppressed is in the history, once: {reasons:?}");
}

/// A gateway that was away for two hours: its alarms come at once, with the times of their windows.
#[test]
fn a_backlog_tells_of_what_is_still_true_at_its_end() {
    let mut notifier = notifier(json!({"group_wait": "5s"}));
    let now = 7200;
    for minute in 0..119 {
        let name = format!("past{minute}");
        let pair = vec![firing(&name, minute * 60), resolved(&name, minute * 60 + 30)];
        notifier.receive(pair, (now + minute / 10) * SECOND);
    }
    notifier.receive(vec![firing("still", 3600), firing("fresh", now)], (now + 12) * SECOND);
    assert_eq!(at(&mut notifier, now + 20), ["+fresh"]);
    assert!(at(&mut notifier, now + 71).is_empty());
    assert_eq!(at(&mut notifier, now + 90), ["+still"]);
    assert!(at(&mut notifier, now + 3000).is_empty());
}

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

/// Whatever comes when, with a restart after any step and alarms that come again: people hear of each alarm
/// in turns that it fires and that it is over, the last thing they hear is the truth, and a restart changes
/// nothing.
#[test]
fn people_hear_of_each_beginning_and_each_end_once() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let keys = json!({
            "group_by": if random.random_bool(0.5) { json!(["service"]) } else { json!([]) },
            "group_wait": "3s", "group_interval": "10s", "repeat_interval": "0s", "max_age": "0s"
        });
        let mut notifier = notifier(keys.clone());
        let mut steady = self::notifier(keys.clone());
        let mut truth: BTreeMap<String, bool> = BTreeMap::new();
        let (mut heard, mut heard_steady) = (Vec::new(), Vec::new());
        let mut now = 0;
        for _ in 0..60 {
            now += random.random_range(0..5);
            let name = format!("f{}", random.random_range(0..4));
            let fires = truth.entry(name.clone()).or_insert(false);
            *fires = !*fires;
            let alarm = if *fires { firing(&name, now) } else { resolved(&name, now) };
            let times = random.random_range(1..3);
            notifier.receive(vec![alarm.clone(); times], now * SECOND);
            steady.receive(vec![alarm], now * SECOND);
            if random.random_bool(0.5) {
                let bytes = serde_json::to_vec(notifier.state()).unwrap();
                notifier = Notifier::new(settings(keys.clone()), serde_json::from_slice(&bytes).unwrap());
            }
            heard.extend(at(&mut notifier, now));
            heard_steady.extend(at(&mut steady, now));
            now += 1;
        }
        for second in now..now + 60 {
            heard.extend(at(&mut notifier, second));
            heard_steady.extend(at(&mut steady, second));
        }
        assert_eq!(heard, heard_steady, "seed {seed}");
        let mut known: BTreeMap<&str, bool> = BTreeMap::new();
        for word in heard.iter().flat_map(|message| message.split(' ')) {
            let (sign, name) = word.split_at(1);
            let before = known.insert(name, sign == "+").unwrap_or(false);
            assert_ne!(before, sign == "+", "seed {seed}: {name} in {heard:?}");
        }
        for (name, fires) in &truth {
            assert_eq!(known.get(name.as_str()).copied().unwrap_or(false), *fires, "seed {seed}: {name}");
        }
    }
}

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
fn a_hidden_alarm_changes_no_times_of_its_group() {
    let rule = json!({"source": {"rule": "root"}, "target": {"rule": "slow"}, "equal": []});
    let keys = json!({"group_wait": "10s", "group_interval": "60s", "max_age": "0s", "inhibit": [rule]});
    let mut notifier = notifier(keys);
    let other = |name: &str, seconds| alarm(name, "firing", seconds, &[("rule", "other")]);
    let root = alarm("root", "firing", 0, &[("rule", "root")]);
    notifier.receive(vec![root, firing("hidden", 0)], 0);
    assert_eq!(at(&mut notifier, 10), ["+root"]);
    notifier.receive(vec![other("x", 12)], 12 * SECOND);
    for second in 12..70 {
        assert!(at(&mut notifier, second).is_empty(), "{second}");
    }
    assert_eq!(at(&mut notifier, 70), ["+x"]);
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
