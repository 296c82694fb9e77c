//! The program as its user runs it: exit codes and messages.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn testdata(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).display().to_string()
}

#[test]
fn validate_says_nothing_about_a_valid_configuration_and_exits_0() {
    let output = weir(&["validate", "--config", &testdata("exporters/nop/testdata/valid.yaml")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn validate_shows_the_place_of_an_error_and_exits_1() {
    let output = weir(&["validate", "--config", &testdata("exporters/nop/testdata/invalid_key.yaml")]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("invalid_key.yaml:4:9") && text.contains("verbose"), "{text}");
    assert!(text.contains("the configuration has 1 error"), "{text}");
}

#[test]
fn a_missing_file_is_an_error_and_not_a_crash() {
    let output = weir(&["run", "--config", "no/such/file.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no/such/file.yaml"), "{}", stderr(&output));
}

#[test]
fn a_wrong_command_line_exits_2() {
    assert_eq!(weir(&["run", "--conffig", "x"]).status.code(), Some(2));
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        "run",
        "validate",
        "components",
        "print-config",
        "query",
        "quickstart",
        "webhook test",
        "silence add",
        "test",
        "alarms",
        "rules check",
        "rules import",
    ] {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--help");
        let output = weir(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("weir {command}")) && text.contains("Example"), "{command}: {text}");
    }
}

#[test]
fn print_config_redacts_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    let text = "receivers: {file: {path: x}}\nexporters: {clickhouse: {password: \"${env:SECRET}\"}}\nservice: {pipelines: {main: {receivers: [file], exporters: [clickhouse]}}}\n";
    std::fs::write(&file, text).unwrap();
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["print-config", "--config", file.to_str().unwrap()])
            .args(more)
            .env("SECRET", "hunter2")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let redacted = run(&[]);
    assert!(redacted.contains("[REDACTED]") && !redacted.contains("hunter2"), "{redacted}");
    assert!(run(&["--unredacted"]).contains("hunter2"));
}

#[test]
fn a_file_runs_through_windows_and_rules_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..100)
        .map(|n| {
            let (start, took) = (1_749_088_700_000_i64 + n * 100, if n < 50 { 20 } else { 900 });
            format!(
                "{{\"signal\":\"traces\",\"time\":{start},\"end_time\":{},\"duration_ns\":{},\"service\":\"pay\",\"operation\":\"/pay\",\"kind\":\"server\",\"status\":\"ok\"}}\n",
                start + took,
                took * 1_000_000
            )
        })
        .collect();
    std::fs::write(folder.path().join("events.jsonl"), lines).unwrap();
    let config = "
receivers: {file: {path: events.jsonl}}
processors:
  aggregate: {window: {tumbling: 5s}, out_of_orderness: 1s}
  threshold: {rules: {inline: [{name: slow, when: {high: \"avg_duration_ns > 500000000\"}, message: \"{{ service }} is slow\"}]}}
exporters: {file: {path: out.jsonl, signals: [windows, alarms]}}
service:
  telemetry: {metrics: {address: \"\"}}
  pipelines: {main: {receivers: [file], processors: [aggregate, threshold], exporters: [file]}}
";
    std::fs::write(folder.path().join("weir.yaml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--config", "weir.yaml", "--exit-on-end"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts: Vec<(i64, i64)> = rows
        .iter()
        .filter(|row| row["signal"] == "windows")
        .map(|row| (row["window_start"].as_i64().unwrap(), row["count"].as_i64().unwrap()))
        .collect();
    // 100 spans that end between 0.02 s and 10.8 s after the start: windows of 5 s.
    assert_eq!(counts, [(1_749_088_700_000, 50), (1_749_088_705_000, 41), (1_749_088_710_000, 9)]);
    let alarms: Vec<_> = rows.iter().filter(|row| row["signal"] == "alarms").collect();
    assert_eq!(alarms.len(), 1, "{text}");
    assert_eq!(alarms[0]["message"], "pay is slow");
    assert_eq!(alarms[0]["state"], "firing");
}

/// A server that answers each request with this; gives its address.
fn server(answer: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&request).to_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            stream.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            stream.write_all((head + answer).as_bytes()).unwrap();
        }
    });
    address
}

fn test_webhook(name: &str, address: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    let text = format!(
        "receivers: {{file: {{path: x}}}}\nexporters: {{webhook/duty: {{kind: dingtalk, url: \"http://{address}/robot\"}}}}\n\
         service: {{pipelines: {{main: {{receivers: [file], exporters: [webhook/duty]}}}}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    weir(&["webhook", "test", name, "--config", &file.display().to_string()])
}

#[test]
fn a_webhook_is_tested_and_its_answer_explained() {
    let good = test_webhook("webhook/duty", &server(r#"{"errcode":0,"errmsg":"ok"}"#));
    let told = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(told.contains("firing: delivered in ") && told.contains("resolved: delivered in "), "{told}");

    let bad = test_webhook("webhook/duty", &server(r#"{"errcode":310000,"errmsg":"sign not match"}"#));
    let told = stderr(&bad);
    assert_eq!(bad.status.code(), Some(1));
    assert!(told.contains("code 310000: sign not match: check `url`, `secret`"), "{told}");
    assert!(told.contains("tried again for 15m, not before 60 s"), "{told}");

    let none = test_webhook("webhook/dute", "127.0.0.1:1");
    assert!(stderr(&none).contains("did you mean `webhook/duty`?"), "{}", stderr(&none));
}

#[test]
fn silences_are_added_listed_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("silences.yaml").display().to_string();
    let told = |arguments: &[&str]| {
        let output = weir(&[&["silence"], arguments, &["--file", &file]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
    };
    let (code, id, _) = told(&["add", "service=pay*", "--for", "2h", "--comment", "ticket 17", "--by", "li"]);
    assert_eq!(code, Some(0));
    let (_, list, _) = told(&["list"]);
    assert!(list.starts_with(&format!("{}  service=pay* until 2", id.trim())), "{list}");
    assert!(list.contains(": ticket 17 by li"), "{list}");
    assert_eq!(told(&["expire", id.trim()]).0, Some(0));
    assert_eq!(told(&["list"]).1, "");
    let (_, hostile, _) =
        told(&["add", "pay=\u{1b}[1m", "--for", "2h", "--comment", "\u{1b}[2J", "--by", "\r\nli"]);
    let (_, list, _) = told(&["list"]);
    assert!(list.lines().count() == 1 && !list.contains(['\u{1b}', '\r']), "{list:?}");
    assert_eq!(told(&["expire", hostile.trim()]).0, Some(0));
    assert!(told(&["list", "--all"]).1.contains("over: "));
    let (code, _, error) = told(&["add", "pay", "--for", "2h"]);
    assert!(code == Some(1) && error.contains("write for example `service=pay`"), "{error}");
}

const RULES: &str = "rules:
  - {name: slow, when: {high: max_duration_ns > 2e9}, message: '{{ service }} is slow'}
";

#[test]
fn rules_are_checked_and_tested_before_they_wake_people() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("rules.yaml"), RULES).unwrap();
    let checked = weir(&["rules", "check", &path("rules.yaml")]);
    assert_eq!((checked.status.code(), &*checked.stdout), (Some(0), &b"1 rule\n"[..]));
    let test = |values: &str| {
        let text = format!(
            "rule_files: [rules.yaml]\ntests:\n  - name: pay\n    input_series:\n      - {{series: 'max_duration_ns{{service=\"pay\"}}', \
             values: {values}}}\n    alert_rule_test:\n      - {{eval_time: 2m, alertname: slow, exp_alerts: [{{exp_labels: {{service: pay, severity: high}}}}]}}\n"
        );
        std::fs::write(path("rules_test.yaml"), text).unwrap();
        let output = weir(&["test", &path("rules_test.yaml")]);
        let out = String::from_utf8_lossy(&output.stdout).replace(&path("rules_test.yaml"), "FILE");
        (output.status.code(), out, stderr(&output))
    };
    assert_eq!(test("3e9x1"), (Some(0), "FILE: 1 test, all as expected\n".to_owned(), String::new()));
    let (code, out, error) = test("3e9 1e9");
    let expected = "FILE: not as expected (- is missing, + is too much)\n  \
                    test `pay`, at 2m, rule `slow`:\n    - {service=\"pay\", severity=\"high\"}\n";
    assert_eq!((code, out.as_str()), (Some(1), expected));
    assert!(error.contains("1 of 1 files failed"), "{error}");
    std::fs::write(path("rules.yaml"), "rules: [{name: slow, when: {hihg: count > 1}}]").unwrap();
    let checked = weir(&["rules", "check", &path("rules.yaml")]);
    assert!(
        checked.status.code() == Some(1) && stderr(&checked).contains("rules.yaml:1:"),
        "{}",
        stderr(&checked)
    );
    assert_eq!(test("1").0, Some(1));
}

#[test]
fn rules_of_skywalking_are_imported_with_remarks_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alarm-settings.yml").display().to_string();
    let text = "rules:\n  a_rule:\n    expression: service_sla < 8000\n    period: 1\n  b_rule:\n    expression: avg(service_sla) < 1\n";
    std::fs::write(&file, text).unwrap();
    let output = weir(&["rules", "import", &file]);
    assert_eq!(output.status.code(), Some(0));
    let rules = folder.path().join("rules.yaml").display().to_string();
    std::fs::write(&rules, &output.stdout).unwrap();
    assert_eq!(weir(&["rules", "check", &rules]).stdout, b"1 rule\n");
    let remark = format!("{file}:5: b_rule: not taken: there is no `avg( )` over windows\n");
    assert_eq!(stderr(&output), remark);
    assert_eq!(weir(&["rules", "import", &rules]).status.code(), Some(1));
}
