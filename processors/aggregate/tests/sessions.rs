//! Sessions: what many of one key cost, and where those that never fall silent are cut.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::time::{Duration, Instant};

use harness::{Event, Run, create, event};
use proptest::prelude::*;
use weir_component::LaneId;
use weir_component::delivery::LaneStart;

/// With the square of the number this takes minutes.
const SOON: Duration = Duration::from_secs(60);
const MANY: i64 = 10_000;

fn section(more: &str) -> String {
    format!("{{window: {{session: 10ms}}, group_by: [service], {more}}}")
}

#[test]
fn many_sessions_of_one_key_that_wait_cost_no_more_each_than_a_few() {
    let began = Instant::now();
    let mut run = Run::new(&section("out_of_orderness: 1d"), 2);
    // In the worst order: the latest first. Lane 1 fills what is between them.
    for batch in (0..MANY).rev().collect::<Vec<_>>().chunks(500) {
        run.events(0, &batch.iter().map(|at| event("s", at * 100)).collect::<Vec<_>>());
        run.events(1, &batch.iter().map(|at| event("s", at * 100 + 50)).collect::<Vec<_>>());
    }
    (0..2).for_each(|lane| run.end(lane));
    assert_eq!(run.take().len() as i64, 2 * MANY);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn many_sessions_of_one_key_that_are_kept_for_late_events_cost_no_more_each_than_a_few() {
    let began = Instant::now();
    let mut run = Run::new(&section("out_of_orderness: 0s, allowed_lateness: 1d"), 1);
    for batch in (0..MANY).collect::<Vec<_>>().chunks(10) {
        run.events(0, &batch.iter().map(|at| event("s", at * 100)).collect::<Vec<_>>());
    }
    assert!(run.groups() >= MANY - 1, "all are kept");
    run.take();
    run.events(0, &[event("s", 105)]);
    assert_eq!(run.firings(), ["s,2[100,115)#1"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn what_cannot_be_a_longest_session_is_an_error() {
    let error = |section: &str| create(section).err().map(|error| error.to_string()).unwrap_or_default();
    let least = "must be at least twice `session` and `allowed_lateness` together, which is 6000 ms";
    let section = "{window: {session: 1s, max_session: 5999ms}, allowed_lateness: 2s}";
    assert!(error(section).contains(least), "{}", error(section));
    assert_eq!(error("{window: {session: 1s, max_session: 6s}, allowed_lateness: 2s}"), "");
    let other = error("{window: {tumbling: 1s, max_session: 6s}}");
    assert!(other.contains("a tumbling window has no max_session; it goes with session"), "{other}");
    assert_eq!(error("{window: {session: 7d}}"), "", "the default gives way to a long gap");
}

/// The sessions of these times, by the words of the README: what follows within 10 ms is together; it is cut
/// at every multiple of 100 ms that it comes to but the first.
fn by_definition(mut times: Vec<i64>) -> Vec<(i64, i64, i64)> {
    times.sort_unstable();
    let mut sessions = Vec::new();
    for chain in times.chunk_by(|one, next| next - one <= 10) {
        let (mut start, mut last, mut count) = (chain[0], chain[0], 0);
        let mut places = (-100..100).map(|n| n * 100).filter(|place| *place > chain[0]).skip(1);
        let mut place = places.next().unwrap();
        for time in chain {
            while *time >= place {
                if last < place && count > 0 {
                    sessions.push((start, place, count));
                    (start, count) = (*time, 0);
                }
                place = places.next().unwrap();
            }
            last = *time;
            count += 1;
        }
        sessions.push((start, last + 10, count));
    }
    sessions.sort_unstable();
    sessions
}

#[test]
fn a_session_that_never_falls_silent_is_cut() {
    let section = "{window: {session: 10ms, max_session: 200ms}, out_of_orderness: 0s, group_by: [service]}";
    let mut run = Run::new(section, 1);
    for time in (30..700).step_by(10) {
        run.events(0, &[event("s", time)]);
        assert!(run.groups() <= 5, "{} fragments", run.groups());
    }
    run.end(0);
    let cut =
        ["s,17[30,200)", "s,10[200,300)", "s,10[300,400)", "s,10[400,500)", "s,10[500,600)", "s,10[600,700)"];
    assert_eq!(run.taken(), cut);
    // Shorter than half of it: never.
    let mut run = Run::new(section, 1);
    run.events(0, &(0..9).map(|n| event("t", 1_095 + n * 10)).collect::<Vec<_>>());
    run.end(0);
    assert_eq!(run.taken(), ["t,9[1095,1185)"]);
}

#[test]
fn a_late_event_comes_into_the_part_that_it_belongs_to() {
    let section = "{window: {session: 10ms, max_session: 200ms}, out_of_orderness: 0s, allowed_lateness: 50ms, \
                   group_by: [service]}";
    let mut run = Run::new(section, 1);
    for time in (0..320).step_by(10) {
        run.events(0, &[event("s", time)]);
    }
    assert_eq!(run.firings(), ["s,20[0,200)#0", "s,10[200,300)#0"]);
    run.events(0, &[event("s", 295)]);
    assert_eq!(run.firings(), ["s,11[200,300)#1"]);
    run.events(0, &[event("s", 199)]);
    assert_eq!((run.firings(), run.metric("late_events")), (Vec::new(), 1), "that part is closed for good");
    run.end(0);
    assert_eq!(run.firings(), ["s,2[300,320)#0"]);
}

/// A partition that is read again from where its second part still needs it is cut at the same places.
#[test]
fn a_restart_in_the_middle_of_a_long_session_cuts_it_where_it_was_cut() {
    use weir_component::LaneMessage;
    use weir_component::delivery::offsets::OffsetTracker;
    let section = "{window: {session: 10ms, max_session: 200ms}, out_of_orderness: 0s, group_by: [service]}";
    let all: Vec<i64> = (0..900).step_by(10).collect();
    let expected = by_definition(all.clone());
    for crash in 1..all.len() {
        let mut run = Run::new(section, 0);
        run.open(0);
        let tracker = OffsetTracker::default();
        let mut rows = Vec::new();
        for (at, time) in all[..crash].iter().enumerate() {
            let ack = tracker.track(at as i64 + 1);
            run.send(0, LaneMessage::Batch(harness::batch(&[event("s", *time)], ack)));
            rows.extend(run.take());
        }
        let position = usize::try_from(tracker.committable().unwrap_or(0)).unwrap();
        let windows = std::sync::Arc::new(run.marks.delivered(Default::default()));
        let mut next = Run::new(section, 0);
        let start = LaneStart { windows, read: crash as i64, generation: 1, ..LaneId(7).into() };
        next.open_as(start);
        for time in &all[position..] {
            next.events(7, &[event("s", *time)]);
        }
        next.end(7);
        rows.extend(next.take());
        let mut found: Vec<_> = rows.iter().map(|row| (row.start, row.end, row.count)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "stopped after {crash}, read again from {position}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn sessions_are_cut_at_places_that_depend_on_nothing_but_their_events(
        steps in prop::collection::vec(
            (prop_oneof![30 => 0..=10_i64, 1 => 11..40_i64], 0..3_u64, 0..30_i64),
            0..300,
        ),
        first in -500..500_i64,
        longest in 1..40_usize,
    ) {
        let mut time = first;
        let events: Vec<(i64, u64, i64)> = steps
            .iter()
            .map(|(step, lane, behind)| {
                time += step;
                (time, *lane, *behind)
            })
            .collect();
        let mut arrivals = events.clone();
        // Up to 30 ms out of order.
        arrivals.sort_by_key(|(time, _, behind)| time + behind);
        let section =
            "{window: {session: 10ms, max_session: 200ms}, out_of_orderness: 30ms, group_by: [service]}";
        let mut run = Run::new(section, 3);
        for chunk in arrivals.chunks(longest) {
            for lane in 0..3 {
                let own = chunk.iter().filter(|(_, of, _)| *of == lane);
                let own: Vec<Event> = own.map(|(time, ..)| event("s", *time)).collect();
                run.events(lane, &own);
            }
        }
        (0..3).for_each(|lane| run.end(lane));
        prop_assert_eq!((run.metric("late_events"), run.groups()), (0, 0));
        let mut found: Vec<_> = run.take().iter().map(|row| (row.start, row.end, row.count)).collect();
        found.sort_unstable();
        prop_assert_eq!(found, by_definition(events.iter().map(|(time, ..)| *time).collect()));
    }
}
