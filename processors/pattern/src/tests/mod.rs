//! Behaviour of the whole processor, from its configuration to the alarms that leave it.

mod inputs;
mod nfa;
mod order;
mod windows;

use std::path::Path;

use serde_json::{Value, json};
use weir_component::delivery::TrunkStart;
use weir_component::testkit::{Probe, context, json_batch};
use weir_component::{
    Context, LaneId, LaneMessage, Outlet, Processor, Settings, Stage, Telemetry, TrunkMessage, Watermark,
};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::json::write_rows;
use weir_pdata::{Ack, EventBatch, Signal};

use crate::FACTORY;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);

/// Two windows of one key, one after the other, with `slow` above 500.
const TWO_HITS: &str = r#"
key: [service]
sequence:
  - {name: first_hit, first: "slow > 500"}
  - {name: second_hit, next: "slow > 500"}
within: 2s
name: two-hits
"#;

fn test_context() -> Context {
    context("pattern", Path::new("/nonexistent"))
}

fn create(settings: &str, context: Context) -> Result<Box<dyn Processor>, Diagnostics> {
    let settings: String = settings.lines().map(|line| format!("    {line}\n")).collect();
    let configuration = format!(
        "receivers:\n  file: {{}}\nprocessors:\n  pattern:\n{settings}exporters:\n  nop: {{}}\nservice:\n  pipelines:\n    main: {{receivers: [file], processors: [pattern], exporters: [nop]}}\n"
    );
    let document = Document::load(vec![SourceText::new("weir.yaml", configuration)], &[], &|_| None)?;
    let topology = Topology::read(&document)?;
    (FACTORY.create)(Settings::new(&document, &topology.processors[0]), context)
}

fn with(settings: &str) -> Box<dyn Processor> {
    create(settings, test_context()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A batch of a signal from JSON lines.
fn batch(signal: Signal, lines: &[Value], ack: Ack) -> EventBatch {
    json_batch(signal, lines, ack)
}

/// A window of one second that ends at `end` ms.
fn window(service: &str, end: i64, slow: i64) -> Value {
    json!({
        "operator": "aggregate", "window_start": end - 1000, "window_end": end, "window_size_ms": 1000, "firing": 0,
        "service": service, "slow": slow,
    })
}

/// A processor's trunk half, and what it counts.
struct Trunk {
    stage: Box<dyn Stage<TrunkMessage>>,
    probe: Probe,
    telemetry: Telemetry,
}

impl Trunk {
    fn new(settings: &str) -> Trunk {
        let context = test_context();
        let telemetry = context.telemetry.clone();
        let processor = create(settings, context).unwrap_or_else(|problems| panic!("{problems}"));
        Trunk {
            stage: processor.trunk_stage(&TrunkStart::default()).unwrap(),
            probe: Probe::default(),
            telemetry,
        }
    }

    fn send(&mut self, message: TrunkMessage) -> Vec<LaneMessage> {
        let mut out = Outlet::default();
        self.stage.handle(message, &mut out);
        out.take_forwarded().collect()
    }

    /// Derived windows in one batch.
    fn windows(&mut self, lines: &[Value]) -> Vec<LaneMessage> {
        let batch = batch(Signal::Windows, lines, self.probe.ack());
        self.send(TrunkMessage::Derived(LaneMessage::Batch(batch)))
    }

    /// The watermark of the stage before; the alarms that it brings.
    fn watermark(&mut self, to: i64) -> Vec<Value> {
        rows(Signal::Alarms, &self.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(to)))))
    }

    fn lane(&mut self, lane: LaneId, message: LaneMessage) -> Vec<LaneMessage> {
        self.send(TrunkMessage::FromLane(lane, message))
    }

    /// The value of a counter without other labels than the processor's.
    fn counted(&self, name: &str) -> u64 {
        counted(&self.telemetry, name)
    }
}

fn counted(telemetry: &Telemetry, name: &str) -> u64 {
    let text = telemetry.encode();
    let start = format!("weir_pattern_{name}_total{{");
    let lines = text.lines().filter(|line| line.starts_with(&start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The rows of one signal among these messages, as JSON.
fn rows(signal: Signal, messages: &[LaneMessage]) -> Vec<Value> {
    let mut lines = Vec::new();
    for message in messages {
        if let LaneMessage::Batch(batch) = message
            && batch.signal == signal
        {
            write_rows(batch.as_columns().unwrap(), signal, &mut lines);
        }
    }
    let lines = String::from_utf8(lines).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `pay 1999-2999` for an alarm: its service, the times of its first and last event.
fn brief(alarm: &Value) -> String {
    format!("{} {}-{}", alarm["service"].as_str().unwrap_or("-"), alarm["starts_at"], alarm["time"])
}

fn briefs(alarms: &[Value]) -> Vec<String> {
    alarms.iter().map(brief).collect()
}
