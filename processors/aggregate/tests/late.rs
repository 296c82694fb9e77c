//! Late events: what fires again, what is marked, what is dropped, and who waits for it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use arrow::array::AsArray;
use harness::{Event, Run, batch, event};
use weir_component::testkit::Probe;
use weir_component::{LaneId, LaneMessage, TrunkMessage, Watermark};
use weir_pdata::{EventBatch, Outcome};

const TUMBLING: &str =
    "{window: {tumbling: 1s}, out_of_orderness: 0s, allowed_lateness: 2s, group_by: [service]}";
const NOTHING: [String; 0] = [];

fn events(times: &[i64]) -> Vec<Event> {
    times.iter().map(|time| event("s", *time)).collect()
}

fn send(run: &mut Run, lane: u64, probe: &Probe, times: &[i64]) {
    run.send(lane, LaneMessage::Batch(batch(&events(times), probe.ack())));
}

#[test]
fn a_group_fires_again_with_everything_until_allowed_lateness_is_over() {
    let mut run = Run::new(TUMBLING, 1);
    run.events(0, &events(&[100, 1000]));
    assert_eq!(run.firings(), ["s,1[0,1000)#0"]);
    run.events(0, &events(&[200]));
    assert_eq!(run.firings(), ["s,2[0,1000)#1"]);
    run.events(0, &events(&[2999]));
    assert_eq!(run.firings(), ["s,1[1000,2000)#0"]);
    run.events(0, &[event("other", 300)]);
    assert_eq!(run.firings(), ["other,1[0,1000)#2"], "`s` has nothing new");
    run.events(0, &events(&[3000]));
    assert_eq!(run.firings(), ["s,1[2000,3000)#0"]);
    run.events(0, &events(&[400]));
    assert_eq!((run.firings(), run.metric("late_events")), (NOTHING.to_vec(), 1), "2999 is 999 + 2 s");
}

#[test]
fn a_window_fires_again_once_a_batch_not_once_an_event() {
    let mut run = Run::new(TUMBLING, 1);
    run.events(0, &events(&[100, 1000]));
    run.events(0, &events(&[200, 300, 400, 500]));
    assert_eq!(run.firings(), ["s,1[0,1000)#0", "s,5[0,1000)#1"]);
}

#[test]
fn a_batch_that_ends_allowed_lateness_still_counts_itself() {
    let mut run = Run::new(TUMBLING, 1);
    run.events(0, &events(&[100, 1000]));
    run.events(0, &events(&[200, 9000]));
    assert_eq!(run.firings(), ["s,1[0,1000)#0", "s,2[0,1000)#1", "s,1[1000,2000)#0"]);
    assert_eq!(run.metric("late_events"), 0);
}

#[test]
fn a_window_that_was_empty_fires_for_the_first_time_with_a_late_event() {
    let mut run = Run::new(TUMBLING, 1);
    run.events(0, &events(&[1500]));
    run.events(0, &events(&[100]));
    assert_eq!(run.firings(), ["s,1[0,1000)#0"]);
}

#[test]
fn a_late_event_makes_every_window_that_slides_over_it_fire_again() {
    let mut run = Run::new(
        "{window: {sliding: 2s, slide: 1s}, out_of_orderness: 0s, allowed_lateness: 1s, group_by: [service]}",
        1,
    );
    run.events(0, &events(&[100, 2000]));
    assert_eq!(run.firings(), ["s,1[-1000,1000)#0", "s,1[0,2000)#0"]);
    run.events(0, &events(&[200]));
    assert_eq!(run.firings(), ["s,2[0,2000)#1"], "[-1000, 1000) is closed for good");
    run.events(0, &events(&[1500]));
    assert_eq!(run.firings(), ["s,3[0,2000)#2"]);
    run.end(0);
    assert_eq!(run.firings(), ["s,2[1000,3000)#0", "s,1[2000,4000)#0"]);
    assert_eq!((run.metric("late_events"), run.groups()), (0, 0));
}

#[test]
fn a_session_that_fired_takes_late_events_and_may_grow() {
    let mut run = Run::new(
        "{window: {session: 1s}, out_of_orderness: 0s, allowed_lateness: 3s, group_by: [service]}",
        1,
    );
    run.events(0, &events(&[1000]));
    run.events(0, &[event("clock", 2500)]);
    assert_eq!(run.firings(), ["s,1[1000,2000)#0"]);
    run.events(0, &events(&[1000]));
    assert_eq!(run.firings(), ["s,2[1000,2000)#1"]);
    run.events(0, &events(&[400]));
    assert_eq!(run.firings(), ["s,3[400,2000)#2"]);
    run.events(0, &events(&[1900]));
    assert_eq!(run.firings(), NOTHING, "it goes on until 2900");
    run.events(0, &[event("clock", 2900)]);
    assert_eq!(run.firings(), ["s,4[400,2900)#3"]);
    run.end(0);
    assert_eq!(run.firings(), ["clock,2[2500,3900)#0"]);
    assert_eq!((run.metric("late_events"), run.groups()), (0, 0));
}

#[test]
fn an_event_late_on_its_own_is_late_though_a_session_that_it_would_join_is_open() {
    let mut run = Run::new("{window: {session: 1s}, out_of_orderness: 0s, group_by: [service]}", 1);
    run.events(0, &events(&[1500]));
    run.events(0, &[event("clock", 1900)]);
    run.events(0, &events(&[901]));
    assert_eq!(run.metric("late_events"), 0, "its own session lasts until 1900, and the watermark is 1899");
    run.events(0, &events(&[900, 300]));
    assert_eq!(run.metric("late_events"), 2, "that of 900 lasts until 1899");
    run.end(0);
    assert_eq!(run.taken(), ["s,2[901,2500)", "clock,1[1900,2900)"]);
}

#[test]
fn a_late_fragment_that_joins_only_what_is_gone_is_dropped_and_counted() {
    let mut run = Run::new("{window: {session: 1s}, out_of_orderness: 0s, group_by: [service]}", 1);
    run.events(0, &events(&[0]));
    run.events(0, &[event("clock", 5000)]);
    assert_eq!(run.taken(), ["s,1[0,1000)"]);
    run.events(0, &events(&[500, 900, 1500]));
    assert_eq!((run.taken(), run.metric("late_events")), (NOTHING.to_vec(), 3));
}

#[test]
fn one_late_event_costs_one_row_however_many_groups_its_window_has() {
    let mut run = Run::new(TUMBLING, 1);
    let groups: Vec<Event> = (0..1_000).map(|group| event(&format!("s{group:03}"), 100)).collect();
    run.events(0, &groups);
    run.events(0, &[event("clock", 1000)]);
    assert_eq!(run.take().len(), 1_000);
    for late in 1..=50_i64 {
        run.events(0, &[event("s007", 200)]);
        assert_eq!(run.firings(), [format!("s007,{}[0,1000)#{late}", late + 1)]);
    }
}

#[test]
fn what_changed_is_known_by_its_key_also_when_groups_come_and_go() {
    let mut run = Run::new(TUMBLING, 2);
    let many: Vec<Event> = (0..200).map(|group| event(&format!("s{group:03}"), 100)).collect();
    run.events(0, &many);
    run.events(1, &[event("stays", 100), event("clock", 1000)]);
    run.events(0, &[event("clock", 1000)]);
    run.take();
    // Something late is there and has not fired when most groups go with their lane.
    let mut late = weir_component::Outlet::default();
    let mut lane = run.processor.lane_stage(&LaneId(1).into()).unwrap();
    lane.handle(LaneMessage::Batch(batch(&[event("stays", 300)], weir_pdata::Ack::none())), &mut late);
    lane.handle(LaneMessage::Watermark(Watermark(999)), &mut late);
    let partial = late.take_to_trunk().find(|message| matches!(message, LaneMessage::Batch(_))).unwrap();
    run.trunk(TrunkMessage::FromLane(LaneId(1), partial));
    run.close(0);
    run.watermark(1, 999);
    assert_eq!(run.firings(), ["stays,2[0,1000)#1"]);
}

fn marks(run: &mut Run) -> Vec<Option<Vec<Option<bool>>>> {
    let batches = run.forwarded.drain(..).filter_map(|message| match message {
        LaneMessage::Batch(batch) => Some(batch),
        _ => None,
    });
    let marks = |batch: EventBatch| {
        let columns = batch.as_columns().unwrap().clone();
        let late = columns.column_by_name("late")?;
        Some(late.as_boolean().iter().collect::<Vec<_>>())
    };
    batches.map(marks).collect()
}

#[test]
fn late_events_go_on_with_a_mark_when_asked() {
    let mut run = Run::new(
        "{window: {tumbling: 1s}, out_of_orderness: 0s, late: output, group_by: [service], where: service = 's'}",
        1,
    );
    run.keep_forwarded = true;
    run.events(0, &events(&[100, 3000]));
    run.events(0, &[event("s", 200), event("s", 3100), event("elsewhere", 200), event("s", -5)]);
    run.events(0, &events(&[2999]));
    run.events(0, &events(&[3000]));
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(marks(&mut run), [None, Some(vec![yes, no, no, yes]), Some(vec![yes]), None]);
    run.end(0);
    assert_eq!(run.taken(), ["s,1[0,1000)", "s,3[3000,4000)"]);
    assert_eq!(run.metric("late_events"), 3);
}

#[test]
fn a_mark_of_an_earlier_processor_stays() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, late: output, group_by: [service]}", 1);
    let mut earlier = Run::new(
        "{window: {tumbling: 1s}, out_of_orderness: 0s, late: output, group_by: [service], where: service = 'a'}",
        1,
    );
    earlier.keep_forwarded = true;
    earlier.events(0, &[event("a", 5000)]);
    earlier.events(0, &[event("a", 0), event("b", 0), event("b", 6000)]);
    run.keep_forwarded = true;
    let forwarded: Vec<_> = earlier.forwarded.drain(..).collect();
    forwarded.into_iter().for_each(|message| run.send(0, message));
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(marks(&mut run), [None, Some(vec![yes, yes, no])]);
}

#[test]
fn with_drop_late_events_are_not_marked() {
    let mut run = Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}", 1);
    run.keep_forwarded = true;
    run.events(0, &events(&[3000]));
    run.events(0, &events(&[200]));
    assert_eq!((marks(&mut run), run.metric("late_events")), (vec![None, None], 1));
}

#[test]
fn inputs_wait_until_their_window_cannot_change_any_more() {
    let probe = Probe::default();
    let mut run = Run::new(TUMBLING, 1);
    send(&mut run, 0, &probe, &[100]);
    send(&mut run, 0, &probe, &[1000]);
    drop(run.take());
    assert_eq!(probe.outcome(0), None, "the next owner of the lane needs it to let the window fire again");
    send(&mut run, 0, &probe, &[200]);
    assert_eq!(run.emitted.len(), 1);
    drop(run.take());
    assert_eq!((probe.outcome(0), probe.outcome(2)), (None, None));
    run.end(0);
    drop(run.take());
    assert_eq!((probe.open(), probe.count(Outcome::Failed)), (0, 0));
}

#[test]
fn an_input_waits_for_every_sliding_window_that_holds_its_events() {
    let probe = Probe::default();
    let mut run =
        Run::new("{window: {sliding: 3s, slide: 1s}, out_of_orderness: 0s, group_by: [service]}", 1);
    send(&mut run, 0, &probe, &[100]);
    for watermark in [999, 1999] {
        run.watermark(0, watermark);
        assert_eq!(run.take().len(), 1);
        assert_eq!(probe.outcome(0), None);
    }
    run.watermark(0, 2999);
    assert_eq!(probe.outcome(0), None, "emitted is not exported");
    drop(run.take());
    assert_eq!((probe.outcome(0), run.groups()), (Some(Outcome::Done), 0));
}

#[test]
fn a_failed_sliding_window_fails_its_inputs_though_later_ones_are_exported() {
    let probe = Probe::default();
    let mut run =
        Run::new("{window: {sliding: 2s, slide: 1s}, out_of_orderness: 0s, group_by: [service]}", 1);
    send(&mut run, 0, &probe, &[100]);
    run.watermark(0, 999);
    run.emitted[0].ack.fail();
    drop(run.take());
    run.end(0);
    drop(run.take());
    assert_eq!(probe.outcome(0), Some(Outcome::Failed));
}

#[test]
fn a_lane_that_closes_takes_its_part_of_sessions_and_slices_back() {
    for window in ["{sliding: 3s, slide: 1s}", "{session: 2s}"] {
        let probe = Probe::default();
        let section = format!("{{window: {window}, out_of_orderness: 0s, group_by: [service]}}");
        let mut run = Run::new(&section, 2);
        send(&mut run, 0, &probe, &[100, 2000]);
        send(&mut run, 1, &probe, &[50]);
        drop(run.take());
        run.close(0);
        assert_eq!(probe.outcome(0), Some(Outcome::Failed), "{window}");
        run.open(2);
        send(&mut run, 2, &probe, &[100, 2000]);
        run.end(1);
        run.end(2);
        let rows = run.take();
        assert_eq!(rows.iter().map(|row| row.count).max(), Some(3), "no event counts twice: {rows:?}");
        assert_eq!((run.metric("late_events"), run.groups()), (0, 0), "{window}");
        assert_eq!((probe.outcome(1), probe.outcome(2)), (Some(Outcome::Done), Some(Outcome::Done)));
    }
}
