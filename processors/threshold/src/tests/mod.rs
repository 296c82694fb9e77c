//! Behaviour of the whole processor, from its configuration to the alarms that leave it.

mod again;
mod alarms;
mod classic;
mod disk;
mod earlier;
mod files;
mod fuzz;
mod journal;
mod kafka;
mod model;
mod no_data;
mod prometheus;
mod restart;
mod rules;

use std::path::Path;

use serde_json::Value;
use weir_component::delivery::TrunkStart;
use weir_component::testkit::{Probe, context, json_batch};
use weir_component::{Context, LaneId, LaneMessage, Outlet, Processor, Settings, Stage, TrunkMessage};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::json::write_rows;
use weir_pdata::{Ack, EventBatch, Signal};

use crate::FACTORY;
use crate::evaluation::series_table::Bounds;

const LANE: LaneId = LaneId(1);
const BOUNDS: Bounds = Bounds { series: 100, past_windows: 1_000 };

fn test_context() -> Context {
    context("threshold", Path::new("/nonexistent"))
}

/// The processor of a whole configuration.
fn create(configuration: &str, context: Context) -> Result<Box<dyn Processor>, Diagnostics> {
    let document = Document::load(vec![SourceText::new("weir.yaml", configuration)], &[], &|_| None)?;
    let topology = Topology::read(&document)?;
    (FACTORY.create)(Settings::new(&document, &topology.processors[0]), context)
}

/// The processor with these settings, indented as they stand below `threshold:`.
fn with(settings: &str) -> Box<dyn Processor> {
    with_context(settings, test_context())
}

fn with_context(settings: &str, context: Context) -> Box<dyn Processor> {
    create(&configuration(settings), context).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A whole configuration with these settings.
pub(crate) fn configuration(settings: &str) -> String {
    let settings: String = settings.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "receivers:\n  file: {{}}\nprocessors:\n  threshold:\n{settings}exporters:\n  nop: {{}}\nservice:\n  pipelines:\n    main: {{receivers: [file], processors: [threshold], exporters: [nop]}}\n"
    )
}

/// A batch of windows from JSON lines.
fn windows(lines: &[Value], ack: Ack) -> EventBatch {
    json_batch(Signal::Windows, lines, ack)
}

/// A window of seven seconds that ends at `end` seconds, of `service`, with its `/pay`, and a longest and
/// mean duration in milliseconds.
fn window(service: &str, end: i64, max_ms: i64, avg_ms: i64) -> Value {
    serde_json::json!({
        "operator": "aggregate", "window_start": (end - 7) * 1000, "window_end": end * 1000, "window_size_ms": 7000,
        "firing": 0, "service": service, "operation": "/pay", "count": 100,
        "max_duration_ns": max_ms * 1_000_000, "avg_duration_ns": avg_ms as f64 * 1e6,
    })
}

/// The trunk half, and what came out of it.
struct Trunk {
    stage: Box<dyn Stage<TrunkMessage>>,
    probe: Probe,
}

impl Trunk {
    fn of(processor: &dyn Processor) -> Trunk {
        Trunk { stage: processor.trunk_stage(&TrunkStart::default()).unwrap(), probe: Probe::default() }
    }

    fn send(&mut self, message: TrunkMessage) -> Vec<LaneMessage> {
        let mut out = Outlet::default();
        self.stage.handle(message, &mut out);
        out.take_forwarded().collect()
    }

    /// Sends one batch of derived windows; gives the alarms as JSON.
    fn evaluate(&mut self, lines: &[Value]) -> Vec<Value> {
        let batch = windows(lines, self.probe.ack());
        rows(&self.send(TrunkMessage::Derived(LaneMessage::Batch(batch))))
    }

    /// As [`evaluate`](Self::evaluate), in short: `firing high pay 14` for each alarm.
    fn short(&mut self, lines: &[Value]) -> Vec<String> {
        self.evaluate(lines).iter().map(brief).collect()
    }
}

/// The rows of the alarms among these messages.
fn rows(messages: &[LaneMessage]) -> Vec<Value> {
    let mut lines = Vec::new();
    for message in messages {
        if let LaneMessage::Batch(batch) = message
            && batch.signal == Signal::Alarms
        {
            write_rows(batch.as_columns().unwrap(), Signal::Alarms, &mut lines);
        }
    }
    let lines = String::from_utf8(lines).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn brief(alarm: &Value) -> String {
    let text = |name: &str| alarm[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {} {}",
        text("state"),
        text("severity"),
        text("service"),
        alarm["time"].as_i64().unwrap() / 1000
    )
}
