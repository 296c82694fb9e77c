//! Conditions that read the window before.

use serde_json::{Value, json};

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
    for (condition, why) in
        [("previous(count + 1) > 2", "takes the name of one column"), ("offset(count, '1d') > 2", "offset")]
    {
        let settings = super::configuration(&format!("rules: [{{name: a, when: {{low: \"{condition}\"}}}}]"));
        let problems = create(&settings, test_context()).err().unwrap().to_string();
        assert!(problems.contains(why) && problems.contains("rules[0].when.low"), "{problems}");
    }
}
