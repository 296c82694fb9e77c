//! Series whose windows stay away.

use std::time::Duration;

use serde_json::{Value, json};
use weir_component::{LaneMessage, Outlet, TrunkMessage, Watermark};

use super::restart::{self, Site};
use super::{LANE, Trunk, brief, rows, window, with};

const DOWN: &str = "rules: [{name: down, no_data: {after: 20s, severity: mid}}]";

pub(super) fn moved(trunk: &mut Trunk, seconds: i64) -> Vec<Value> {
    rows(&trunk.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(seconds * 1000 - 1)))))
}

fn short(rows: &[Value]) -> Vec<String> {
    rows.iter().map(brief).collect()
}

#[test]
fn a_series_whose_windows_stay_away_raises_an_alarm_until_they_come_again() {
    let mut trunk = Trunk::of(&*with(DOWN));
    assert!(trunk.evaluate(&[window("pay", 7, 1, 1), window("ship", 7, 1, 1)]).is_empty());
    assert!(trunk.evaluate(&[window("ship", 14, 1, 1)]).is_empty());
    assert!(moved(&mut trunk, 26).is_empty());
    let fired = moved(&mut trunk, 27);
    assert_eq!(fired.len(), 1);
    for (name, value) in [
        ("time", json!(27_000)),
        ("rule", json!("down")),
        ("severity", json!("mid")),
        ("state", json!("firing")),
        ("service", json!("pay")),
        ("labels", json!({"no_data": "true", "operation": "/pay", "service": "pay"})),
        ("measure", json!("no_data_ns")),
        ("value", json!(20e9)),
        ("threshold", json!(20e9)),
        ("window_end", json!(7000)),
        ("starts_at", json!(27_000)),
        ("rule_epoch", json!(1)),
        ("message", json!("mid: down: operation=/pay service=pay no data since 1970-01-01T00:00:07Z")),
    ] {
        assert_eq!(fired[0][name], value, "{name}");
    }
    assert!(moved(&mut trunk, 30).is_empty(), "it is told once");
    let resolved = trunk.evaluate(&[window("pay", 35, 1, 1)]);
    assert_eq!(short(&resolved), ["resolved mid pay 35"]);
    assert_eq!(resolved[0]["fingerprint"], fired[0]["fingerprint"]);
    assert_eq!(resolved[0]["starts_at"], fired[0]["starts_at"]);
    assert_eq!(short(&moved(&mut trunk, 60)), ["firing mid ship 34", "firing mid pay 55"]);
}

#[test]
fn a_gap_that_nobody_saw_raises_the_alarms_that_it_should_have() {
    let mut trunk = Trunk::of(&*with(DOWN));
    trunk.evaluate(&[window("pay", 7, 1, 1)]);
    assert_eq!(
        trunk.short(&[window("pay", 70, 1, 1)]),
        ["firing mid pay 27", "resolved mid pay 70"],
        "a backlog is read faster than the watermark is told"
    );
    assert!(trunk.short(&[window("pay", 90, 1, 1)]).is_empty(), "20 s after the last one is in time");
}

#[test]
fn an_alarm_without_data_ends_when_the_rule_says_so() {
    let rules =
        "rules: [{name: slow, when: {high: max_duration_ns > 2e9}, no_data: 20s, resolve_without_data: 1m}]";
    let mut trunk = Trunk::of(&*with(rules));
    assert_eq!(trunk.short(&[window("pay", 7, 2500, 1)]), ["firing high pay 7"]);
    assert_eq!(short(&moved(&mut trunk, 27)), ["firing high pay 27"]);
    let ended = moved(&mut trunk, 100);
    assert_eq!(short(&ended), ["resolved high pay 67", "resolved high pay 67"]);
    let messages: Vec<&str> = ended.iter().map(|row| row["message"].as_str().unwrap()).collect();
    assert_eq!(
        messages,
        ["resolved: slow: no data", "resolved: slow: operation=/pay service=pay there was no data"]
    );
    assert!(moved(&mut trunk, 1000).is_empty());
    assert_eq!(trunk.short(&[window("pay", 1001, 2500, 1)]), ["firing high pay 1001"], "it begins anew");
}

#[test]
fn the_silence_goes_on_after_the_end_for_lack_of_data() {
    let rules =
        "rules: [{name: a, when: {high: max_duration_ns > 2e9}, silence: 1h, resolve_without_data: 10s}]";
    let mut trunk = Trunk::of(&*with(rules));
    assert_eq!(trunk.short(&[window("pay", 7, 2500, 1)]), ["firing high pay 7"]);
    assert_eq!(short(&moved(&mut trunk, 20)), ["resolved high pay 17"]);
    assert!(trunk.short(&[window("pay", 60, 2500, 1)]).is_empty());
}

#[test]
fn an_end_that_only_the_next_window_shows_is_written_down() {
    restart::run(async {
        let rules = "storage: storage\nrules: [{name: a, when: {high: max_duration_ns > 2e9}, resolve_without_data: 10s}]";
        let mut site = Site::start(rules).await;
        site.evaluate("aggregate", 7, &[window("pay", 7, 2500, 1)]);
        let ended = site.evaluate("aggregate", 70, &[window("pay", 70, 1, 1)]);
        assert_eq!(restart::short(&ended), ["resolved high pay 17"]);
        site.settle().await;
        site.commit();
        site.restart().await;
        let fired = site.evaluate("aggregate", 77, &[window("pay", 77, 2500, 1)]);
        assert_eq!(restart::short(&fired), ["firing high pay 77"]);
    });
}

#[test]
fn when_all_input_stops_time_goes_on_by_the_clock() {
    let mut trunk = Trunk::of(&*with(DOWN));
    trunk.send(TrunkMessage::LaneOpened(LANE.into()));
    trunk.evaluate(&[window("pay", 7, 1, 1)]);
    moved(&mut trunk, 7);
    let idle = |seconds| TrunkMessage::FromLane(LANE, LaneMessage::Idle(Duration::from_secs(seconds)));
    assert!(rows(&trunk.send(idle(19))).is_empty());
    assert_eq!(short(&rows(&trunk.send(idle(20)))), ["firing mid pay 27"]);
    assert!(rows(&trunk.send(idle(21))).is_empty());
    assert_eq!(trunk.short(&[window("pay", 14, 1, 1)]), ["resolved mid pay 27"], "it came late");
}

#[test]
fn a_lane_that_still_brings_events_is_not_silent() {
    let other = weir_component::LaneId(2);
    let mut trunk = Trunk::of(&*with(DOWN));
    trunk.send(TrunkMessage::LaneOpened(LANE.into()));
    trunk.send(TrunkMessage::LaneOpened(other.into()));
    trunk.evaluate(&[window("pay", 7, 1, 1)]);
    let idle = |lane, seconds| TrunkMessage::FromLane(lane, LaneMessage::Idle(Duration::from_secs(seconds)));
    assert!(rows(&trunk.send(idle(LANE, 50))).is_empty());
    assert_eq!(short(&rows(&trunk.send(idle(other, 20)))), ["firing mid pay 27"]);
    // On the lane: events that follow a silence break it, also where no windows come.
    let mut lane = with(DOWN).lane_stage(&LANE.into()).unwrap();
    let mut out = Outlet::default();
    lane.handle(LaneMessage::Idle(Duration::from_secs(5)), &mut out);
    let spans = weir_component::testkit::json_batch(
        weir_pdata::Signal::Traces,
        &[json!({"signal": "traces", "service": "pay"})],
        weir_pdata::Ack::none(),
    );
    lane.handle(LaneMessage::Batch(spans), &mut out);
    let told: Vec<_> = out.take_to_trunk().collect();
    assert!(matches!(told.as_slice(), [LaneMessage::Idle(five), LaneMessage::Idle(none)]
            if *five == Duration::from_secs(5) && none.is_zero()));
}

#[test]
fn the_end_of_all_input_is_no_silence() {
    let mut trunk = Trunk::of(&*with(DOWN));
    trunk.evaluate(&[window("pay", 7, 1, 1)]);
    let end = TrunkMessage::Derived(LaneMessage::Watermark(Watermark::MAX));
    assert!(rows(&trunk.send(end)).is_empty());
}

#[test]
fn no_alarm_for_missing_data_outside_of_the_active_times() {
    // 1970-01-01 was a Thursday.
    let rules = "rules: [{name: down, no_data: 20s, when_active: '00:02-00:03'}]";
    let mut trunk = Trunk::of(&*with(rules));
    trunk.evaluate(&[window("pay", 7, 1, 1)]);
    assert!(moved(&mut trunk, 100).is_empty());
    let fired = moved(&mut trunk, 150);
    assert_eq!(short(&fired), ["firing high pay 147"], "whole minutes after it would have been raised");
}

#[test]
fn windows_after_an_alarm_that_is_on_its_way_wait_for_it() {
    restart::run(async {
        let rules = format!("storage: storage\n{DOWN}");
        let mut site = Site::start(&rules).await;
        for (delivered, expected) in [(false, vec!["firing mid pay 27"]), (true, vec!["firing mid pay 27"])] {
            site.slow = 10;
            if !delivered {
                site.evaluate("aggregate", 7, &[window("pay", 7, 1, 1)]);
                site.evaluate("aggregate", 14, &[window("ship", 14, 1, 1)]);
                site.settle().await;
                site.commit();
                site.slow = 10;
            }
            let fired = site.evaluate("aggregate", 28, &[window("ship", 28, 1, 1)]);
            assert_eq!(restart::short(&fired), expected);
            if delivered {
                site.settle().await;
                site.evaluate("aggregate", 35, &[window("ship", 35, 1, 1)]);
                site.settle().await;
                site.commit();
            } else {
                site.commit();
                assert!(site.committed.get("aggregate").is_some_and(|mark| *mark < 27_999));
            }
            site.restart().await;
        }
        assert!(site.evaluate("aggregate", 42, &[window("ship", 42, 1, 1)]).is_empty(), "it is remembered");
        let back = site.evaluate("aggregate", 49, &[window("pay", 49, 1, 1)]);
        assert_eq!(restart::short(&back), ["resolved mid pay 49"]);
    });
}
