//! Starting a graph, waiting, and stopping it in order.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_component::budget::MemoryBudget;
use weir_component::collector_names::ItemCounters;
use weir_component::delivery::{Marks, TrunkStart};
use weir_component::exporter_helper::{self, ExporterTask, Queue, Unfinished};
use weir_component::{Processor, ReceiverError, ReceiverHost, Status};
use weir_config::{ByteSize, ComponentId};
use weir_pdata::{Demand, SharedProjection, SignalSet};

use super::extensions::Extensions;
use super::lane::{ReceiverLanes, RunningPipeline};
use super::trunk::Trunk;
use crate::graph::{BuiltPipeline, BuiltReceiver, Graph};
use crate::memory;
use crate::traffic::Flow;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End when every receiver has come to its end.
    pub exit_on_end: bool,
}

/// Why a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// `stop` was cancelled.
    Stopped,
    /// Every receiver came to its end.
    EndOfInput,
}

/// Runs a graph until `stop` is cancelled or its input ends, then stops it in order.
///
/// # Errors
/// When a component cannot start, or a receiver cannot go on. Everything is stopped in order first.
pub async fn run(mut graph: Graph, options: Options, stop: CancellationToken) -> anyhow::Result<Ended> {
    let deadline = graph.service.shutdown_timeout.get();
    let board = graph.board.clone();
    let extensions = Extensions::start(std::mem::take(&mut graph.extensions)).await?;
    let outcome = match start(graph, &stop).await {
        Ok(Some(mut running)) => {
            extensions.ready().await;
            board.program().report(Status::Ok);
            let outcome = running.wait(options, &stop).await;
            board.program().report(match &outcome {
                Ok(_) => Status::Stopping,
                Err(error) => Status::FatalError(format!("{error:#}")),
            });
            stop.cancel();
            let unfinished = running.stop(deadline).await;
            outcome.and_then(
                |ended| if unfinished.is_empty() { Ok(ended) } else { Err(left(deadline, &unfinished)) },
            )
        }
        Ok(None) => Ok(Ended::Stopped),
        Err(error) => Err(error),
    };
    extensions.stop().await;
    outcome
}

/// A started graph.
struct Running {
    receivers: JoinSet<Result<(), ReceiverError>>,
    trunks: JoinSet<()>,
    pipelines: Vec<Arc<RunningPipeline>>,
    exporters: Vec<ExporterTask>,
    /// Each ends when an exporter cannot go on: its id, and why.
    broken: JoinSet<(ComponentId, String)>,
    queues: Vec<Queue>,
}

/// Starts everything; `None` when `stop` was cancelled before it was complete.
async fn start(graph: Graph, stop: &CancellationToken) -> anyhow::Result<Option<Running>> {
    let Graph { receivers, pipelines, exporters, telemetry, service, traffic, .. } = graph;
    let mut running = Running {
        receivers: JoinSet::new(),
        trunks: JoinSet::new(),
        pipelines: Vec::new(),
        exporters: Vec::new(),
        broken: JoinSet::new(),
        queues: Vec::new(),
    };
    for (context, built) in exporters {
        let id = context.id.clone();
        let (queue, task) = exporter_helper::spawn(built, context)
            .await
            .with_context(|| format!("exporter {id} cannot start"))?;
        let broken = task.broken();
        running.broken.spawn(async move { (id, broken.await) });
        running.exporters.push(task);
        running.queues.push(queue);
    }
    for (at, pipeline) in pipelines.into_iter().enumerate() {
        let feeding = receivers.iter().filter(|built| built.pipelines.contains(&at));
        let feeding: Arc<[Arc<str>]> = feeding.map(|built| Arc::from(built.context.id.to_string())).collect();
        let BuiltPipeline { id, accepts, processors, exporters, .. } = pipeline;
        for (context, processor) in &processors {
            let started = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                started = processor.start(&id, stop.clone()) => started,
            };
            started.with_context(|| format!("processor {} cannot start", context.id))?;
            context.health.report(Status::Ok);
        }
        let queues: Arc<[Queue]> = exporters.iter().map(|at| running.queues[*at].clone()).collect();
        let readers = processors.iter().filter(|(_, processor)| processor.demand() != Demand::nothing());
        let reads = readers.fold(SignalSet::NONE, |all, (_, processor)| all.or(processor.signals()));
        let flow = Arc::new(Flow::new(
            id.clone(),
            feeding.iter().map(ToString::to_string).collect(),
            processors.iter().map(|(context, _)| context.id.to_string()).collect(),
            exporters.iter().map(|at| running.exporters[*at].id().to_string()).collect(),
        ));
        traffic.add(Arc::clone(&flow));
        let processors: Arc<[Box<dyn Processor>]> =
            processors.into_iter().map(|(_, processor)| processor).collect();
        let trunk =
            TrunkStart { pipeline: Arc::from(id.as_str()), marks: Marks::default(), receivers: feeding };
        let stages: Vec<_> = processors
            .iter()
            .enumerate()
            .filter_map(|(at, processor)| Some((at, processor.trunk_stage(&trunk)?)))
            .collect();
        let TrunkStart { pipeline, marks, .. } = trunk;
        let trunk = if stages.is_empty() {
            None
        } else {
            let (sender, trunk) = Trunk::new(id, stages, &queues, telemetry.clone(), Arc::clone(&flow));
            running.trunks.spawn(trunk.run());
            Some(Arc::new(sender))
        };
        running.pipelines.push(Arc::new(RunningPipeline {
            id: pipeline,
            marks,
            accepts,
            processors,
            queues,
            trunk,
            reads,
            flow,
        }));
    }
    let reserved: u64 = receivers.iter().map(|built| built.receiver.reserve()).sum();
    let limit = memory::bytes(service.memory.limit);
    // Lanes must have at least as much as receivers may keep: else one batch may not fit.
    if reserved > limit / 2 {
        bail!(
            "service.memory.limit is {}, and the queues of the receivers alone may take {}: raise the limit to {} at least, \
             or lower their queue.max_bytes",
            ByteSize::bytes(limit),
            ByteSize::bytes(reserved),
            ByteSize::bytes(reserved.saturating_mul(2))
        );
    }
    let budget = MemoryBudget::new(limit - reserved, &telemetry);
    let next_id = Arc::new(AtomicU64::new(1));
    for built in receivers {
        let BuiltReceiver { context, receiver, pipelines, demand } = built;
        let projection = SharedProjection::new(demand);
        let transport = receiver.transport();
        let items =
            transport.map(|transport| ItemCounters::accepted(&telemetry, &context.id.to_string(), transport));
        let lanes = Arc::new(ReceiverLanes {
            traffic: traffic.clone(),
            items,
            context: context.clone(),
            pipelines: pipelines.iter().map(|at| running.pipelines[*at].clone()).collect(),
            projection: projection.clone(),
            budget: budget.clone(),
            next_id: next_id.clone(),
        });
        let host = ReceiverHost { context, projection, lanes };
        let stop = stop.clone();
        running.receivers.spawn(async move {
            let health = &host.context.health;
            let ended = receiver.run(host.clone(), stop.clone()).await;
            health.report(match &ended {
                Ok(()) => Status::Stopped,
                Err(error) => Status::FatalError(error.to_string()),
            });
            if ended.is_ok() && !stop.is_cancelled() {
                // Nothing more comes of it.
                host.ready();
            }
            ended
        });
    }
    tracing::info!(pipelines = running.pipelines.len(), "weir is running");
    Ok(Some(running))
}

impl Running {
    /// Waits for the end: `stop`, the end of all input, or a failure.
    async fn wait(&mut self, options: Options, stop: &CancellationToken) -> anyhow::Result<Ended> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Stopped),
                Some(ended) = self.trunks.join_next() => {
                    let error = ended.err().map_or_else(|| anyhow!("it ended early"), Into::into);
                    return Err(error.context("a pipeline's trunk failed; its input will be read again"));
                }
                Some(Ok((id, why))) = self.broken.join_next() => {
                    return Err(anyhow!(why).context(format!("exporter {id} failed; its input will be read again")));
                }
                ended = self.receivers.join_next() => match ended {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => return Err(anyhow::Error::new(error).context("a receiver cannot go on")),
                    Some(Err(error)) => {
                        return Err(anyhow::Error::new(error).context("a receiver failed; its input will be read again"));
                    }
                    None if options.exit_on_end => return Ok(Ended::EndOfInput),
                    None => {
                        tracing::info!("all input has ended; waiting for a signal (run with --exit-on-end to end here)");
                        stop.cancelled().await;
                        return Ok(Ended::Stopped);
                    }
                },
            }
        }
    }

    /// Stops in order, within `deadline`. What is not finished by then is read again, or in the dead letters:
    /// how many rows of which exporters.
    async fn stop(self, deadline: Duration) -> Vec<(ComponentId, Unfinished)> {
        let until = Instant::now() + deadline;
        let left = || until.saturating_duration_since(Instant::now());
        let Running { mut receivers, mut trunks, pipelines, exporters, broken: _, queues } = self;
        exporters.iter().for_each(ExporterTask::end);
        let give_up = || exporters.iter().for_each(ExporterTask::give_up);
        let drained = ended(left(), give_up, async {
            while let Some(ended) = receivers.join_next().await {
                report(ended);
            }
        });
        if !drained.await {
            tracing::warn!(
                "receivers did not drain in time; the input that they had in hand will be read again"
            );
            receivers.shutdown().await;
        }
        drop(pipelines); // the last senders of the trunks
        if !ended(left(), give_up, async { while trunks.join_next().await.is_some() {} }).await {
            trunks.shutdown().await;
        }
        drop(queues);
        let mut all = Vec::new();
        for exporter in exporters {
            let id = exporter.id().clone();
            let unfinished = exporter.finish(left()).await;
            if unfinished.on_disk > 0 {
                let records = unfinished.on_disk;
                tracing::info!(exporter = %id, records, "records that wait on disk are exported by the next start");
            }
            if unfinished.rows() > 0 {
                all.push((id, unfinished));
            }
        }
        all
    }
}

/// How long what pipelines have in hand may take to come to exporters that have given up.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Waits for the end of `work`; when that takes longer than `left`, tells the exporters to give up, so that
/// they take what `work` waits to hand over. Whether it has ended.
async fn ended(left: Duration, give_up: impl FnOnce(), work: impl Future<Output = ()>) -> bool {
    let mut work = std::pin::pin!(work);
    if tokio::time::timeout(left, &mut work).await.is_ok() {
        return true;
    }
    give_up();
    tokio::time::timeout(HAND_OVER, work).await.is_ok()
}

/// Says what was left undone, as an error of the program.
fn left(deadline: Duration, unfinished: &[(ComponentId, Unfinished)]) -> anyhow::Error {
    let timeout = weir_config::Duration::from(deadline);
    let mut rows = Vec::new();
    for (id, Unfinished { read_again, dead_letters, .. }) in unfinished {
        for (count, what) in [
            (read_again, "their input is read again by the next start"),
            (dead_letters, "nobody reads their input again, they are in the dead letters"),
        ] {
            if *count > 0 {
                tracing::error!(exporter = %id, rows = count, "not exported within shutdown_timeout ({timeout}): {what}");
                rows.push(format!("{count} rows of `{id}` ({what})"));
            }
        }
    }
    anyhow!("not exported within shutdown_timeout ({timeout}): {}", rows.join("; "))
}

fn report(ended: Result<Result<(), ReceiverError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a receiver ended with an error"),
        Err(error) => tracing::error!(%error, "a receiver ended abnormally"),
    }
}
