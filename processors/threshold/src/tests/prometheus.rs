//! The alerting semantics of Prometheus, by its own examples (`rules/alerting_test.go`). The time of an
//! evaluation is the end of a window; a row tells the change of a state, so `pending` has none.

use serde_json::json;

use super::{Trunk, brief, with};

/// Values of one series, one for each step of so many seconds; the rows at each of them. `None`: no window.
fn states(rule: &str, step: i64, values: &[Option<i64>]) -> Vec<String> {
    let mut trunk = Trunk::of(&*with(&format!("rules: [{{name: HTTPRequestRateLow, {rule}}}]")));
    let mut states = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let end = (index as i64 + 1) * step;
        let rows = value.map_or(Vec::new(), |value| {
            trunk.evaluate(&[json!({
                "operator": "a", "window_start": (end - step) * 1000, "window_end": end * 1000,
                "service": "inst0", "value": value,
            })])
        });
        let at = |row: &serde_json::Value| brief(row).split(' ').next().unwrap_or_default().to_owned();
        states.push(rows.iter().map(at).collect::<Vec<_>>().join(","));
    }
    states
}

#[test]
fn test_keep_firing_for() {
    // 75 85 70 70 10 10, over 50, `for` and `keep_firing_for` 1m: pending, firing, firing, firing, kept,
    // none.
    let rule = "when: {high: value > 50}, for: 1m, keep_firing_for: 1m";
    let values = [75, 85, 70, 70, 10, 10, 10].map(Some);
    assert_eq!(states(rule, 60, &values), ["", "firing", "", "", "", "resolved", ""]);
}

#[test]
fn test_pending_and_keep_firing_for() {
    // 75, then 10: pending, and `keep_firing_for` keeps nothing that does not fire.
    let rule = "when: {high: value > 50}, for: 1m, keep_firing_for: 1m";
    assert_eq!(states(rule, 60, &[75, 10, 10].map(Some)), ["", "", ""]);
}

#[test]
fn test_alerting_rule() {
    // 5m steps, below 100, `for` 1m. inst0 is 75 85 95 105 105 95 85: pending, firing, firing, none, none,
    // pending, firing. inst1 is 80 90 100 110: pending, firing, none.
    let rule = "when: {high: value < 100}, for: 1m";
    let inst0 = states(rule, 300, &[75, 85, 95, 105, 105, 95, 85].map(Some));
    assert_eq!(inst0, ["", "firing", "", "resolved", "", "", "firing"]);
    assert_eq!(states(rule, 300, &[80, 90, 100, 110].map(Some)), ["", "firing", "resolved", ""]);
}

#[test]
fn test_for_state_zero_fires_on_the_same_evaluation() {
    assert_eq!(states("when: {high: value > 50}, for: 0s", 60, &[75, 75].map(Some)), ["firing", ""]);
}

#[test]
fn test_missing_sample_deletes_a_pending_alert() {
    let rule = "when: {high: value > 50}, for: 2m";
    assert_eq!(
        states(rule, 60, &[Some(75), Some(75), None, Some(75), Some(75), Some(75)]),
        ["", "", "", "", "", "firing"]
    );
}

/// Prometheus resolves a firing alert whose sample is missing at once. Here a missing window resolves nothing
/// until `resolve_without_data`.
#[test]
fn test_missing_sample_of_a_firing_alert_differs() {
    let rule = "when: {high: value > 50}, resolve_without_data: 150s";
    let values = [Some(75), None, Some(75), None, None, Some(75)];
    assert_eq!(states(rule, 60, &values), ["firing", "", "", "", "", "resolved,firing"]);
}
