//! A file of rule tests, read and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::{Diagnostics, Duration, Section, nearest};

use super::notation::{series, values};
use super::sources;
use crate::rule::Rule;

/// The keys of a file; the names are those of promtool.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    rule_files: Vec<PathBuf>,
    evaluation_interval: Option<Duration>,
    tests: Vec<TestKeys>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestKeys {
    name: Option<String>,
    interval: Option<Duration>,
    start_timestamp: Option<String>,
    input_series: Vec<SeriesKeys>,
    alert_rule_test: Vec<CaseKeys>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesKeys {
    series: String,
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseKeys {
    eval_time: Duration,
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<Expected>,
}

/// An alarm that fires.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Its labels, with `severity`.
    #[serde(default)]
    pub(super) exp_labels: BTreeMap<String, String>,
    /// Its annotations, when they matter.
    pub(super) exp_annotations: Option<BTreeMap<String, String>>,
    /// Its message, when it matters.
    pub(super) exp_message: Option<String>,
}

/// The tests of a file, and the rules that they are for.
pub(super) struct TestFile {
    pub(super) rules: Vec<Rule>,
    pub(super) tests: Vec<RuleTest>,
}

/// Values of windows, one after the other, by measure.
pub(super) type Measures = BTreeMap<String, Vec<Option<f64>>>;

/// Windows, and the alarms that are expected of them. Times are milliseconds from the beginning.
pub(super) struct RuleTest {
    pub(super) name: String,
    pub(super) start: i64,
    pub(super) interval: i64,
    /// Values by labels and measure; the label `operator` is the window's operator.
    pub(super) inputs: BTreeMap<Vec<(String, String)>, Measures>,
    pub(super) cases: Vec<Case>,
}

/// The alarms of one rule that fire at a time.
pub(super) struct Case {
    pub(super) at: i64,
    pub(super) shown_at: Duration,
    pub(super) rule: String,
    pub(super) expected: Vec<Expected>,
}

/// Reads a file and the rules that it names.
pub(super) fn read(path: &Path) -> Result<TestFile, Diagnostics> {
    let document = sources::document(path)?;
    let (id, node) = (sources::id()?, document.root().clone());
    let section = Section { id, key_span: node.span, node, path: String::new() };
    let settings = Settings::new(&document, &section);
    let keys: Keys = settings.read()?;
    let mut check = Check::new(settings);
    if keys.rule_files.is_empty() {
        check.wrong("rule_files", "there are no rules to test");
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let files: Vec<PathBuf> = keys.rule_files.iter().map(|file| folder.join(file)).collect();
    let rules = sources::rules(&files)?;
    let names: BTreeSet<&str> = rules.iter().map(|rule| &*rule.name).collect();
    let default = keys.evaluation_interval.unwrap_or(Duration::from_secs(60));
    let tests = keys.tests.into_iter().enumerate();
    let tests = tests.map(|(number, test)| test.check(number, default, &names, &mut check)).collect();
    check.finish(())?;
    Ok(TestFile { rules, tests })
}

fn unknown(names: &BTreeSet<&str>, name: &str) -> String {
    let near = nearest(name, names.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("there is no rule `{name}`{near}")
}

impl TestKeys {
    fn check(
        self,
        number: usize,
        default: Duration,
        names: &BTreeSet<&str>,
        check: &mut Check<'_>,
    ) -> RuleTest {
        let place = format!("tests[{number}]");
        let interval = check.millis(&format!("{place}.interval"), self.interval.unwrap_or(default));
        if interval == 0 {
            check.wrong(&format!("{place}.interval"), "must be more than 0: it is the length of the windows");
        }
        let start = self.start_timestamp.as_deref().map_or(Some(0), |text| {
            let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
            if time.is_none() {
                let why = format!("`{text}` is no time; write for example 2026-01-05T08:00:00Z");
                check.wrong(&format!("{place}.start_timestamp"), why);
            }
            time
        });
        let mut inputs: BTreeMap<_, Measures> = BTreeMap::new();
        for (number, input) in self.input_series.iter().enumerate() {
            let place = format!("{place}.input_series[{number}]");
            let parsed = series(&input.series).map_err(|why| check.wrong(&format!("{place}.series"), why));
            let found = values(&input.values).map_err(|why| check.wrong(&format!("{place}.values"), why));
            let (Ok((measure, labels)), Ok(found)) = (parsed, found) else { continue };
            if inputs.entry(labels).or_default().insert(measure, found).is_some() {
                check.wrong(&format!("{place}.series"), "there is a series of this name and labels already");
            }
        }
        let mut cases = Vec::new();
        for (number, case) in self.alert_rule_test.into_iter().enumerate() {
            let place = format!("{place}.alert_rule_test[{number}]");
            if !names.contains(case.alertname.as_str()) {
                check.wrong(&format!("{place}.alertname"), unknown(names, &case.alertname));
            }
            let at = check.millis(&format!("{place}.eval_time"), case.eval_time);
            let (rule, expected) = (case.alertname, case.exp_alerts);
            cases.push(Case { at, shown_at: case.eval_time, rule, expected });
        }
        cases.sort_by_key(|case| case.at);
        let name = self.name.unwrap_or_else(|| format!("{}", number + 1));
        RuleTest { name, start: start.unwrap_or(0), interval: interval.max(1), inputs, cases }
    }
}
