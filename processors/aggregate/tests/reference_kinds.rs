//! The last firing of every window, sessions too, and restarts of lanes, by their counts. All measures:
//! `reference.rs`, every firing: `reference_late.rs`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::collections::BTreeMap;

use harness::{Event, ResultRow, Run, batch, event};
use proptest::prelude::*;
use weir_component::LaneMessage;
use weir_component::testkit::Probe;
use weir_pdata::Outcome;

const DISORDER: i64 = 400;
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Key, time, how late it arrives, lane, and whether its batch ends with it. Times are multiples of 10.
type Arrival = (usize, i64, i64, u64, bool);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let time = (-200..800_i64).prop_map(|time| time * 10);
    prop::collection::vec((0..KEYS.len(), time, 0..=DISORDER, 0..4_u64, any::<bool>()), 0..120)
}

/// The content of a window: start, end and key, then how many events.
type Counts = BTreeMap<(i64, i64, String), i64>;

/// Every window that holds an event, found by trying each start.
fn sliding(arrivals: &[Arrival], size: i64, slide: i64) -> Counts {
    let mut counts = Counts::new();
    for (key, time, ..) in arrivals {
        let starts = (-20_000 / slide..20_000 / slide).map(|n| n * slide);
        for start in starts.filter(|start| start <= time && *time < start + size) {
            *counts.entry((start, start + size, KEYS[*key].to_owned())).or_default() += 1;
        }
    }
    counts
}

/// Sorted times of each key, cut where the distance is more than the gap.
fn sessions(arrivals: &[Arrival], gap: i64) -> Counts {
    let mut counts = Counts::new();
    for (at, key) in KEYS.iter().enumerate() {
        let mut times: Vec<i64> = arrivals.iter().filter(|one| one.0 == at).map(|one| one.1).collect();
        times.sort_unstable();
        for session in times.chunk_by(|a, b| b - a <= gap) {
            let span = (session[0], session[session.len() - 1] + gap);
            counts.insert((span.0, span.1, (*key).to_owned()), session.len() as i64);
        }
    }
    counts
}

/// Batches of each lane, in the order of arrival.
fn batches(arrivals: &[Arrival], lanes: u64, longest: usize, disorder: bool) -> Vec<(u64, Vec<Event>)> {
    let mut ordered: Vec<&Arrival> = arrivals.iter().collect();
    if disorder {
        ordered.sort_by_key(|one| one.1 + one.2);
    }
    let mut waiting: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    let mut made = Vec::new();
    for (key, time, _, lane, ends) in ordered {
        let lane = lane % lanes;
        let batch = waiting.entry(lane).or_default();
        batch.push(event(KEYS[*key], *time));
        if *ends || batch.len() >= longest {
            made.push((lane, std::mem::take(batch)));
        }
    }
    made.extend(waiting);
    made
}

fn key(row: &ResultRow) -> (i64, i64, String) {
    (row.start, row.end, row.keys[0].clone().unwrap())
}

/// Each window fires once: the counts of all rows.
fn once(rows: &[ResultRow]) -> Counts {
    let counts: Counts = rows.iter().map(|row| (key(row), row.count)).collect();
    assert_eq!(counts.len(), rows.len(), "no window fires twice");
    assert!(rows.iter().all(|row| row.firing == 0));
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_last_firing_has_everything_whatever_the_order(
        arrivals in arrivals(), lanes in 1..=4_u64, longest in 1..40_usize,
    ) {
        // One lane and key order each firing by its number; allowed_lateness is longer than all of event
        // time.
        for (window, expected) in [
            ("{sliding: 600ms, slide: 200ms}", sliding(&arrivals, 600, 200)),
            ("{tumbling: 300ms}", sliding(&arrivals, 300, 300)),
            ("{session: 355ms}", sessions(&arrivals, 355)),
        ] {
            let section = format!(
                "{{window: {window}, out_of_orderness: 0s, allowed_lateness: 1d, group_by: [service]}}"
            );
            let mut run = Run::new(&section, lanes);
            for (lane, batch) in batches(&arrivals, lanes, longest, false) {
                run.events(lane, &batch);
            }
            (0..lanes).for_each(|lane| run.end(lane));
            prop_assert_eq!((run.metric("late_events"), run.groups()), (0, 0));
            let rows = run.take();
            let mut last: BTreeMap<_, (i32, i64)> = BTreeMap::new();
            for row in &rows {
                let entry = last.entry(key(row)).or_insert((row.firing, row.count));
                *entry = (*entry).max((row.firing, row.count));
            }
            let last: Counts = last.into_iter().map(|(key, (_, count))| (key, count)).collect();
            for (window, count) in &expected {
                prop_assert_eq!(last.get(window), Some(count), "{:?}", window);
            }
            if !window.starts_with("{session") {
                prop_assert_eq!(last, expected, "and no other window fires");
            }
        }
    }

    #[test]
    fn restarts_of_lanes_change_no_window(
        arrivals in arrivals(), longest in 1..40_usize,
        restarts in prop::collection::vec((0..60_usize, 0..3_u64), 0..4),
    ) {
        for (window, expected) in [
            ("{sliding: 600ms, slide: 200ms}", sliding(&arrivals, 600, 200)),
            ("{tumbling: 300ms}", sliding(&arrivals, 300, 300)),
        ] {
            let section = format!("{{window: {window}, out_of_orderness: 400ms, group_by: [service]}}");
            let (probe, mut run) = (Probe::default(), Run::new(&section, 3));
            let mut owners = [0, 1, 2_u64];
            // What each partition was given: the ack's number and the events.
            let mut given: [Vec<(u64, Vec<Event>)>; 3] = Default::default();
            let (mut acks, mut rows) = (0, Vec::new());
            let mut give = |run: &mut Run, owner: u64, events: &[Event]| {
                run.send(owner, LaneMessage::Batch(batch(events, probe.ack())));
                acks += 1;
                acks - 1
            };
            for (at, (partition, events)) in batches(&arrivals, 3, longest, true).iter().enumerate() {
                for (_, from) in restarts.iter().filter(|(when, _)| *when == at) {
                    let from = *from as usize;
                    run.send(owners[from], LaneMessage::Drain);
                    run.close(owners[from]);
                    owners[from] += 3;
                    run.open(owners[from]);
                    // The next owner reads from the first input that was not done.
                    let is_done = |ack| probe.outcome(ack) == Some(Outcome::Done);
                    let done = given[from].iter().take_while(|(ack, _)| is_done(*ack));
                    let done = done.count();
                    for (ack, events) in &mut given[from][done..] {
                        *ack = give(&mut run, owners[from], events);
                    }
                }
                let partition = *partition as usize;
                let ack = give(&mut run, owners[partition], events);
                given[partition].push((ack, events.clone()));
                rows.extend(run.take());
            }
            owners.iter().for_each(|owner| run.end(*owner));
            rows.extend(run.take());
            prop_assert_eq!(once(&rows), expected);
        }
    }
}
