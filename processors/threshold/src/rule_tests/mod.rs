//! Tests of rules: windows that are given, and the alarms that have to fire at a time. The form of the files
//! is that of `promtool test rules`, and so is the meaning, but that windows take the place of samples: value
//! `k` of a series is that of the window that ends after `k + 1` intervals.

mod compare;
mod keys;
mod notation;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use weir_alarms::Alarm;
use weir_component::{Context, DeadLetters, Telemetry, Watermark};
use weir_config::{ComponentId, Diagnostics};
use weir_pdata::json::JsonLines;
use weir_pdata::{Projection, Signal};

use crate::evaluation::evaluator::Evaluator;
use crate::evaluation::series_table::Bounds;
use crate::rule::Rule;
use crate::rule_source::rule_book::RuleBook;
use keys::RuleTest;
pub(crate) use sources::id;

/// Of what a test may have.
const BOUNDS: Bounds = Bounds { series: 1_000_000, past_windows: 10_000_000 };

/// What became of the tests of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestReport {
    /// How many tests there are.
    pub tests: usize,
    /// What is not as it is expected: test, time, rule, and a line for each difference. `-` is missing, `+`
    /// is too much.
    pub failures: Vec<String>,
}

/// Runs the tests of a file.
///
/// # Errors
/// What is wrong with the file, or with the rules that it names.
pub fn run_tests(path: &Path) -> Result<TestReport, Diagnostics> {
    let file = keys::read(path)?;
    let id = sources::id()?;
    let failures = file.tests.iter().flat_map(|test| run(test, &file.rules, &id)).collect();
    Ok(TestReport { tests: file.tests.len(), failures })
}

/// Reads the rules of files: files of rules, or configurations. Gives their number.
///
/// # Errors
/// What is wrong with them.
pub fn check_rules(files: &[PathBuf]) -> Result<usize, Diagnostics> {
    sources::rules(files).map(|rules| rules.len())
}

/// What is not as it is expected.
fn run(test: &RuleTest, rules: &[Rule], id: &ComponentId) -> Vec<String> {
    let book = RuleBook::new(rules.to_vec(), None, 0);
    let telemetry = Telemetry::default();
    let context = Context::new(id.clone(), telemetry.clone(), DeadLetters::new(PathBuf::new(), 0, telemetry));
    let mut evaluator = Evaluator::new(book.shared(), BOUNDS, &context);
    let (mut firing, mut failures) = (BTreeMap::<String, Alarm>::new(), Vec::new());
    let steps = test.inputs.values().flat_map(BTreeMap::values).map(Vec::len).max().unwrap_or(0);
    let mut step = 0;
    for case in &test.cases {
        let due = usize::try_from(case.at / test.interval).unwrap_or(usize::MAX);
        while step < due.min(steps) {
            let lines = windows(test, step);
            let read = JsonLines::read(lines.iter().map(Vec::as_slice), &Projection::everything());
            for rejected in &read.rejected {
                failures.push(format!("test `{}`: a window is refused: {}", test.name, rejected.reason));
            }
            for (_, batch) in read.batches.iter().filter(|(signal, _)| *signal == Signal::Windows) {
                take(&mut firing, evaluator.evaluate(batch).alarms);
            }
            step += 1;
            pass(&mut evaluator, &mut firing, test.start + step as i64 * test.interval);
        }
        pass(&mut evaluator, &mut firing, test.start + case.at);
        let of_rule: Vec<&Alarm> = firing.values().filter(|alarm| *alarm.rule == *case.rule).collect();
        let differences = compare::differences(case, &of_rule);
        if !differences.is_empty() {
            let head = format!("test `{}`, at {}, rule `{}`:", test.name, case.shown_at, case.rule);
            failures.push(format!("{head}\n  {}", differences.join("\n").replace('\n', "\n  ")));
        }
    }
    failures
}

/// No window that ends up to this moment, in milliseconds, comes any more.
fn pass(evaluator: &mut Evaluator, firing: &mut BTreeMap<String, Alarm>, to: i64) {
    let (alarms, names) = evaluator.boundary(Watermark(to - 1));
    evaluator.delivered(names);
    take(firing, alarms);
}

fn take(firing: &mut BTreeMap<String, Alarm>, alarms: Vec<Alarm>) {
    for alarm in alarms {
        if alarm.firing {
            firing.insert(alarm.fingerprint.clone(), alarm);
        } else {
            firing.remove(&alarm.fingerprint);
        }
    }
}

/// The windows of a step, as lines of JSON.
fn windows(test: &RuleTest, step: usize) -> Vec<Vec<u8>> {
    let (from, to) = (step as i64 * test.interval, (step as i64 + 1) * test.interval);
    let mut lines = Vec::new();
    for (labels, measures) in &test.inputs {
        let mut row = Map::new();
        for (measure, values) in measures {
            if let Some(Some(value)) = values.get(step) {
                row.insert(measure.clone(), number(*value, values));
            }
        }
        if row.is_empty() {
            continue;
        }
        row.insert("operator".to_owned(), "aggregate".into());
        for (name, text) in labels {
            row.insert(name.clone(), text.as_str().into());
        }
        for (name, value) in [
            ("signal", json!("windows")),
            ("window_start", json!(test.start + from)),
            ("window_end", json!(test.start + to)),
            ("window_size_ms", json!(test.interval)),
            ("firing", json!(0)),
        ] {
            row.insert(name.to_owned(), value);
        }
        lines.push(Value::Object(row).to_string().into_bytes());
    }
    lines
}

/// A whole number when all values of the series are: so that columns have one type.
fn number(value: f64, all: &[Option<f64>]) -> Value {
    let is_whole = |value: f64| value.fract() == 0.0 && value.abs() < 9e15;
    match all.iter().flatten().all(|value| is_whole(*value)) {
        true => json!(value as i64),
        false => json!(value),
    }
}
