//! `weight`: an event that counts n times gives what n equal events give.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use harness::{Event, create, event, run_sorted};
use proptest::prelude::*;

const SECTION: &str = "window: {sliding: 600ms, slide: 200ms}
out_of_orderness: 400ms
group_by: [service]
measures:
  n: count()
  failed: count(where status = 'error')
  longest: max(duration_ns)
  shortest: min(duration_ns)
  sum: sum(duration_ns)
  mean: avg(duration_ns)
  median: quantile(duration_ns, 0.5)
  p95: p95(duration_ns)
  share: ratio(status = 'ok')
  per_second: rate()
  sum_per_second: rate(duration_ns)
  different: distinct(operation)
";

fn weighted() -> impl Strategy<Value = (Event, usize)> {
    let (service, status) = (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["ok", "error"]));
    (0..3_000_i64, service, status, 0..2_000_000_i64, 1..6_usize).prop_map(
        |(time, service, status, duration, times)| {
            let status = Some(status.to_owned());
            (Event { status, duration: Some(duration), ..event(service, time) }, times)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn an_event_of_weight_n_counts_as_n_events(
        lanes in prop::collection::vec(prop::collection::vec(weighted(), 0..40), 1..4),
    ) {
        let weighted = |(event, times): &(Event, usize)| {
            Event { bytes: Some(times.to_string()), ..event.clone() }
        };
        let with_weights: Vec<Vec<Event>> =
            lanes.iter().map(|events| events.iter().map(weighted).collect()).collect();
        let repeated: Vec<Vec<Event>> = lanes.iter().map(|events| {
            events.iter().flat_map(|(event, times)| vec![event.clone(); *times]).collect()
        }).collect();
        let found = run_sorted(&format!("{SECTION}weight: bytes\n"), &with_weights);
        prop_assert_eq!(found, run_sorted(SECTION, &repeated));
    }
}

#[test]
fn fractions_add_up_and_what_is_no_weight_counts_once() {
    let weight =
        |time: i64, bytes: Option<&str>| Event { bytes: bytes.map(str::to_owned), ..event("a", time) };
    let events = [
        weight(1, Some("2.5")),
        weight(2, Some("2.5")),
        weight(3, None),
        weight(4, Some("-3")),
        weight(5, Some("much")),
    ];
    let section = "window: {tumbling: 1s}\nout_of_orderness: 0s\ngroup_by: [service]\nweight: bytes\nmeasures: {n: count(bytes), per_second: rate()}\n";
    let rows = run_sorted(section, &[events.to_vec()]);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].count, rows[0].values["n"]), (8, Some(7.0)));
    assert_eq!((rows[0].values["traffic_rate"], rows[0].values["per_second"]), (Some(8.0), Some(8.0)));
    assert_eq!(rows[0].values["success_rate"], Some(1.0));
    assert_eq!(rows[0].values["avg_duration_ns"], Some(1_000_000.0));
}

#[test]
fn a_weight_is_checked() {
    let error = create("window: {tumbling: 1s}\nweight: severity_number\n").err().unwrap().to_string();
    assert!(error.contains("`severity_number` is a column of logs"), "{error}");
    assert!(create("window: {tumbling: 1s}\nweight: 'a +'\n").is_err());
}
