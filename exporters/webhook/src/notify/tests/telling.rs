//! Who is told what, when, and together with what.

use serde_json::{Value, json};

use super::{SECOND, alarm, at, at_with, firing, notifier, resolved, settings};
use crate::alarm::Alarm;
use crate::notify::calendar::Calendar;
use crate::notify::notifier::Notifier;
use crate::notify::state::Outcome;

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

/// Rules change, and with them the labels that `match` looks at.
#[test]
fn an_alarm_that_people_know_of_ends_for_them_whatever_its_labels_become() {
    let keys = json!({"match": {"team": "a"}, "group_wait": "0s", "group_interval": "0s", "max_age": "0s",
        "inhibit": [{"source": {"team": "x"}, "target": {"team": "y"}}]});
    let mut notifier = notifier(keys);
    let of = |team: &str, state: &str, seconds: i64| {
        let mut fields: Value = serde_json::from_str(alarm("f", state, seconds, &[]).line()).unwrap();
        fields["labels"] = json!({"team": team});
        Alarm::of(&fields)
    };
    notifier.receive(vec![of("a", "firing", 0)], 0);
    assert_eq!(at(&mut notifier, 0), ["+f"]);
    notifier.receive(vec![of("b", "firing", 5)], 5 * SECOND);
    notifier.receive(vec![of("b", "resolved", 9)], 9 * SECOND);
    assert_eq!(at(&mut notifier, 9), ["-f"]);
    assert!(notifier.state().groups.is_empty(), "{:?}", notifier.state().groups);
}

/// The end of an alarm may be lost: a rule's processor was removed, or begins without what it knew.
#[test]
fn an_alarm_of_which_nothing_is_heard_is_over() {
    let rule = json!({"source": {"rule": "root"}, "target": {"rule": "slow"}, "equal": []});
    let keys = json!({"match": {"rule": "slow"}, "group_wait": "0s", "group_interval": "0s", "max_age": "0s",
        "repeat_interval": "0s", "resolve_timeout": "1h", "inhibit": [rule]});
    let mut notifier = notifier(keys);
    let root = |state: &str, seconds: i64| alarm("root", state, seconds, &[("rule", "root")]);
    notifier.receive(vec![firing("a", 0), firing("b", 0)], 10 * SECOND);
    assert_eq!(at(&mut notifier, 10), ["+a +b"]);
    // A rule with `silence` says it again.
    notifier.receive(vec![firing("b", 1800), root("firing", 1800)], 1810 * SECOND);
    notifier.receive(vec![firing("hidden", 1801)], 1811 * SECOND);
    assert!(at(&mut notifier, 3609).is_empty());
    notifier.take_notes();
    notifier.evaluate(3610 * SECOND, &Calendar::default());
    let message = notifier.next_message().unwrap();
    let [over] = message.alarms.as_slice() else { panic!("{message:?}") };
    assert_eq!((over.text("fingerprint"), over.text("state")), ("a", "resolved"));
    assert_eq!(over.text("message"), "resolved: slow: nothing was heard of it for 1h");
    assert_eq!((over.millis("ends_at"), over.millis("time")), (Some(3610 * SECOND), Some(0)));
    notifier.delivered(message.number, 1);
    // What hides others ends, too, and its late end is nothing new.
    assert_eq!(at(&mut notifier, 5410), ["+hidden -b"]);
    assert_eq!(at(&mut notifier, 5411), ["-hidden"]);
    notifier.receive(vec![resolved("a", 5000), root("resolved", 5000), firing("a", 5400)], 5420 * SECOND);
    assert_eq!(at(&mut notifier, 5420), ["+a"], "a new one begins");
    notifier.receive(vec![resolved("a", 5500)], 5500 * SECOND);
    at(&mut notifier, 5500);
    assert!(notifier.state().alarms.is_empty() && notifier.state().groups.is_empty());
}

/// While Weir is down it hears nothing, whether an alarm fires or not.
#[test]
fn the_time_that_weir_was_down_ends_no_alarm() {
    let keys =
        || json!({"group_wait": "0s", "max_age": "0s", "resolve_timeout": "1h", "repeat_interval": "0s"});
    let mut before = notifier(keys());
    before.receive(vec![firing("a", 0), firing("b", 0)], 10 * SECOND);
    assert_eq!(at(&mut before, 10), ["+a +b"]);
    let state = serde_json::to_vec(before.state()).unwrap();
    let mut after = Notifier::new(settings(keys()), serde_json::from_slice(&state).unwrap());
    assert!(at(&mut after, 50_000).is_empty());
    after.receive(vec![firing("b", 50_100)], 50_100 * SECOND);
    assert!(at(&mut after, 53_599).is_empty());
    assert_eq!(at(&mut after, 53_600), ["-a"]);
    assert_eq!(at(&mut after, 53_700), ["-b"]);
}

/// An upgrade: nobody knows when alarms of before were heard of.
#[test]
fn alarms_of_an_older_version_are_heard_of_at_the_start() {
    let keys =
        || json!({"group_wait": "0s", "max_age": "0s", "resolve_timeout": "1h", "repeat_interval": "0s"});
    let mut old = notifier(keys());
    old.receive(vec![firing("a", 0)], 10 * SECOND);
    at(&mut old, 10);
    let mut state = serde_json::to_value(old.state()).unwrap();
    state["alarms"]["a"].as_object_mut().unwrap().remove("heard_ms");
    let mut new = Notifier::new(settings(keys()), serde_json::from_value(state).unwrap());
    assert!(at(&mut new, 100_000).is_empty() && at(&mut new, 103_599).is_empty());
    assert_eq!(at(&mut new, 103_600), ["-a"]);
}
