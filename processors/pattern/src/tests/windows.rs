//! Windows of a stage before, the common case: matches, lateness, bounds, inputs.

use serde_json::json;
use weir_component::{LaneMessage, TrunkMessage, Watermark};
use weir_pdata::{Outcome, Signal};

use super::{TWO_HITS, Trunk, briefs, rows, window};

#[test]
fn two_hits_in_successive_windows_raise_an_alarm_with_all_its_columns() {
    let mut trunk = Trunk::new(TWO_HITS);
    let forwarded = trunk.windows(&[window("pay", 1000, 600), window("pay", 2000, 700)]);
    assert_eq!(rows(Signal::Windows, &forwarded).len(), 2, "windows pass at once");
    assert_eq!(rows(Signal::Alarms, &forwarded).len(), 0, "nothing is taken before the watermark");
    let alarms = trunk.watermark(1999);
    assert_eq!(
        alarms,
        [json!({
            "signal": "alarms", "time": 1999, "rule": "two-hits", "severity": "high", "state": "firing",
            "service": "pay", "labels": {"service": "pay"}, "measure": "slow", "value": 700.0, "threshold": 500.0,
            "window_start": 0, "window_end": 2000,
            "message": "high: two-hits: service=pay first_hit, second_hit in 1000 ms",
            // FNV-1a of `8:two-hits4:high7:service3:pay`: the same for ever.
            "fingerprint": "69881b122bd71a0f", "starts_at": 999, "ends_at": 1999, "rule_epoch": 1,
        })]
    );
}

#[test]
fn a_window_between_that_does_not_hit_breaks_next_and_not_followed_by() {
    let lines = [window("pay", 1000, 600), window("pay", 1500, 100), window("pay", 2000, 700)];
    let mut next = Trunk::new(TWO_HITS);
    next.windows(&lines);
    assert_eq!(next.watermark(1999).len(), 0);
    let mut followed = Trunk::new(&TWO_HITS.replace("next", "followed_by"));
    followed.windows(&lines);
    assert_eq!(briefs(&followed.watermark(1999)), ["pay 999-1999"]);
}

#[test]
fn keys_do_not_mix_and_null_is_a_key_of_its_own() {
    let mut trunk = Trunk::new(TWO_HITS);
    let mut no_service = [window("x", 1000, 600), window("x", 2000, 600)];
    no_service.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("service")));
    trunk.windows(&[window("a", 1000, 600), window("b", 2000, 600), window("", 2000, 600)]);
    trunk.windows(&no_service);
    assert_eq!(briefs(&trunk.watermark(1999)), ["- 999-1999"]);
}

#[test]
fn v21_the_end_of_within_is_exclusive_in_event_time() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.windows(&[window("pay", 1000, 600), window("pay", 3000, 600), window("pay", 4999, 600)]);
    assert_eq!(briefs(&trunk.watermark(9999)), ["pay 2999-4998"], "2 s after the first is too late");
    assert_eq!(trunk.counted("timed_out_matches"), 2);
}

#[test]
fn events_are_taken_in_order_of_time_whatever_their_order_of_arrival() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.windows(&[window("pay", 3000, 100)]);
    trunk.windows(&[window("pay", 2000, 600), window("pay", 1000, 600)]);
    assert_eq!(briefs(&trunk.watermark(1998)), Vec::<String>::new());
    assert_eq!(briefs(&trunk.watermark(2999)), ["pay 999-1999"]);
}

#[test]
fn an_event_at_the_watermark_is_late() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.watermark(999);
    let forwarded = trunk.windows(&[window("pay", 1000, 600), window("pay", 1001, 600)]);
    assert_eq!(rows(Signal::Windows, &forwarded).len(), 2, "it passes all the same");
    assert!(rows(Signal::Windows, &forwarded)[0].get("late").is_none());
    assert_eq!(trunk.counted("late_events"), 1);
    trunk.windows(&[window("pay", 2001, 600)]);
    assert_eq!(briefs(&trunk.watermark(5000)), ["pay 1000-2000"]);
}

#[test]
fn late_output_marks_the_late_rows_and_loses_none() {
    let mut trunk = Trunk::new(&format!("{TWO_HITS}late: output\n"));
    trunk.watermark(999);
    let forwarded = trunk.windows(&[window("a", 1000, 600), window("b", 1001, 600)]);
    let marks: Vec<_> = rows(Signal::Windows, &forwarded)
        .iter()
        .map(|row| (row["service"].clone(), row["late"].clone()))
        .collect();
    assert_eq!(marks, [(json!("a"), json!(true)), (json!("b"), json!(false))]);
    assert_eq!(trunk.counted("late_events"), 1);
}

#[test]
fn operator_and_where_select_what_the_sequence_sees() {
    let settings = format!("{TWO_HITS}operator: aggregate\nwhere: \"service <> 'test'\"\n");
    let mut trunk = Trunk::new(&settings);
    let mut other = window("pay", 1500, 100);
    other["operator"] = "aggregate/other".into();
    trunk.windows(&[window("pay", 1000, 600), other, window("pay", 2000, 600)]);
    trunk.windows(&[window("test", 1000, 600), window("test", 2000, 600)]);
    assert_eq!(briefs(&trunk.watermark(1999)), ["pay 999-1999"]);
}

#[test]
fn three_hits_are_two_matches_or_one_by_skip() {
    let hits = [window("pay", 1000, 600), window("pay", 2000, 600), window("pay", 3000, 600)];
    let mut all = Trunk::new(TWO_HITS);
    all.windows(&hits);
    assert_eq!(briefs(&all.watermark(2999)), ["pay 999-1999", "pay 1999-2999"]);
    let mut one = Trunk::new(&format!("{TWO_HITS}skip: past_last_event\n"));
    one.windows(&hits);
    assert_eq!(briefs(&one.watermark(2999)), ["pay 999-1999"]);
}

#[test]
fn a_message_names_columns_steps_and_what_the_alarm_says() {
    let template = r#"{{ rule }} ${service} {{ first_hit.slow }} then {{ value }} > {{ threshold }} at {{ second_hit.time }}, {{ events }} {{ window_size_ms }} {{ no_service }}"#;
    let mut trunk =
        Trunk::new(&format!("{TWO_HITS}severity: mid\nmessage: \"{}\"\n", template.replace('$', "$$")));
    trunk.windows(&[window("pay", 1000, 600), window("pay", 2000, 700)]);
    let alarms = trunk.watermark(1999);
    assert_eq!(alarms[0]["message"], "two-hits pay 600 then 700 > 500 at 1970-01-01T00:00:01.999Z, 2 1000 ");
    assert_eq!(alarms[0]["severity"], "mid");
    assert_eq!(trunk.counted("template_errors"), 1, "a missing name is counted");
}

#[test]
fn inputs_are_held_while_buffered_or_in_a_partial_match_and_then_done() {
    let mut trunk = Trunk::new(TWO_HITS);
    let mut forwarded = trunk.windows(&[window("pay", 1000, 600)]);
    forwarded.extend(trunk.windows(&[window("pay", 1500, 100)]));
    drop(forwarded);
    assert_eq!(trunk.probe.open(), 2, "both are buffered");
    trunk.watermark(999);
    assert_eq!(trunk.probe.open(), 2, "the first is part of a partial match");
    trunk.watermark(1499);
    assert_eq!(trunk.probe.open(), 0, "the second broke it");
    assert_eq!(trunk.probe.count(Outcome::Failed), 0);
}

#[test]
fn an_alarm_holds_the_inputs_of_its_events() {
    for settings in [TWO_HITS.to_owned(), TWO_HITS.replace("within: 2s", "max_partial_matches: 10")] {
        let mut trunk = Trunk::new(&settings);
        trunk.windows(&[window("pay", 1000, 600)]);
        trunk.windows(&[window("pay", 2000, 600)]);
        let end = LaneMessage::Watermark(Watermark::MAX);
        let alarms = trunk.send(TrunkMessage::Derived(end));
        assert_eq!(rows(Signal::Alarms, &alarms).len(), 1);
        assert_eq!(trunk.probe.outcome(1), None, "the last event waits for the alarm");
        drop(alarms);
        assert_eq!((trunk.probe.open(), trunk.probe.count(Outcome::Failed)), (0, 0));
    }
}

#[test]
fn without_within_a_partial_match_holds_no_input() {
    let mut trunk = Trunk::new(&TWO_HITS.replace("within: 2s", "max_partial_matches: 1"));
    trunk.windows(&[window("pay", 1000, 600)]);
    trunk.watermark(99_999);
    assert_eq!(trunk.probe.open(), 0);
    trunk.windows(&[window("pay", 200_000, 600)]);
    assert_eq!(briefs(&trunk.watermark(i64::MAX)), ["pay 999-199999"]);
}

#[test]
fn a_trunk_that_is_dropped_fails_what_it_keeps() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.windows(&[window("a", 1000, 600)]);
    trunk.watermark(999);
    trunk.windows(&[window("b", 2000, 600)]);
    let probe = trunk.probe.clone();
    drop(trunk);
    assert_eq!((probe.open(), probe.count(Outcome::Failed)), (0, 2));
}

#[test]
fn too_many_keys_events_and_partial_matches_are_left_out_and_counted() {
    let mut keys = Trunk::new(&format!("{TWO_HITS}max_keys: 1\n"));
    keys.windows(&[window("a", 1000, 600), window("b", 1000, 600), window("a", 2000, 600)]);
    assert_eq!(briefs(&keys.watermark(1999)), ["a 999-1999"]);
    assert_eq!(keys.counted("refused_events"), 1);
    keys.watermark(9999);
    keys.windows(&[window("b", 11_000, 600), window("b", 12_000, 600)]);
    assert_eq!(
        briefs(&keys.watermark(11_999)),
        ["b 10999-11999"],
        "a key that has nothing left is free again"
    );

    let mut buffer = Trunk::new(&format!("{TWO_HITS}max_buffered_events: 1\n"));
    buffer.windows(&[window("a", 1000, 600), window("a", 2000, 600)]);
    assert_eq!((buffer.watermark(1999).len(), buffer.counted("refused_events")), (0, 1));

    let settings =
        TWO_HITS.replace("next", "followed_by").replace("slow > 500\"}\nwithin", "slow = 7\"}\nwithin");
    let mut partials = Trunk::new(&format!("{settings}max_partial_matches: 1\n"));
    partials.windows(&[window("a", 1000, 600), window("a", 1500, 600), window("a", 2000, 7)]);
    assert_eq!(briefs(&partials.watermark(1999)), ["a 1499-1999"], "the oldest went");
    assert_eq!(partials.counted("dropped_matches"), 1);
}

#[test]
fn windows_without_an_end_are_counted_and_pass() {
    let mut trunk = Trunk::new(TWO_HITS);
    let mut endless = window("a", 1000, 600);
    endless.as_object_mut().unwrap().remove("window_end");
    assert_eq!(rows(Signal::Windows, &trunk.windows(&[endless])).len(), 1);
    assert_eq!(trunk.counted("timeless_events"), 1);
}

#[test]
fn alarms_come_before_the_watermark_that_completes_them() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.windows(&[
        window("b", 1000, 600),
        window("b", 2000, 600),
        window("a", 1000, 600),
        window("a", 2000, 600),
    ]);
    let messages = trunk.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(1999))));
    assert!(matches!(messages.last(), Some(LaneMessage::Watermark(Watermark(1999)))));
    assert_eq!(briefs(&rows(Signal::Alarms, &messages)), ["a 999-1999", "b 999-1999"], "by time, then key");
}
