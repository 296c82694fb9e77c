//! The settings that every exporter has.

use serde::Deserialize;
use weir_config::{ByteSize, ComponentId, Duration};

/// How the helper in front of an exporter works.
#[derive(Clone, Debug)]
pub struct HelperConfig {
    /// Waiting batches.
    pub queue: QueueConfig,
    /// The size of an export.
    pub batch: BatchConfig,
    /// Retries after an error.
    pub retry: RetryConfig,
    /// How long one export may take before it counts as a retryable error.
    pub timeout: Duration,
    /// The storage that keeps the queue on disk. `None`: it is in memory.
    pub storage: Option<ComponentId>,
    /// Exports of one signal that may start in a second; 0: no limit. What waits longer is exported together.
    pub max_per_second: u32,
    /// Inputs do not wait for the destination. Batches are kept on disk: in `storage`, else in the program's
    /// [default](crate::Storages::default_storage); without either in memory. A batch that finds no room, or
    /// has waited for `retry.max_elapsed_time` since it was queued, goes to the dead letters.
    pub detached: bool,
}

/// Batches that wait for the exporter.
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Bytes that may wait. Beyond it the pipeline waits.
    pub max_bytes: ByteSize,
    /// Exports that run at the same time. With 1 the order is kept.
    pub concurrency: usize,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { max_bytes: ByteSize::mib(16), concurrency: 1 }
    }
}

/// The size of an export.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// Rows after which an export starts.
    pub max_rows: usize,
    /// Bytes after which an export starts.
    pub max_bytes: ByteSize,
    /// The longest that a row waits for others.
    pub timeout: Duration,
}

impl Default for BatchConfig {
    fn default() -> BatchConfig {
        BatchConfig { max_rows: 8192, max_bytes: ByteSize::mib(16), timeout: Duration::from_millis(200) }
    }
}

/// Retries after a retryable error.
#[derive(Clone, Copy, Debug)]
pub struct RetryConfig {
    /// Wait before the first retry.
    pub initial_interval: Duration,
    /// The longest wait between retries.
    pub max_interval: Duration,
    /// Each wait is this many times the one before.
    pub multiplier: f64,
    /// Each wait differs by up to this share of itself, at random.
    pub randomization_factor: f64,
    /// Give up, and dead-letter the rows, after this long. `0s`: never.
    pub max_elapsed_time: Duration,
}

impl Default for RetryConfig {
    fn default() -> RetryConfig {
        RetryConfig {
            initial_interval: Duration::from_millis(500),
            max_interval: Duration::from_secs(30),
            multiplier: 1.5,
            randomization_factor: 0.5,
            max_elapsed_time: Duration::ZERO,
        }
    }
}

/// `retry` in an exporter's section: what is left out is the exporter's own default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryKeys {
    initial_interval: Option<Duration>,
    max_interval: Option<Duration>,
    multiplier: Option<f64>,
    randomization_factor: Option<f64>,
    max_elapsed_time: Option<Duration>,
}

impl Default for HelperConfig {
    fn default() -> HelperConfig {
        HelperConfig {
            queue: QueueConfig::default(),
            batch: BatchConfig::default(),
            retry: RetryConfig::default(),
            timeout: Duration::from_secs(30),
            storage: None,
            max_per_second: 0,
            detached: false,
        }
    }
}

/// `queue` in an exporter's section: what is left out is the exporter's own default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueKeys {
    max_bytes: Option<ByteSize>,
    concurrency: Option<usize>,
    storage: Option<ComponentId>,
}

/// `batch` in an exporter's section: what is left out is the exporter's own default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchKeys {
    max_rows: Option<usize>,
    max_bytes: Option<ByteSize>,
    timeout: Option<Duration>,
}

impl HelperConfig {
    /// These defaults, with what an exporter's section says.
    #[must_use]
    pub fn with(
        self,
        queue: QueueKeys,
        batch: BatchKeys,
        retry: RetryKeys,
        timeout: Option<Duration>,
    ) -> HelperConfig {
        HelperConfig {
            queue: QueueConfig {
                max_bytes: queue.max_bytes.unwrap_or(self.queue.max_bytes),
                concurrency: queue.concurrency.unwrap_or(self.queue.concurrency),
            },
            batch: BatchConfig {
                max_rows: batch.max_rows.unwrap_or(self.batch.max_rows),
                max_bytes: batch.max_bytes.unwrap_or(self.batch.max_bytes),
                timeout: batch.timeout.unwrap_or(self.batch.timeout),
            },
            retry: RetryConfig {
                initial_interval: retry.initial_interval.unwrap_or(self.retry.initial_interval),
                max_interval: retry.max_interval.unwrap_or(self.retry.max_interval),
                multiplier: retry.multiplier.unwrap_or(self.retry.multiplier),
                randomization_factor: retry.randomization_factor.unwrap_or(self.retry.randomization_factor),
                max_elapsed_time: retry.max_elapsed_time.unwrap_or(self.retry.max_elapsed_time),
            },
            timeout: timeout.unwrap_or(self.timeout),
            storage: queue.storage.or(self.storage),
            max_per_second: self.max_per_second,
            detached: self.detached,
        }
    }

    /// The faults of these settings: the key within the exporter's section, and why.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if self.queue.concurrency == 0 {
            problems.push(("queue.concurrency", "must be at least 1"));
        }
        if self.queue.max_bytes.get() == 0 {
            problems.push(("queue.max_bytes", "must be more than 0"));
        }
        if self.batch.max_rows == 0 {
            problems.push(("batch.max_rows", "must be at least 1"));
        }
        if self.batch.max_bytes.get() == 0 {
            problems.push(("batch.max_bytes", "must be more than 0"));
        }
        if self.retry.multiplier < 1.0 || !self.retry.multiplier.is_finite() {
            problems.push(("retry.multiplier", "must be at least 1"));
        }
        if !(0.0..=1.0).contains(&self.retry.randomization_factor) {
            problems.push(("retry.randomization_factor", "must be between 0 and 1"));
        }
        if self.timeout == Duration::ZERO {
            problems.push(("timeout", "must be more than 0s"));
        }
        problems
    }
}
