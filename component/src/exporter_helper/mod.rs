//! The part in front of every exporter: a bounded queue, batches, retries, metrics.
//!
//! * [`Queue::send`] waits while the queue is full. This is the back-pressure: nothing is dropped. Room that
//!   is released goes to the lane whose export it completes.
//! * Waiting batches of one signal are exported together: up to `batch.max_rows` or `batch.max_bytes`, or
//!   those that arrived within `batch.timeout`.
//! * For [idempotent](crate::Exporter::is_idempotent) exporters, ranges of one lane are exported instead
//!   ([`ranges`]). A range is first written down in the lane's [`Ledger`](crate::delivery::Ledger), under an
//!   identity that the lane's next owner repeats. A batch with its own identity (windows) is exported alone.
//! * Batches that an earlier owner of the lane has exported are left out.
//! * A [retryable](crate::ExportError::Retryable) error is retried for ever (`retry.max_elapsed_time: 0s`),
//!   with capped, jittered back-off. After a [permanent](crate::ExportError::Permanent) one the rows are
//!   split until the rejected ones are isolated. Those go to the dead letters, the others are delivered. Each
//!   part of a range is written down before it is exported, so that the lane's next owner repeats the same
//!   part.
//! * A batch is acknowledged when `export` has returned `Ok`, or its rejected rows are in the dead letters.
//!   Batches that are unfinished when the helper stops fail, and their input is read again by the next start.
//! * Inputs never wait for a [detached](HelperConfig::detached) exporter: its batches wait on disk, or are
//!   given up.
//! * When the program ends, rows whose input is not read again go to the dead letters; all others fail
//!   ([`Unfinished`]).
//! * With `queue.storage` the queue is on disk. A batch is acknowledged when it is safe there. Batches that
//!   are not exported when the program ends are exported by the next start (at least once, in order).

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
