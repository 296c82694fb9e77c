//! The settings of `file`. The key-by-key list is in the README.

use std::path::PathBuf;

use serde::Deserialize;
use weir_component::Settings;
use weir_component::exporter_helper::{BatchKeys, HelperConfig, QueueKeys, RetryConfig};
use weir_config::{ByteSize, Diagnostics, Duration};
use weir_pdata::SignalSet;

/// What is written, where, and when a new file begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file. Its folder is made when missing.
    pub path: PathBuf,
    /// The signals to write.
    #[serde(default = "all")]
    pub signals: SignalSet,
    /// Write behind what the file has; else it begins empty at each start.
    #[serde(default = "yes")]
    pub append: bool,
    /// Wait until the disk has the rows before they count as delivered.
    #[serde(default)]
    pub sync: bool,
    /// Size at which the file is set aside as `<path>.1`. 0: never.
    #[serde(default)]
    pub max_bytes: ByteSize,
    /// How many set-aside files are kept.
    #[serde(default = "five")]
    pub max_files: usize,
    /// Waiting batches.
    #[serde(default)]
    pub queue: QueueKeys,
    /// What is written together.
    #[serde(default)]
    pub batch: BatchKeys,
    /// What happens after an I/O error.
    #[serde(default)]
    pub retry: RetryConfig,
    /// How long one write may take.
    pub timeout: Option<Duration>,
}

const fn yes() -> bool {
    true
}

const fn five() -> usize {
    5
}

const fn all() -> SignalSet {
    SignalSet::ALL
}

impl FileConfig {
    /// Checks what serde cannot, and gives the settings of the helper.
    pub fn check(&self, settings: Settings<'_>) -> Result<HelperConfig, Diagnostics> {
        let helper = HelperConfig::default().with(self.queue.clone(), self.batch, self.retry, self.timeout);
        let mut found = Diagnostics::new();
        helper.check(settings, &mut found);
        if helper.queue.concurrency > 1 {
            found.push(
                settings
                    .error_at("queue.concurrency", "a file is written by one export at a time: must be 1"),
            );
        }
        found.into_result(helper)
    }
}
