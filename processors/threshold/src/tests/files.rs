//! Rules from files.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_component::Context;

use super::{Trunk, configuration, create, test_context, window, with_context};

const LIMIT: Duration = Duration::from_secs(60);

fn settings(paths: &[&Path]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    format!(
        "rules:\n  files: [{}]\n  inline: [{{name: many, when: {{low: count > 1000}}}}]",
        paths.join(", ")
    )
}

fn rule(name: &str, ms: i64) -> String {
    format!("rules:\n  - {{name: {name}, when: {{high: \"max_duration_ns > {ms}000000\"}}}}\n")
}

fn problems(settings: &str) -> String {
    create(&configuration(settings), test_context()).err().unwrap().to_string()
}

#[test]
fn rules_of_files_are_evaluated_beside_those_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.yaml", "two.yaml"].map(|name| folder.path().join(name));
    std::fs::write(&one, rule("slow", 2000)).unwrap();
    std::fs::write(&two, rule("slower", 3000) + "  - {name: off, enabled: false, when: {low: count > 1}}\n")
        .unwrap();
    let mut trunk = Trunk::of(&*with_context(&settings(&[&one, &two]), test_context()));
    let mut line = window("pay", 7, 3500, 1);
    line["count"] = 2000.into();
    let alarms = trunk.evaluate(&[line]);
    let rules: Vec<&str> = alarms.iter().filter_map(|alarm| alarm["rule"].as_str()).collect();
    assert_eq!(rules, ["many", "slow", "slower"]);
}

#[test]
fn wrong_files_are_errors_of_the_configuration_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.yaml", "two.yaml"].map(|name| folder.path().join(name));
    let missing = problems(&settings(&[&one]));
    assert!(missing.contains("one.yaml` cannot be read") && missing.contains("rules.files"), "{missing}");
    std::fs::write(&one, "rules:\n  - {name: a, when: {high: count >}}\n  - {name: b, wen: {}}\n").unwrap();
    let wrong = problems(&settings(&[&one]));
    assert!(wrong.contains("one.yaml:3:") && wrong.contains("unknown key `wen`"), "{wrong}");
    std::fs::write(&one, rule("same", 1)).unwrap();
    std::fs::write(&two, rule("same", 2)).unwrap();
    let twice = problems(&settings(&[&one, &two]));
    assert!(twice.contains("two.yaml:2:") && twice.contains("has a rule `same` too"), "{twice}");
    std::fs::write(&two, rule("many", 2)).unwrap();
    let taken = problems(&settings(&[&one, &two]));
    assert!(taken.contains("another source has a rule of the name `many`"), "{taken}");
}

async fn wait_for(context: &Context, line: &str) {
    let begun = Instant::now();
    while !context.telemetry.encode().lines().any(|known| known == line) {
        assert!(begun.elapsed() < LIMIT, "{line}\n{}", context.telemetry.encode());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_file_that_changes_is_taken_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, rule("slow", 2000)).unwrap();
    let context = test_context();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let processor = with_context(&settings(&[&file]), context.clone());
        let stop = CancellationToken::new();
        processor.start("main", stop.clone()).await.unwrap();
        let mut trunk = Trunk::of(&*processor);
        assert_eq!(trunk.short(&[window("pay", 7, 2500, 1)]), ["firing high pay 7"]);
        std::fs::write(&file, "rules:\n  - {name: slow, when: {high: nonsense(}}\n").unwrap();
        wait_for(&context, "weir_threshold_rules_rejected_total{processor=\"threshold\"} 1").await;
        assert!(trunk.short(&[window("pay", 14, 2500, 1)]).is_empty(), "the rule stays as it was");
        std::fs::write(&file, rule("slow", 3000)).unwrap();
        wait_for(&context, "weir_threshold_rule_epoch{processor=\"threshold\"} 2").await;
        assert_eq!(trunk.short(&[window("pay", 21, 2500, 1)]), ["resolved high pay 21"]);
        std::fs::write(&file, rule("other", 1000)).unwrap();
        wait_for(&context, "weir_threshold_rule_epoch{processor=\"threshold\"} 3").await;
        let alarms = trunk.evaluate(&[window("pay", 28, 2500, 1)]);
        assert_eq!((alarms.len(), alarms[0]["rule"].as_str()), (1, Some("other")));
        assert_eq!(alarms[0]["rule_epoch"], 3);
        let rules = "weir_threshold_rules{processor=\"threshold\",source=\"files\"} 1";
        assert!(context.telemetry.encode().lines().any(|line| line == rules));
        stop.cancel();
    });
}
