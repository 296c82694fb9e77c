//! The task of an exporter: takes batches from the queue, groups them, starts exports.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_pdata::Signal;

use super::config::BatchConfig;
use super::delivery::Delivery;
use super::metrics::HelperMetrics;
use super::queue::{Queue, Queued, capacity};
use crate::factory::BuiltExporter;
use crate::{Context, LogLimit, StartError};

/// A running exporter. Drop every [`Queue`] clone, then [`finish`](Self::finish) it.
pub struct ExporterTask {
    task: JoinHandle<()>,
    abort: CancellationToken,
}

impl ExporterTask {
    /// Waits until everything queued is delivered, at most `deadline`; what is left then fails.
    pub async fn finish(mut self, deadline: Duration) {
        if tokio::time::timeout(deadline, &mut self.task).await.is_err() {
            self.abort.cancel();
            // After the cancellation the task ends at its next await.
            let _ = self.task.await;
        }
    }
}

/// Starts an exporter and its task.
///
/// # Errors
/// When the exporter cannot start.
pub async fn spawn(built: BuiltExporter, context: Context) -> Result<(Queue, ExporterTask), StartError> {
    let BuiltExporter { exporter, helper } = built;
    exporter.start().await?;
    let metrics = HelperMetrics::new(&context);
    let (sender, receiver) = mpsc::unbounded_channel();
    let capacity = capacity(helper.queue.max_bytes.get());
    let queue = Queue {
        signals: exporter.signals(),
        demand: exporter.demand(),
        sender,
        room: Arc::new(Semaphore::new(capacity as usize)),
        capacity,
        metrics: metrics.clone(),
    };
    let abort = CancellationToken::new();
    let delivery = Arc::new(Delivery {
        exporter,
        config: helper,
        context,
        metrics,
        abort: abort.clone(),
        log: LogLimit::every_ms(5_000),
        // Differs from process to process, so that many gateways do not retry in step.
        seed: AtomicU64::new(RandomState::new().hash_one("jitter")),
    });
    let task = tokio::spawn(work(receiver, delivery));
    Ok((queue, ExporterTask { task, abort }))
}

/// Batches of one signal that wait for company.
#[derive(Default)]
struct Group {
    batches: Vec<Queued>,
    rows: usize,
    bytes: u64,
    due: Option<Instant>,
}

impl Group {
    fn add(&mut self, queued: Queued, config: &BatchConfig) {
        self.rows += queued.batch.len();
        self.bytes += queued.batch.memory() as u64;
        self.due.get_or_insert_with(|| Instant::now() + config.timeout.get());
        self.batches.push(queued);
    }

    fn is_full(&self, config: &BatchConfig) -> bool {
        self.rows >= config.max_rows || self.bytes >= config.max_bytes.get()
    }
}

async fn work(mut receiver: mpsc::UnboundedReceiver<Queued>, delivery: Arc<Delivery>) {
    let config = delivery.config.batch;
    let concurrency = delivery.config.queue.concurrency;
    let mut groups: [Group; Signal::ALL.len()] = Default::default();
    let mut exports = JoinSet::new();
    loop {
        let due = groups.iter().filter_map(|group| group.due).min();
        let next = tokio::select! {
            biased;
            () = delivery.abort.cancelled() => break,
            next = receiver.recv() => Some(next),
            () = until(due) => None,
        };
        let ended = matches!(next, Some(None));
        if let Some(Some(queued)) = next {
            groups[queued.batch.signal as usize].add(queued, &config);
        }
        let now = Instant::now();
        for group in &mut groups {
            let ready = ended || group.is_full(&config) || group.due.is_some_and(|due| due <= now);
            if ready && !group.batches.is_empty() {
                while exports.len() >= concurrency {
                    note_panic(exports.join_next().await, &delivery);
                }
                let group = std::mem::take(group);
                exports.spawn(delivery.clone().run(group.batches));
            }
        }
        if ended {
            break;
        }
    }
    drop((groups, receiver)); // when aborted: fails what still waits
    while !exports.is_empty() {
        note_panic(exports.join_next().await, &delivery);
    }
    delivery.exporter.stop().await;
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// An export that panicked has failed its inputs; say so.
fn note_panic(ended: Option<Result<(), JoinError>>, delivery: &Delivery) {
    if let Some(Err(error)) = ended {
        tracing::error!(exporter = %delivery.context.id, %error, "an export ended abnormally; its input will be read again");
    }
}
