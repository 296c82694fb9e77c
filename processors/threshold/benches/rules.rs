//! Cost of the evaluation: ten thousand rules, a thousand series, windows of one second.
//!
//! `cargo bench -p weir-processor-threshold --bench rules` (with `--profile dev` it needs no release build,
//! and its times are ten to thirty times longer). A case is a batch of a thousand windows that end together,
//! as one second brings them; the time is what the trunk needs for it. Nothing holds, which is how it is
//! almost always.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_component::delivery::TrunkStart;
use weir_component::testkit::{context, json_batch};
use weir_component::{LaneMessage, Outlet, Settings, Stage, TrunkMessage};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Ack, EventBatch, Signal};

const RULES: usize = 10_000;
const SERIES: usize = 1_000;
const BATCHES: i64 = 10;

fn stage(rule: impl Fn(usize) -> String) -> Box<dyn Stage<TrunkMessage>> {
    let mut text = "receivers: {file: {}}\nexporters: {nop: {}}\nservice: {pipelines: {main: {receivers: [file], processors: [threshold], exporters: [nop]}}}\nprocessors:\n  threshold:\n    rules:\n".to_owned();
    for index in 0..RULES {
        let _ = writeln!(text, "      - {{name: rule-{index}, {}}}", rule(index));
    }
    let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let settings = Settings::new(&document, &topology.processors[0]);
    let context = context("threshold", Path::new("/nonexistent"));
    let processor = (weir_processor_threshold::FACTORY.create)(settings, context).unwrap();
    processor.trunk_stage(&TrunkStart::default()).unwrap()
}

fn batch(end: i64) -> EventBatch {
    let line = |series: usize| {
        json!({
            "operator": "aggregate", "window_start": (end - 1) * 1000, "window_end": end * 1000,
            "window_size_ms": 1000, "firing": 0, "service": format!("service-{series}"), "operation": "/pay",
            "count": 100, "error_count": 1, "success_rate": 0.99, "max_duration_ns": 5_000_000,
            "avg_duration_ns": 1e6, "p99_duration_ns": 4e6,
        })
    };
    let lines: Vec<_> = (0..SERIES).map(line).collect();
    json_batch(Signal::Windows, &lines, Ack::none())
}

fn main() {
    let cases: [(&str, &dyn Fn(usize) -> String); 3] = [
        ("each rule names one service", &|index| {
            format!(
                "match: {{service: service-{}}}, when: {{high: max_duration_ns > 2000000000}}",
                index % SERIES
            )
        }),
        ("each rule has a glob for ten services", &|index| {
            format!(
                "match: {{service: \"service-*{}\"}}, when: {{high: max_duration_ns > 2000000000}}",
                index % 100
            )
        }),
        ("each rule is for every series", &|_| "when: {high: max_duration_ns > 2000000000}".to_owned()),
    ];
    for (name, rule) in cases {
        let begun = Instant::now();
        let mut stage = stage(rule);
        let loaded = begun.elapsed();
        let mut times: Vec<Duration> = Vec::new();
        for end in 1..=BATCHES {
            let batch = batch(end);
            let mut out = Outlet::default();
            let begun = Instant::now();
            stage.handle(TrunkMessage::Derived(LaneMessage::Batch(batch)), &mut out);
            times.push(begun.elapsed());
        }
        let first = times[0];
        times.sort_unstable();
        let median = times[times.len() / 2];
        println!("{name}: {median:?} a second of windows (the first {first:?}); loaded in {loaded:?}");
    }
}
