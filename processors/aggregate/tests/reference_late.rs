//! Late events and firings, message by message, against a reference that keeps every event of every window.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod exact;
mod harness;

use std::collections::BTreeMap;

use exact::{REST, Reference, arrival, batches, compare, group, is_selected};
use harness::{Event, ResultRow, Run};
use proptest::prelude::*;

/// End, start, service, operation: the order in which rows come.
type Window = (i64, i64, Option<String>, Option<String>);

/// The trunk and its lanes, as the rules of `semantics.md` say.
struct Model {
    size: i64,
    slide: i64,
    out_of_orderness: i64,
    lateness: i64,
    /// The latest time of each lane.
    lanes: Vec<Option<i64>>,
    watermark: i64,
    windows: BTreeMap<Window, Open>,
    /// How often a window has fired, whatever the group.
    fired: BTreeMap<(i64, i64), i32>,
    late: u64,
}

#[derive(Default)]
struct Open {
    reference: Reference,
    changed: bool,
}

impl Model {
    /// Whether the lane's own watermark has closed a window that ends here.
    fn is_closed(&self, lane: usize, end: i64) -> bool {
        self.lanes[lane].is_some_and(|latest| end - 1 + self.lateness < latest - self.out_of_orderness)
    }

    /// Takes a batch of a lane; returns what fires then.
    fn batch(&mut self, lane: usize, events: &[Event]) -> Vec<(Window, i32, Reference)> {
        for event in events {
            let time = event.time.unwrap();
            if !is_selected(event) {
                self.lanes[lane] = self.lanes[lane].max(Some(time));
                continue;
            }
            let starts = (-20_000 / self.slide..20_000 / self.slide).map(|n| n * self.slide);
            let of_it: Vec<i64> = starts.filter(|start| *start <= time && time < start + self.size).collect();
            let open: Vec<i64> =
                of_it.iter().copied().filter(|start| !self.is_closed(lane, start + self.size)).collect();
            self.lanes[lane] = self.lanes[lane].max(Some(time));
            self.late += u64::from(!of_it.is_empty() && open.is_empty());
            for start in open {
                let (service, operation) = group(event);
                let window = self.windows.entry((start + self.size, start, service, operation)).or_default();
                window.reference.add(event);
                window.changed = true;
            }
        }
        let marks =
            self.lanes.iter().map(|mark| mark.map_or(i64::MIN, |mark| mark - self.out_of_orderness - 1));
        self.watermark = self.watermark.max(marks.min().unwrap());
        self.fire()
    }

    /// Every lane ends.
    fn end(&mut self) -> Vec<(Window, i32, Reference)> {
        self.watermark = i64::MAX / 2;
        self.fire()
    }

    fn fire(&mut self) -> Vec<(Window, i32, Reference)> {
        let watermark = self.watermark;
        let over = |window: &Window| window.0 - 1 <= watermark;
        // Each group that has something new, with everything that it has.
        let mut due = std::collections::BTreeSet::new();
        let mut rows = Vec::new();
        for (window, open) in &mut self.windows {
            if over(window) && open.changed {
                open.changed = false;
                due.insert((window.0, window.1));
                let firing = self.fired.get(&(window.0, window.1)).copied().unwrap_or(0);
                rows.push((window.clone(), firing, open.reference.clone()));
            }
        }
        for window in due {
            *self.fired.entry(window).or_default() += 1;
        }
        let lateness = self.lateness;
        self.windows.retain(|window, _| window.0 - 1 + lateness > watermark);
        rows
    }
}

fn check(rows: &[ResultRow], expected: &[(Window, i32, Reference)]) -> Result<(), TestCaseError> {
    let of = |row: &ResultRow| (row.end, row.start, row.keys[0].clone(), row.keys[1].clone());
    let found: Vec<(Window, i32)> = rows.iter().map(|row| (of(row), row.firing)).collect();
    let named: Vec<(Window, i32)> =
        expected.iter().map(|(window, firing, _)| (window.clone(), *firing)).collect();
    prop_assert_eq!(found, named, "what fires, in order");
    for (row, (.., reference)) in rows.iter().zip(expected) {
        compare(row, reference);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn late_events_and_firings_are_those_of_the_reference_after_every_message(
        arrivals in prop::collection::vec(arrival(), 0..150),
        lanes in 1..=4_u64,
        longest in 1..30_usize,
        out_of_orderness in prop_oneof![Just(0_i64), Just(100), Just(300)],
        lateness in prop_oneof![Just(0_i64), Just(150), Just(1_000)],
        (size, slide) in prop_oneof![Just((700_i64, 700_i64)), Just((600, 200)), Just((500, 300))],
    ) {
        let window = if size == slide {
            format!("{{tumbling: {size}ms}}")
        } else {
            format!("{{sliding: {size}ms, slide: {slide}ms}}")
        };
        let section = format!(
            "window: {window}\nout_of_orderness: {out_of_orderness}ms\nallowed_lateness: {lateness}ms\n{REST}"
        );
        let mut run = Run::new(&section, lanes);
        let mut model = Model {
            size, slide, out_of_orderness, lateness,
            lanes: vec![None; lanes as usize],
            watermark: i64::MIN,
            windows: BTreeMap::new(),
            fired: BTreeMap::new(),
            late: 0,
        };
        for (lane, events) in batches(&arrivals, lanes, longest) {
            run.events(lane, &events);
            check(&run.take(), &model.batch(lane as usize, &events))?;
            prop_assert_eq!(run.metric("late_events"), model.late);
        }
        // Only when the last lane ends is the watermark beyond all of them.
        let mut rows = Vec::new();
        for lane in 0..lanes {
            run.end(lane);
            rows.extend(run.take());
        }
        let mut last: BTreeMap<Window, (i32, Reference)> = BTreeMap::new();
        for (window, firing, reference) in model.end() {
            last.insert(window, (firing, reference));
        }
        for row in &rows {
            let window = (row.end, row.start, row.keys[0].clone(), row.keys[1].clone());
            let (firing, reference) = last.remove(&window).unwrap();
            prop_assert_eq!(row.firing, firing);
            compare(row, &reference);
        }
        prop_assert!(last.is_empty(), "windows are missing: {:?}", last.keys());
        prop_assert_eq!(run.groups(), 0, "everything is let go");
    }
}
