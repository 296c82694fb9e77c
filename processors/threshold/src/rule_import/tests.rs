//! Whole files, from SkyWalking's to Weir's.

use super::import_rules;
use crate::rule_tests::run_tests;

/// As OAP servers come with, and a few more.
const SETTINGS: &str = "
rules:
  # Rule unique name, must be ended with `_rule`.
  service_resp_time_rule:
    expression: sum(service_resp_time > 1000) >= 3
    period: 10
    silence-period: 5
    message: Response time of service {name} is more than 1000ms in 3 minutes of last 10 minutes.
  service_sla_rule:
    expression: sum(service_sla < 8000) >= 2
    period: 2
    recovery-observation-period: 2
    include-names: [pay, it's]
    exclude-names-regex: test-.*
    message: 'SLA of {name}, {other} costs $5'
    tags: {level: CRITICAL, team: pay}
    hooks: [webhook.default]
  service_instance_resp_time_rule:
    expression: sum(service_instance_resp_time > 1000) >= 1
    period: 10
    op: \">\"
  endpoint_rule:
    expression: endpoint_cpm > 100 && endpoint_resp_time > 10
    include-names: ['/a in b in pay']
    silence-period: 0
  database_access_resp_time_rule:
    expression: sum(database_access_resp_time > 1000) >= 2
    period: 10
  old_rule:
    metrics-name: service_resp_time
    threshold: 1000
hooks:
  webhook:
    default: {is-default: true, urls: ['http://127.0.0.1/notify/']}
  discord:
    default: {is-default: true}
composite-rules: {}
";

#[test]
fn a_file_of_skywalking_becomes_rules_and_remarks() {
    let imported = import_rules("alarm-settings.yml", SETTINGS).unwrap_or_else(|wrong| panic!("{wrong}"));
    let expected = r#"# From alarm-settings.yml by `weir rules import`.
# These rules evaluate the windows of
#   processors:
#     aggregate/service: {window: {tumbling: 1m}, group_by: [service], where: "kind IN ('server', 'consumer')"}
#     aggregate/instance: {window: {tumbling: 1m}, group_by: [service, service_instance], where: "kind IN ('server', 'consumer')"}
#     aggregate/endpoint: {window: {tumbling: 1m}, group_by: [service, operation], where: "kind IN ('server', 'consumer')"}
rules:
  - name: "service_resp_time_rule"
    operator: aggregate/service
    when: {mid: "avg_duration_ns > 1000000000"}
    for: 3
    resolve_without_data: 10m
    silence: 5m
    message: "Response time of service {{ service }} is more than 1000ms in 3 minutes of last 10 minutes."
  - name: "service_sla_rule"
    operator: aggregate/service
    when: {high: "success_rate < 0.8 AND (service = 'pay' OR service = 'it''s') AND NOT regexp_like(service, '^(?:test-.*)$$')"}
    for: 2
    resolve_after: 3
    resolve_without_data: 4m
    silence: 2m
    message: "SLA of {{ service }}, {{ '{' }}other} costs {{ '$$' }}5"
    labels: {"team": "pay"}
  - name: "service_instance_resp_time_rule"
    operator: aggregate/instance
    when: {mid: "avg_duration_ns > 1000000000"}
    resolve_after: 10
    resolve_without_data: 10m
    silence: 10m
  - name: "endpoint_rule"
    operator: aggregate/endpoint
    when: {mid: "(count > 100 AND avg_duration_ns > 10000000) AND ((operation = '/a in b' AND service = 'pay'))"}
    resolve_without_data: 1m
"#;
    assert_eq!(imported.yaml, expected);
    let remarks: Vec<String> = imported.remarks.iter().map(|(line, why)| format!("{line}: {why}")).collect();
    let expected = [
        "4: service_resp_time_rule: 3 of 10 minutes became 3 minutes one after the other, and `resolve_after` 1",
        "9: service_sla_rule: the hooks webhook.default are not taken: targets choose their alarms with `notify.match`",
        "21: service_instance_resp_time_rule: `op` is not taken: Weir's rules have nothing like it",
        "22: endpoint_rule: with `silence-period: 0` SkyWalking tells of it each minute, and here it is told once",
        "26: database_access_resp_time_rule: not taken: windows have nothing for the metric `database_access_resp_time`",
        "29: old_rule: not taken: it has no `expression` (rules of versions before 9.6 have none)",
        "30: old_rule: `metrics-name` is not taken: Weir's rules have nothing like it",
        "31: old_rule: `threshold` is not taken: Weir's rules have nothing like it",
        "34: hook webhook.default: not taken: write an exporter `webhook` with `kind: skywalking`, and what it is for in its `notify.match`",
        "36: hook discord.default: not taken: no kind of `webhook` is like it",
        "37: `composite-rules` is not taken",
    ];
    assert_eq!(remarks, expected);
    assert_eq!(imported.rules, 4);
}

/// What is written does what SkyWalking's rule does.
#[test]
fn imported_rules_fire() {
    let folder = tempfile::tempdir().unwrap();
    let imported = import_rules("a", SETTINGS).unwrap();
    std::fs::write(folder.path().join("rules.yaml"), imported.yaml).unwrap();
    let tests = r#"
rule_files: [rules.yaml]
tests:
  - input_series:
      - {series: 'success_rate{service="pay", operator="aggregate/service"}', values: 0.9 0.7x1 1x3}
      - {series: 'success_rate{service="it''s", operator="aggregate/service"}', values: 0.7x5}
      - {series: 'success_rate{service="test-it''s", operator="aggregate/service"}', values: 0.7x5}
      - {series: 'success_rate{service="pay", operator="aggregate/endpoint"}', values: 0.7x5}
      - {series: 'count{service="pay", operation="/a in b", operator="aggregate/endpoint"}', values: 101}
      - {series: 'avg_duration_ns{service="pay", operation="/a in b", operator="aggregate/endpoint"}', values: 2e7}
    alert_rule_test:
      - {eval_time: 1m, alertname: endpoint_rule, exp_alerts: [{exp_labels: {service: pay, operation: /a in b, severity: mid}}]}
      - {eval_time: 2m, alertname: service_sla_rule, exp_alerts: [{exp_labels: {service: it's, severity: high, team: pay}}]}
      - eval_time: 5m
        alertname: service_sla_rule
        exp_alerts:
          - {exp_labels: {service: it's, severity: high, team: pay}}
          - {exp_labels: {service: pay, severity: high, team: pay}, exp_message: "SLA of pay, {other} costs $5"}
      - {eval_time: 6m, alertname: service_sla_rule, exp_alerts: [{exp_labels: {service: it's, severity: high, team: pay}}]}
"#;
    let path = folder.path().join("test.yaml");
    std::fs::write(&path, tests).unwrap();
    let report = run_tests(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(report.failures, Vec::<String>::new());
}

const PROMETHEUS: &str = r#"
groups:
  - name: payments
    interval: 30s
    rules:
      - record: job:errors
        expr: sum(errors)
      - alert: Slow
        expr: max_duration_ns{service=~"pay.*", zone!="test"} > 2e9 and count{zone!="test", service=~"pay.*"} >= 10
        for: 5m
        keep_firing_for: 10m
        labels: {severity: critical, team: pay, who: '{{ $labels.service }}'}
        annotations:
          summary: '{{ $labels.service }} takes {{ $value }} ns, and ${x} is {no} template'
          description: '{{ $value | humanize }}'
          runbook_url: https://wiki/slow
          dashboard: https://g/{{ .Labels.service }}
      - alert: Slow
        expr: count < -1 or count > 100
      - alert: Rate
        expr: rate(count[5m]) > 1
      - alert: Ratio
        expr: errors / count > 0.1
      - alert: Two
        expr: count{a="b"} > 1 and count{a="c"} > 1
"#;

#[test]
fn a_file_of_prometheus_becomes_rules_and_remarks() {
    let imported = import_rules("rules.yml", PROMETHEUS).unwrap_or_else(|wrong| panic!("{wrong}"));
    let expected = r#"# From rules.yml by `weir rules import`.
rules:
  - name: "Slow"
    when: {high: "(\"max_duration_ns\" > 2000000000 AND \"count\" >= 10) AND coalesce(\"zone\", '') <> 'test' AND regexp_like(coalesce(\"service\", ''), '^(?:pay.*)$$')"}
    for: 5m
    keep_firing_for: 10m
    resolve_without_data: 15m
    message: "{{ service }} takes {{ value }} ns, and {{ '$$' }}{{ '{' }}x} is {{ '{' }}no} template"
    labels: {"team": "pay"}
    annotations: {"dashboard": "https://g/{{ service }}"}
    runbook: "https://wiki/slow"
  - name: "Slow-2"
    when: {mid: "\"count\" < -1 OR \"count\" > 100"}
    resolve_without_data: 5m
"#;
    assert_eq!(imported.yaml, expected);
    let remarks: Vec<String> = imported.remarks.iter().map(|(line, why)| format!("{line}: {why}")).collect();
    let expected = [
        "4: `interval` is not taken: windows have their own length",
        "6: a recording rule: not taken: windows are made by `aggregate`",
        "8: Slow: the annotation `description` is not taken: `{{$value | humanize}}` is not understood",
        "8: Slow: the label `who` is not taken: it is a template",
        "18: Slow: the name became `Slow-2`: names must differ",
        "20: Rate: not taken: there is no `rate( )` over windows",
        "22: Ratio: not taken: it calculates",
        "24: Two: not taken: its parts are about different series",
    ];
    assert_eq!(remarks, expected);
}

#[test]
fn imported_rules_of_prometheus_fire() {
    let folder = tempfile::tempdir().unwrap();
    let imported = import_rules("a", PROMETHEUS).unwrap();
    std::fs::write(folder.path().join("rules.yaml"), imported.yaml).unwrap();
    let tests = r#"
rule_files: [rules.yaml]
tests:
  - input_series:
      - {series: 'max_duration_ns{service="payments"}', values: 3e9x6}
      - {series: 'count{service="payments"}', values: 10x6}
      - {series: 'max_duration_ns{service="payments", zone="test"}', values: 3e9x6}
      - {series: 'count{service="payments", zone="test"}', values: 10x6}
      - {series: 'max_duration_ns{service="prepay"}', values: 3e9x6}
      - {series: 'count{service="prepay"}', values: 10x6}
    alert_rule_test:
      - {eval_time: 5m, alertname: Slow}
      - eval_time: 6m
        alertname: Slow
        exp_alerts:
          - exp_labels: {service: payments, severity: high, team: pay}
            exp_message: "payments takes 3000000000 ns, and ${x} is {no} template"
            exp_annotations: {dashboard: https://g/payments}
"#;
    let path = folder.path().join("test.yaml");
    std::fs::write(&path, tests.replace("${x}", "$${x}")).unwrap();
    let report = run_tests(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(report.failures, Vec::<String>::new());
}

/// A rule that Weir cannot read is left out, and the others are taken.
#[test]
fn one_rule_that_is_wrong_takes_no_other_with_it() {
    let prometheus = "groups:
  - rules:
      - {alert: Week, expr: count > 1, for: 1w}
      - {alert: Regex, expr: 'count{service=~\"a(\"} > 1'}
      - {alert: Good, expr: count > 1}
      - nothing
";
    let imported = import_rules("a.yml", prometheus).unwrap_or_else(|wrong| panic!("{wrong}"));
    let lines: Vec<usize> = imported.remarks.iter().map(|(line, _)| *line).collect();
    assert_eq!((imported.rules, lines), (1, vec![3, 4, 6]), "{:?}", imported.remarks);
    assert!(imported.yaml.contains("\"Good\""), "{}", imported.yaml);
    let why: Vec<&str> = imported.remarks.iter().map(|(_, why)| why.as_str()).collect();
    assert!(why[0].starts_with("Week: not taken: ") && why[0].contains("1w"), "{why:?}");
    assert!(why[1].starts_with("Regex: not taken: ") && why[1].contains("regular expression"), "{why:?}");
    let skywalking = "rules:
  a_rule: {expression: service_sla < 1, period: often}
  b_rule: {expression: service_sla < 1, include-names-regex: 'a('}
  c_rule: {expression: service_sla < 1}
";
    let imported = import_rules("a.yml", skywalking).unwrap_or_else(|wrong| panic!("{wrong}"));
    let lines: Vec<usize> = imported.remarks.iter().map(|(line, _)| *line).collect();
    assert_eq!((imported.rules, lines), (1, vec![2, 3]), "{:?}", imported.remarks);
    assert!(imported.yaml.contains("c_rule") && !imported.yaml.contains("b_rule"), "{}", imported.yaml);
}

#[test]
fn what_reads_the_same_and_means_something_else_is_said() {
    let skywalking = "rules:
  a_rule: {expression: max(service_cpm) < 10, period: 5}
  b_rule: {expression: min(service_resp_time) > 10, period: 1}
  c_rule: {expression: service_resp_time != 10}
  d_rule: {expression: service_cpm == 10}
";
    let remarks = import_rules("a.yml", skywalking).unwrap().remarks;
    let expected = [
        (2, "a_rule: a minute without data begins anew here, and SkyWalking leaves it out"),
        (4, "c_rule: `==` and `!=` compare whole numbers in SkyWalking, and here what is measured"),
    ];
    assert_eq!(remarks, expected.map(|(line, why)| (line, why.to_owned())));
    let prometheus = "groups:
  - rules:
      - alert: A
        expr: count > 1 or errors > 1
        annotations: {summary: '{{ $value }}', runbook_url: 'https://wiki/{{ $labels.service }}'}
      - {alert: B, expr: count > 1 and errors > 1, annotations: {summary: '{{ $value }}'}}
";
    let imported = import_rules("a.yml", prometheus).unwrap();
    let expected = [
        (3, "A: `$value` is that of the first column, whichever part of `or` holds"),
        (3, "A: the annotation `runbook_url` is not taken: it is a template"),
    ];
    assert_eq!(imported.remarks, expected.map(|(line, why)| (line, why.to_owned())));
    assert!(!imported.yaml.contains("runbook"), "{}", imported.yaml);
}

#[test]
fn what_is_no_file_of_rules_is_refused() {
    for (text, why) in
        [("a: [", "error"), ("groups: {}", "`groups` is no list"), ("rules: []", "no map `rules`")]
    {
        let wrong = import_rules("a.yml", text).unwrap_err().to_string();
        assert!(wrong.contains(why), "{wrong}");
    }
    let none = import_rules("a.yml", "rules: {a_rule: {expression: avg(service_sla) > 1}}").unwrap();
    assert_eq!((none.rules, none.remarks.len()), (0, 1));
}
