//! Cost of an event: tumbling 60 s against sliding 60 s every 5 s, with 10, 1,000 and 100,000 groups.
//!
//! `cargo bench -p weir-processor-aggregate` prints nanoseconds an event (lane, trunk and emitted rows together, batches
//! of 4,096 events made beforehand) and how much dearer sliding is. Two lines for each number of groups: dense, with so
//! many events that each group has some in every slice, and sparse, with about one event a group and window.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::time::Instant;

use weir_component::LaneMessage;

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::{Event, Run, batch, event};

const BATCH: usize = 4_096;
const WINDOW_MS: i64 = 60_000;

fn main() {
    println!("groups    events a group and window   tumbling ns   sliding ns   ratio");
    for (groups, per_window) in
        [(10, 120_000), (10, 10), (1_000, 1_200), (1_000, 1), (100_000, 12), (100_000, 1)]
    {
        let events_a_window = (groups * per_window).min(1_200_000);
        let batches = batches(groups, events_a_window);
        let tumbling = cost("{window: {tumbling: 60s}, out_of_orderness: 0s, group_by: [service]}", &batches);
        let sliding =
            cost("{window: {sliding: 60s, slide: 5s}, out_of_orderness: 0s, group_by: [service]}", &batches);
        println!(
            "{groups:>7}   {:>25}   {tumbling:>11.0}   {sliding:>10.0}   {:>5.2}",
            events_a_window / groups,
            sliding / tumbling
        );
    }
}

/// Two windows of events, spread evenly over time and groups.
fn batches(groups: usize, events_a_window: usize) -> Vec<Vec<Event>> {
    let count = events_a_window * 2;
    let names: Vec<String> = (0..groups).map(|group| format!("service-{group}")).collect();
    let at = |number: usize| i64::try_from(number).unwrap() * 2 * WINDOW_MS / i64::try_from(count).unwrap();
    let events: Vec<Event> = (0..count)
        // A stride that is no divisor of the number of groups, so that neighbours differ.
        .map(|number| Event {
            duration: Some(i64::try_from(number % 997).unwrap() * 100_000),
            ..event(&names[number * 7919 % groups], at(number))
        })
        .collect();
    events.chunks(BATCH).map(<[Event]>::to_vec).collect()
}

/// Nanoseconds an event. The best of three runs: what disturbs only adds.
fn cost(section: &str, batches: &[Vec<Event>]) -> f64 {
    let events: usize = batches.iter().map(Vec::len).sum();
    (0..3)
        .map(|_| {
            let mut run = Run::new(section, 1);
            let made: Vec<_> = batches.iter().map(|events| batch(events, weir_pdata::Ack::none())).collect();
            let began = Instant::now();
            for batch in made {
                run.send(0, LaneMessage::Batch(batch));
            }
            run.end(0);
            let took = began.elapsed();
            assert!(!run.emitted.is_empty());
            took.as_secs_f64() * 1e9 / events as f64
        })
        .fold(f64::INFINITY, f64::min)
}
