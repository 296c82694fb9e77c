//! Cost of an event: tumbling 60 s against sliding 60 s every 5 s, with 10, 1,000 and 100,000 groups.
//!
//! `cargo bench -p weir-processor-aggregate --bench windows` measures the lane, the trunk and the rows that
//! come out together, in batches of 4,096 events and with the allocator of the program. The second number of
//! a case is how many events a group has in 60 s. Each number of groups has the load that two cores read from
//! Kafka (about 200,000 events a second) or less, and sparse loads: 12 (one a slice) and 1 (one a window,
//! twelve rows).
//!
//! Everything is in the steady state: 60 s of events go before the clock starts, then 120 s are measured, in
//! which 2 tumbling or 24 sliding windows fire, all of them full. The table at the end has the medians, how
//! much dearer sliding is, and how many rows come out for each event.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::TimestampNanosecondType;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use weir_component::{LaneMessage, Watermark};
use weir_pdata::{Ack, EventBatch, Origin, Signal};

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::{Event, Run, columns, event};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 4_096;
const MINUTE_MS: i64 = 60_000;
/// Groups, and how many events each has in a minute.
const LOADS: [(usize, usize); 8] = [
    (10, 12_000),
    (10, 12),
    (1_000, 1_200),
    (1_000, 12),
    (1_000, 1),
    (100_000, 120),
    (100_000, 12),
    (100_000, 1),
];
const WINDOWS: [(&str, &str); 3] = [
    ("tumbling 60s", "{tumbling: 60s}"),
    ("sliding 60s 5s", "{sliding: 60s, slide: 5s}"),
    ("tumbling 7s", "{tumbling: 7s}"),
];

/// Nanoseconds an event of each sample, and rows an event.
#[derive(Default)]
struct Seen {
    nanos: Vec<f64>,
    rows: f64,
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let seen: RefCell<BTreeMap<(&str, usize), Seen>> = RefCell::default();
    for (name, window) in WINDOWS {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        for (at, (groups, a_minute)) in LOADS.into_iter().enumerate() {
            let made = RefCell::new(None);
            group.throughput(Throughput::Elements((groups * a_minute * 2) as u64));
            let id = BenchmarkId::new(format!("{groups} groups"), format!("{a_minute} events"));
            group.bench_function(id, |bencher| {
                let mut made = made.borrow_mut();
                let load = made.get_or_insert_with(|| Load::new(groups, a_minute));
                bencher.iter_custom(|times| {
                    let mut took = Duration::ZERO;
                    for _ in 0..times {
                        let (one, rows) = load.run(window);
                        took += one;
                        let mut seen = seen.borrow_mut();
                        let seen = seen.entry((name, at)).or_default();
                        let events = (groups * a_minute * 2) as f64;
                        seen.nanos.push(one.as_secs_f64() * 1e9 / events);
                        seen.rows = rows as f64 / events;
                    }
                    took
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    table(&seen.into_inner());
}

fn table(seen: &BTreeMap<(&str, usize), Seen>) {
    println!("median ns an event (rows an event)");
    println!(
        "{:>7} {:>10} {:>20} {:>20} {:>20} {:>7}",
        "groups", "events/min", "tumbling 7s", "tumbling 60s", "sliding 60s/5s", "ratio"
    );
    for (at, (groups, a_minute)) in LOADS.into_iter().enumerate() {
        let cell = |name| seen.get(&(name, at)).map(|seen| (median(&seen.nanos), seen.rows));
        let text = |cell: Option<(f64, f64)>| {
            cell.map_or(String::new(), |(nanos, rows)| format!("{nanos:.0} ({rows:.4})"))
        };
        let (tumbling, sliding) = (cell("tumbling 60s"), cell("sliding 60s 5s"));
        let ratio = tumbling.zip(sliding).map_or(String::new(), |(a, b)| format!("{:.2}", b.0 / a.0));
        println!(
            "{groups:>7} {a_minute:>10} {:>20} {:>20} {:>20} {ratio:>7}",
            text(cell("tumbling 7s")),
            text(tumbling),
            text(sliding)
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Events that repeat.
struct Load {
    /// How long until they repeat, in milliseconds.
    period: i64,
    batches: Vec<RecordBatch>,
}

impl Load {
    /// Spread evenly over time and groups. They repeat every 5 s when each group has some in that time, else
    /// every minute.
    fn new(groups: usize, a_minute: usize) -> Load {
        let parts = if a_minute.is_multiple_of(12) { 12 } else { 1 };
        let (period, count) = (MINUTE_MS / parts as i64, groups * a_minute / parts);
        let names: Vec<String> = (0..groups).map(|group| format!("service-{group}")).collect();
        let batches = (0..count).step_by(BATCH).map(|first| {
            let events: Vec<Event> = (first..count.min(first + BATCH))
                // A stride that is no divisor of the number of groups, so that neighbours differ.
                .map(|number| Event {
                    duration: Some((number % 997) as i64 * 100_000),
                    ..event(&names[number * 7919 % groups], number as i64 * period / count as i64)
                })
                .collect();
            columns(&events, false)
        });
        Load { period, batches: batches.collect() }
    }

    /// How long two minutes of events take after a first minute, and how many rows come out of them.
    fn run(&self, window: &str) -> (Duration, usize) {
        let mut run =
            Run::new(&format!("{{window: {window}, out_of_orderness: 0s, group_by: [service]}}"), 1);
        let (mut took, mut rows) = (Duration::ZERO, 0);
        for minute in 0..3 {
            for period in 0..MINUTE_MS / self.period {
                let shift = minute * MINUTE_MS + period * self.period;
                for batch in &self.batches {
                    let batch = later(batch, shift);
                    self.send(&mut run, LaneMessage::Batch(batch), minute > 0, &mut took, &mut rows);
                }
            }
            let end = LaneMessage::Watermark(Watermark((minute + 1) * MINUTE_MS - 1));
            self.send(&mut run, end, minute > 0, &mut took, &mut rows);
        }
        assert!(rows > 0);
        (took, rows)
    }

    #[expect(clippy::unused_self, reason = "it is part of a run")]
    fn send(&self, run: &mut Run, message: LaneMessage, counts: bool, took: &mut Duration, rows: &mut usize) {
        let began = Instant::now();
        run.send(0, message);
        let one = began.elapsed();
        let emitted: usize = run.emitted.iter().map(EventBatch::len).sum();
        let began = Instant::now();
        run.emitted.clear();
        if counts {
            *took += one + began.elapsed();
            *rows += emitted;
        }
    }
}

/// The same events, `shift` milliseconds later.
fn later(batch: &RecordBatch, shift: i64) -> EventBatch {
    let mut columns = batch.columns().to_vec();
    let times = columns[0].as_primitive::<TimestampNanosecondType>();
    let times: TimestampNanosecondArray = times.unary(|time| time + shift * 1_000_000);
    columns[0] = Arc::new(times.with_timezone("UTC")) as ArrayRef;
    let columns = RecordBatch::try_new(batch.schema(), columns).unwrap();
    EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none())
}
