//! The aggregates of case 3 of `make bench`: events into windows, and windows to rows.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::TimestampNanosecondType;
use weir_component::clock::ManualClock;
use weir_component::delivery::TrunkStart;
use weir_component::{
    Context, DeadLetters, LaneId, LaneMessage, Outlet, Settings, Stage, Telemetry, TrunkMessage,
};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::{Ack, EventBatch, Origin, Signal};

use crate::MOST;

const CONFIG: &str = r#"
receivers: {generator: }
processors:
  aggregate/endpoint: {where: "kind = 'server'", group_by: [service, operation], window: {tumbling: 7s}, out_of_orderness: 10s}
  aggregate/service: {group_by: [service], window: {tumbling: 1s}, out_of_orderness: 10s}
exporters: {nop: }
service:
  pipelines:
    main: {receivers: [generator], processors: [aggregate/endpoint, aggregate/service], exporters: [nop]}
"#;

/// How much later each batch is than the one before: a thousand segments a second, so that windows become
/// full and fire.
const STEP_NANOS: i64 = 250_000_000;
/// 2027 in UTC: no event is from the future.
const NOW_MS: i64 = 1_798_761_600_000;
const LANE: LaneId = LaneId(1);

/// Sends `count` batches through both operators.
pub fn run(columns: &[RecordBatch], count: usize) -> Result<()> {
    let batches = (0..MOST).map(|at| later(&columns[at % columns.len()], at as i64 * STEP_NANOS));
    let batches = batches.collect::<Result<Vec<_>>>()?;
    let mut operators = operators()?;
    for columns in batches.into_iter().take(count) {
        let batch = EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none());
        let mut messages = vec![LaneMessage::Batch(batch)];
        for operator in &mut operators {
            messages = messages.into_iter().flat_map(|message| operator.take(message)).collect();
        }
    }
    for operator in &operators {
        ensure!(count == 0 || operator.rows > 0, "no window has fired: more batches are needed");
    }
    Ok(())
}

/// The same events, later.
fn later(columns: &RecordBatch, nanos: i64) -> Result<RecordBatch> {
    let at = columns.schema_ref().index_of("end_time")?;
    let mut arrays = columns.columns().to_vec();
    let times: TimestampNanosecondArray =
        arrays[at].as_primitive::<TimestampNanosecondType>().unary(|time| time + nanos);
    arrays[at] = Arc::new(times.with_timezone("UTC")) as ArrayRef;
    Ok(RecordBatch::try_new(columns.schema(), arrays)?)
}

/// One operator with one lane.
struct Operator {
    lane: Box<dyn Stage<LaneMessage>>,
    trunk: Box<dyn Stage<TrunkMessage>>,
    /// Rows of results so far.
    rows: usize,
}

fn operators() -> Result<Vec<Operator>> {
    let wrong = |errors: Diagnostics| anyhow!("{errors}");
    let document =
        Document::load(vec![SourceText::new("aggregate", CONFIG)], &[], &|_| None).map_err(wrong)?;
    let topology = Topology::read(&document).map_err(wrong)?;
    let made = topology.processors.iter().map(|section| {
        let telemetry = Telemetry::default();
        let dead_letters = DeadLetters::new("dead-letter", 1 << 20, telemetry.clone());
        let mut context = Context::new(section.id.clone(), telemetry, dead_letters);
        context.clock = Arc::new(ManualClock::at(NOW_MS));
        let processor =
            (weir_processor_aggregate::FACTORY.create)(Settings::new(&document, section), context)
                .map_err(wrong)?;
        let lane = processor.lane_stage(&LANE.into()).context("a stage for lanes")?;
        let mut trunk = processor.trunk_stage(&TrunkStart::default()).context("a stage for the trunk")?;
        trunk.handle(TrunkMessage::LaneOpened(LANE.into()), &mut Outlet::default());
        Ok(Operator { lane, trunk, rows: 0 })
    });
    made.collect()
}

impl Operator {
    /// Takes a message of the lane, returns what goes on down the lane. Results are counted and dropped,
    /// which acknowledges them.
    fn take(&mut self, message: LaneMessage) -> Vec<LaneMessage> {
        let mut out = Outlet::default();
        self.lane.handle(message, &mut out);
        let mut of_trunk = Outlet::default();
        for message in out.take_to_trunk() {
            self.trunk.handle(TrunkMessage::FromLane(LANE, message), &mut of_trunk);
        }
        for message in of_trunk.take_forwarded() {
            if let LaneMessage::Batch(results) = message {
                self.rows += results.len();
            }
        }
        out.take_forwarded().collect()
    }
}
