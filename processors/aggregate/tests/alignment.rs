//! `max_drift`: what lanes tell their alignment.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod harness;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use harness::{Run, event};
use weir_component::{Alignment, LaneId, LaneMessage};

const SECTION: &str = "window: {tumbling: 10s}\nout_of_orderness: 0s\nidle_timeout: 30s\nmax_drift: 1m";

fn waits(alignment: &Alignment, lane: u64) -> bool {
    let wait = pin!(alignment.wait(LaneId(lane)));
    wait.poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending
}

fn run(section: &str, lanes: u64) -> (Run, Arc<Alignment>) {
    let run = Run::new(section, lanes);
    let alignment = run.processor.alignment().expect("max_drift is set");
    (run, alignment)
}

#[test]
fn a_lane_waits_when_its_events_are_more_than_max_drift_ahead() {
    let (mut run, alignment) = run(SECTION, 2);
    run.events(0, &[event("a", 100_000)]);
    assert!(waits(&alignment, 0), "nothing was read from the other");
    assert!(!waits(&alignment, 1));
    run.events(1, &[event("a", 40_000)]);
    assert!(!waits(&alignment, 0), "exactly a minute");
    run.events(0, &[event("a", 100_001)]);
    assert!(waits(&alignment, 0));
    run.events(1, &[event("a", 50_000)]);
    assert!(!waits(&alignment, 0));
}

#[test]
fn a_lane_that_is_idle_ended_drained_or_closed_holds_no_other() {
    let (mut run, alignment) = run(SECTION, 4);
    run.events(0, &[event("a", 100_000)]);
    run.send(1, LaneMessage::Idle(Duration::from_secs(29)));
    run.end(2);
    run.close(3);
    assert!(waits(&alignment, 0), "29 s are not idle");
    run.send(1, LaneMessage::Idle(Duration::from_secs(30)));
    assert!(!waits(&alignment, 0));
    run.events(1, &[event("a", 1_000)]);
    assert!(!waits(&alignment, 0), "it is back, where the trunk is");
    run.events(0, &[event("a", 160_001)]);
    assert!(waits(&alignment, 0), "and holds it again");
    run.send(1, LaneMessage::Drain);
    assert!(!waits(&alignment, 0));
}

#[test]
fn without_max_drift_there_is_no_alignment() {
    for section in ["window: {tumbling: 10s}", "window: {tumbling: 10s}\nmax_drift: off"] {
        assert!(Run::new(section, 2).processor.alignment().is_none(), "{section}");
    }
}
