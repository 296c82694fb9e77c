//! The settings of a `local` exporter.

use std::path::PathBuf;

use serde::Deserialize;
use weir_component::exporter_helper::{
    BatchConfig, BatchKeys, HelperConfig, QueueConfig, QueueKeys, RetryKeys,
};
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration};

/// The settings of a `local` exporter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where the files go. Made when missing.
    pub(crate) directory: PathBuf,
    /// Rows after which a file is closed.
    pub(crate) max_rows: usize,
    /// Bytes in memory after which a file is closed. The file is several times smaller.
    pub(crate) max_bytes: ByteSize,
    /// The longest that a row waits before it is in a file.
    pub(crate) flush_interval: Duration,
    /// Attribute keys that get a column of their own in a file, and as many resource keys.
    pub(crate) max_columns: usize,
    /// Hours that ended longer ago are deleted. Without it nothing is deleted.
    pub(crate) retention: Option<Duration>,
    /// Retries when a file cannot be written.
    pub(crate) retry: RetryKeys,
    /// How long the writing of a file may take.
    pub(crate) timeout: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            directory: PathBuf::from("weir-data"),
            max_rows: 100_000,
            max_bytes: ByteSize::mib(64),
            flush_interval: Duration::from_secs(5),
            max_columns: 200,
            retention: None,
            retry: RetryKeys::default(),
            timeout: Duration::from_secs(120),
        }
    }
}

impl Config {
    /// The helper's settings: what it exports together becomes one file per hour.
    pub(crate) fn helper(&self) -> HelperConfig {
        // Room for one file that is being written and one that fills.
        let queue = ByteSize::bytes(self.max_bytes.get().saturating_mul(2));
        let defaults = HelperConfig {
            queue: QueueConfig { max_bytes: queue, concurrency: 1 },
            batch: BatchConfig {
                max_rows: self.max_rows,
                max_bytes: self.max_bytes,
                timeout: self.flush_interval,
            },
            ..HelperConfig::default()
        };
        defaults.with(QueueKeys::default(), BatchKeys::default(), self.retry, Some(self.timeout))
    }
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<(Config, HelperConfig), Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    if config.directory.as_os_str().is_empty() {
        check.wrong("directory", "must not be empty; write a path such as `./weir-data`");
    }
    if config.max_rows == 0 {
        check.wrong("max_rows", "must be at least 1");
    }
    if config.max_bytes.get() == 0 {
        check.wrong("max_bytes", "must be more than 0");
    }
    if config.max_columns > 2_000 {
        check.wrong("max_columns", "must be at most 2000: every column costs memory in every file");
    }
    if config.retention.is_some_and(|retention| retention < Duration::from_secs(3_600)) {
        check.wrong("retention", "must be at least 1h: files are deleted by the hour");
    }
    let helper = config.helper();
    // The queue and the batches are made of the keys above.
    let own = |key: &str| key.starts_with("retry") || key == "timeout";
    check.all(helper.problems().into_iter().filter(|(key, _)| own(key)));
    check.finish((config, helper))
}
