//! Random events, and what a group of them has to say, computed by sorting and adding up. Shares no code with
//! the processor.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::harness::{Event, ResultRow};

/// How late events arrive at most, in milliseconds of event time.
pub const DISORDER: i64 = 400;

/// `where`, `group_by` and `measures` of every section.
pub const REST: &str = "
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
  oldest: first(duration_ns)
  newest: last(duration_ns)
  pace: rate(where status = 'error')
";

/// An event, how late it arrives, its lane, and whether its batch ends with it.
pub type Arrival = (Event, i64, u64, bool);

pub fn arrival() -> impl Strategy<Value = Arrival> {
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

/// The parts of a group.
#[derive(Clone, Default)]
pub struct Reference {
    count: u64,
    errors: u64,
    durations: Vec<i64>,
    /// Times and durations, for the first and the last.
    timed: Vec<(i64, i64)>,
    oks: u64,
    with_status: u64,
    bytes: Vec<f64>,
    ok_bytes: Vec<f64>,
    sized: u64,
    kinds: BTreeSet<String>,
}

/// Whether `where` takes it.
pub fn is_selected(event: &Event) -> bool {
    event.status.as_deref() != Some("skip")
}

/// The group of an event.
pub fn group(event: &Event) -> (Option<String>, Option<String>) {
    (event.service.clone(), event.operation.clone())
}

impl Reference {
    pub fn add(&mut self, event: &Event) {
        self.count += 1;
        self.errors += u64::from(event.status.as_deref() == Some("error"));
        self.durations.extend(event.duration);
        self.timed.extend(event.duration.map(|duration| (event.time.unwrap(), duration)));
        if let Some(status) = &event.status {
            self.with_status += 1;
            self.oks += u64::from(status == "ok");
        }
        if let Some(bytes) = &event.bytes {
            self.sized += 1;
            self.kinds.insert(bytes.clone());
            if let Ok(number) = bytes.parse::<f64>() {
                self.bytes.push(number);
                if event.status.as_deref() == Some("ok") {
                    self.ok_bytes.push(number);
                }
            }
        }
    }
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

/// Checks every measure of a row.
///
/// # Panics
/// When one is not as it should be.
pub fn compare(row: &ResultRow, reference: &Reference) {
    let seconds = (row.end - row.start) as f64 / 1000.0;
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
        // The share of those without an error: 93 of 100 is 0.93, and not below.
        ("success_rate", Some((reference.count - reference.errors) as f64 / count)),
        ("avg_duration_ns", (!durations.is_empty()).then(|| sum as f64 / durations.len() as f64)),
        ("max_duration_ns", durations.last().map(|duration| *duration as f64)),
        ("min_duration_ns", durations.first().map(|duration| *duration as f64)),
        ("traffic_rate", Some(count / seconds)),
        ("slow", Some(durations.iter().filter(|duration| **duration > 500_000).count() as f64)),
        ("sized", Some(reference.sized as f64)),
        ("big", bytes.last().copied()),
        ("small", reference.ok_bytes.iter().copied().reduce(f64::min)),
        ("total", total),
        ("mean", total.map(|total| total / bytes.len() as f64)),
        ("good", (reference.with_status > 0).then(|| reference.oks as f64 / reference.with_status as f64)),
        ("kinds", Some(reference.kinds.len() as f64)),
        ("pace", Some(reference.errors as f64 / seconds)),
    ];
    for (name, value) in exact {
        assert_eq!(row.values[name], value, "{name} of {row:?}");
    }
    let clamped: Vec<f64> = durations.iter().map(|duration| (*duration).max(0) as f64).collect();
    for percent in [50, 90, 95, 99] {
        let name = format!("p{percent}_duration_ns");
        assert_close(&name, row.values[&name], nearest_rank(&clamped, percent));
    }
    // Of several events of one time the shortest is the first and the longest the last.
    let duration = |found: Option<&(i64, i64)>| found.map(|(_, duration)| *duration as f64);
    assert_eq!(row.values["oldest"], duration(reference.timed.iter().min()), "oldest of {row:?}");
    assert_eq!(row.values["newest"], duration(reference.timed.iter().max()), "newest of {row:?}");
    assert_close("middle", row.values["middle"], nearest_rank(&bytes, 50));
}

/// Batches of each lane, in the order of arrival.
pub fn batches(arrivals: &[Arrival], lanes: u64, longest: usize) -> Vec<(u64, Vec<Event>)> {
    let mut ordered: Vec<&Arrival> = arrivals.iter().collect();
    ordered.sort_by_key(|(event, delay, ..)| event.time.unwrap() + delay);
    let mut waiting: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    let mut made = Vec::new();
    for (event, _, lane, ends) in ordered {
        let lane = lane % lanes;
        let batch = waiting.entry(lane).or_default();
        batch.push(event.clone());
        if *ends || batch.len() >= longest {
            made.push((lane, std::mem::take(batch)));
        }
    }
    made.extend(waiting.into_iter().filter(|(_, batch)| !batch.is_empty()));
    made
}
