//! A lane in the running program: the lane stages of every pipeline that its receiver feeds.
//!
//! Everything runs in the receiver's task, batch by batch: no channel and no lock between processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_component::budget::MemoryBudget;
use weir_component::collector_names::ItemCounters;
use weir_component::delivery::{Attachment, Marks};
use weir_component::exporter_helper::{LaneQueue, Queue};
use weir_component::{
    Alignments, BACKWARDS, Clock, Context, Lane, LaneClosed, LaneId, LaneMessage, LaneSet, LaneSink,
    LaneSpec, Lanes, Outlet, Processor, Rejects, Stage,
};
use weir_pdata::decode::decode;
use weir_pdata::{EventBatch, Format, Payload, SharedProjection, Signal, SignalSet};

use super::memory_permit::{DecodedSize, with_memory_permit};
use super::metrics::{ACCEPTED, LANES};
use super::pending::Pending;
use super::trunk::TrunkSender;
use crate::traffic::{Flow, LaneDisorder, LaneEntry, Traffic};

/// A pipeline that runs: what a new lane needs of it.
pub(super) struct RunningPipeline {
    /// Its id.
    pub id: Arc<str>,
    /// Which of its windows are delivered.
    pub marks: Marks,
    /// The signals that it takes from receivers.
    pub accepts: SignalSet,
    /// Its processors, in order.
    pub processors: Arc<[Box<dyn Processor>]>,
    /// Its exporters' queues.
    pub queues: Arc<[Queue]>,
    /// Its trunk, when a processor has a stage there.
    pub trunk: Option<Arc<TrunkSender>>,
    /// The signals of whose batches one of its processors reads columns.
    pub reads: SignalSet,
    /// What goes over its edges.
    pub flow: Arc<Flow>,
}

/// Opens the lanes of one receiver.
pub(super) struct ReceiverLanes {
    /// The receiver.
    pub context: Context,
    /// The pipelines that it feeds.
    pub pipelines: Vec<Arc<RunningPipeline>>,
    /// The columns that they read.
    pub projection: SharedProjection,
    /// The memory that batches share.
    pub budget: MemoryBudget,
    /// The numbers of lanes, shared by all receivers.
    pub next_id: Arc<AtomicU64>,
    /// Where lanes are shown.
    pub traffic: Traffic,
    /// Its items under the Collector's name; `None` where it counts them by itself.
    pub items: Option<ItemCounters>,
}

impl Lanes for ReceiverLanes {
    fn open(&self, spec: LaneSpec) -> Lane {
        let id = LaneId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let ledger = spec.ledger.as_ref();
        let receiver = self.context.id.to_string();
        let of: Arc<str> = Arc::from(receiver.as_str());
        let pipelines = self.pipelines.iter();
        let pipelines = pipelines.map(|pipeline| PipelineLane::open(id, &spec, &of, pipeline)).collect();
        let open = self.context.telemetry.gauge(&LANES, &[&receiver]);
        open.inc();
        tracing::debug!(receiver, lane = %spec.name, "lane opened");
        let processors = self.pipelines.iter().flat_map(|pipeline| pipeline.processors.iter());
        let alignments = processors.filter_map(|processor| processor.alignment()).collect();
        let (entry, disorder) = self.traffic.open_lane(id, &receiver, Arc::clone(&spec.name));
        let sink = ReceiverLane {
            pipelines,
            items: self.items.clone(),
            clock: Arc::clone(&self.context.clock),
            disorder,
            _entry: entry,
            alignments: Alignments::new(id, alignments),
            projection: self.projection.clone(),
            accepted: Signal::ALL
                .map(|signal| self.context.telemetry.counter(&ACCEPTED, &[&receiver, signal.name()])),
            backwards: self.context.telemetry.counter(&BACKWARDS, &[&receiver]),
            rejects: spec.rejects,
            budget: self.budget.clone(),
            size: DecodedSize::default(),
            unfinished: ledger.and_then(|ledger| ledger.cuts().last().copied()).unwrap_or(i64::MIN),
            open,
        };
        Lane::new(id, Box::new(sink))
    }

    fn ready(&self) {
        let receiver: Arc<str> = Arc::from(self.context.id.to_string());
        let trunks = self.pipelines.iter().filter_map(|pipeline| pipeline.trunk.as_ref());
        trunks.for_each(|trunk| trunk.ready(&receiver));
    }
}

/// One lane through all pipelines of its receiver.
struct ReceiverLane {
    pipelines: Vec<PipelineLane>,
    alignments: Alignments,
    projection: SharedProjection,
    /// Rows by signal.
    accepted: [Counter; Signal::ALL.len()],
    /// The same under the Collector's names.
    items: Option<ItemCounters>,
    clock: Arc<dyn Clock>,
    disorder: LaneDisorder,
    _entry: LaneEntry,
    /// Spans that end before they start.
    backwards: Counter,
    rejects: Arc<dyn Rejects>,
    budget: MemoryBudget,
    size: DecodedSize,
    /// Ranges that an earlier owner had begun end here, or before.
    unfinished: i64,
    open: Gauge,
}

impl Drop for ReceiverLane {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[async_trait]
impl LaneSink for ReceiverLane {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        let message = match message {
            LaneMessage::Batch(batch) => {
                let bytes = if self.reads(&batch) { self.size.guess(&batch) } else { batch.memory() };
                let batch = with_memory_permit(&self.budget, bytes, self.unfinished, batch).await;
                LaneMessage::Batch(self.accept(batch))
            }
            other => other,
        };
        let Some((last, others)) = self.pipelines.split_last_mut() else { return Ok(()) };
        // The original stays here until every pipeline has its copy; a failure on the way fails the inputs.
        let mut guard = Guard(Some(message));
        for pipeline in others {
            if let Some(message) = &guard.0 {
                pipeline.send(message.clone()).await?;
            }
        }
        match guard.0.take() {
            Some(message) => last.send(message).await,
            None => Ok(()),
        }
    }

    async fn ready(&mut self) {
        self.alignments.ready().await;
    }
}

/// A message on its way; dropping it undelivered fails its inputs.
struct Guard(Option<LaneMessage>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(LaneMessage::Batch(batch)) = &self.0 {
            batch.ack.fail();
        }
    }
}

impl ReceiverLane {
    /// Whether something reads columns of this batch, which has none yet.
    fn reads(&self, batch: &EventBatch) -> bool {
        let Payload::Encoded(encoded) = &batch.payload else { return false };
        self.pipelines.iter().any(|pipeline| pipeline.reads(encoded.format))
    }

    /// Decodes a batch, when something reads columns, and counts it.
    fn accept(&mut self, batch: EventBatch) -> EventBatch {
        let batch = match &batch.payload {
            Payload::Encoded(encoded) if self.reads(&batch) => {
                let decoded = decode(encoded, &self.projection.load());
                for rejected in &decoded.rejected {
                    let position =
                        batch.origin.positions.start.saturating_add_unsigned(rejected.record as u64);
                    self.rejects.reject(encoded, rejected.record, position, &rejected.reason.to_string());
                }
                for rejected in &decoded.rejected_items {
                    let position =
                        batch.origin.positions.start.saturating_add_unsigned(rejected.record as u64);
                    let reason = rejected.reason.to_string();
                    self.rejects.reject_items(encoded, rejected.record, position, rejected.items, &reason);
                }
                for escaped in &decoded.escaped {
                    let position =
                        batch.origin.positions.start.saturating_add_unsigned(escaped.record as u64);
                    self.rejects.escaped(encoded, escaped.record, position, &escaped.key);
                }
                if decoded.empty > 0 {
                    self.rejects.empty(decoded.empty);
                }
                self.backwards.inc_by(decoded.backwards as u64);
                encoded.learn_items(decoded.columns.num_rows());
                let arena = encoded.arena.len();
                let batch = batch.with_columns(decoded.columns);
                self.size.learn(arena, batch.memory());
                batch
            }
            _ => batch,
        };
        self.accepted[batch.signal as usize].inc_by(batch.len() as u64);
        if let Some(items) = &self.items {
            items.add(batch.signal, batch.payload.items() as u64);
        }
        if let Some(columns) = batch.as_columns()
            && !matches!(batch.signal, Signal::Windows | Signal::Alarms)
        {
            self.disorder.measure(batch.signal, columns, self.clock.now_ms());
        }
        batch
    }
}

/// One lane through one pipeline.
struct PipelineLane {
    id: LaneId,
    accepts: SignalSet,
    /// Stages with the position of their processor.
    stages: Vec<(usize, Box<dyn Stage<LaneMessage>>)>,
    /// The signals of whose batches one of its processors reads columns.
    read: SignalSet,
    /// The signals whose batches one of its stages looks at.
    handled: SignalSet,
    queues: Vec<LaneQueue>,
    trunk: Option<Arc<TrunkSender>>,
    outlet: Outlet,
    pending: Pending,
    /// The lane is open for its ledger until the trunk has let it go.
    attachment: Option<Attachment>,
    /// The lanes that end with it.
    set: LaneSet,
    flow: Arc<Flow>,
}

impl PipelineLane {
    fn open(id: LaneId, spec: &LaneSpec, receiver: &Arc<str>, pipeline: &RunningPipeline) -> PipelineLane {
        let ledger = spec.ledger.as_ref();
        let (mut start, attachment) =
            match ledger.map(|ledger| ledger.attach(&pipeline.id, &pipeline.marks, id)) {
                Some((start, attachment)) => (start, Some(attachment)),
                None => (id.into(), None),
            };
        start.receiver = Some(Arc::clone(receiver));
        start.signal = spec.signal;
        let (mut stages, mut handled) = (Vec::new(), SignalSet::NONE);
        for (at, processor) in pipeline.processors.iter().enumerate() {
            let Some(stage) = processor.lane_stage(&start) else { continue };
            handled = handled.or(processor.signals());
            stages.push((at, stage));
        }
        if let Some(trunk) = &pipeline.trunk {
            trunk.open(start);
        }
        PipelineLane {
            id,
            accepts: pipeline.accepts,
            stages,
            read: pipeline.reads,
            handled,
            queues: pipeline.queues.iter().map(|queue| queue.for_lane(&pipeline.id, ledger)).collect(),
            trunk: pipeline.trunk.clone(),
            outlet: Outlet::default(),
            pending: Pending::default(),
            attachment,
            set: spec.set.clone(),
            flow: Arc::clone(&pipeline.flow),
        }
    }

    /// Whether records in this format have to be decoded for it. They are not where only exporters take
    /// them, and these as they came.
    fn reads(&self, format: Format) -> bool {
        let signal = format.signal();
        let reads = |queue: &LaneQueue| queue.reads(format, self.handled.contains(signal));
        self.accepts.contains(signal) && (self.read.contains(signal) || self.queues.iter().any(reads))
    }

    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        if let LaneMessage::Batch(batch) = &message
            && !self.accepts.contains(batch.signal)
        {
            return Ok(());
        }
        let mut to_trunk = ToTrunk::default();
        self.count(0, 0, &message);
        self.handle(0, message, &mut to_trunk);
        if let Some(trunk) = &self.trunk {
            while let Some((position, message)) = to_trunk.next() {
                trunk.send(self.id, position, message).await?;
            }
        }
        self.pending.deliver(&self.queues).await
    }

    /// Counts what goes from behind processor `from` to the stage at `at`.
    fn count(&self, from: usize, at: usize, message: &LaneMessage) {
        if let LaneMessage::Batch(batch) = message {
            let to = self.stages.get(at).map_or(usize::MAX, |(position, _)| *position);
            self.flow.on_lane(from, to, batch);
        }
    }

    /// Gives a message to the stage at `at`, and what it forwards to the stages after it.
    fn handle(&mut self, at: usize, message: LaneMessage, to_trunk: &mut ToTrunk) {
        let Some((position, stage)) = self.stages.get_mut(at) else {
            if let LaneMessage::Batch(batch) = message {
                self.pending.push(batch);
            }
            return;
        };
        stage.handle(message, &mut self.outlet);
        let position = *position;
        for message in self.outlet.take_to_trunk() {
            if let LaneMessage::Batch(batch) = &message {
                self.flow.to_trunk(position, batch);
            }
            to_trunk.push(position, message);
        }
        let forwarded: Vec<_> = self.outlet.take_forwarded().collect();
        for message in forwarded {
            self.count(position + 1, at + 1, &message);
            self.handle(at + 1, message, to_trunk);
        }
    }
}

impl Drop for PipelineLane {
    fn drop(&mut self) {
        if let Some(trunk) = &self.trunk {
            let stages = std::mem::take(&mut self.stages);
            self.set.close_lane(trunk.clone(), self.id, self.attachment.take(), stages);
        }
    }
}

/// Messages for the trunk, in order. Dropping it before they are sent fails their inputs.
#[derive(Default)]
struct ToTrunk(std::collections::VecDeque<(usize, LaneMessage)>);

impl ToTrunk {
    fn push(&mut self, position: usize, message: LaneMessage) {
        self.0.push_back((position, message));
    }

    fn next(&mut self) -> Option<(usize, LaneMessage)> {
        self.0.pop_front()
    }
}

impl Drop for ToTrunk {
    fn drop(&mut self) {
        for (_, message) in &self.0 {
            if let LaneMessage::Batch(batch) = message {
                batch.ack.fail();
            }
        }
    }
}
