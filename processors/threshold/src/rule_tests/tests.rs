//! Files of tests, from what is written to what is told.

use std::path::Path;

use super::{check_rules, run_tests};

const RULES: &str = "rules:
  - name: slow
    match: {service: pay}
    when: {high: max_duration_ns > 2e9, mid: max_duration_ns > 1e9}
    for: 2
    message: '{{ service }} takes {{ value_ms }} ms'
    annotations: {team: '{{ service }}-team'}
  - name: gone
    no_data: {after: 3m, severity: low}
  - name: errors
    min_count: 10
    when: {mid: error_count / count > 0.99}
";

/// What is said of this file, with the rules beside it.
fn told(folder: &Path, tests: &str) -> Result<(usize, Vec<String>), String> {
    std::fs::write(folder.join("rules.yaml"), RULES).unwrap();
    let path = folder.join("rules_test.yaml");
    std::fs::write(&path, tests).unwrap();
    let report = run_tests(&path).map_err(|wrong| wrong.to_string())?;
    Ok((report.tests, report.failures))
}

#[test]
fn alarms_that_fire_when_they_should_are_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let tests = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - name: a slow service
    input_series:
      - {series: 'max_duration_ns{service="pay"}', values: '1e6 3e9x1 1.5e9 1e6'}
      - {series: 'count{service="pay"}', values: '100x4'}
      - {series: 'max_duration_ns{service="order"}', values: '3e9x4'}
    alert_rule_test:
      - {eval_time: 1m, alertname: slow}
      - {eval_time: 2m, alertname: slow}
      - eval_time: 3m
        alertname: slow
        exp_alerts:
          - exp_labels: {service: pay, severity: high}
            exp_message: pay takes 3000 ms
            exp_annotations: {team: pay-team}
      - {eval_time: 4m, alertname: slow, exp_alerts: [{exp_labels: {service: pay, severity: mid}}]}
      - {eval_time: 5m, alertname: slow}
      - {eval_time: 7m59s, alertname: gone}
      - eval_time: 8m
        alertname: gone
        exp_alerts:
          - exp_labels: {service: pay, severity: low, no_data: "true"}
          - exp_labels: {service: order, severity: low, no_data: "true"}
  - name: windows that are missing or thin
    interval: 10s
    start_timestamp: 2026-01-05T08:00:00Z
    input_series:
      - {series: 'count{service="a"}', values: '100 100 _ 5'}
      - {series: 'error_count{service="a"}', values: '99 100 _ 5'}
    alert_rule_test:
      - {eval_time: 10s, alertname: errors}
      - {eval_time: 20s, alertname: errors, exp_alerts: [{exp_labels: {service: a, severity: mid}}]}
      - {eval_time: 40s, alertname: errors, exp_alerts: [{exp_labels: {service: a, severity: mid}}]}
"#;
    assert_eq!(told(folder.path(), tests).unwrap(), (2, vec![]));
}

#[test]
fn what_differs_is_said_alarm_by_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let tests = r#"
rule_files: [rules.yaml]
tests:
  - name: slow
    input_series:
      - {series: 'max_duration_ns{service="pay", operation="/a"}', values: 3e9x5}
      - {series: 'max_duration_ns{service="pay", operation="/b"}', values: 3e9x5}
    alert_rule_test:
      - eval_time: 3m
        alertname: slow
        exp_alerts:
          - exp_labels: {service: pay, operation: /a, severity: high}
            exp_message: pay is slow
            exp_annotations: {}
          - exp_labels: {service: pay, operation: /c, severity: high}
"#;
    let (_, failures) = told(folder.path(), tests).unwrap();
    let expected = r#"test `slow`, at 3m, rule `slow`:
    {operation="/a", service="pay", severity="high"}
      - message: "pay is slow"
      + message: "pay takes 3000 ms"
    {operation="/a", service="pay", severity="high"}
      - team: none
      + team: "pay-team"
  - {operation="/c", service="pay", severity="high"}
  + {operation="/b", service="pay", severity="high"}"#;
    assert_eq!(failures, [expected]);
}

#[test]
fn mistakes_have_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let of = |test: &str| format!("rule_files: [rules.yaml]\ntests:\n  - {test}\n");
    for (tests, why) in [
        ("rule_files: []\ntests: []\n".to_owned(), "there are no rules to test"),
        ("rule_files: [gone.yaml]\ntests: []\n".to_owned(), "gone.yaml`: No such file"),
        ("rule_files: [rules.yaml]\ntest: []\n".to_owned(), "unknown key `test`"),
        (of("{input_series: [{series: 'a{', values: '1'}], alert_rule_test: []}"), "`a{` is no series"),
        (of("{input_series: [{series: a, values: 1x}], alert_rule_test: []}"), "`1x` is no value"),
        (
            of("{input_series: [], alert_rule_test: [{eval_time: 1m, alertname: slw}]}"),
            "there is no rule `slw`; did you mean `slow`?",
        ),
        (of("{input_series: [], alert_rule_test: [], start_timestamp: today}"), "`today` is no time"),
        (of("{interval: 0s, input_series: [], alert_rule_test: []}"), "must be more than 0"),
    ] {
        let wrong = told(folder.path(), &tests).unwrap_err();
        assert!(wrong.contains(why), "{wrong}");
    }
}

#[test]
fn rules_come_from_rule_files_and_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    assert_eq!(check_rules(std::slice::from_ref(&file)).unwrap(), 3);
    let whole = folder.path().join("weir.yaml");
    let inline = "rules: {inline: [{name: own, when: {low: count > 1}}], files: [\"FILE\"]}";
    let text = super::super::tests::configuration(&inline.replace("FILE", &file.display().to_string()));
    std::fs::write(&whole, text).unwrap();
    assert_eq!(check_rules(std::slice::from_ref(&whole)).unwrap(), 4);
    let both = check_rules(&[file.clone(), whole]).unwrap_err().to_string();
    assert!(both.contains("there are two rules `slow`"), "{both}");
    std::fs::write(&file, "rules: [{name: a, when: {low: count >}}]").unwrap();
    assert!(check_rules(&[file]).unwrap_err().to_string().contains("rules[0].when.low"));
}
