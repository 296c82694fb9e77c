//! The trunk of a pipeline: where the partial results of its lanes meet.
//!
//! One task runs the trunk stages, in the order of the processors. Messages of one lane arrive in order. At
//! most [`IN_FLIGHT`] data messages wait; lanes wait beyond that. A message that is never processed fails its
//! inputs.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use weir_component::delivery::{Attachment, LaneStart};
use weir_component::exporter_helper::{LaneQueue, Queue};
use weir_component::{
    LaneClosed, LaneId, LaneMessage, LaneTrunk, Outlet, Stage, Telemetry, TrunkMessage, Watermark,
};
use weir_pdata::{Held, Signal};

use super::metrics::{DERIVED, WATERMARK};
use super::pending::Pending;
use crate::traffic::Flow;

/// Data messages that may wait for a trunk.
const IN_FLIGHT: usize = 256;

/// The sending side of a trunk, for lanes. The trunk ends when it is dropped.
pub(super) struct TrunkSender {
    sender: mpsc::UnboundedSender<Input>,
    room: Arc<Semaphore>,
}

/// Messages that wait for the trunk.
struct Input {
    event: Event,
    /// The ack of a batch, kept while it waits.
    held: Held,
    _room: Option<OwnedSemaphorePermit>,
}

enum Event {
    Opened(LaneStart),
    /// This receiver has opened its lanes.
    Ready(Arc<str>),
    /// Lanes that have ended at one moment. Attachments are closed when that is handled.
    Closed(Vec<(LaneId, Option<Attachment>)>),
    /// From the lane half of the processor at this position.
    Message(LaneId, usize, LaneMessage),
}

impl TrunkSender {
    /// Says that a lane has begun. Does not wait.
    pub(super) fn open(&self, start: LaneStart) {
        self.control(Event::Opened(start));
    }

    /// Says that this receiver has opened every lane that it has for now. Does not wait.
    pub(super) fn ready(&self, receiver: &Arc<str>) {
        self.control(Event::Ready(Arc::clone(receiver)));
    }

    fn control(&self, event: Event) {
        // When the trunk has ended there is no one to notify.
        let _ = self.sender.send(Input { event, held: Held::default(), _room: None });
    }

    /// Sends a message of the lane half of the processor at `position`. Waits while the trunk is full.
    ///
    /// # Errors
    /// [`LaneClosed`] when the trunk has ended; the message's inputs have then failed.
    pub(super) async fn send(
        &self,
        lane: LaneId,
        position: usize,
        mut message: LaneMessage,
    ) -> Result<(), LaneClosed> {
        let mut held = Held::default();
        if let LaneMessage::Batch(batch) = &mut message {
            held.add(std::mem::take(&mut batch.ack));
        }
        let room = self.room.clone().acquire_owned().await.map_err(|_| LaneClosed)?;
        let event = Event::Message(lane, position, message);
        self.sender.send(Input { event, held, _room: Some(room) }).map_err(|_| LaneClosed)
    }
}

impl LaneTrunk for TrunkSender {
    fn close(&self, lanes: Vec<(LaneId, Option<Attachment>)>) {
        self.control(Event::Closed(lanes));
    }
}

/// The trunk of one pipeline, ready to run.
pub(super) struct Trunk {
    receiver: mpsc::UnboundedReceiver<Input>,
    room: Arc<Semaphore>,
    /// Stages with the position of their processor.
    stages: Vec<(usize, Box<dyn Stage<TrunkMessage>>)>,
    queues: Vec<LaneQueue>,
    telemetry: Telemetry,
    pipeline: String,
    watermark: Gauge,
    flow: Arc<Flow>,
    outlet: Outlet,
    pending: Pending,
}

impl Trunk {
    /// A trunk of these stages, each with the position of its processor, in order.
    pub(super) fn new(
        pipeline: String,
        stages: Vec<(usize, Box<dyn Stage<TrunkMessage>>)>,
        queues: &[Queue],
        telemetry: Telemetry,
        flow: Arc<Flow>,
    ) -> (TrunkSender, Trunk) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        let watermark = telemetry.gauge(&WATERMARK, &[&pipeline]);
        let trunk = Trunk {
            receiver,
            room: room.clone(),
            stages,
            queues: queues.iter().map(|queue| queue.for_lane(&pipeline, None)).collect(),
            telemetry,
            pipeline,
            watermark,
            flow,
            outlet: Outlet::default(),
            pending: Pending::default(),
        };
        (TrunkSender { sender, room }, trunk)
    }

    /// Runs until every sender is dropped, or an exporter has stopped.
    pub(super) async fn run(mut self) {
        while let Some(Input { event, held, _room }) = self.receiver.recv().await {
            match event {
                Event::Opened(start) => self.tell_all(|| TrunkMessage::LaneOpened(start.clone())),
                Event::Ready(receiver) => {
                    self.tell_all(|| TrunkMessage::ReceiverReady(Arc::clone(&receiver)));
                }
                Event::Closed(lanes) => {
                    let ids: Arc<[LaneId]> = lanes.iter().map(|(lane, _)| *lane).collect();
                    lanes.into_iter().filter_map(|(_, attachment)| attachment).for_each(Attachment::close);
                    self.tell_all(|| TrunkMessage::LanesClosed(Arc::clone(&ids)));
                }
                Event::Message(lane, position, mut message) => {
                    if let LaneMessage::Batch(batch) = &mut message {
                        batch.ack = held.release();
                    }
                    let at = self.stages.partition_point(|(stage, _)| *stage < position);
                    self.handle(at, TrunkMessage::FromLane(lane, message));
                }
            }
            if self.pending.deliver(&self.queues).await.is_err() {
                break;
            }
        }
        self.room.close();
    }

    /// Gives a message to every stage, from left to right.
    fn tell_all(&mut self, message: impl Fn() -> TrunkMessage) {
        for at in 0..self.stages.len() {
            self.handle(at, message());
        }
    }

    /// Gives a message to the stage at `at`, and what it forwards to the stages after it.
    fn handle(&mut self, at: usize, message: TrunkMessage) {
        let next = self.stages.get(at + 1).map_or(usize::MAX, |(position, _)| *position);
        let Some((position, stage)) = self.stages.get_mut(at) else {
            if let TrunkMessage::Derived(message) = message {
                self.end(message);
            }
            return;
        };
        stage.handle(message, &mut self.outlet);
        let position = *position;
        let forwarded: Vec<_> = self.outlet.take_forwarded().collect();
        self.outlet.take_to_trunk();
        for message in forwarded {
            if let LaneMessage::Batch(batch) = &message {
                self.flow.on_trunk(position, next, batch);
            }
            self.handle(at + 1, TrunkMessage::Derived(message));
        }
    }

    /// The messages that leave the last stage.
    fn end(&mut self, message: LaneMessage) {
        match message {
            LaneMessage::Batch(batch) => {
                if matches!(batch.signal, Signal::Windows | Signal::Alarms) {
                    let labels = [self.pipeline.as_str(), batch.signal.name()];
                    self.telemetry.counter(&DERIVED, &labels).inc_by(batch.len() as u64);
                }
                self.pending.push(batch);
            }
            LaneMessage::Watermark(watermark) if watermark < Watermark::MAX => {
                self.watermark.set(watermark.0);
            }
            LaneMessage::Watermark(_) | LaneMessage::Idle(_) | LaneMessage::Drain => {}
        }
    }
}
