//! The settings of a `filter` processor.

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::Diagnostics;
use weir_pdata::Signal;

use crate::conditions::{Conditions, Doubt};

/// A `filter` section as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// What becomes of a row on which a condition fails.
    error_mode: ErrorMode,
    traces: Option<Rows>,
    logs: Option<Rows>,
    metrics: Option<Rows>,
    windows: Option<Rows>,
    alarms: Option<Rows>,
}

/// The conditions for the rows of one signal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rows {
    /// Rows for which none of these is true are dropped. Empty: none is.
    keep: Vec<String>,
    /// Rows for which one of these is true are dropped.
    drop: Vec<String>,
}

/// What a failure of a condition means for its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ErrorMode {
    /// The row stays, as far as this condition goes. The log shows it.
    #[default]
    Ignore,
    /// The same, without a line in the log.
    Silent,
    /// The row is dropped, as far as this condition goes. The log shows it.
    Drop,
}

/// A checked section.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The signals that have conditions, with these.
    pub(crate) signals: Vec<(Signal, Conditions)>,
    /// Whether failures are logged.
    pub(crate) logs_failures: bool,
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key, value and expression, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<Checked, Diagnostics> {
    let Config { error_mode, traces, logs, metrics, windows, alarms } = settings.read()?;
    let mut check = Check::new(settings);
    let doubt = if error_mode == ErrorMode::Drop { Doubt::Drops } else { Doubt::Keeps };
    let mut signals = Vec::new();
    for (signal, rows) in Signal::ALL.into_iter().zip([traces, logs, metrics, windows, alarms]) {
        let Some(rows) = rows else { continue };
        if rows.keep.is_empty() && rows.drop.is_empty() {
            check.wrong(signal.name(), "no condition: name some under `keep` or `drop`");
        }
        let mut parsed = |word: &str, texts: &[String]| {
            let texts = texts.iter().enumerate();
            let conditions = texts.filter_map(|(at, text)| {
                let key = format!("{signal}.{word}[{at}]");
                let condition = check.condition(&key, text)?;
                let names = condition.names().iter().map(String::as_str);
                check.columns(&key, names, &[signal]);
                Some(condition)
            });
            conditions.collect()
        };
        let (keep, drop) = (parsed("keep", &rows.keep), parsed("drop", &rows.drop));
        signals.push((signal, Conditions { keep, drop, doubt }));
    }
    if signals.is_empty() {
        check.wrong("", "nothing to filter: write conditions under traces, logs, metrics, windows or alarms");
    }
    check.finish(Checked { signals, logs_failures: error_mode != ErrorMode::Silent })
}
