//! The settings of `file`. The key-by-key list is in the README.

use std::path::PathBuf;

use serde::Deserialize;
use weir_component::exporter_helper::{BatchKeys, HelperConfig, QueueKeys, RetryKeys};
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration};
use weir_pdata::{Signal, SignalSet};

/// The rows to write, the file, and the beginning of a new one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// The file. Its folder is made when missing.
    pub(crate) path: PathBuf,
    /// The form of a line.
    #[serde(default)]
    pub(crate) format: LineFormat,
    /// The signals to write; else all that the format has.
    pub(crate) signals: Option<SignalSet>,
    /// Write behind what the file has; else it begins empty at each start.
    #[serde(default = "yes")]
    pub(crate) append: bool,
    /// Wait until the disk has the rows before they count as delivered.
    #[serde(default)]
    pub(crate) sync: bool,
    /// Size at which the file is set aside as `<path>.1`. 0: never.
    #[serde(default)]
    pub(crate) max_bytes: ByteSize,
    /// How many set-aside files are kept.
    #[serde(default = "five")]
    pub(crate) max_files: usize,
    /// Waiting batches.
    #[serde(default)]
    pub(crate) queue: QueueKeys,
    /// Changes that are written together.
    #[serde(default)]
    pub(crate) batch: BatchKeys,
    /// Retries after an I/O error.
    #[serde(default)]
    pub(crate) retry: RetryKeys,
    /// How long one write may take.
    pub(crate) timeout: Option<Duration>,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineFormat {
    /// One row, in Weir's own form.
    #[default]
    Json,
    /// One request in OTLP's JSON.
    OtlpJson,
}

impl LineFormat {
    /// The signals that have this form.
    pub(crate) const fn signals(self) -> SignalSet {
        match self {
            LineFormat::Json => SignalSet::ALL,
            LineFormat::OtlpJson => SignalSet::of(&[Signal::Traces, Signal::Logs, Signal::Metrics]),
        }
    }
}

const fn yes() -> bool {
    true
}

const fn five() -> usize {
    5
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<(FileConfig, HelperConfig), Diagnostics> {
    let config: FileConfig = settings.read()?;
    let helper =
        HelperConfig::default().with(config.queue.clone(), config.batch, config.retry, config.timeout);
    let mut check = Check::new(settings);
    let without_form = [Signal::Windows, Signal::Alarms]
        .into_iter()
        .find(|signal| config.signals.is_some_and(|signals| signals.contains(*signal)));
    if let Some(signal) = without_form.filter(|_| config.format == LineFormat::OtlpJson) {
        let message = format!("{signal} have no form in OTLP; write them with `format: json`");
        check.wrong("signals", message);
    }
    check.helper(&helper);
    check.one_export_at_a_time(&helper, "a file is written by one export at a time");
    check.finish((config, helper))
}
