//! The settings of `debug`. The key-by-key list is in the README.

use serde::Deserialize;
use weir_component::Settings;
use weir_component::exporter_helper::{BatchKeys, HelperConfig, QueueKeys, RetryConfig};
use weir_config::{Diagnostics, Duration};
use weir_pdata::SignalSet;

/// What is shown, and how much of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebugConfig {
    /// The signals to show.
    #[serde(default = "all")]
    pub signals: SignalSet,
    /// How each batch is shown.
    #[serde(default)]
    pub verbosity: Verbosity,
    /// Lines shown in a second. What is beyond is counted. 0: no limit.
    #[serde(default = "two_hundred")]
    pub max_rows_per_second: u64,
    /// Waiting batches.
    #[serde(default)]
    pub queue: QueueKeys,
    /// What is shown together.
    #[serde(default)]
    pub batch: BatchKeys,
    /// What happens when standard output is a file on a full disk.
    #[serde(default)]
    pub retry: RetryConfig,
    /// How long one write may take.
    pub timeout: Option<Duration>,
}

/// How a batch is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
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

impl DebugConfig {
    /// Checks what serde cannot, and gives the settings of the helper.
    pub fn check(&self, settings: Settings<'_>) -> Result<HelperConfig, Diagnostics> {
        let helper = HelperConfig::default().with(self.queue.clone(), self.batch, self.retry, self.timeout);
        let mut found = Diagnostics::new();
        helper.check(settings, &mut found);
        if helper.queue.concurrency > 1 {
            found.push(
                settings.error_at("queue.concurrency", "lines are shown by one export at a time: must be 1"),
            );
        }
        found.into_result(helper)
    }
}
