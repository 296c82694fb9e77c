//! What a rule may say beside its conditions.

use serde_json::{Value, json};

use super::{Trunk, brief, create, test_context, window, with};

#[test]
fn an_alarm_has_the_labels_annotations_and_the_runbook_of_its_rule() {
    let mut trunk = Trunk::of(&*with(
        r#"
rules:
  - name: slow
    when: {high: max_duration_ns > 2000000000}
    labels: {team: payments}
    annotations: {impact: "{{ service }} took {{ value_ms }} ms", dashboard: "https://g/d/{{ labels.team }}"}
    runbook: "https://runbooks/slow"
"#,
    ));
    let plain = Trunk::of(&*with("rules: [{name: slow, when: {high: max_duration_ns > 2000000000}}]"))
        .evaluate(&[window("pay", 7, 2500, 1)]);
    let fired = trunk.evaluate(&[window("pay", 7, 2500, 1)]);
    let resolved = trunk.evaluate(&[window("pay", 14, 1, 1)]);
    for row in [&fired[0], &resolved[0]] {
        assert_eq!(row["labels"], json!({"operation": "/pay", "service": "pay", "team": "payments"}));
        assert_eq!(row["runbook"], "https://runbooks/slow");
        assert_eq!(row["fingerprint"], plain[0]["fingerprint"], "the series is the same");
    }
    assert_eq!(
        fired[0]["annotations"],
        json!({"impact": "pay took 2500 ms", "dashboard": "https://g/d/payments"})
    );
    assert_eq!(resolved[0]["annotations"]["impact"], "pay took 1 ms");
    assert_eq!((plain[0].get("annotations"), plain[0].get("runbook")), (None, None));
}

#[test]
fn a_rule_that_is_not_enabled_is_checked_and_evaluates_nothing() {
    let rules =
        "rules: [{name: a, enabled: false, when: {high: count > 1}}, {name: b, when: {low: count > 1}}]";
    assert_eq!(Trunk::of(&*with(rules)).short(&[window("pay", 7, 1, 1)]), ["firing low pay 7"]);
    let wrong = super::configuration("rules: [{name: a, enabled: false, when: {high: count >}}]");
    assert!(create(&wrong, test_context()).is_err());
}

#[test]
fn an_alarm_is_told_again_after_its_silence_and_not_before() {
    let mut trunk =
        Trunk::of(&*with("rules: [{name: a, silence: 20s, when: {mid: count > 1, high: count > 1000}}]"));
    let mut said = Vec::new();
    for (end, count) in [(7, 5), (14, 5), (21, 0), (28, 5), (35, 5), (42, 2000), (49, 5), (56, 0)] {
        let mut line = window("pay", end, 1, 1);
        line["count"] = json!(count);
        said.extend(trunk.evaluate(&[line]));
    }
    assert_eq!(
        said.iter().map(brief).collect::<Vec<_>>(),
        [
            "firing mid pay 7",
            "resolved mid pay 21",
            "firing mid pay 28",
            "resolved mid pay 42",
            "firing high pay 42",
            "resolved high pay 56"
        ]
    );
    let mut trunk = Trunk::of(&*with("rules: [{name: a, silence: 20s, when: {mid: count > 1}}]"));
    let rows: Vec<Value> = (1..=7).flat_map(|at| trunk.evaluate(&[window("pay", at * 7, 1, 1)])).collect();
    assert_eq!(
        rows.iter().map(brief).collect::<Vec<_>>(),
        ["firing mid pay 7", "firing mid pay 28", "firing mid pay 49"]
    );
    assert!(rows.iter().all(|row| row["starts_at"] == 7000), "it is one alarm");
}

#[test]
fn outside_of_its_active_times_a_rule_does_not_hold() {
    // 1970-01-01 was a Thursday.
    let settings = "rules: [{name: a, when: {mid: count > 1}, when_active: 'thu 00:00-00:01 UTC'}]";
    let mut trunk = Trunk::of(&*with(settings));
    let fired = trunk.evaluate(&[window("pay", 56, 1, 1)]);
    assert_eq!(fired.iter().map(brief).collect::<Vec<_>>(), ["firing mid pay 56"]);
    let ended = trunk.evaluate(&[window("pay", 63, 1, 1)]);
    assert_eq!(ended.iter().map(brief).collect::<Vec<_>>(), ["resolved mid pay 63"]);
    assert_eq!(
        ended[0]["message"],
        "resolved: a: operation=/pay service=pay the rule is not active at this time"
    );
    assert!(trunk.short(&[window("pay", 70, 1, 1)]).is_empty());
    let week = 7 * 86_400 + 56;
    assert_eq!(trunk.short(&[window("pay", week, 1, 1)]), [format!("firing mid pay {week}")]);
}

#[test]
fn a_thin_window_outside_of_the_active_times_ends_an_alarm_too() {
    let settings =
        "rules: [{name: a, min_count: 50, when: {mid: count > 1}, when_active: 'thu 00:00-00:01 UTC'}]";
    let mut trunk = Trunk::of(&*with(settings));
    assert_eq!(trunk.short(&[window("pay", 56, 1, 1)]), ["firing mid pay 56"]);
    let mut thin = window("pay", 63, 1, 1);
    thin["count"] = json!(2);
    assert_eq!(trunk.short(&[thin]), ["resolved mid pay 63"]);
}

#[test]
fn wrong_values_are_said_with_their_key() {
    for (rule, wrong) in [
        ("name: a, when: {low: count > 1}, for: soon", "`soon` is not a duration"),
        ("name: a, when: {low: count > 1}, when_active: sometimes", "rules[0].when_active"),
        ("name: a, when: {low: count > 1}, no_data: 0s", "rules[0].no_data"),
        (
            "name: a, no_data: 1m, resolve_without_data: 1m",
            "must be longer than `no_data`: it ends that alarm too",
        ),
        ("name: a, resolve_without_data: 1m", "no condition"),
        ("name: a, when: {low: count > 1}, annotations: {b: '{{ x'}", "rules[0].annotations.b"),
        ("name: a, when: {low: count > 1}, silence: 1us", "is not a whole number of milliseconds"),
    ] {
        let settings = super::configuration(&format!("rules: [{{{rule}}}]"));
        let problems = create(&settings, test_context()).err().unwrap().to_string();
        assert!(problems.contains(wrong), "{rule}: {problems}");
    }
}
