//! Windows that fire again, with late events in them.

use serde_json::{Value, json};

use super::{Trunk, window, with};

const SLOW: &str =
    "rules: [{name: slow, when: {high: max_duration_ns > 2000000000, low: max_duration_ns > 1000000000}}]";

fn again(service: &str, end: i64, max_ms: i64) -> Value {
    let mut window = window(service, end, max_ms, 1);
    window["firing"] = json!(1);
    window
}

fn first(service: &str, end: i64, max_ms: i64) -> Value {
    window(service, end, max_ms, 1)
}

#[test]
fn late_events_raise_the_alarm_that_their_window_deserves() {
    let mut trunk = Trunk::of(&*with(SLOW));
    assert!(trunk.short(&[first("pay", 7, 100)]).is_empty());
    let fired = trunk.evaluate(&[again("pay", 7, 2500)]);
    assert_eq!((fired.len(), &fired[0]["state"], &fired[0]["value"]), (1, &json!("firing"), &json!(2.5e9)));
    assert_eq!(fired[0]["time"], json!(7000));
    assert!(trunk.short(&[again("pay", 7, 2600)]).is_empty(), "it fires already");
    assert_eq!(trunk.short(&[first("pay", 14, 1)]), ["resolved high pay 14"]);
}

#[test]
fn a_window_that_fires_again_may_take_back_what_it_said() {
    let rules = "rules: [{name: idle, when: {mid: count < 200}}]";
    let mut trunk = Trunk::of(&*with(rules));
    assert_eq!(trunk.short(&[first("pay", 7, 1)]), ["firing mid pay 7"]);
    let mut more = again("pay", 7, 1);
    more["count"] = json!(250);
    assert_eq!(trunk.short(&[more]), ["resolved mid pay 7"]);
}

#[test]
fn a_later_severity_is_told_as_a_change() {
    let mut trunk = Trunk::of(&*with(SLOW));
    assert_eq!(trunk.short(&[first("pay", 7, 1500)]), ["firing low pay 7"]);
    assert_eq!(trunk.short(&[again("pay", 7, 2500)]), ["resolved low pay 7", "firing high pay 7"]);
}

#[test]
fn after_a_later_window_of_the_series_it_is_not_evaluated_any_more() {
    let mut trunk = Trunk::of(&*with(SLOW));
    trunk.evaluate(&[first("pay", 7, 100), first("ship", 7, 100)]);
    assert!(trunk.short(&[first("pay", 14, 100)]).is_empty());
    assert!(trunk.short(&[again("pay", 7, 2500)]).is_empty(), "a later window said that all is well");
    assert_eq!(trunk.short(&[again("ship", 7, 2500)]), ["firing high ship 7"], "there was none of this one");
    assert_eq!(trunk.short(&[again("stock", 7, 2500)]), ["firing high stock 7"], "all of it was late");
}

#[test]
fn a_window_counts_once_towards_for_however_often_it_fires() {
    let rules = "rules: [{name: slow, for: 2, when: {high: max_duration_ns > 2000000000}}]";
    let mut trunk = Trunk::of(&*with(rules));
    assert!(trunk.short(&[first("pay", 7, 2500)]).is_empty());
    assert!(trunk.short(&[again("pay", 7, 2600)]).is_empty());
    assert!(trunk.short(&[again("pay", 7, 2700)]).is_empty(), "one window, not three");
    assert_eq!(trunk.short(&[first("pay", 14, 2500)]), ["firing high pay 14"]);
}
