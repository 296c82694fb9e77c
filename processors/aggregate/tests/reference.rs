//! Every kind of window and every measure against a reference that sorts, groups and computes.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod exact;
mod harness;

use std::collections::BTreeMap;

use exact::{Arrival, REST, Reference, arrival, batches, compare, group, is_selected};
use harness::{Event, ResultRow, Run};
use proptest::prelude::*;

/// Start, end, service, operation.
type Window = (i64, i64, Option<String>, Option<String>);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tumbling { size: i64, offset: i64 },
    Sliding { size: i64, slide: i64 },
    Session { gap: i64 },
}

const KINDS: [Kind; 5] = [
    Kind::Tumbling { size: 700, offset: -100 },
    Kind::Sliding { size: 600, slide: 200 },
    Kind::Sliding { size: 500, slide: 300 },
    Kind::Sliding { size: 200, slide: 500 },
    Kind::Session { gap: 355 },
];

impl Kind {
    fn section(self) -> String {
        let window = match self {
            Kind::Tumbling { size, offset } => format!("{{tumbling: {size}ms, offset: {offset}ms}}"),
            Kind::Sliding { size, slide } => format!("{{sliding: {size}ms, slide: {slide}ms}}"),
            Kind::Session { gap } => format!("{{session: {gap}ms}}"),
        };
        format!("window: {window}\nout_of_orderness: 400ms\n{REST}")
    }

    fn reference(self, arrivals: &[Arrival]) -> BTreeMap<Window, Reference> {
        let events: Vec<&Event> =
            arrivals.iter().map(|(event, ..)| event).filter(|event| is_selected(event)).collect();
        match self {
            Kind::Tumbling { size, offset } => fixed(&events, size, size, offset),
            Kind::Sliding { size, slide } => fixed(&events, size, slide, 0),
            Kind::Session { gap } => sessions(events, gap),
        }
    }
}

/// Every window that holds an event, found by trying each start.
fn fixed(events: &[&Event], size: i64, slide: i64, offset: i64) -> BTreeMap<Window, Reference> {
    let mut windows: BTreeMap<Window, Reference> = BTreeMap::new();
    for event in events {
        let time = event.time.unwrap();
        let starts = (-20_000 / slide..20_000 / slide).map(|n| n * slide + offset);
        for start in starts.filter(|start| *start <= time && time < start + size) {
            let (service, operation) = group(event);
            windows.entry((start, start + size, service, operation)).or_default().add(event);
        }
    }
    windows
}

/// The sorted events of each group, cut where the distance is more than the gap.
fn sessions(mut events: Vec<&Event>, gap: i64) -> BTreeMap<Window, Reference> {
    events.sort_by_key(|event| (group(event), event.time));
    let mut windows = BTreeMap::new();
    let together = |a: &&Event, b: &&Event| group(a) == group(b) && b.time.unwrap() - a.time.unwrap() <= gap;
    for session in events.chunk_by(together) {
        let mut reference = Reference::default();
        session.iter().for_each(|event| reference.add(event));
        let (service, operation) = group(session[0]);
        let (first, last) = (session[0].time.unwrap(), session[session.len() - 1].time.unwrap());
        windows.insert((first, last + gap, service, operation), reference);
    }
    windows
}

/// Sends the arrivals over `lanes` lanes, each lane's in the order of arrival, then ends every lane.
fn run(kind: Kind, arrivals: &[Arrival], lanes: u64, longest: usize, plain: bool) -> Vec<ResultRow> {
    let mut run = Run::new(&kind.section(), lanes);
    for (lane, batch) in batches(arrivals, lanes, longest) {
        run.plain_events(lane, &batch, plain);
    }
    (0..lanes).for_each(|lane| run.end(lane));
    assert_eq!(run.metric("late_events"), 0, "disorder within the bound makes no event late");
    assert_eq!(run.groups(), 0, "everything is let go");
    assert!(run.watermarks.is_sorted());
    let rows = run.take();
    assert!(rows.iter().map(|row| row.end).is_sorted(), "windows fire in order");
    assert!(rows.iter().all(|row| row.firing == 0), "and once");
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn results_are_those_of_the_reference_whatever_the_window_lanes_batches_and_order(
        arrivals in prop::collection::vec(arrival(), 0..200),
        lanes in 1..=16_u64,
        longest in 1..60_usize,
        plain: bool,
    ) {
        for kind in KINDS {
            // No two events are exactly the gap apart: see the README.
            let arrivals: Vec<Arrival> = match kind {
                Kind::Session { .. } => arrivals.iter().cloned().map(|mut arrival| {
                    arrival.0.time = arrival.0.time.map(|time| time / 10 * 10);
                    arrival
                }).collect(),
                _ => arrivals.clone(),
            };
            let rows = run(kind, &arrivals, lanes, longest, plain);
            let mut expected = kind.reference(&arrivals);
            for row in &rows {
                let window = (row.start, row.end, row.keys[0].clone(), row.keys[1].clone());
                let reference = expected.remove(&window);
                prop_assert!(reference.is_some(), "{:?}: an unexpected or repeated window: {:?}", kind, row);
                compare(row, &reference.unwrap());
            }
            prop_assert!(expected.is_empty(), "{:?}: windows are missing: {:?}", kind, expected.keys());
            prop_assert_eq!(rows, run(kind, &arrivals, 1, usize::MAX, !plain), "one lane gives the very same rows");
        }
    }
}
