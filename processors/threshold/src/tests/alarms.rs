use std::sync::Arc;

use serde_json::{Value, json};
use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::testkit::{Probe, check_stage};
use weir_component::{LaneMessage, Outlet, TrunkMessage, Watermark};
use weir_pdata::{Ack, EventBatch, Fence, Origin, Outcome, Signal};

use super::{LANE, Trunk, rows, test_context, window, windows, with, with_context};

const SLOW: &str = r#"
rules:
  - name: slow-pay
    match: {service: "pay*"}
    when:
      high: "max_duration_ns > 2000000000"
      mid: "max_duration_ns > 1000000000"
      low: "avg_duration_ns > 500000000 AND count > 10"
"#;

#[test]
fn an_alarm_fires_and_resolves_with_all_its_columns() {
    let mut trunk = Trunk::of(&*with(SLOW));
    let fired = trunk.evaluate(&[window("pay", 7, 2500, 300)]);
    // FNV-1a of `8:slow-pay9:aggregate9:operation4:/pay7:service3:pay`, the byte 255 and `high`: the same for
    // ever.
    let fingerprint = "2c277a0a5eeddc3a";
    assert_eq!(
        fired,
        [json!({
            "signal": "alarms", "time": 7000, "rule": "slow-pay", "severity": "high", "state": "firing",
            "service": "pay", "operation": "/pay", "labels": {"operation": "/pay", "service": "pay"},
            "measure": "max_duration_ns", "value": 2.5e9, "threshold": 2e9, "window_start": 0, "window_end": 7000,
            "message": "high: slow-pay: operation=/pay service=pay max_duration_ns 2500 ms, threshold 2000 ms",
            "fingerprint": fingerprint, "starts_at": 7000, "rule_epoch": 1,
        })]
    );
    assert_eq!(
        trunk.evaluate(&[window("pay", 14, 2600, 300)]),
        Vec::<serde_json::Value>::new(),
        "it goes on"
    );
    let resolved = trunk.evaluate(&[window("pay", 21, 500, 300)]);
    assert_eq!(resolved.len(), 1);
    for (name, value) in [
        ("state", json!("resolved")),
        ("severity", json!("high")),
        ("fingerprint", json!(fingerprint)),
        ("starts_at", json!(7000)),
        ("ends_at", json!(21000)),
        ("time", json!(21000)),
        ("measure", json!("max_duration_ns")),
        ("value", json!(5e8)),
        ("threshold", json!(2e9)),
    ] {
        assert_eq!(resolved[0][name], value, "{name}");
    }
}

#[test]
fn the_worst_severity_wins_and_a_change_closes_the_old_fingerprint_first() {
    let mut trunk = Trunk::of(&*with(SLOW));
    assert_eq!(trunk.short(&[window("pay", 7, 100, 600)]), ["firing low pay 7"]);
    let moved = trunk.evaluate(&[window("pay", 14, 2500, 600)]);
    assert_eq!(
        moved.iter().map(super::brief).collect::<Vec<_>>(),
        ["resolved low pay 14", "firing high pay 14"]
    );
    assert_ne!(moved[0]["fingerprint"], moved[1]["fingerprint"]);
    assert_eq!(moved[0]["message"], "slow-pay: severity changed from low to high");
    assert_eq!(moved[1]["starts_at"], 7000, "it is one alarm");
    assert_eq!(trunk.short(&[window("pay", 21, 1500, 1)]), ["resolved high pay 21", "firing mid pay 21"]);
    assert_eq!(trunk.short(&[window("pay", 28, 1, 1)]), ["resolved mid pay 28"]);
}

#[test]
fn a_condition_that_compares_no_literal_has_a_measure_and_no_threshold() {
    let mut trunk = Trunk::of(&*with(SLOW));
    let fired = trunk.evaluate(&[window("pay", 7, 100, 600)]);
    assert_eq!((&fired[0]["measure"], &fired[0]["value"]), (&json!("avg_duration_ns"), &json!(6e8)));
    assert_eq!(fired[0].get("threshold"), None);
}

#[test]
fn only_windows_that_a_rule_covers_are_evaluated() {
    let mut trunk = Trunk::of(&*with(SLOW));
    assert_eq!(trunk.short(&[window("shop", 7, 9000, 9000)]), Vec::<String>::new());
    let settings = "rules: [{name: a, operator: aggregate/seven, when: {high: count > 1}}]";
    let mut trunk = Trunk::of(&*with(settings));
    let mut other = window("pay", 7, 1, 1);
    assert!(trunk.short(&[other.clone()]).is_empty());
    other["operator"] = json!("aggregate/seven");
    assert_eq!(trunk.short(&[other]).len(), 1);
}

#[test]
fn windows_are_evaluated_in_the_order_of_their_ends() {
    let mut trunk = Trunk::of(&*with(SLOW));
    let backlog = [
        window("pay", 21, 1, 1),
        window("pay", 7, 2500, 1),
        window("pay2", 14, 2500, 1),
        window("pay", 14, 2500, 1),
    ];
    assert_eq!(trunk.short(&backlog), ["firing high pay 7", "firing high pay2 14", "resolved high pay 21"]);
}

#[test]
fn series_of_one_rule_are_apart() {
    let mut trunk = Trunk::of(&*with(SLOW));
    let mut other = window("pay", 7, 2500, 1);
    other["operation"] = json!("/other");
    assert_eq!(trunk.short(&[window("pay", 7, 2500, 1), other]).len(), 2);
    assert_eq!(trunk.short(&[window("pay", 14, 1, 1)]), ["resolved high pay 14"]);
    let mut elsewhere = window("pay", 14, 1, 1);
    elsewhere["operator"] = json!("aggregate/other");
    elsewhere["operation"] = json!("/other");
    assert!(trunk.short(&[elsewhere]).is_empty(), "another operator's windows are another series");
}

#[test]
fn a_window_is_evaluated_once() {
    let context = test_context();
    let mut trunk = Trunk::of(&*with_context(SLOW, context.clone()));
    trunk.evaluate(&[window("pay", 14, 2500, 1)]);
    assert!(
        trunk.short(&[window("pay", 14, 1, 1), window("pay", 7, 1, 1)]).is_empty(),
        "late windows resolve nothing"
    );
    let mut again = window("pay", 7, 1, 1);
    again["firing"] = json!(1);
    let mut endless = window("pay", 21, 1, 1);
    endless.as_object_mut().unwrap().remove("window_end");
    assert!(trunk.short(&[again, endless]).is_empty());
    let metrics = context.telemetry.encode();
    for line in [
        "weir_threshold_windows_skipped_total{processor=\"threshold\",reason=\"late\"} 3",
        "weir_threshold_windows_skipped_total{processor=\"threshold\",reason=\"no_end\"} 1",
        "weir_threshold_alarms_total{processor=\"threshold\",severity=\"high\",state=\"firing\"} 1",
        "weir_threshold_alarms_total{processor=\"threshold\",severity=\"high\",state=\"resolved\"} 0",
        "weir_threshold_evaluations_total{processor=\"threshold\"} 1",
        "weir_threshold_series{processor=\"threshold\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn thin_windows_neither_fire_nor_resolve() {
    let settings = "rules: [{name: a, min_count: 50, for: 2, when: {high: max_duration_ns > 1e9}}]";
    let mut trunk = Trunk::of(&*with(settings));
    let thin = |end, max| {
        let mut thin = window("pay", end, max, 1);
        thin["count"] = json!(49);
        thin
    };
    assert!(trunk.short(&[thin(7, 2000), thin(14, 2000)]).is_empty());
    assert!(trunk.short(&[window("pay", 21, 2000, 1), thin(28, 1)]).is_empty());
    assert_eq!(trunk.short(&[window("pay", 35, 2000, 1)]), ["firing high pay 35"], "a thin window is no gap");
    assert!(trunk.short(&[thin(42, 1)]).is_empty());
    assert_eq!(trunk.short(&[window("pay", 49, 1, 1)]), ["resolved high pay 49"]);
}

#[test]
fn for_and_resolve_after_count_windows_and_a_missing_one_breaks_for() {
    let settings = "rules: [{name: a, for: 2, resolve_after: 2, when: {high: max_duration_ns > 1e9}}]";
    let mut trunk = Trunk::of(&*with(settings));
    assert!(trunk.short(&[window("pay", 7, 2000, 1)]).is_empty());
    assert!(trunk.short(&[window("pay", 21, 2000, 1)]).is_empty(), "the window that ends at 14 is missing");
    assert_eq!(trunk.short(&[window("pay", 28, 2000, 1)]), ["firing high pay 28"]);
    assert!(trunk.short(&[window("pay", 35, 1, 1)]).is_empty());
    assert_eq!(trunk.short(&[window("pay", 70, 1, 1)]), ["resolved high pay 70"]);
}

#[test]
fn messages_come_from_the_template() {
    let settings = r#"
rules:
  - name: slow
    when: {high: max_duration_ns > 2000000000}
    message: "$${service} {{ operation }} {{ state }} {{ severity }}: {{ measure }} {{ value }} over {{ threshold_ms }} ms at {{ window_end }}, {{ count }} calls"
"#;
    let mut trunk = Trunk::of(&*with(settings));
    let fired = trunk.evaluate(&[window("pay", 7, 2500, 1)]);
    assert_eq!(
        fired[0]["message"],
        "pay /pay firing high: max_duration_ns 2500000000 over 2000 ms at 1970-01-01T00:00:07Z, 100 calls"
    );
}

#[test]
fn a_template_with_an_unknown_name_still_gives_an_alarm() {
    let context = test_context();
    let settings = "rules: [{name: slow, when: {high: count > 1}, message: 'a {{ nonsense }} b'}]";
    let mut trunk = Trunk::of(&*with_context(settings, context.clone()));
    assert_eq!(trunk.evaluate(&[window("pay", 7, 1, 1)])[0]["message"], "a  b");
    assert!(
        context
            .telemetry
            .encode()
            .contains("weir_threshold_template_errors_total{processor=\"threshold\"} 1")
    );
}

#[test]
fn the_number_of_series_is_bounded_and_the_rest_is_counted() {
    let context = test_context();
    let settings = "max_series: 2\nrules: [{name: a, when: {high: max_duration_ns > 1e9}}]";
    let mut trunk = Trunk::of(&*with_context(settings, context.clone()));
    let three = [window("a", 7, 2000, 1), window("b", 7, 2000, 1), window("c", 7, 2000, 1)];
    assert_eq!(trunk.short(&three).len(), 2);
    assert!(
        context.telemetry.encode().contains("weir_threshold_series_refused_total{processor=\"threshold\"} 1")
    );
    assert_eq!(
        trunk.short(&[window("a", 14, 1, 1), window("c", 14, 2000, 1)]).len(),
        2,
        "one went, one fits"
    );
}

#[test]
fn series_that_vanish_before_they_fire_make_room_for_others() {
    let settings = "max_series: 2\nrules: [{name: a, for: 2, when: {high: max_duration_ns > 1e9}}]";
    let mut trunk = Trunk::of(&*with(settings));
    assert!(trunk.short(&[window("a", 7, 2000, 1), window("b", 7, 2000, 1)]).is_empty());
    trunk.short(&[window("a", 14, 1, 1), window("c", 14, 2000, 1)]);
    assert_eq!(trunk.short(&[window("c", 21, 2000, 1)]), ["firing high c 21"]);
    assert!(trunk.short(&[window("d", 28, 2000, 1)]).is_empty());
    assert_eq!(trunk.short(&[window("d", 35, 2000, 1)]), ["firing high d 35"], "b is forgotten");
}

#[test]
fn a_condition_that_does_not_fit_the_columns_is_counted_and_changes_nothing() {
    let context = test_context();
    let settings = "rules: [{name: a, when: {high: extra > 5}}]";
    let mut trunk = Trunk::of(&*with_context(settings, context.clone()));
    let mut with_extra = window("pay", 7, 1, 1);
    with_extra["extra"] = json!(6);
    assert_eq!(trunk.short(&[with_extra]), ["firing high pay 7"]);
    let mut wrong = window("pay", 14, 1, 1);
    wrong["extra"] = json!(true);
    assert!(trunk.short(&[wrong]).is_empty(), "it can not be evaluated, so it does not resolve");
    let errors = "weir_threshold_evaluation_errors_total{processor=\"threshold\"} 1";
    assert!(context.telemetry.encode().contains(errors));
}

#[test]
fn a_condition_that_fails_on_a_window_still_evaluates_the_others() {
    let context = test_context();
    let settings = "rules: [{name: a, when: {high: factorial(n) > 5}}]";
    let mut trunk = Trunk::of(&*with_context(settings, context.clone()));
    let [mut odd, mut high] = [window("odd", 7, 1, 1), window("pay", 7, 1, 1)];
    odd["n"] = json!(30);
    high["n"] = json!(3);
    assert_eq!(trunk.short(&[odd, high]), ["firing high pay 7"]);
    let errors = "weir_threshold_evaluation_errors_total{processor=\"threshold\"} 1";
    assert!(context.telemetry.encode().contains(errors));
}

#[test]
fn a_share_of_integers_is_no_integer() {
    let mut trunk = Trunk::of(&*with("rules: [{name: a, when: {high: error_count / count > 0.1}}]"));
    let mut window = window("pay", 7, 1, 1);
    window["error_count"] = json!(11);
    assert_eq!(trunk.short(&[window]), ["firing high pay 7"]);
}

#[test]
fn every_batch_is_forwarded_once_and_its_alarms_after_it_with_its_ack() {
    let mut trunk = Trunk::of(&*with(SLOW));
    let batch = windows(&[window("pay", 7, 2500, 1)], trunk.probe.ack());
    let mut out = trunk.send(TrunkMessage::Derived(LaneMessage::Batch(batch)));
    let signals: Vec<_> =
        out.iter().map(|m| if let LaneMessage::Batch(b) = m { Some(b.signal) } else { None }).collect();
    assert_eq!(signals, [Some(Signal::Windows), Some(Signal::Alarms)]);
    drop(out.remove(0));
    assert_eq!(trunk.probe.open(), 1, "the alarm still holds the input");
    drop(out);
    assert_eq!(trunk.probe.count(Outcome::Done), 1);
}

#[test]
fn lanes_hand_their_windows_to_the_trunk_and_keep_nothing() {
    let processor = with(SLOW);
    let mut lane = processor.lane_stage(&LANE.into()).unwrap();
    let batch = windows(&[window("pay", 7, 2500, 1)], weir_pdata::Ack::none());
    let traces = weir_pdata::EventBatch { signal: Signal::Traces, ..batch.clone() };
    let (_, to_trunk) = check_stage(&mut *lane, vec![traces, batch], |signal| signal != Signal::Windows);
    let mut trunk = Trunk::of(&*processor);
    trunk.send(TrunkMessage::LaneOpened(LANE.into()));
    let mut out = Vec::new();
    for message in to_trunk {
        out.extend(trunk.send(TrunkMessage::FromLane(LANE, message)));
    }
    out.extend(trunk.send(TrunkMessage::LanesClosed([LANE].into())));
    assert_eq!(rows(&out).len(), 1);
    assert!(matches!(out.last(), Some(LaneMessage::Watermark(Watermark::MAX))), "{out:?}");
    assert_eq!(out.len(), 3, "windows, alarms, watermark");
}

#[test]
fn the_watermark_of_the_stage_before_is_forwarded_and_not_that_of_the_lanes() {
    let mut trunk = Trunk::of(&*with(SLOW));
    trunk.send(TrunkMessage::LaneOpened(LANE.into()));
    let derived = |ms| TrunkMessage::Derived(LaneMessage::Watermark(Watermark(ms)));
    assert_eq!(trunk.send(derived(10)).len(), 1);
    assert!(trunk.send(derived(10)).is_empty(), "it did not move");
    let lane = TrunkMessage::FromLane(LANE, LaneMessage::Watermark(Watermark::MAX));
    assert!(trunk.send(lane).is_empty());
    assert_eq!(trunk.send(derived(11)).len(), 1);
}

#[test]
fn lanes_that_bring_windows_hold_the_watermark_of_the_stage_before() {
    let mut trunk = Trunk::of(&*with(SLOW));
    trunk.send(TrunkMessage::LaneOpened(LANE.into()));
    let lane = |ms| TrunkMessage::FromLane(LANE, LaneMessage::Watermark(Watermark(ms)));
    assert_eq!(moved_to(&trunk.send(lane(5))), [5]);
    let derived = TrunkMessage::Derived(LaneMessage::Watermark(Watermark(10)));
    assert_eq!(moved_to(&trunk.send(derived)), [0; 0], "windows of the lane after 5 are still to come");
    assert_eq!(moved_to(&trunk.send(lane(8))), [8]);
    assert_eq!(moved_to(&trunk.send(TrunkMessage::LanesClosed([LANE].into()))), [10]);
}

#[test]
fn windows_of_a_receiver_that_has_not_begun_hold_the_watermark() {
    let (first, second): (Arc<str>, Arc<str>) = ("first".into(), "second".into());
    let start = TrunkStart { receivers: [first.clone(), second.clone()].into(), ..TrunkStart::default() };
    let mut trunk = Trunk { stage: with(SLOW).trunk_stage(&start).unwrap(), probe: Probe::default() };
    let opened = LaneStart { receiver: Some(first.clone()), ..LANE.into() };
    trunk.send(TrunkMessage::LaneOpened(opened));
    trunk.send(TrunkMessage::ReceiverReady(first));
    let lane = TrunkMessage::FromLane(LANE, LaneMessage::Watermark(Watermark(5)));
    assert_eq!(moved_to(&trunk.send(lane)), [0; 0], "the second may bring earlier windows");
    assert_eq!(moved_to(&trunk.send(TrunkMessage::ReceiverReady(second))), [5]);
}

#[test]
fn the_end_of_a_lane_without_windows_says_nothing_about_windows() {
    let mut lane = with(SLOW).lane_stage(&LANE.into()).unwrap();
    let mut out = Outlet::default();
    lane.handle(LaneMessage::Watermark(Watermark::MAX), &mut out);
    assert!(matches!(out.take_to_trunk().as_slice(), [LaneMessage::Idle(_)]));
    assert_eq!(moved_to(&out.take_forwarded().collect::<Vec<_>>()), [i64::MAX]);
}

/// The watermarks among these messages.
fn moved_to(messages: &[LaneMessage]) -> Vec<i64> {
    let mark = |message: &LaneMessage| match message {
        LaneMessage::Watermark(watermark) => Some(watermark.0),
        _ => None,
    };
    messages.iter().filter_map(mark).collect()
}

#[test]
fn rows_without_service_or_with_odd_columns_are_evaluated() {
    let mut trunk = Trunk::of(&*with("rules: [{name: a, match: {service: '*'}, when: {high: n > 1}}]"));
    let fired = trunk.evaluate(&[json!({"window_end": 7000, "n": 2, "region": "bj"})]);
    assert_eq!(fired[0]["labels"], json!({"region": "bj"}));
    assert_eq!(fired[0].get("service"), None);
}

/// Where the alarms come from that rules raise on a window.
fn origin(rules: &str, line: &Value, fence: &Fence) -> Origin {
    let mut trunk = Trunk::of(&*with(rules));
    let batch = windows(std::slice::from_ref(line), Ack::none());
    let origin = Origin::derived("aggregate".into(), Some("aggregate/7".into())).behind(Some(fence.clone()));
    let messages = trunk.send(TrunkMessage::Derived(LaneMessage::Batch(EventBatch { origin, ..batch })));
    let alarms = messages.into_iter().find_map(|message| match message {
        LaneMessage::Batch(batch) if batch.signal == Signal::Alarms => Some(batch.origin),
        _ => None,
    });
    alarms.unwrap()
}

#[test]
fn other_alarms_on_a_window_that_comes_again_have_another_identity() {
    let rules = |name: &str| format!("rules: [{{name: {name}, when: {{low: max_duration_ns > 1}}}}]");
    let line = window("pay", 7, 3000, 1);
    let identity = |name: &str| origin(&rules(name), &line, &Fence::default()).identity.unwrap().to_string();
    assert_eq!(identity("slow"), identity("slow"));
    assert_ne!(identity("slow"), identity("slower"), "the destination would leave them out");
    assert!(identity("slow").starts_with("aggregate/7/threshold/"));
}

#[test]
fn alarms_on_a_window_whose_inputs_go_to_another_owner_do_not_leave() {
    let (rules, fence) = ("rules: [{name: slow, when: {low: max_duration_ns > 1}}]", Fence::default());
    let alarms = origin(rules, &window("pay", 7, 3000, 1), &fence);
    assert!(!alarms.is_fenced());
    fence.close();
    assert!(alarms.is_fenced());
}
