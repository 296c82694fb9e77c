//! The processor against a reference that sorts, groups and computes, and shares no code with it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::collections::BTreeMap;

use harness::{Event, ResultRow, Run};
use proptest::prelude::*;

const SIZE: i64 = 700;
const OFFSET: i64 = -100;
const DISORDER: i64 = 400;

const SECTION: &str = "
window: {tumbling: 700ms, offset: -100ms}
out_of_orderness: 400ms
where: status <> 'skip' OR status IS NULL
group_by: [service, operation]
measures:
  slow: count(where duration_ns > 500000)
  sized: count(bytes)
  big: max(bytes)
  small: min(bytes where status = 'ok')
  total: sum(bytes)
  mean: avg(bytes)
  good: ratio(status = 'ok')
  middle: quantile(bytes, 0.5)
  kinds: distinct(bytes)
";

/// An event, how late it arrives, its lane, and whether its batch ends with it.
type Arrival = (Event, i64, u64, bool);

fn arrival() -> impl Strategy<Value = Arrival> {
    let status =
        prop_oneof![Just(None), Just(Some("ok")), Just(Some("ok")), Just(Some("error")), Just(Some("skip"))];
    let duration =
        prop_oneof![Just(None), (-10..1_000_000_i64).prop_map(Some), (0..1_i64 << 55).prop_map(Some)];
    // Eighths add up exactly in floats.
    let bytes = prop_oneof![
        Just(None),
        Just(Some("many".to_owned())),
        (-9_000..9_000_i64).prop_map(|n| Some((n as f64 / 8.0).to_string()))
    ];
    let service = prop_oneof![Just(None), Just(Some("")), Just(Some("a")), Just(Some("b"))];
    let operation = prop_oneof![Just("x"), Just("y"), Just("z")];
    let event = (-2_000..8_000_i64, service, operation, status, duration, bytes);
    let event = event.prop_map(|(time, service, operation, status, duration, bytes)| Event {
        time: Some(time),
        service: service.map(str::to_owned),
        operation: Some(operation.to_owned()),
        status: status.map(str::to_owned),
        duration,
        bytes,
    });
    (event, 0..=DISORDER, 0..16_u64, any::<bool>())
}

#[derive(Default)]
struct Reference {
    count: u64,
    errors: u64,
    durations: Vec<i64>,
    oks: u64,
    judged: u64,
    bytes: Vec<f64>,
    ok_bytes: Vec<f64>,
    sized: u64,
    kinds: std::collections::BTreeSet<String>,
}

type Window = (i64, Option<String>, Option<String>);

fn reference(arrivals: &[Arrival]) -> BTreeMap<Window, Reference> {
    let mut windows: BTreeMap<Window, Reference> = BTreeMap::new();
    for (event, ..) in arrivals {
        if event.status.as_deref() == Some("skip") {
            continue;
        }
        let time = event.time.unwrap();
        // The window found by stepping, not by remainders.
        let mut start = OFFSET - 100 * SIZE;
        while start + SIZE <= time {
            start += SIZE;
        }
        let group = windows.entry((start, event.service.clone(), event.operation.clone())).or_default();
        group.count += 1;
        group.errors += u64::from(event.status.as_deref() == Some("error"));
        group.durations.extend(event.duration);
        if let Some(status) = &event.status {
            group.judged += 1;
            group.oks += u64::from(status == "ok");
        }
        if let Some(bytes) = &event.bytes {
            group.sized += 1;
            group.kinds.insert(bytes.clone());
            if let Ok(number) = bytes.parse::<f64>() {
                group.bytes.push(number);
                if event.status.as_deref() == Some("ok") {
                    group.ok_bytes.push(number);
                }
            }
        }
    }
    windows
}

fn nearest_rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn assert_close(name: &str, found: Option<f64>, exact: Option<f64>) {
    match (found, exact) {
        (Some(found), Some(exact)) => {
            assert!((found - exact).abs() <= exact.abs() * 0.01, "{name}: {found}, not {exact}");
        }
        _ => assert_eq!(found, exact, "{name}"),
    }
}

fn compare(row: &ResultRow, reference: &Reference) {
    let count = reference.count as f64;
    let mut durations = reference.durations.clone();
    durations.sort_unstable();
    let sum: i128 = durations.iter().map(|duration| i128::from(*duration)).sum();
    let mut bytes = reference.bytes.clone();
    bytes.sort_by(f64::total_cmp);
    let eighths: i128 = bytes.iter().map(|number| (number * 8.0) as i128).sum();
    let total = (!bytes.is_empty()).then_some(eighths as f64 / 8.0);
    let exact = [
        ("count", Some(count)),
        ("error_count", Some(reference.errors as f64)),
        ("success_rate", Some(1.0 - reference.errors as f64 / count)),
        ("avg_duration_ns", (!durations.is_empty()).then(|| sum as f64 / durations.len() as f64)),
        ("max_duration_ns", durations.last().map(|duration| *duration as f64)),
        ("min_duration_ns", durations.first().map(|duration| *duration as f64)),
        ("traffic_rate", Some(count / (SIZE as f64 / 1000.0))),
        ("slow", Some(durations.iter().filter(|duration| **duration > 500_000).count() as f64)),
        ("sized", Some(reference.sized as f64)),
        ("big", bytes.last().copied()),
        ("small", reference.ok_bytes.iter().copied().reduce(f64::min)),
        ("total", total),
        ("mean", total.map(|total| total / bytes.len() as f64)),
        ("good", (reference.judged > 0).then(|| reference.oks as f64 / reference.judged as f64)),
        ("kinds", Some(reference.kinds.len() as f64)),
    ];
    for (name, value) in exact {
        assert_eq!(row.values[name], value, "{name} of {row:?}");
    }
    let clamped: Vec<f64> = durations.iter().map(|duration| (*duration).max(0) as f64).collect();
    for percent in [50, 90, 95, 99] {
        let name = format!("p{percent}_duration_ns");
        assert_close(&name, row.values[&name], nearest_rank(&clamped, percent));
    }
    assert_close("middle", row.values["middle"], nearest_rank(&bytes, 50));
}

/// Sends the arrivals over `lanes` lanes, each lane's in the order of arrival, then ends every lane.
fn run(arrivals: &[Arrival], lanes: u64, longest: usize, plain: bool) -> Vec<ResultRow> {
    let mut ordered: Vec<&Arrival> = arrivals.iter().collect();
    ordered.sort_by_key(|(event, delay, ..)| event.time.unwrap() + delay);
    let mut run = Run::new(SECTION, lanes);
    let mut waiting: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for (event, _, lane, ends) in ordered {
        let lane = lane % lanes;
        let batch = waiting.entry(lane).or_default();
        batch.push(event.clone());
        if *ends || batch.len() >= longest {
            let batch = std::mem::take(batch);
            run.plain_events(lane, &batch, plain);
        }
    }
    for lane in 0..lanes {
        if let Some(batch) = waiting.remove(&lane) {
            run.plain_events(lane, &batch, plain);
        }
        run.end(lane);
    }
    assert_eq!(run.metric("late_events"), 0, "disorder within the bound makes no event late");
    assert!(run.watermarks.is_sorted());
    for batch in &run.emitted {
        let order: Vec<_> = harness::rows(batch).into_iter().map(|row| (row.end, row.keys)).collect();
        assert!(order.is_sorted(), "rows are ordered by window and key");
    }
    let rows = run.take();
    assert!(rows.iter().map(|row| row.end).is_sorted(), "windows fire in order");
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn results_are_those_of_the_reference_whatever_lanes_batches_and_order(
        arrivals in prop::collection::vec(arrival(), 0..250),
        lanes in 1..=16_u64,
        longest in 1..60_usize,
        plain: bool,
    ) {
        let rows = run(&arrivals, lanes, longest, plain);
        let mut expected = reference(&arrivals);
        for row in &rows {
            let window = (row.start, row.keys[0].clone(), row.keys[1].clone());
            let reference = expected.remove(&window);
            prop_assert!(reference.is_some(), "an unexpected or repeated window: {:?}", row);
            compare(row, &reference.unwrap());
        }
        prop_assert!(expected.is_empty(), "windows are missing: {:?}", expected.keys());
        prop_assert_eq!(rows, run(&arrivals, 1, usize::MAX, !plain), "one lane gives the very same rows");
    }
}
