//! The pipeline of a gateway: the real stages of lanes and trunk, and the queue between them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::Int32Type;
use weir_component::delivery::{Attachment, LaneStart, Ledger, Marks, TrunkStart};
use weir_component::{LaneId, LaneMessage, LaneSet, LaneTrunk, Outlet, Processor, Stage, TrunkMessage};
use weir_pdata::{Ack, EventBatch, Held, Origin, Signal};

use crate::exporter::{Exporter, Route};
use crate::plan::Record;

/// The pipeline.
pub struct Pipeline {
    name: Arc<str>,
    marks: Marks,
    processors: Vec<Box<dyn Processor>>,
    trunk: Vec<Box<dyn Stage<TrunkMessage>>>,
    waiting: Arc<Mailbox>,
    next_lane: u64,
}

/// Messages that wait for the trunk.
enum Input {
    Opened(LaneStart),
    Closed(Vec<(LaneId, Option<Attachment>)>),
    Message(LaneId, usize, LaneMessage, Held),
}

/// The trunk's mailbox: messages in the order in which they were sent.
#[derive(Default)]
struct Mailbox(Mutex<VecDeque<Input>>);

impl Mailbox {
    fn push(&self, input: Input) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
    }

    fn pop(&self) -> Option<Input> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl LaneTrunk for Mailbox {
    fn close(&self, lanes: Vec<(LaneId, Option<Attachment>)>) {
        self.push(Input::Closed(lanes));
    }
}

/// A lane that is open.
pub struct OpenLane {
    id: LaneId,
    stages: Vec<Box<dyn Stage<LaneMessage>>>,
    attachment: Attachment,
    route: Arc<Route>,
    set: LaneSet,
}

impl Pipeline {
    pub fn new(processors: Vec<Box<dyn Processor>>) -> Pipeline {
        let (name, marks): (Arc<str>, _) = ("main".into(), Marks::default());
        let start = TrunkStart { pipeline: Arc::clone(&name), marks: marks.clone(), ..TrunkStart::default() };
        let trunk = processors.iter().map(|processor| processor.trunk_stage(&start).unwrap()).collect();
        Pipeline { name, marks, processors, trunk, waiting: Arc::default(), next_lane: 0 }
    }

    pub fn open(&mut self, ledger: &Ledger, set: LaneSet) -> OpenLane {
        self.next_lane += 1;
        let id = LaneId(self.next_lane);
        let (start, attachment) = ledger.attach(&self.name, &self.marks, id);
        let stages = self.processors.iter().map(|processor| processor.lane_stage(&start).unwrap()).collect();
        self.waiting.push(Input::Opened(start));
        OpenLane { id, stages, attachment, route: Arc::new(Route::new(self.next_lane, ledger)), set }
    }

    pub fn close(&mut self, lane: OpenLane) {
        lane.set.close_lane(self.waiting.clone(), lane.id, Some(lane.attachment), lane.stages);
    }

    pub fn send(&mut self, lane: &mut OpenLane, message: LaneMessage, exporter: &mut Exporter) {
        let mut messages = vec![message];
        for (at, stage) in lane.stages.iter_mut().enumerate() {
            let mut out = Outlet::default();
            messages.into_iter().for_each(|message| stage.handle(message, &mut out));
            for mut message in out.take_to_trunk() {
                let held = hold(&mut message);
                self.waiting.push(Input::Message(lane.id, at, message, held));
            }
            messages = out.take_forwarded().collect();
        }
        for message in messages {
            if let LaneMessage::Batch(batch) = message {
                exporter.take(&lane.route, batch);
            }
        }
    }

    /// The trunk handles so many messages.
    pub fn advance(&mut self, messages: usize, exporter: &mut Exporter) {
        for _ in 0..messages {
            let Some(input) = self.waiting.pop() else { break };
            match input {
                Input::Opened(start) => self.tell_all(&TrunkMessage::LaneOpened(start), exporter),
                Input::Closed(lanes) => {
                    let ids: Arc<[LaneId]> = lanes.iter().map(|(lane, _)| *lane).collect();
                    lanes.into_iter().filter_map(|(_, attachment)| attachment).for_each(Attachment::close);
                    self.tell_all(&TrunkMessage::LanesClosed(ids), exporter);
                }
                Input::Message(lane, at, mut message, held) => {
                    if let LaneMessage::Batch(batch) = &mut message {
                        batch.ack = held.release();
                    }
                    self.handle(at, TrunkMessage::FromLane(lane, message), exporter);
                }
            }
        }
    }

    fn tell_all(&mut self, message: &TrunkMessage, exporter: &mut Exporter) {
        (0..self.trunk.len()).for_each(|at| self.handle(at, message.clone(), exporter));
    }

    fn handle(&mut self, at: usize, message: TrunkMessage, exporter: &mut Exporter) {
        let Some(stage) = self.trunk.get_mut(at) else {
            if let TrunkMessage::Derived(LaneMessage::Batch(batch)) = message {
                exporter.take_derived(batch);
            }
            return;
        };
        let mut out = Outlet::default();
        stage.handle(message, &mut out);
        for message in out.take_forwarded() {
            self.handle(at + 1, TrunkMessage::Derived(message), exporter);
        }
    }
}

fn hold(message: &mut LaneMessage) -> Held {
    match message {
        LaneMessage::Batch(batch) => Held::new(std::mem::take(&mut batch.ack)),
        _ => Held::default(),
    }
}

/// A batch of these records, which begin at `offset`.
pub fn batch(records: &[Record], offset: i64, ack: Ack) -> EventBatch {
    let times = records.iter().map(|record| record.time * 1_000_000);
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.id)));
    let services = records.iter().map(|record| ["0", "1"][record.service]);
    let services: ArrayRef = Arc::new(services.collect::<DictionaryArray<Int32Type>>());
    let columns =
        RecordBatch::try_from_iter([("end_time", times), ("duration_ns", ids), ("service", services)])
            .unwrap();
    let origin = Origin::lane("t/0".into(), offset..offset + records.len() as i64);
    EventBatch::columns(Signal::Traces, columns, origin, ack)
}
