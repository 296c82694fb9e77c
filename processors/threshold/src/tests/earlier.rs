//! Conditions that read the window before.

use serde_json::{Value, json};

use super::no_data::moved;
use super::restart::{self, Site};
use super::{Trunk, create, test_context, window, with};

const DOUBLED: &str =
    "rules: [{name: doubled, when: {high: count >= 3 * previous(count), mid: count >= 2 * previous(count)}}]";

fn counted(service: &str, end: i64, count: i64) -> Value {
    let mut line = window(service, end, 1, 1);
    line["count"] = json!(count);
    line
}

#[test]
fn a_window_is_compared_with_the_one_before_it_of_its_series() {
    let mut trunk = Trunk::of(&*with(DOUBLED));
    assert!(
        trunk.short(&[counted("pay", 7, 10), counted("ship", 7, 100)]).is_empty(),
        "there is none before"
    );
    let fired = trunk.evaluate(&[counted("pay", 14, 20), counted("ship", 14, 199)]);
    assert_eq!(fired.iter().map(super::brief).collect::<Vec<_>>(), ["firing mid pay 14"]);
    assert_eq!((&fired[0]["measure"], &fired[0]["value"]), (&json!("count"), &json!(20.0)));
    let next = trunk.short(&[counted("pay", 21, 39), counted("ship", 21, 597)]);
    assert_eq!(next, ["resolved mid pay 21", "firing high ship 21"]);
}

#[test]
fn windows_of_one_batch_are_compared_with_each_other() {
    let mut trunk = Trunk::of(&*with(DOUBLED));
    let backlog = [counted("pay", 21, 20), counted("pay", 7, 10), counted("pay", 14, 10)];
    assert_eq!(trunk.short(&backlog), ["firing mid pay 21"]);
}

#[test]
fn a_gap_does_not_count_up_to_a_day() {
    let mut trunk = Trunk::of(&*with(DOUBLED));
    trunk.evaluate(&[counted("pay", 7, 10)]);
    let day = 86_400;
    assert_eq!(trunk.short(&[counted("pay", 7 + day, 20)]), [format!("firing mid pay {}", 7 + day)]);
    assert_eq!(
        trunk.short(&[counted("pay", 8 + 2 * day, 100)]),
        [format!("resolved mid pay {}", 8 + 2 * day)]
    );
}

#[test]
fn a_window_that_fires_again_is_compared_with_the_same_one_and_what_is_new_in_it_counts_for_the_next() {
    let mut trunk = Trunk::of(&*with(DOUBLED));
    trunk.evaluate(&[counted("pay", 7, 10)]);
    assert!(trunk.short(&[counted("pay", 14, 19)]).is_empty());
    let mut again = counted("pay", 14, 21);
    again["firing"] = json!(1);
    assert_eq!(trunk.short(&[again]), ["firing mid pay 14"]);
    assert_eq!(trunk.short(&[counted("pay", 21, 41)]), ["resolved mid pay 21"], "twice 21 is 42");
}

#[test]
fn the_window_before_is_known_after_a_restart() {
    restart::run(async {
        let mut site =
            Site::start(&format!("storage: storage\n{}", DOUBLED.replace("count", "avg_duration_ns"))).await;
        let third = |service: &str, end, factor: f64| {
            let mut line = window(service, end, 1, 1);
            line["avg_duration_ns"] = json!(1e6 / 3.0 * factor);
            line
        };
        site.evaluate("aggregate", 7, &[third("pay", 7, 1.0)]);
        site.settle().await;
        site.commit();
        site.restart().await;
        let fired = site.evaluate("aggregate", 14, &[third("pay", 14, 2.0)]);
        assert_eq!(restart::short(&fired), ["firing mid pay 14"], "to the last bit");
    });
}

#[test]
fn what_is_no_column_of_a_window_is_said() {
    for (condition, why) in [
        ("previous(count + 1) > 2", "takes the name of one column"),
        ("offset(count, '1 day') > 2", "such as `offset(count, '1d')`"),
    ] {
        let settings = super::configuration(&format!("rules: [{{name: a, when: {{low: \"{condition}\"}}}}]"));
        let problems = create(&settings, test_context()).err().unwrap().to_string();
        assert!(problems.contains(why) && problems.contains("rules[0].when.low"), "{problems}");
    }
}

const HALVED: &str = "rules: [{name: halved, when: {high: \"count < 0.5 * offset(count, '70s')\"}}]";

#[test]
fn a_window_is_compared_with_one_that_ended_long_before() {
    let mut trunk = Trunk::of(&*with(HALVED));
    for end in 1..10 {
        let counts = [counted("pay", end * 7, 100 + end), counted("ship", end * 7, 10)];
        assert!(trunk.short(&counts).is_empty(), "there is none 70 s before");
    }
    assert!(trunk.short(&[counted("ship", 70, 10)]).is_empty(), "one of `pay` is missing");
    let fired = trunk.evaluate(&[counted("pay", 77, 50), counted("ship", 77, 5)]);
    assert_eq!(fired.iter().map(super::brief).collect::<Vec<_>>(), ["firing high pay 77"], "101 at 7 s");
    assert_eq!((&fired[0]["measure"], &fired[0]["value"]), (&json!("count"), &json!(50.0)));
    assert_eq!(trunk.short(&[counted("pay", 84, 51)]), ["resolved high pay 84"]);
    let mut again = counted("pay", 84, 50);
    again["firing"] = json!(1);
    assert_eq!(trunk.short(&[again]), ["firing high pay 84"], "with the same one");
    assert_eq!(
        trunk.short(&[counted("pay", 140, 1)]),
        ["resolved high pay 140"],
        "the one at 70 s is missing"
    );
    assert!(trunk.short(&[counted("pay", 154, 25)]).is_empty(), "it was 50 in the end");
    assert!(trunk.short(&[counted("pay", 210, 1)]).is_empty(), "and 1 at 140 s");
}

#[test]
fn past_windows_are_known_after_a_restart_and_forgotten_with_their_rule() {
    restart::run(async {
        let mut site = Site::start(&format!("storage: storage\n{HALVED}")).await;
        for end in 1..=30 {
            site.evaluate("aggregate", end * 7, &[counted("pay", end * 7, 100 + end)]);
        }
        site.settle().await;
        site.commit();
        site.restart().await;
        let fired = site.evaluate("aggregate", 217, &[counted("pay", 217, 60)]);
        assert_eq!(restart::short(&fired), ["firing high pay 217"], "121 at 147 s");
        site.settle().await;
        site.commit();
        // The same rule without the past, and with it again.
        for (settings, end) in
            [(HALVED.replace("0.5 * offset(count, '70s')", "1"), 224), (HALVED.to_owned(), 231)]
        {
            site.settings = format!("storage: storage\n{settings}");
            site.restart().await;
            site.evaluate("aggregate", end, &[counted("pay", end, 100)]);
            site.settle().await;
            site.commit();
        }
        let quiet = site.evaluate("aggregate", 238, &[counted("pay", 238, 1)]);
        assert_eq!(restart::short(&quiet), [""; 0]);
    });
}

#[test]
fn past_windows_have_a_bound() {
    let context = test_context();
    let gauge = |context: &weir_component::Context, name: &str| {
        let text = context.telemetry.encode();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let settings = format!("max_past_windows: 20\n{HALVED}");
    let mut trunk = Trunk::of(&*super::with_context(&settings, context.clone()));
    for end in 1..=12 {
        trunk.evaluate(&[counted("pay", end * 7, 100), counted("ship", end * 7, 100)]);
    }
    assert_eq!(gauge(&context, "weir_threshold_past_windows{"), "20");
    assert_eq!(gauge(&context, "weir_threshold_past_windows_refused_total"), "4");
    // Those that are too old make room.
    for end in 13..=60 {
        trunk.evaluate(&[counted("pay", end * 7, 100)]);
    }
    let fired = trunk.short(&[counted("pay", 427, 1)]);
    assert_eq!(fired, ["firing high pay 427"]);
}

/// A series whose windows stay away for longer than `resolve_without_data` has the same past whether that was
/// seen while it happened or the windows came as a backlog.
#[test]
fn a_series_that_comes_back_is_compared_with_its_past() {
    let ends = ", resolve_without_data: 20s}]";
    for is_live in [false, true] {
        let mut trunk = Trunk::of(&*with(&HALVED.replace("}]", ends)));
        for end in 1..10 {
            assert!(trunk.short(&[counted("pay", end * 7, 100)]).is_empty());
        }
        if is_live {
            assert!(moved(&mut trunk, 100).is_empty());
            assert!(moved(&mut trunk, 120).is_empty());
        }
        let fired = trunk.short(&[counted("pay", 133, 10)]);
        assert_eq!(fired, ["firing high pay 133"], "100 at 63 s; {is_live}");
        let mut trunk = Trunk::of(&*with(&DOUBLED.replace("}]", ends)));
        trunk.evaluate(&[counted("pay", 7, 10)]);
        if is_live {
            assert!(moved(&mut trunk, 50).is_empty());
        }
        assert_eq!(trunk.short(&[counted("pay", 70, 20)]), ["firing mid pay 70"], "{is_live}");
    }
}

#[test]
fn what_ends_for_lack_of_data_ends_once_and_keeps_its_past_over_a_restart() {
    let rule = HALVED.replace("}]", ", no_data: 10s, resolve_without_data: 20s}]");
    let mut trunk = Trunk::of(&*with(&rule));
    let mut seen = trunk.short(&[counted("pay", 63, 100)]);
    for seconds in [70, 80, 90, 100, 130] {
        seen.extend(moved(&mut trunk, seconds).iter().map(super::brief));
    }
    seen.extend(trunk.short(&[counted("pay", 133, 10)]));
    assert_eq!(seen, ["firing high pay 73", "resolved high pay 83", "firing high pay 133"]);
    restart::run(async {
        let mut site = Site::start(&format!("storage: storage\n{rule}")).await;
        site.evaluate("aggregate", 63, &[counted("pay", 63, 100)]);
        // Another one, so that the time goes on.
        let told = site.evaluate("aggregate", 105, &[counted("ship", 105, 100)]);
        assert_eq!(restart::short(&told), ["firing high pay 73", "resolved high pay 83"]);
        // The next window is evaluated when that was delivered, and is written down with it.
        for end in [112, 119] {
            site.settle().await;
            site.commit();
            assert_eq!(
                restart::short(&site.evaluate("aggregate", end, &[counted("ship", end, 100)])),
                [""; 0]
            );
        }
        site.settle().await;
        site.commit();
        site.restart().await;
        assert_eq!(restart::short(&site.evaluate("aggregate", 126, &[counted("ship", 126, 100)])), [""; 0]);
        let fired = site.evaluate("aggregate", 133, &[counted("pay", 133, 10)]);
        assert_eq!(restart::short(&fired).last().unwrap(), "firing high pay 133");
    });
}
