//! The settings of `file`. The key-by-key list is in the README.

use std::path::PathBuf;

use serde::Deserialize;
use weir_component::exporter_helper::{BatchKeys, HelperConfig, QueueKeys, RetryKeys};
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration};
use weir_pdata::SignalSet;

/// What is written, where, and when a new file begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// The file. Its folder is made when missing.
    pub(crate) path: PathBuf,
    /// The signals to write.
    #[serde(default = "all")]
    pub(crate) signals: SignalSet,
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
    /// What is written together.
    #[serde(default)]
    pub(crate) batch: BatchKeys,
    /// What happens after an I/O error.
    #[serde(default)]
    pub(crate) retry: RetryKeys,
    /// How long one write may take.
    pub(crate) timeout: Option<Duration>,
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

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<(FileConfig, HelperConfig), Diagnostics> {
    let config: FileConfig = settings.read()?;
    let helper =
        HelperConfig::default().with(config.queue.clone(), config.batch, config.retry, config.timeout);
    let mut check = Check::new(settings);
    check.helper(&helper);
    check.one_export_at_a_time(&helper, "a file is written by one export at a time");
    check.finish((config, helper))
}
