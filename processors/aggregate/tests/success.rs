//! `success`: an event that it calls a success or a failure counts as one whose status says so.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use harness::{Event, Run, event, run_sorted};
use proptest::prelude::*;

const SECTION: &str = "window: {sliding: 600ms, slide: 200ms}
out_of_orderness: 400ms
group_by: [service]
";

/// An event, and the code that its attribute `bytes` has.
fn coded() -> impl Strategy<Value = (Event, Option<u8>)> {
    let (service, status) = (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["ok", "error"]));
    (0..3_000_i64, service, status, prop::option::of(0..4_u8)).prop_map(|(time, service, status, code)| {
        (Event { status: Some(status.to_owned()), ..event(service, time) }, code)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn an_outcome_counts_as_the_status_that_says_the_same(
        lanes in prop::collection::vec(prop::collection::vec(coded(), 0..40), 1..4),
    ) {
        let with_codes: Vec<Vec<Event>> = lanes.iter().map(|events| {
            let with_code = |(event, code): &(Event, Option<u8>)| {
                Event { bytes: code.map(|code| code.to_string()), ..event.clone() }
            };
            events.iter().map(with_code).collect()
        }).collect();
        let with_statuses: Vec<Vec<Event>> = lanes.iter().map(|events| {
            let with_status = |(event, code): &(Event, Option<u8>)| {
                let status = match code {
                    Some(1 | 3) => Some("ok".to_owned()),
                    Some(_) => Some("error".to_owned()),
                    None => event.status.clone(),
                };
                Event { status, ..event.clone() }
            };
            events.iter().map(with_status).collect()
        }).collect();
        let found = run_sorted(&format!("{SECTION}success: bytes IN ('1', '3')\n"), &with_codes);
        prop_assert_eq!(found, run_sorted(SECTION, &with_statuses));
    }
}

#[test]
fn text_says_whether_an_event_succeeded() {
    let coded = |time: i64, status: &str, bytes: Option<&str>| Event {
        status: Some(status.to_owned()),
        bytes: bytes.map(str::to_owned),
        ..event("a", time)
    };
    let events = [
        coded(1, "ok", Some("false")),
        coded(2, "ok", Some("false")),
        coded(3, "error", Some("true")),
        coded(4, "ok", Some("perhaps")),
        coded(5, "error", None),
    ];
    let mut run = Run::new("window: {tumbling: 1s}\nout_of_orderness: 0s\nsuccess: bytes\n", 1);
    run.events(0, &events);
    run.end(0);
    let rows = run.take();
    assert_eq!((rows[0].values["error_count"], rows[0].values["success_rate"]), (Some(3.0), Some(0.4)));
}
