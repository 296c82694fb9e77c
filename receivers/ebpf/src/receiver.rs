//! Running: the programs in the kernel, the thread that empties their ring, and a lane for each signal.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_component::{
    Context, Lane, LaneClosed, LaneMessage, LaneSet, LaneSpec, Receiver, ReceiverError, ReceiverHost,
    Rejects, Status,
};
use weir_pdata::{Ack, Encoded, EventBatch, Origin, Signal};

use crate::config::Config;
use crate::kernel::hooks::{self, Feature, Tried};
use crate::kernel::own_process;
use crate::kernel::programs::{self, Limits};
use crate::metrics::Metrics;
use crate::worker::{Batch, Worker};

/// How long a lane is idle before it says so, and how often it says so again.
const IDLE_REPORT: Duration = Duration::from_secs(1);
/// Batches that wait for their lanes. Beyond them the ring fills.
const WAITING: usize = 8;

/// Sees connections and requests in the kernel.
pub(crate) struct EbpfReceiver {
    config: Config,
    context: Context,
}

impl EbpfReceiver {
    /// A receiver with checked settings.
    pub(crate) fn new(config: Config, context: Context) -> EbpfReceiver {
        EbpfReceiver { config, context }
    }

    fn limits(&self) -> Result<Limits, &'static str> {
        let config = &self.config;
        Ok(Limits {
            ring_bytes: u32::try_from(config.ring.get()).unwrap_or(u32::MAX),
            max_connections: config.max_connections,
            capture: u32::try_from(config.http.capture.get()).unwrap_or(u32::MAX),
            ports: config.filter.ports.clone(),
            http: config.http.enabled,
            own_tgid: own_process::tgid()?,
        })
    }

    /// Nothing can be observed. The rest of the program runs on.
    async fn do_without(&self, reason: &str, host: &ReceiverHost, stop: &CancellationToken) {
        host.ready();
        let receiver = &self.context.id;
        tracing::error!(%receiver, reason, "nothing can be observed; see `weir ebpf check`");
        self.context.health.report(Status::PermanentError(format!("nothing can be observed: {reason}")));
        stop.cancelled().await;
    }

    /// Says what runs. `Err`: nothing can.
    fn tell(&self, tried: &[Tried], metrics: &Metrics) -> Result<(), String> {
        let receiver = &self.context.id;
        for (hook, outcome) in tried {
            metrics.hook(hook.place, outcome.is_ok());
            let is_off = hook.feature == Feature::Http && !self.config.http.enabled;
            if let Err(reason) = outcome
                && !is_off
            {
                tracing::warn!(%receiver, hook = hook.place, reason, lost = hook.lost, "a hook is missing");
            }
        }
        hooks::works(tried, Feature::Base)?;
        let has_http = self.config.http.enabled && hooks::works(tried, Feature::Http).is_ok();
        if !has_http && !self.config.tcp.enabled {
            return Err(hooks::works(tried, Feature::Http).err().unwrap_or_default());
        }
        Ok(())
    }
}

#[async_trait]
impl Receiver for EbpfReceiver {
    fn transport(&self) -> Option<&'static str> {
        Some("ebpf")
    }

    fn reserve(&self) -> u64 {
        self.config.ring.get()
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let id = self.context.id.to_string();
        let abnormal = |error: tokio::task::JoinError| ReceiverError {
            message: format!("receiver `{id}`: observing ended abnormally; please report this"),
            source: Some(Box::new(error)),
        };
        let metrics = Metrics::new(&self.context.telemetry, &id);
        let limits = match self.limits() {
            Ok(limits) => limits,
            Err(reason) => {
                self.do_without(reason, &host, &stop).await;
                return Ok(());
            }
        };
        let (tried, loaded) =
            tokio::task::spawn_blocking(move || programs::load(&limits)).await.map_err(abnormal)?;
        let told = self.tell(&tried, &metrics);
        let (told, loaded) = match (told, loaded) {
            (Ok(()), Some(loaded)) => (None, Some(loaded)),
            (told, _) => (Some(told.err().unwrap_or_default()), None),
        };
        let Some((programs, ring)) = loaded else {
            self.do_without(&told.unwrap_or_default(), &host, &stop).await;
            return Ok(());
        };
        let EbpfReceiver { config, context } = *self;
        // They end at one moment: none lets a window fire without what another had when it was stopped.
        let (set, mut lanes, mut senders) = (LaneSet::default(), JoinSet::new(), Vec::new());
        for signal in [Signal::Traces, Signal::Metrics] {
            let name: Arc<str> = format!("{id}/{}", signal.name()).into();
            let spec = LaneSpec {
                name: Arc::clone(&name),
                rejects: Arc::new(NoRecords),
                ledger: None,
                set: set.clone(),
                signal: Some(signal),
            };
            let (sender, batches) = mpsc::channel(WAITING);
            lanes.spawn(LaneTask { lane: host.open_lane(spec), batches, name }.run());
            senders.push((signal, sender));
        }
        drop(set);
        let (sender, batches) = mpsc::channel(1);
        let seed = u64::try_from(context.clock.now_ms()).unwrap_or_default();
        let worker =
            Worker::new((config, context, metrics), host.projection.clone(), programs, sender, stop, seed);
        let thread = std::thread::Builder::new().name("weir-ebpf".to_owned()).spawn(move || worker.run(ring));
        let thread = thread.map_err(|error| ReceiverError {
            message: format!("receiver `{id}`: the thread that reads events cannot be started"),
            source: Some(Box::new(error)),
        })?;
        host.ready();
        distribute(batches, senders).await;
        let mut ended = Vec::new();
        while let Some(lane) = lanes.join_next().await {
            // Kept until all have ended.
            ended.push(lane.map_err(abnormal)?);
        }
        let joined = tokio::task::spawn_blocking(move || thread.join()).await.map_err(abnormal)?;
        joined.map_err(|_| {
            ReceiverError::new(format!(
                "receiver `{id}`: the thread that reads events has panicked; please report this"
            ))
        })
    }
}

/// Gives each batch to the lane of its signal, until there are no more.
async fn distribute(mut batches: mpsc::Receiver<Batch>, senders: Vec<(Signal, mpsc::Sender<Batch>)>) {
    while let Some((signal, batch)) = batches.recv().await {
        let sender = senders.iter().find(|(of, _)| *of == signal);
        if let Some((_, sender)) = sender
            && sender.send((signal, batch)).await.is_err()
        {
            return;
        }
    }
}

/// One lane.
struct LaneTask {
    lane: Lane,
    batches: mpsc::Receiver<Batch>,
    name: Arc<str>,
}

impl LaneTask {
    /// Sends until there is nothing more, then drains the lane and gives it back: it is open until it is
    /// dropped. `None`: the pipeline has stopped.
    async fn run(mut self) -> Option<Lane> {
        self.send_all().await.is_ok().then_some(self.lane)
    }

    async fn send_all(&mut self) -> Result<(), LaneClosed> {
        let mut position = 0_i64;
        let (mut since, mut said) = (Instant::now(), Duration::ZERO);
        loop {
            let next = tokio::select! {
                biased;
                next = self.batches.recv() => next,
                () = tokio::time::sleep_until(since + said + IDLE_REPORT) => {
                    said = since.elapsed();
                    self.lane.send(LaneMessage::Idle(said)).await?;
                    continue;
                }
            };
            let Some((signal, columns)) = next else { return self.lane.send(LaneMessage::Drain).await };
            self.lane.ready().await;
            let end = position.saturating_add_unsigned(columns.num_rows() as u64);
            let origin = Origin::lane(Arc::clone(&self.name), position..end);
            let batch = EventBatch::columns(signal, columns, origin, Ack::none());
            position = end;
            self.lane.send(LaneMessage::Batch(batch)).await?;
            (since, said) = (Instant::now(), Duration::ZERO);
        }
    }
}

/// This receiver has no records that could be rejected.
struct NoRecords;

impl Rejects for NoRecords {
    fn reject(&self, _: &Encoded, _: usize, _: i64, reason: &str) {
        tracing::error!(reason, "a record of the receiver `ebpf`, which has none: please report this");
    }

    fn empty(&self, _: usize) {}
}
