//! The settings of `debug`. The key-by-key list is in the README.

use serde::Deserialize;
use weir_component::exporter_helper::{BatchKeys, HelperConfig, QueueKeys, RetryKeys};
use weir_component::{Check, Settings};
use weir_config::{Diagnostics, Duration};
use weir_pdata::SignalSet;

/// The choice and the amount of lines to show.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DebugConfig {
    /// The signals to show.
    #[serde(default = "all")]
    pub(crate) signals: SignalSet,
    /// How each batch is shown.
    #[serde(default)]
    pub(crate) verbosity: Verbosity,
    /// Lines shown in a second. What is beyond is counted. 0: no limit.
    #[serde(default = "two_hundred")]
    pub(crate) max_rows_per_second: u64,
    /// Waiting batches.
    #[serde(default)]
    pub(crate) queue: QueueKeys,
    /// The size of an export.
    #[serde(default)]
    pub(crate) batch: BatchKeys,
    /// Retries when standard output is a file on a full disk.
    #[serde(default)]
    pub(crate) retry: RetryKeys,
    /// How long one write may take.
    pub(crate) timeout: Option<Duration>,
}

/// How a batch is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verbosity {
    /// A line a batch: signal, rows, lane.
    #[default]
    Basic,
    /// A line a row: its main fields.
    Normal,
    /// A line a row: all of it, as JSON.
    Detailed,
    /// Windows as an aligned table, alarms as lines, totals of the rest.
    Summary,
}

const fn two_hundred() -> u64 {
    200
}

const fn all() -> SignalSet {
    SignalSet::ALL
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<(DebugConfig, HelperConfig), Diagnostics> {
    let config: DebugConfig = settings.read()?;
    let helper =
        HelperConfig::default().with(config.queue.clone(), config.batch, config.retry, config.timeout);
    let mut check = Check::new(settings);
    check.helper(&helper);
    check.one_export_at_a_time(&helper, "lines are shown by one export at a time");
    check.finish((config, helper))
}
