//! Drives the processor as the collector does: lanes, their trunk, and what comes out.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, Schema, TimestampNanosecondType};
use weir_component::clock::ManualClock;
use weir_component::delivery::{LaneStart, Marks, Shard, TrunkStart};
use weir_component::{
    Context, LaneId, LaneMessage, Outlet, Processor, Settings, Stage, TrunkMessage, Watermark, testkit,
};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::text::TextColumn;
use weir_pdata::{Ack, EventBatch, Origin, Signal, schema};

/// One event. Times in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub time: Option<i64>,
    pub service: Option<String>,
    pub operation: Option<String>,
    pub status: Option<String>,
    pub duration: Option<i64>,
    pub bytes: Option<String>,
}

/// An event of `service` at `time`, ok, 1 ms long.
pub fn event(service: &str, time: i64) -> Event {
    Event {
        time: Some(time),
        service: Some(service.to_owned()),
        operation: Some("/op".to_owned()),
        status: Some("ok".to_owned()),
        duration: Some(1_000_000),
        bytes: None,
    }
}

/// The columns of these events. `plain`: no dictionaries.
pub fn columns(events: &[Event], plain: bool) -> RecordBatch {
    let text = |of: fn(&Event) -> Option<&str>| -> ArrayRef {
        if plain {
            Arc::new(StringArray::from_iter(events.iter().map(of)))
        } else {
            Arc::new(events.iter().map(of).collect::<DictionaryArray<Int32Type>>())
        }
    };
    let times = events.iter().map(|event| event.time.map(|time| time * 1_000_000));
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC"));
    let durations: ArrayRef = Arc::new(Int64Array::from_iter(events.iter().map(|event| event.duration)));
    RecordBatch::try_from_iter_with_nullable([
        ("end_time", times, true),
        ("duration_ns", durations, true),
        ("service", text(|event| event.service.as_deref()), true),
        (
            "operation",
            Arc::new(StringArray::from_iter(events.iter().map(|event| event.operation.as_deref()))),
            true,
        ),
        ("status", text(|event| event.status.as_deref()), true),
        ("bytes", text(|event| event.bytes.as_deref()), true),
    ])
    .unwrap()
}

/// A batch of these events.
pub fn batch(events: &[Event], ack: Ack) -> EventBatch {
    EventBatch::columns(Signal::Traces, columns(events, false), Origin::default(), ack)
}

/// A batch of these events, whose records were appended at these times.
pub fn appended(events: &[Event], at: &[i64]) -> EventBatch {
    let columns = columns(events, false);
    let mut fields = columns.schema_ref().fields().to_vec();
    let mut arrays = columns.columns().to_vec();
    fields.push(schema::arrival());
    let records = (0..events.len()).map(|record| i32::try_from(record).unwrap()).collect::<Int32Array>();
    arrays.push(Arc::new(DictionaryArray::new(records, Arc::new(Int64Array::from(at.to_vec())))));
    let columns = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none())
}

/// A row of a `Windows` batch, its measures as text.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    pub start: i64,
    pub end: i64,
    pub keys: Vec<Option<String>>,
    pub firing: i32,
    pub count: i64,
    pub values: BTreeMap<String, Option<f64>>,
}

/// A processor with its context and clock.
pub type Created = (Box<dyn Processor>, Context, Arc<ManualClock>);

/// A processor from its section.
pub fn create(section: &str) -> Result<Created, Diagnostics> {
    let section: String = section.lines().map(|line| format!("    {line}\n")).collect();
    let yaml = format!(
        "receivers:\n  in:\nprocessors:\n  aggregate:\n{section}exporters:\n  out:\nservice:\n  pipelines:\n    main: {{receivers: [in], processors: [aggregate], exporters: [out]}}\n"
    );
    create_from(&yaml)
}

/// A processor from a whole configuration.
pub fn create_from(yaml: &str) -> Result<Created, Diagnostics> {
    let document = Document::load(vec![SourceText::new("test.yaml", yaml)], &[], &|_| None)?;
    let topology = Topology::read(&document)?;
    // Later than any event of a test that does not set it.
    let clock = Arc::new(ManualClock::at(4_000_000_000_000));
    let context = Context { clock: clock.clone(), ..testkit::context("aggregate", &std::env::temp_dir()) };
    let settings = Settings::new(&document, &topology.processors[0]);
    let processor = (weir_processor_aggregate::FACTORY.create)(settings, context.clone())?;
    Ok((processor, context, clock))
}

/// A running processor.
pub struct Run {
    pub processor: Box<dyn Processor>,
    pub context: Context,
    pub clock: Arc<ManualClock>,
    lanes: BTreeMap<LaneId, Box<dyn Stage<LaneMessage>>>,
    trunk: Box<dyn Stage<TrunkMessage>>,
    /// Which windows have been delivered: what is taken and dropped.
    pub marks: Marks,
    /// Batches of the trunk that the test has not taken yet.
    pub emitted: Vec<EventBatch>,
    /// The watermarks that the trunk forwarded.
    pub watermarks: Vec<Watermark>,
    /// Keep what is forwarded down the lanes (with its acks), else it is dropped at once.
    pub forwarded: Vec<LaneMessage>,
    pub keep_forwarded: bool,
}

impl Run {
    /// The processor of this section with `lanes` open lanes.
    pub fn new(section: &str, lanes: u64) -> Run {
        let (processor, context, clock) = create(section).unwrap_or_else(|error| panic!("{error}"));
        let marks = Marks::default();
        let start = TrunkStart { pipeline: "main".into(), marks: marks.clone(), ..TrunkStart::default() };
        let trunk = processor.trunk_stage(&start).unwrap();
        let mut run = Run {
            processor,
            context,
            clock,
            lanes: BTreeMap::new(),
            trunk,
            marks,
            emitted: Vec::new(),
            watermarks: Vec::new(),
            forwarded: Vec::new(),
            keep_forwarded: false,
        };
        (0..lanes).for_each(|lane| run.open(lane));
        run
    }

    /// Opens a lane that begins, or goes on from what has been delivered.
    pub fn open(&mut self, lane: u64) {
        let windows = Arc::new(self.marks.delivered(Shard::default()));
        self.open_as(LaneStart { windows, ..LaneId(lane).into() });
    }

    /// Opens a lane that begins like this.
    pub fn open_as(&mut self, start: LaneStart) {
        let lane = start.lane;
        self.lanes.insert(lane, self.processor.lane_stage(&start).unwrap());
        self.trunk(TrunkMessage::LaneOpened(start));
    }

    pub fn close(&mut self, lane: u64) {
        self.lanes.remove(&LaneId(lane));
        self.trunk(TrunkMessage::LanesClosed([LaneId(lane)].into()));
    }

    pub fn send(&mut self, lane: u64, message: LaneMessage) {
        let lane = LaneId(lane);
        let mut out = Outlet::default();
        self.lanes.get_mut(&lane).unwrap().handle(message, &mut out);
        let forwarded: Vec<_> = out.take_forwarded().collect();
        if self.keep_forwarded {
            self.forwarded.extend(forwarded);
        }
        let messages: Vec<_> = out.take_to_trunk().collect();
        for message in messages {
            self.trunk(TrunkMessage::FromLane(lane, message));
        }
    }

    pub fn trunk(&mut self, message: TrunkMessage) {
        let mut out = Outlet::default();
        self.trunk.handle(message, &mut out);
        for message in out.take_forwarded() {
            match message {
                LaneMessage::Batch(batch) => self.emitted.push(batch),
                LaneMessage::Watermark(watermark) => self.watermarks.push(watermark),
                LaneMessage::Idle(_) | LaneMessage::Drain => {}
            }
        }
    }

    pub fn events(&mut self, lane: u64, events: &[Event]) {
        self.send(lane, LaneMessage::Batch(batch(events, Ack::none())));
    }

    pub fn plain_events(&mut self, lane: u64, events: &[Event], plain: bool) {
        let batch =
            EventBatch::columns(Signal::Traces, columns(events, plain), Origin::default(), Ack::none());
        self.send(lane, LaneMessage::Batch(batch));
    }

    pub fn watermark(&mut self, lane: u64, watermark: i64) {
        self.send(lane, LaneMessage::Watermark(Watermark(watermark)));
    }

    pub fn end(&mut self, lane: u64) {
        self.send(lane, LaneMessage::Watermark(Watermark::MAX));
    }

    /// Takes what was emitted. Dropping it acknowledges.
    pub fn take(&mut self) -> Vec<ResultRow> {
        self.emitted.drain(..).flat_map(|batch| rows(&batch)).collect()
    }

    /// Takes what was emitted as `service,count[start,end)`.
    pub fn taken(&mut self) -> Vec<String> {
        let shown = |row: ResultRow| {
            let key = row.keys.first().cloned().flatten().unwrap_or_else(|| "NULL".to_owned());
            format!("{key},{}[{},{})", row.count, row.start, row.end)
        };
        self.take().into_iter().map(shown).collect()
    }

    /// Takes what was emitted as `service,count[start,end)#firing`.
    pub fn firings(&mut self) -> Vec<String> {
        let firings: Vec<i32> = self.emitted.iter().flat_map(rows).map(|row| row.firing).collect();
        let shown = self.taken().into_iter().zip(firings);
        shown.map(|(row, firing)| format!("{row}#{firing}")).collect()
    }

    /// Takes what was emitted as `service,sum[start,end)`: the sum of the measure `sum`.
    pub fn sums(&mut self) -> Vec<String> {
        let shown = |row: ResultRow| {
            let key = row.keys[0].clone().unwrap();
            format!("{key},{}[{},{})", row.values["sum"].unwrap(), row.start, row.end)
        };
        self.take().into_iter().map(shown).collect()
    }

    /// How many groups the processor has in memory.
    pub fn groups(&self) -> i64 {
        let text = self.context.telemetry.encode();
        let line = text.lines().find(|line| line.starts_with("weir_aggregate_groups{"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// The value of a metric of the processor.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.context.telemetry.encode();
        let line = text.lines().find(|line| line.starts_with(&format!("weir_aggregate_{name}_total{{")));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

/// The rows of a `Windows` batch. The group-by columns are those between `window_size_ms` and `firing`.
pub fn rows(batch: &EventBatch) -> Vec<ResultRow> {
    assert_eq!(batch.signal, Signal::Windows);
    let columns = batch.as_columns().unwrap();
    let schema = columns.schema();
    let position = |name: &str| schema.index_of(name).unwrap();
    let (keys, firing) = (position("window_size_ms") + 1, position("firing"));
    let millis = |name: &str, row: usize| {
        columns.column(position(name)).as_primitive::<TimestampNanosecondType>().value(row) / 1_000_000
    };
    let values = |row: usize| {
        let value = |at: usize| {
            let column = columns.column(at);
            if column.is_null(row) {
                return None;
            }
            Some(match column.data_type() {
                DataType::Int64 => column.as_primitive::<Int64Type>().value(row) as f64,
                _ => column.as_primitive::<Float64Type>().value(row),
            })
        };
        (firing + 1..columns.num_columns()).map(|at| (schema.field(at).name().clone(), value(at))).collect()
    };
    (0..columns.num_rows())
        .map(|row| ResultRow {
            start: millis("window_start", row),
            end: millis("window_end", row),
            keys: (keys..firing)
                .map(|at| TextColumn::new(columns.column(at)).unwrap().get(row).map(str::to_owned))
                .collect(),
            firing: columns.column(firing).as_primitive::<Int32Type>().value(row),
            count: columns.column(position("count")).as_primitive::<Int64Type>().value(row),
            values: values(row),
        })
        .collect()
}

/// The results of these lanes, each in the order of its events' times, so that nothing is late.
pub fn run_sorted(section: &str, lanes: &[Vec<Event>]) -> Vec<ResultRow> {
    let mut run = Run::new(section, lanes.len() as u64);
    for (lane, events) in (0..).zip(lanes) {
        let mut events = events.clone();
        events.sort_by_key(|event| event.time);
        events.chunks(7).for_each(|events| run.events(lane, events));
    }
    (0..lanes.len() as u64).for_each(|lane| run.end(lane));
    run.take()
}
