//! What stands in front of every exporter: a bounded queue, batches, retries, metrics.
//!
//! * [`Queue::send`] waits while the queue is full. That is the back-pressure: nothing is dropped. QueueCapacity that gets free goes
//!   where it makes an export larger.
//! * Waiting batches of one signal are exported together: up to `batch.max_rows` or `batch.max_bytes`, or what has
//!   come within `batch.timeout`.
//! * For [idempotent](crate::Exporter::is_idempotent) exporters, ranges of one lane are exported instead ([`ranges`]): written
//!   down in the lane's [`Ledger`](crate::delivery::Ledger) first, under an identity that the lane's next owner repeats.
//!   Batches with an identity of their own (windows) go alone.
//! * What a lane's earlier owner has exported is left out.
//! * A [retryable](crate::ExportError::Retryable) error is retried for ever (`retry.max_elapsed_time: 0s`), with
//!   capped, jittered back-off. A [permanent](crate::ExportError::Permanent) one splits the rows until the bad ones
//!   stand alone; those go to the dead letters, the others are delivered. Of a range, each part is written down before it is
//!   exported, so that the lane's next owner repeats it, too.
//! * A batch is acknowledged when `export` has returned `Ok`, or its bad rows are in the dead letters. Whatever is
//!   unfinished when the helper is stopped fails, and is read again by the next start.
//! * Inputs never wait for a [detached](HelperConfig::detached) exporter: what waits is on disk, or given up.
//! * When the program ends, rows whose input nobody reads again go to the dead letters; all others fail ([`Unfinished`]).
//! * With `queue.storage` the queue is on disk: a batch is acknowledged when it is safe there, and what is not exported
//!   when the program ends is exported by the next start (at least once; the order is kept).

mod attempt;
mod config;
mod metrics;
mod queue;
mod schedule;
mod task;
mod unfinished;

pub use attempt::{Backoff, isolation};
pub use config::{BatchConfig, BatchKeys, HelperConfig, QueueConfig, QueueKeys, RetryConfig, RetryKeys};
pub use metrics::METRICS;
pub use queue::{LaneQueue, Queue};
pub use schedule::ranges;
pub use task::{ExporterTask, spawn};
pub use unfinished::Unfinished;
