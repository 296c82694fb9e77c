//! Acks: an input is done when every window that holds one of its events is exported, and not before.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use harness::{Run, batch, event};
use proptest::prelude::*;
use weir_component::delivery::offsets::OffsetTracker;
use weir_component::testkit::{Probe, check_stage};
use weir_component::{LaneId, LaneMessage, Watermark};
use weir_pdata::{Outcome, Signal};

const SECTION: &str = "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}";

fn send(run: &mut Run, lane: u64, probe: &Probe, times: &[i64]) {
    let events: Vec<_> = times.iter().map(|time| event("s", *time)).collect();
    run.send(lane, LaneMessage::Batch(batch(&events, probe.ack())));
}

#[test]
fn the_lane_half_keeps_the_contract_of_stages() {
    let (processor, ..) = harness::create(SECTION).unwrap();
    let mut stage = processor.lane_stage(&LaneId(0).into()).unwrap();
    let batches = [[0, 10].as_slice(), &[1500, 999], &[], &[-1], &[70_000]].map(|times| {
        let events: Vec<_> = times.iter().map(|time| event("s", *time)).collect();
        batch(&events, weir_pdata::Ack::none())
    });
    let (forwarded, to_trunk) = check_stage(stage.as_mut(), batches.to_vec(), |_| true);
    assert_eq!(forwarded.len(), batches.len() + 2, "every batch is forwarded, then the end, then Drain");
    let marks = to_trunk.iter().filter_map(|message| match message {
        LaneMessage::Watermark(watermark) => Some(*watermark),
        _ => None,
    });
    let marks: Vec<_> = marks.collect();
    assert!(marks.is_sorted(), "the lane's watermark never goes back: {marks:?}");
    assert_eq!(marks.last(), Some(&Watermark::MAX));
}

#[test]
fn an_input_waits_for_every_window_that_holds_its_events() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 1);
    send(&mut run, 0, &probe, &[500, 1500]);
    send(&mut run, 0, &probe, &[700]);
    run.watermark(0, 1499);
    drop(run.take());
    assert_eq!(
        (probe.outcome(0), probe.outcome(1)),
        (None, Some(Outcome::Done)),
        "the second window holds input 0"
    );
    run.end(0);
    assert_eq!(probe.outcome(0), None, "emitted is not exported");
    drop(run.take());
    assert_eq!(probe.outcome(0), Some(Outcome::Done));
}

#[test]
fn an_input_without_events_in_windows_is_not_kept() {
    let probe = Probe::default();
    let mut run = Run::new("{window: {tumbling: 1s}, where: service = 'other'}", 1);
    send(&mut run, 0, &probe, &[500]);
    assert_eq!(probe.outcome(0), Some(Outcome::Done));
}

#[test]
fn a_failed_export_fails_every_input_of_its_windows() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 2);
    send(&mut run, 0, &probe, &[500]);
    send(&mut run, 1, &probe, &[600]);
    run.end(0);
    run.end(1);
    run.emitted[0].ack.fail();
    drop(run.take());
    assert_eq!(probe.count(Outcome::Failed), 2);
}

#[test]
fn drain_gives_up_open_windows_and_their_inputs_fail() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 1);
    send(&mut run, 0, &probe, &[500]);
    send(&mut run, 0, &probe, &[1500]);
    drop(run.take());
    run.send(0, LaneMessage::Drain);
    assert_eq!((probe.outcome(0), probe.outcome(1)), (Some(Outcome::Done), Some(Outcome::Failed)));
    run.end(0);
    assert!(run.take().is_empty());
}

#[test]
fn the_inputs_of_late_events_are_done() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 1);
    send(&mut run, 0, &probe, &[5000]);
    send(&mut run, 0, &probe, &[500, 600]);
    assert_eq!((probe.outcome(1), run.metric("late_events")), (Some(Outcome::Done), 2));
}

#[test]
fn a_lane_that_closes_takes_its_share_back_and_its_inputs_fail() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 3);
    send(&mut run, 0, &probe, &[500, 2000]);
    send(&mut run, 1, &probe, &[600, 700, 2100]);
    run.close(0);
    assert_eq!(probe.outcome(0), Some(Outcome::Failed));
    assert!(run.emitted.is_empty(), "closing fires nothing by itself");
    // The next owner reads the same events again.
    run.open(3);
    send(&mut run, 3, &probe, &[500, 2000]);
    run.end(2);
    assert_eq!(run.taken(), ["s,3[0,1000)"], "no event counts twice");
    assert_eq!(run.metric("late_events"), 0);
    run.end(1);
    run.end(3);
    assert_eq!(run.taken(), ["s,2[2000,3000)"]);
    assert_eq!((probe.outcome(1), probe.outcome(2)), (Some(Outcome::Done), Some(Outcome::Done)));
}

#[test]
fn a_lane_whose_stream_has_ended_may_close_and_its_share_stays() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 2);
    send(&mut run, 0, &probe, &[500]);
    run.end(0);
    run.close(0);
    assert_eq!(probe.outcome(0), None);
    send(&mut run, 1, &probe, &[600]);
    run.end(1);
    assert_eq!(run.taken(), ["s,2[0,1000)"]);
    assert_eq!(probe.count(Outcome::Done), 2);
}

#[test]
fn what_the_trunk_still_holds_when_it_ends_fails() {
    let probe = Probe::default();
    let mut run = Run::new(SECTION, 2);
    send(&mut run, 0, &probe, &[500, 2000]);
    drop(run);
    assert_eq!(probe.outcome(0), Some(Outcome::Failed));
}

/// A one-day window over 64 partitions: what is kept of its inputs does not grow with the batches.
#[test]
fn a_long_window_keeps_a_few_handles_however_many_batches_come() {
    const LANES: u64 = 64;
    const BATCHES: i64 = 200;
    let mut run = Run::new("{window: {tumbling: 1d}, out_of_orderness: 0s, group_by: [service]}", LANES);
    let trackers: Vec<OffsetTracker> = (0..LANES).map(|_| OffsetTracker::default()).collect();
    for number in 1..=BATCHES {
        for (lane, tracker) in (0..).zip(&trackers) {
            let ack = tracker.track(number * 10);
            run.send(lane, LaneMessage::Batch(batch(&[event("s", number * 1000)], ack)));
            assert!(tracker.open() <= 2, "{} entries after {number} batches", tracker.open());
            assert_eq!(tracker.committable(), None, "the window needs the first");
        }
    }
    (0..LANES).for_each(|lane| run.watermark(lane, 86_400_000));
    assert_eq!(run.taken(), [format!("s,{}[0,86400000)", LANES as i64 * BATCHES)]);
    for tracker in &trackers {
        assert_eq!((tracker.committable(), tracker.open()), (Some(BATCHES * 10), 0));
    }
}

/// Each firing again holds what it needs once, not on top of what the one before held.
#[test]
fn ten_thousand_firings_of_a_window_are_let_go_without_a_deep_stack() {
    let section = "{window: {tumbling: 1s}, out_of_orderness: 0s, allowed_lateness: 1h, group_by: [service]}";
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let fired = small.spawn(move || {
        let (probe, mut run) = (Probe::default(), Run::new(section, 1));
        send(&mut run, 0, &probe, &[100, 1000]);
        for _ in 0..10_000 {
            send(&mut run, 0, &probe, &[200]);
            drop(run.take());
        }
        assert_eq!(probe.count(Outcome::Done), 0, "it may fire again");
        run.end(0);
        drop(run.take());
        assert_eq!((probe.open(), probe.count(Outcome::Failed)), (0, 0));
    });
    fired.unwrap().join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_input_settles_once_and_every_event_is_counted_once_or_late(
        batches in prop::collection::vec(
            (0..4_u64, prop::collection::vec(0..9_000_i64, 0..5), any::<bool>()),
            0..60,
        ),
    ) {
        let probe = Probe::default();
        let mut run = Run::new(SECTION, 4);
        let mut counted = 0;
        for (lane, times, export) in &batches {
            send(&mut run, *lane, &probe, times);
            if *export {
                counted += run.take().iter().map(|row| row.count).sum::<i64>();
            }
        }
        (0..4).for_each(|lane| run.end(lane));
        prop_assert!(run.emitted.iter().all(|batch| batch.signal == Signal::Windows));
        counted += run.take().iter().map(|row| row.count).sum::<i64>();
        let sent: usize = batches.iter().map(|(_, times, _)| times.len()).sum();
        prop_assert_eq!(counted as usize + run.metric("late_events") as usize, sent);
        prop_assert_eq!((probe.open(), probe.count(Outcome::Failed)), (0, 0));
    }
}
