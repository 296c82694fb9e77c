//! A running exporter: its start, its end, and the tasks between.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_config::ComponentId;

use super::attempt::ExportRunner;
use super::metrics::HelperMetrics;
use super::queue::capacity::QueueCapacity;
use super::queue::disk;
use super::queue::{Item, Queue};
use super::schedule::Worker;
use super::schedule::ranges::Amount;
use super::unfinished::{Condition, Unfinished};
use crate::factory::BuiltExporter;
use crate::storage::DiskQueue;
use crate::{Context, Exporter, LogLimit, StartError, Status};

/// A running exporter. Drop every [`Queue`] clone, then [`finish`](Self::finish) it.
pub struct ExporterTask {
    task: JoinHandle<()>,
    runner: Arc<ExportRunner>,
    disk: Option<Arc<dyn DiskQueue>>,
}

/// How long an orderly end waits for a destination that fails, when all that waits for it is on disk.
const PATIENCE: Duration = Duration::from_secs(1);

impl ExporterTask {
    /// The exporter's id.
    #[must_use]
    pub fn id(&self) -> &ComponentId {
        &self.runner.context.id
    }

    /// Waits until the exporter cannot go on because it, or what is in front of it, has panicked. Says what
    /// happened.
    pub fn broken(&self) -> impl Future<Output = String> + Send + 'static {
        self.runner.condition.broken()
    }

    /// The program ends: what is left undone from now on is counted.
    pub fn end(&self) {
        self.runner.condition.end();
    }

    /// Exports nothing more, but still takes what pipelines have in hand: inputs fail, and rows whose input
    /// is not read again go to the dead letters.
    pub fn give_up(&self) {
        self.runner.condition.end();
        self.runner.abort.cancel();
    }

    /// Waits until everything queued is delivered, at most `deadline`; what is left then is given up, as by
    /// [`give_up`](Self::give_up).
    pub async fn finish(mut self, deadline: Duration) -> Unfinished {
        self.end();
        if !self.ends_by(Instant::now() + deadline).await {
            self.runner.abort.cancel();
            self.runner.closed.cancel();
            // After the cancellation the task ends at its next await.
            let _ = self.task.await;
        }
        let on_disk = self.disk.map_or(0, |disk| disk.records());
        self.runner.condition.unfinished(on_disk)
    }

    /// Waits for the orderly end; whether it comes. Where everything is on disk, a destination that fails is
    /// not waited for: its failure may show only now.
    async fn ends_by(&mut self, deadline: Instant) -> bool {
        let on_disk = self.disk.is_some() && self.runner.config.detached;
        loop {
            let until = if on_disk { deadline.min(Instant::now() + PATIENCE) } else { deadline };
            if tokio::time::timeout_at(until, &mut self.task).await.is_ok() {
                return true;
            }
            if until >= deadline || self.runner.condition.trouble().is_some() {
                return false;
            }
        }
    }
}

/// Starts an exporter and its task.
///
/// # Errors
/// When the exporter cannot start.
pub async fn spawn(built: BuiltExporter, context: Context) -> Result<(Queue, ExporterTask), StartError> {
    let BuiltExporter { exporter, helper } = built;
    let exporter: Arc<dyn Exporter> = Arc::from(exporter);
    exporter.start().await?;
    let disk = match &helper.storage {
        Some(storage) => Some(open(&context, storage).await?),
        None if helper.detached => open_default(&context).await,
        None => None,
    };
    let metrics = HelperMetrics::new(&context);
    metrics.set_capacity(helper.queue.max_bytes.get());
    let (sender, receiver) = mpsc::unbounded_channel();
    let enough = Amount { rows: helper.batch.max_rows, bytes: helper.batch.max_bytes.get() };
    let capacity = QueueCapacity::new(helper.queue.max_bytes.get(), enough);
    let queue = Queue {
        id: Arc::from(context.id.to_string()),
        signals: exporter.signals(),
        demand: exporter.demand(),
        // What is safe on disk is done with for its lane.
        exact: exporter.is_idempotent() && disk.is_none(),
        // Columns are what is kept on disk.
        prepares: disk.is_none().then(|| Arc::clone(&exporter)),
        sender,
        capacity: capacity.clone(),
        detached: helper.detached,
        metrics: metrics.clone(),
        context: context.clone(),
        next_route: Arc::default(),
    };
    context.health.report(Status::Ok);
    let condition = Condition::new(context.health.clone());
    let runner = Arc::new(ExportRunner {
        exporter,
        config: helper,
        context,
        metrics,
        abort: CancellationToken::new(),
        closed: CancellationToken::new(),
        condition,
        log: LogLimit::every_ms(5_000),
        // Differs from process to process, so that many gateways do not retry in step.
        seed: AtomicU64::new(RandomState::new().hash_one("jitter")),
    });
    let inner = match disk.clone() {
        Some(disk) => tokio::spawn(with_disk(receiver, disk, enough, Arc::clone(&runner))),
        None => tokio::spawn(Worker::new(Arc::clone(&runner), capacity).run(receiver)),
    };
    let watched = Arc::clone(&runner);
    let task = tokio::spawn(async move {
        if let Err(error) = inner.await {
            watched.condition.set_broken(error.to_string());
        }
    });
    Ok((queue, ExporterTask { task, runner, disk }))
}

/// Opens the queue of an exporter that inputs must not wait for. `None`: there is no place for it.
async fn open_default(context: &Context) -> Option<Arc<dyn DiskQueue>> {
    let storage = context.storages.default_storage()?;
    let opened = storage.open_queue(&context.id.to_string()).await;
    opened
        .inspect_err(|error| {
            let exporter = &context.id;
            tracing::warn!(%exporter, %error, "rows that wait for this exporter are kept in memory, and their input waits with them: name a storage in `queue.storage`");
        })
        .ok()
}

/// Opens the exporter's queue in a storage.
async fn open(context: &Context, storage: &ComponentId) -> Result<Arc<dyn DiskQueue>, StartError> {
    let storage = context.storages.find(storage).map_err(StartError)?;
    let opened = storage.open_queue(&context.id.to_string()).await;
    opened.map_err(|error| StartError(format!("its queue cannot be opened: {error}")))
}

/// Runs the worker behind a queue on disk. Batches that wait for the disk and batches read from it have a
/// capacity each.
async fn with_disk(
    receiver: mpsc::UnboundedReceiver<Item>,
    disk: Arc<dyn DiskQueue>,
    enough: Amount,
    runner: Arc<ExportRunner>,
) {
    let capacity = QueueCapacity::new(runner.config.queue.max_bytes.get(), enough);
    let worker = Worker::new(Arc::clone(&runner), capacity.clone());
    let (sender, from_disk) = mpsc::unbounded_channel();
    let writer = tokio::spawn(disk::write(receiver, Arc::clone(&disk), Arc::clone(&runner)));
    let reader = tokio::spawn(disk::read(Arc::clone(&disk), sender, capacity, Arc::clone(&runner)));
    worker.run(from_disk).await;
    for ended in [writer.await, reader.await] {
        if let Err(error) = ended {
            tracing::error!(exporter = %runner.context.id, %error, "a queue on disk ended abnormally; its records are exported by the next start");
            runner.condition.set_broken(error.to_string());
        }
    }
    disk.close().await;
}
