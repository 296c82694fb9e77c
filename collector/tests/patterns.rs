//! Patterns in the running program: from a file through windows to alarms.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/windows").join(name)
}

/// Runs a configuration in `folder` to its end. The lines of `output` there.
fn run(folder: &Path, configuration: &str, output: &str) -> Vec<Value> {
    std::fs::write(folder.join("weir.yaml"), configuration).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--exit-on-end", "--config", "weir.yaml"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(folder.join(output)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn example_with(change: impl Fn(String) -> String) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let input = "consecutive-hits.jsonl";
    std::fs::copy(example(input), folder.path().join(input)).unwrap();
    let configuration = change(std::fs::read_to_string(example("consecutive-hits.yaml")).unwrap());
    run(folder.path(), &configuration, "consecutive-hits-alarms.jsonl")
}

const START: i64 = 1_700_000_000_000;

#[test]
fn the_example_raises_one_alarm_for_two_consecutive_hits() {
    let alarms = example_with(|text| text);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let alarm = &alarms[0];
    assert_eq!((&alarm["rule"], &alarm["severity"]), (&"slow-twice".into(), &"high".into()));
    assert_eq!((&alarm["service"], &alarm["operation"]), (&"pay".into(), &"/pay".into()));
    assert_eq!(alarm["window_start"], START);
    assert_eq!((&alarm["starts_at"], &alarm["time"]), (&(START + 999).into(), &(START + 1999).into()));
    let message = alarm["message"].as_str().unwrap();
    assert!(message.starts_with("pay /pay: p99 ") && message.contains(" ms, then "), "{message}");
}

#[test]
fn a_longer_within_and_followed_by_find_more() {
    let alarms =
        example_with(|text| text.replace("next:", "followed_by:").replace("within: 2s", "within: 2001ms"));
    let mut found: Vec<_> = alarms
        .iter()
        .map(|alarm| {
            let second = |name: &str| (alarm[name].as_i64().unwrap() - START) / 1000;
            (alarm["service"].as_str().unwrap().to_owned(), second("starts_at"), second("time"))
        })
        .collect();
    found.sort();
    let expected = [("cart", 0, 2), ("pay", 0, 1), ("pay", 1, 3), ("pay", 3, 5)];
    assert_eq!(found, expected.map(|(service, first, last)| (service.to_owned(), first, last)));
}

#[test]
fn windows_of_several_operators_in_one_pipeline_are_all_in_time() {
    let alarms = example_with(|text| {
        let other =
            "  aggregate/fast:\n    window: {tumbling: 1s}\n    out_of_orderness: 500ms\n  aggregate:\n";
        let text = text.replacen("  aggregate:\n", other, 1);
        text.replace("[aggregate, pattern]", "[aggregate/fast, aggregate, pattern]").replace(
            "file: {path: consecutive-hits.jsonl}",
            "file: {path: consecutive-hits.jsonl, max_batch_rows: 1}",
        )
    });
    assert_eq!(alarms.len(), 1, "{alarms:?}");
}

#[test]
fn windows_from_a_file_give_the_same_alarm_as_those_of_an_aggregate() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = [(0, 800), (1, 900), (2, 50), (3, 700)]
        .map(|(second, ms)| {
            let (start, end) = (START + second * 1000, START + second * 1000 + 1000);
            format!(
                "{{\"signal\":\"windows\",\"operator\":\"aggregate\",\"window_start\":{start},\"window_end\":{end},\"window_size_ms\":1000,\"firing\":0,\"service\":\"pay\",\"operation\":\"/pay\",\"p99_duration_ns\":{}}}\n",
                ms * 1_000_000
            )
        })
        .concat();
    std::fs::write(folder.path().join("consecutive-hits.jsonl"), lines).unwrap();
    let text = std::fs::read_to_string(example("consecutive-hits.yaml")).unwrap();
    let alarms = run(
        folder.path(),
        &text.replace("[aggregate, pattern]", "[pattern]"),
        "consecutive-hits-alarms.jsonl",
    );
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0]["message"], "pay /pay: p99 800 ms, then 900 ms");
}
