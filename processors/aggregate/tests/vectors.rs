//! Apache Flink's vectors (`streams-and-alerting.md` §1.9) on watermarks, windows, sessions and combination.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::time::Duration;

use harness::{Event, Run, create, event};
use weir_component::{LaneMessage, Watermark};

const NOTHING: [String; 0] = [];

/// k2@3999,3000; k1@20,0,999; k2@1998,1999,1000.
fn common_input() -> Vec<Event> {
    let k2 = [3999, 3000].map(|time| event("k2", time));
    let k1 = [20, 0, 999].map(|time| event("k1", time));
    let more = [1998, 1999, 1000].map(|time| event("k2", time));
    [k2.as_slice(), &k1, &more].concat()
}

/// A processor whose watermark moves only as the test says: the out-of-orderness is beyond every time used
/// here.
fn with_manual_watermark(window: &str, lanes: u64) -> Run {
    Run::new(&format!("window: {window}\nout_of_orderness: 1d\ngroup_by: [service]"), lanes)
}

#[test]
fn v1_the_watermark_follows_the_latest_event_by_the_out_of_orderness_and_one() {
    let mut run = Run::new("window: {tumbling: 7s}\nout_of_orderness: 10ms", 1);
    run.events(0, &[event("e", 1337)]);
    run.events(0, &[12345, 12300, 12340, 12280].map(|time| event("e", time)));
    run.events(0, &[event("e", 723_456)]);
    run.events(0, &[event("e", 723_456)]);
    assert_eq!(run.watermarks, [1326, 12334, 723_445].map(Watermark));
}

#[test]
fn v1_without_events_there_is_no_watermark() {
    let mut run = Run::new("window: {tumbling: 7s}\nout_of_orderness: 10ms", 1);
    run.events(0, &[Event { time: None, ..event("e", 0) }]);
    assert!(run.watermarks.is_empty());
}

#[test]
fn v2_window_starts() {
    for (window, times, starts) in [
        ("{tumbling: 7ms}", vec![1, 6, 7, 8], vec![0, 7]),
        ("{tumbling: 7ms, offset: 3ms}", vec![1, 2, 3, 9, 10], vec![-4, 3, 10]),
        ("{tumbling: 7ms, offset: -2ms}", vec![1, -2, 3, 4, 7, 12], vec![-2, 5, 12]),
        ("{tumbling: 1d, offset: -8h}", vec![1_470_902_048_450], vec![1_470_844_800_000]),
    ] {
        let mut run = with_manual_watermark(window, 1);
        run.clock.set(2_000_000_000_000);
        let events: Vec<Event> = times.into_iter().map(|time| event("e", time)).collect();
        run.events(0, &events);
        run.end(0);
        assert_eq!(run.take().iter().map(|row| row.start).collect::<Vec<_>>(), starts, "{window}");
    }
}

#[test]
fn v4_tumbling_windows_with_an_offset() {
    let mut run = with_manual_watermark("{tumbling: 5s, offset: 100ms}", 1);
    run.events(0, &[100, 5099, 5100].map(|time| event("k", time)));
    run.end(0);
    assert_eq!(run.taken(), ["k,2[100,5100)", "k,1[5100,10100)"]);

    let mut run = with_manual_watermark("{tumbling: 5s, offset: -100ms}", 1);
    run.events(0, &[0, 4900].map(|time| event("k", time)));
    run.end(0);
    assert_eq!(run.taken(), ["k,1[-100,4900)", "k,1[4900,9900)"]);
}

#[test]
fn v4_windows_that_cannot_be_are_rejected() {
    for (window, why) in [
        ("{tumbling: 0s}", "must be more than 0s"),
        ("{tumbling: -1s}", "is negative"),
        ("{tumbling: 5s, offset: 5s}", "must be less than the window's length, 5s, in both directions"),
        ("{tumbling: 5s, offset: -5s}", "must be less than the window's length, 5s, in both directions"),
        ("{tumbling: 1500us}", "is not a whole number of milliseconds"),
        ("{sliding: 5s, slide: 1s, offset: 1s}", "must be less than the slide, 1s, in both directions"),
        ("{sliding: 5s, slide: 0s}", "must be more than 0s"),
        ("{session: 0s}", "must be more than 0s"),
    ] {
        let error = create(&format!("window: {window}")).err().unwrap().to_string();
        assert!(error.contains(why), "{window}: {error}");
    }
}

#[test]
fn v5_tumbling_windows_fire_when_the_watermark_reaches_their_last_millisecond() {
    let mut run = with_manual_watermark("{tumbling: 3s}", 1);
    run.events(0, &common_input());
    for watermark in [999, 1999] {
        run.watermark(0, watermark);
        assert_eq!(run.taken(), NOTHING, "{watermark}");
    }
    run.watermark(0, 2999);
    assert_eq!(run.taken(), ["k1,3[0,3000)", "k2,3[0,3000)"]);
    for watermark in [3999, 4999] {
        run.watermark(0, watermark);
        assert_eq!(run.taken(), NOTHING, "{watermark}");
    }
    run.watermark(0, 5999);
    assert_eq!(run.taken(), ["k2,2[3000,6000)"]);
    for watermark in [6999, 7999] {
        run.watermark(0, watermark);
        assert_eq!(run.taken(), NOTHING, "empty windows do not fire");
    }
}

#[test]
fn v5_it_does_not_matter_how_the_input_is_cut_into_batches_and_lanes() {
    for lanes in 1..=3 {
        let mut run = with_manual_watermark("{tumbling: 3s}", lanes);
        for (at, event) in common_input().into_iter().enumerate() {
            run.events(at as u64 % lanes, &[event]);
        }
        (0..lanes).for_each(|lane| run.watermark(lane, 2999));
        assert_eq!(run.taken(), ["k1,3[0,3000)", "k2,3[0,3000)"]);
        (0..lanes).for_each(|lane| run.watermark(lane, 5999));
        assert_eq!(run.taken(), ["k2,2[3000,6000)"]);
    }
}

#[test]
fn v5_a_lane_that_starts_again_between_changes_nothing() {
    let mut run = with_manual_watermark("{tumbling: 3s}", 1);
    run.events(0, &common_input());
    run.watermark(0, 1999);
    restart(&mut run, 0, 1);
    run.watermark(1, 2999);
    assert_eq!(run.taken(), ["k1,3[0,3000)", "k2,3[0,3000)"]);
    run.watermark(1, 5999);
    assert_eq!(run.taken(), ["k2,2[3000,6000)"]);
}

/// The lane ends, and another reads the common input again.
fn restart(run: &mut Run, from: u64, to: u64) {
    run.send(from, LaneMessage::Drain);
    run.close(from);
    run.open(to);
    run.events(to, &common_input());
}

#[test]
fn v3_an_event_is_in_every_window_that_slides_over_it() {
    for (window, time, starts) in [
        ("{sliding: 5s, slide: 1s}", 0, [-4000, -3000, -2000, -1000, 0]),
        ("{sliding: 5s, slide: 1s}", 4999, [0, 1000, 2000, 3000, 4000]),
        ("{sliding: 5s, slide: 1s}", 5000, [1000, 2000, 3000, 4000, 5000]),
        ("{sliding: 5s, slide: 1s, offset: 100ms}", 100, [-3900, -2900, -1900, -900, 100]),
    ] {
        let mut run = with_manual_watermark(window, 1);
        run.events(0, &[event("k", time)]);
        run.end(0);
        let expected = starts.map(|start| format!("k,1[{start},{})", start + 5000));
        assert_eq!(run.taken(), expected, "{window} {time}");
    }
}

#[test]
fn v6_sliding_windows_fire_one_after_the_other_also_when_the_lane_starts_again() {
    for restarts in [false, true] {
        let mut run = with_manual_watermark("{sliding: 3s, slide: 1s}", 1);
        run.events(0, &common_input());
        run.watermark(0, 999);
        assert_eq!(run.taken(), ["k1,3[-2000,1000)"]);
        run.watermark(0, 1999);
        assert_eq!(run.taken(), ["k1,3[-1000,2000)", "k2,3[-1000,2000)"]);
        run.watermark(0, 2999);
        assert_eq!(run.taken(), ["k1,3[0,3000)", "k2,3[0,3000)"]);
        if restarts {
            restart(&mut run, 0, 1);
        }
        let lane = u64::from(restarts);
        run.watermark(lane, 3999);
        assert_eq!(run.taken(), ["k2,5[1000,4000)"]);
        run.watermark(lane, 4999);
        assert_eq!(run.taken(), ["k2,2[2000,5000)"]);
        run.watermark(lane, 5999);
        assert_eq!(run.taken(), ["k2,2[3000,6000)"]);
        run.end(lane);
        assert_eq!(run.taken(), NOTHING);
    }
}

#[test]
fn v7_an_event_late_for_some_windows_counts_in_the_others() {
    let mut run = with_manual_watermark("{sliding: 3s, slide: 1s}", 1);
    run.events(0, &common_input());
    run.watermark(0, 3999);
    run.take();
    run.events(0, &[event("k2", 3500)]);
    assert_eq!(run.taken(), NOTHING, "without allowed_lateness nothing fires again");
    run.watermark(0, 4999);
    assert_eq!((run.taken(), run.metric("late_events")), (vec!["k2,3[2000,5000)".to_owned()], 0));
    run.events(0, &[event("k1", 2999)]);
    assert_eq!(run.metric("late_events"), 1);
    run.watermark(0, 5999);
    assert_eq!(run.taken(), ["k2,3[3000,6000)"]);
}

/// Sessions with the sum of values, fired when the test says.
fn sessions(gap: &str, lanes: u64) -> Run {
    let section = format!(
        "window: {{session: {gap}}}\nout_of_orderness: 1d\ngroup_by: [service]\nmeasures: {{sum: sum(bytes)}}"
    );
    Run::new(&section, lanes)
}

fn worth(service: &str, value: i64, time: i64) -> Event {
    Event { bytes: Some(value.to_string()), ..event(service, time) }
}

#[test]
fn v8_sessions_end_when_nothing_came_for_the_gap() {
    for lanes in 1..=4 {
        let mut run = sessions("3s", lanes);
        let input = [
            ("k2", 1, 0),
            ("k2", 2, 1000),
            ("k2", 3, 2500),
            ("k1", 1, 10),
            ("k1", 2, 1000),
            ("k1", 3, 2500),
            ("k2", 4, 5501),
            ("k2", 5, 6000),
            ("k2", 5, 6000),
            ("k2", 6, 6050),
        ];
        for (at, (service, value, time)) in input.into_iter().enumerate() {
            run.events(at as u64 % lanes, &[worth(service, value, time)]);
        }
        (0..lanes).for_each(|lane| run.watermark(lane, 12_000));
        assert_eq!(run.sums(), ["k2,6[0,5500)", "k1,6[10,5500)", "k2,20[5501,9050)"]);
        run.events(0, &[worth("k2", 10, 15_000), worth("k2", 20, 15_000)]);
        (0..lanes).for_each(|lane| run.watermark(lane, 17_998));
        assert_eq!(run.sums(), NOTHING);
        (0..lanes).for_each(|lane| run.watermark(lane, 17_999));
        assert_eq!(run.sums(), ["k2,30[15000,18000)"]);
        assert_eq!((run.groups(), run.metric("late_events")), (0, 0));
    }
}

#[test]
fn v8_an_event_exactly_the_gap_after_the_last_one_joins() {
    let mut run = sessions("3s", 2);
    run.events(0, &[worth("k2", 3, 2500)]);
    run.events(1, &[worth("k2", 4, 5500)]);
    (0..2).for_each(|lane| run.end(lane));
    assert_eq!(run.sums(), ["k2,7[2500,8500)"]);
}

#[test]
fn v15_only_windows_that_touch_merge() {
    for order in [[0, 1, 2, 4, 5], [5, 2, 0, 4, 1]] {
        let mut run = sessions("1ms", 2);
        for (at, time) in order.into_iter().enumerate() {
            run.events(at as u64 % 2, &[worth("k", 1, time)]);
        }
        (0..2).for_each(|lane| run.end(lane));
        assert_eq!(run.sums(), ["k,3[0,3)", "k,2[4,6)"]);
    }
}

#[test]
fn v16_windows_of_the_time_of_arrival_fire_when_the_clock_has_passed_them() {
    let mut run = Run::new("{window: {processing: 3s}, group_by: [service]}", 2);
    run.clock.set(3);
    // Whatever the events say about their time.
    run.events(0, &[event("k2", 90_000), event("k2", -1), Event { time: None, ..event("k2", 0) }]);
    run.events(1, &["k1", "k1"].map(|key| event(key, 7)));
    run.clock.set(2999);
    (0..2).for_each(|lane| tick(&mut run, lane));
    assert_eq!(run.taken(), NOTHING);
    run.clock.set(5000);
    tick(&mut run, 0);
    assert_eq!(run.taken(), NOTHING, "the other lane may still bring something that came before");
    tick(&mut run, 1);
    assert_eq!(run.taken(), ["k1,2[0,3000)", "k2,3[0,3000)"]);
    run.events(0, &["k1", "k1", "k1"].map(|key| event(key, 7)));
    run.clock.set(7000);
    (0..2).for_each(|lane| tick(&mut run, lane));
    assert_eq!(run.taken(), ["k1,3[3000,6000)"]);
    assert_eq!((run.metric("late_events"), run.metric("timeless_events"), run.groups()), (0, 0, 0));
}

fn tick(run: &mut Run, lane: u64) {
    run.send(lane, LaneMessage::Idle(Duration::from_secs(1)));
}

#[test]
fn v10_without_lateness_an_event_of_a_window_that_fired_is_dropped_and_counted() {
    let mut run = with_manual_watermark("{tumbling: 2s}", 1);
    run.events(0, &[event("k2", 1000)]);
    run.watermark(0, 1985);
    run.events(0, &[event("k2", 1980)]);
    run.watermark(0, 1999);
    assert_eq!(run.taken(), ["k2,2[0,2000)"]);
    run.events(0, &[event("k2", 1998)]);
    assert_eq!((run.taken(), run.metric("late_events")), (NOTHING.to_vec(), 1));
    run.events(0, &[event("k2", 2001)]);
    run.watermark(0, 2999);
    assert_eq!(run.taken(), NOTHING);
    run.watermark(0, 3999);
    assert_eq!(run.taken(), ["k2,1[2000,4000)"]);
    assert_eq!(run.metric("late_events"), 1);
}

fn idle(run: &mut Run, lane: u64) {
    run.send(lane, LaneMessage::Idle(Duration::from_secs(30)));
}

#[test]
fn v17_the_trunk_takes_the_minimum_over_lanes_that_are_not_idle() {
    let mut run = with_manual_watermark("{tumbling: 1s}", 3);
    run.watermark(0, 2);
    run.watermark(1, 5);
    assert!(run.watermarks.is_empty(), "an opened lane that said nothing holds the others");
    idle(&mut run, 2);
    assert_eq!(run.watermarks, [Watermark(2)]);
    idle(&mut run, 0);
    assert_eq!(run.watermarks, [2, 5].map(Watermark));
    run.watermark(0, 3);
    assert_eq!(run.watermarks, [2, 5].map(Watermark), "it never goes back");
}

#[test]
fn v17_all_idle_gives_the_maximum_and_a_closed_lane_never_moves_it_back() {
    let mut run = with_manual_watermark("{tumbling: 1s}", 2);
    run.watermark(0, 5);
    run.watermark(1, 2);
    idle(&mut run, 0);
    idle(&mut run, 1);
    assert_eq!(run.watermarks, [2, 5].map(Watermark));

    let mut run = with_manual_watermark("{tumbling: 1s}", 1);
    run.watermark(0, 2);
    run.close(0);
    run.open(1);
    run.watermark(1, 1);
    assert_eq!(run.watermarks, [Watermark(2)]);
}

#[test]
fn v18_the_watermark_of_three_lanes() {
    let mut run = with_manual_watermark("{tumbling: 1s}", 3);
    for (lane, watermark) in [(0, 0), (1, 0), (2, 0), (0, 12), (2, 8), (2, 10), (1, 15), (2, 17), (0, 20)] {
        run.watermark(lane, watermark);
    }
    assert_eq!(run.watermarks, [0, 10, 12, 15].map(Watermark));
}

#[test]
fn v18_partial_idle_and_all_idle() {
    let mut run = with_manual_watermark("{tumbling: 1s}", 3);
    run.watermark(0, 15);
    run.watermark(1, 10);
    idle(&mut run, 2);
    run.watermark(1, 18);
    run.watermark(0, 20);
    assert_eq!(run.watermarks, [10, 15, 18].map(Watermark));

    let mut run = with_manual_watermark("{tumbling: 1s}", 3);
    for (lane, watermark) in [(0, 10), (1, 5), (2, 3)] {
        run.watermark(lane, watermark);
    }
    (0..3).for_each(|lane| idle(&mut run, lane));
    assert_eq!(run.watermarks, [3, 10].map(Watermark));
}

#[test]
fn v18_a_lane_that_comes_back_behind_the_others_holds_them_only_when_it_has_caught_up() {
    let mut run = with_manual_watermark("{tumbling: 1s}", 3);
    for (lane, watermark) in [(0, 10), (1, 7), (2, 3)] {
        run.watermark(lane, watermark);
    }
    idle(&mut run, 2);
    assert_eq!(run.watermarks, [3, 7].map(Watermark));
    run.watermark(2, 5);
    run.watermark(2, 9);
    assert_eq!(run.watermarks, [3, 7].map(Watermark));
    run.watermark(1, 12);
    assert_eq!(run.watermarks, [3, 7, 9].map(Watermark));
}

#[test]
fn v19_partitions_that_mark_their_latest_event() {
    // The vector's watermark is the latest time itself; ours is 1 ms below.
    let mut run = Run::new("window: {tumbling: 7s}\nout_of_orderness: 0s", 3);
    let send = |run: &mut Run, lane: u64, times: &[i64]| {
        let events: Vec<Event> = times.iter().map(|time| event("e", *time)).collect();
        run.events(lane, &events);
    };
    send(&mut run, 0, &[1, 2, 3]);
    send(&mut run, 1, &[12]);
    send(&mut run, 2, &[101, 102]);
    assert_eq!(run.watermarks, [Watermark(2)]);
    send(&mut run, 2, &[1003, 1004, 1005]);
    send(&mut run, 0, &[30]);
    assert_eq!(run.watermarks, [2, 11].map(Watermark));
    send(&mut run, 1, &[13, 14, 15]);
    assert_eq!(run.watermarks, [2, 11, 14].map(Watermark));
}
