//! A lane's next owner and the windows that were delivered before: numbers of firings, and windows of
//! another meaning.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness::{Run, event};
use weir_component::delivery::{Attachment, LaneStart, Ledger, LedgerSpec, Metadata, Shard, positions};
use weir_component::testkit::Probe;
use weir_component::{LaneId, LaneMessage};
use weir_pdata::{Ack, EventBatch, Outcome, Signal};

const LATE: &str =
    "{window: {tumbling: 1s}, out_of_orderness: 0s, allowed_lateness: 1h, group_by: [service]}";
const PLAIN: &str = "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}";

fn start(generation: u32, windows: &[(&str, i64)]) -> LaneStart {
    let windows: BTreeMap<String, i64> =
        windows.iter().map(|(name, mark)| ((*name).to_owned(), *mark)).collect();
    let source = Some(Arc::from("cluster/group/topic"));
    LaneStart { generation, source, windows: Arc::new(windows), ..LaneId(0).into() }
}

/// A processor whose only lane begins like this.
fn run(section: &str, start: LaneStart) -> Run {
    let mut run = Run::new(section, 0);
    run.open_as(start);
    run
}

fn numbers(run: &mut Run) -> Vec<i32> {
    run.take().iter().map(|row| row.firing).collect()
}

fn identities(run: &Run) -> Vec<String> {
    run.emitted.iter().map(|batch| batch.origin.identity.as_deref().unwrap().to_owned()).collect()
}

#[test]
fn numbers_of_firings_never_reach_those_of_the_next_owner() {
    let mut first = run(LATE, start(1, &[]));
    first.events(0, &[event("s", 100), event("s", 1000)]);
    let mut last = 0;
    for _ in 0..5_000 {
        first.events(0, &[event("s", 200)]);
        last = numbers(&mut first).last().copied().unwrap();
    }
    // Nothing was written down of it: the next owner knows only that there was one.
    let mut second = run(LATE, start(2, &[]));
    second.events(0, &[event("s", 100), event("s", 1000)]);
    assert!(numbers(&mut second)[0] > last, "above the 5,000 of the first owner");
}

#[test]
fn a_first_owner_counts_from_zero_and_without_lateness_every_owner_does() {
    let mut first = run(LATE, start(0, &[]));
    first.events(0, &[event("s", 100), event("s", 1000)]);
    first.events(0, &[event("s", 200)]);
    assert_eq!(numbers(&mut first), [0, 1]);
    let mut later = run(PLAIN, start(9, &[]));
    later.events(0, &[event("s", 100), event("s", 1000)]);
    assert_eq!(numbers(&mut later), [0], "it is the same whoever computes it");
}

#[test]
fn firings_of_two_runs_are_the_same_only_when_their_contents_are() {
    let of = |section: &str, clock: i64| {
        let mut run = Run::new(section, 0);
        run.clock.set(clock);
        run.open_as(start(1, &[]));
        run.events(0, &[event("s", 100), event("s", 1000)]);
        identities(&run)
    };
    assert_eq!(of(PLAIN, 5_000), of(PLAIN, 6_000), "the table leaves the second out");
    assert_ne!(of(LATE, 5_000), of(LATE, 6_000), "what a firing has depends on when late events came");
}

#[test]
fn a_mark_of_an_earlier_program_counts_as_one_of_this_configuration() {
    let mut run = run(PLAIN, start(1, &[("aggregate", 999)]));
    run.events(0, &[event("s", 100), event("s", 1500), event("s", 2000)]);
    assert_eq!(run.taken(), ["s,1[1000,2000)"], "[0, 1000) was delivered, the next one was open");
}

#[test]
fn windows_of_another_meaning_are_whole_or_left_out() {
    let wider = "{window: {tumbling: 3s}, out_of_orderness: 0s, group_by: [service]}";
    let fingerprint = |section: &str| run(section, start(0, &[])).marks.fingerprint("aggregate").unwrap();
    assert_ne!(fingerprint(PLAIN), fingerprint(wider));
    let old = format!("aggregate#{}", fingerprint(PLAIN));

    let mut run = run(wider, start(1, &[(&old, 3999)]));
    // [3000, 6000) began before 3999: what came for it before is not read again.
    run.events(0, &[event("s", 4500), event("s", 5000), event("s", 6000)]);
    assert!(run.taken().is_empty());
    assert!(run.marks.delivered(Default::default()).is_empty(), "a restart has to leave it out, too");
    run.events(0, &[event("s", 6500), event("s", 9000)]);
    assert_eq!(run.taken(), ["s,2[6000,9000)"]);
    assert_eq!(run.marks.delivered(Default::default())["aggregate"], 8999);
}

#[test]
fn a_window_of_another_meaning_has_another_identity() {
    let of = |section: &str| {
        let mut run = run(section, start(1, &[]));
        run.events(0, &[event("s", 100), event("s", 1000)]);
        identities(&run)
    };
    let filtered =
        "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service], where: service = 's'}";
    assert_ne!(of(PLAIN), of(filtered));
    let later = "{window: {tumbling: 1000ms}, out_of_orderness: 0s, group_by: [service], max_groups: 7, idle_timeout: 1m}";
    assert_eq!(of(PLAIN), of(later), "neither changes what a window says");
}

#[test]
fn inputs_of_a_closed_window_wait_until_the_mark_says_that_it_is_closed() {
    for section in [
        "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}",
        "{window: {tumbling: 1s}, out_of_orderness: 0s, allowed_lateness: 2s, group_by: [service]}",
        "{window: {sliding: 2s, slide: 1s}, out_of_orderness: 0s, group_by: [service]}",
        "{window: {session: 500ms}, out_of_orderness: 0s, group_by: [service]}",
        "{window: {session: 500ms}, out_of_orderness: 0s, allowed_lateness: 2s, group_by: [service]}",
    ] {
        let (mut run, inputs) = (run(section, start(0, &[])), Probe::default());
        let mut under_way = Vec::new();
        for time in [100, 2_000, 4_000, 6_000, 8_000, 10_000] {
            let events = harness::batch(&[event("s", time)], inputs.ack());
            run.send(0, LaneMessage::Batch(events));
            under_way.append(&mut run.emitted);
        }
        // The first result is slow, and all others are delivered.
        drop(under_way.drain(1..));
        let mark = || run.marks.delivered(Default::default())["aggregate"];
        assert_eq!(inputs.count(Outcome::Done), 0, "{section}: the mark is {}", mark());
        drop(under_way);
        for id in 0..3 {
            assert_eq!(inputs.outcome(id), Some(Outcome::Done), "{section}: {id}");
        }
        assert_eq!(mark(), 9_999, "{section}");
    }
}

#[test]
fn windows_do_not_wait_for_a_lane_of_another_signal() {
    let mut run = run(PLAIN, start(0, &[]));
    run.open_as(LaneStart { signal: Some(Signal::Logs), ..LaneId(1).into() });
    run.open_as(LaneStart { signal: Some(Signal::Traces), ..LaneId(2).into() });
    run.events(0, &[event("s", 100), event("s", 2_500)]);
    run.events(2, &[event("s", 200), event("s", 2_500)]);
    assert_eq!(run.taken(), ["s,2[0,1000)"], "though the lane of logs has said nothing");
    run.keep_forwarded = true;
    run.send(1, LaneMessage::Idle(Duration::from_millis(1)));
    let logs = EventBatch { signal: Signal::Logs, ..harness::batch(&[event("s", 9_000)], Ack::none()) };
    run.send(1, LaneMessage::Batch(logs));
    assert!(matches!(run.forwarded.last(), Some(LaneMessage::Batch(batch)) if batch.signal == Signal::Logs));
    run.events(0, &[event("s", 3_500)]);
    assert_eq!(run.taken(), [""; 0], "the other lane of traces is waited for");
    run.events(2, &[event("s", 3_500)]);
    assert_eq!(run.taken(), ["s,2[2000,3000)"]);
}

#[test]
fn a_lane_that_keeps_the_place_of_another_one_changes_no_identity() {
    const ONCE: &str = "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}";
    let identity = |kept: bool| {
        let mut run = run(ONCE, start(0, &[]));
        if kept {
            // What is known of its input is less than what the others know.
            let source = Some(Arc::from("cluster/group/topic-of-no-number"));
            run.open_as(LaneStart { source, keeps_place: true, ..LaneId(1).into() });
            run.close(1);
        }
        run.events(0, &[event("s", 100), event("s", 1_100)]);
        run.emitted.first().unwrap().origin.identity.clone().unwrap()
    };
    assert_eq!(identity(true), identity(false));
}

#[test]
fn windows_that_end_before_a_time_are_not_emitted_and_the_later_ones_are_whole() {
    const SECTION: &str = "{window: {sliding: 2s, slide: 1s}, out_of_orderness: 0s, group_by: [service], \
                           emit_from: \"1970-01-01T00:00:03Z\"}";
    // Read from one window before.
    let mut run = run(SECTION, start(0, &[]));
    run.events(
        0,
        &[event("s", 1_100), event("s", 1_900), event("s", 2_500), event("s", 3_500), event("s", 5_500)],
    );
    assert_eq!(run.taken(), ["s,3[1000,3000)", "s,2[2000,4000)", "s,1[3000,5000)"]);
    let metrics = run.context.telemetry.encode();
    let late =
        metrics.lines().find(|line| line.starts_with("weir_aggregate_late_events_total")).unwrap_or("0");
    assert!(late.ends_with('0'), "they are not late: {late}");
    for (section, why) in [
        ("{window: {session: 1s}, emit_from: \"1970-01-01T00:00:03Z\"}", "only tumbling and sliding"),
        (
            "{window: {tumbling: 1s}, allowed_lateness: 1s, emit_from: \"1970-01-01T00:00:03Z\"}",
            "allowed_lateness",
        ),
        ("{window: {tumbling: 1s}, emit_from: yesterday}", "`yesterday` is not an RFC 3339 time"),
    ] {
        let error = harness::create(section).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn windows_of_the_time_of_arrival_do_not_wait_for_a_lane_that_keeps_a_place() {
    let mut run = run("{window: {processing: 1s}, group_by: [service]}", start(0, &[]));
    run.open_as(LaneStart { keeps_place: true, ..LaneId(1).into() });
    run.clock.set(500);
    run.events(0, &[event("s", 100)]);
    run.clock.set(2_500);
    run.send(0, LaneMessage::Idle(Duration::from_secs(1)));
    assert_eq!(run.taken(), ["s,1[0,1000)"], "what the other one brings later arrives later");
}

/// A lane of an input, by its ledger.
fn of_input(
    run: &mut Run,
    lane: u64,
    (input, set): (&str, &str),
    metadata: Metadata,
) -> (Ledger, Attachment) {
    let ledger = Ledger::new(LedgerSpec {
        source: input.into(),
        input: None,
        set: Some(set.into()),
        number: lane as i32,
        shard: Shard::default(),
        own: Shard(lane as u32 + 1),
        position: Some(0),
        metadata,
        wake: Arc::new(|| {}),
    });
    let (start, attachment) = ledger.attach(&"main".into(), &run.marks, LaneId(lane));
    run.open_as(start);
    (ledger, attachment)
}

#[test]
fn a_partition_that_nobody_has_read_had_no_share_in_the_windows_of_several_receivers() {
    let mut run = Run::new(PLAIN, 0);
    let lanes = [("a", "a1"), ("b", "b1")].into_iter().zip(0..);
    let lanes: Vec<_> =
        lanes.map(|(input, lane)| of_input(&mut run, lane, input, Metadata::default())).collect();
    let begun: Vec<_> = positions(&[&lanes[0].0, &lanes[1].0]).into_iter().flatten().collect();
    for lane in 0..2 {
        run.events(lane, &[event("s", 500), event("s", 2_500)]);
    }
    assert_eq!(run.taken(), ["s,2[0,1000)"]);
    let later: Vec<_> = positions(&[&lanes[0].0, &lanes[1].0]).into_iter().flatten().collect();
    assert!(later[0].metadata.windows.keys().any(|name| name.contains('+')), "{:?}", later[0]);

    // Only one of the two receivers has committed it. The other one has a partition more, and one that was
    // elsewhere when the windows fired.
    let mut run = Run::new(PLAIN, 0);
    let elsewhere = Metadata { set: Some("b0".to_owned()), ..begun[1].metadata.clone() };
    let all = [
        (("a", "a2"), &later[0].metadata),
        (("b", "b2"), &begun[1].metadata),
        (("b", "b2"), &Metadata::default()),
        (("b", "b2"), &elsewhere),
    ];
    let lanes: Vec<_> = all
        .into_iter()
        .zip(0..)
        .map(|((input, metadata), lane)| of_input(&mut run, lane, input, metadata.clone()))
        .collect();
    // Written down before a window has fired.
    let again: Vec<_> = positions(&lanes.iter().map(|(ledger, _)| ledger).collect::<Vec<_>>());
    let again: Vec<_> = again.into_iter().flatten().collect();
    assert_eq!(again[1].metadata.set.as_deref(), Some("b2<b1"));
    for lane in 0..4 {
        run.events(lane, &[event("s", 500), event("s", 2_500)]);
    }
    assert_eq!(run.taken(), ["s,2[0,1000)"], "only of the partitions that had no share");
    // Both begin once more: it is not forgotten.
    let mut run = Run::new(PLAIN, 0);
    let all = [(("a", "a3"), &again[0].metadata), (("b", "b3"), &again[1].metadata)];
    let lanes: Vec<_> = all
        .into_iter()
        .zip(0..)
        .map(|((input, metadata), lane)| of_input(&mut run, lane, input, metadata.clone()))
        .collect();
    for lane in 0..2 {
        run.events(lane, &[event("s", 500), event("s", 2_600), event("s", 3_600)]);
    }
    assert_eq!(run.taken(), ["s,2[2000,3000)"], "each has its share");
    drop(lanes);
}

#[test]
fn a_lane_that_joins_later_is_not_written_down_as_part_of_windows_that_fired_before() {
    let mut run = Run::new(PLAIN, 0);
    let (first, _open) = of_input(&mut run, 0, ("a", "a1"), Metadata::default());
    run.events(0, &[event("s", 500), event("s", 2_500)]);
    let mut early = std::mem::take(&mut run.emitted);
    assert_eq!(early.len(), 1);
    run.events(0, &[event("s", 3_500)]);
    assert_eq!(run.taken(), ["s,1[2000,3000)"]);
    let marks = |ledgers: &[&Ledger]| -> Vec<Option<i64>> {
        let positions = positions(ledgers).into_iter().flatten();
        positions.map(|position| position.metadata.windows.values().next().copied()).collect()
    };
    // It had an owner elsewhere meanwhile, who came to 900.
    let fingerprint = run.marks.fingerprint("aggregate").unwrap();
    let windows = BTreeMap::from([(format!("main/aggregate#{fingerprint}"), 900)]);
    let metadata = Metadata { generation: 4, windows, ..Metadata::default() };
    let (second, _open) = of_input(&mut run, 1, ("b", "b1"), metadata);
    assert_eq!(marks(&[&first, &second]), [None, Some(900)]);
    drop(early.pop());
    assert_eq!(marks(&[&first, &second]), [Some(3_499), Some(900)], "they fired before it was open");
    run.events(1, &[event("s", 4_500)]);
    run.events(0, &[event("s", 4_500)]);
    assert_eq!(run.taken(), ["s,1[3000,4000)"]);
    assert_eq!(marks(&[&first, &second]), [Some(4_499), Some(4_499)]);
}

#[test]
fn windows_of_several_topics_of_one_receiver_have_one_identity_and_a_fence() {
    let emitted = |topics: &[&str]| {
        let mut run = Run::new(PLAIN, 0);
        let open = topics.iter().zip(0..).map(|(topic, lane)| {
            let ledger = Ledger::new(LedgerSpec {
                source: format!("cluster/group/{topic}").into(),
                input: Some("cluster/group/*receiver".into()),
                set: Some("k1".into()),
                number: 0,
                shard: Shard::default(),
                own: Shard(lane as u32 + 1),
                position: Some(0),
                metadata: Metadata::default(),
                wake: Arc::new(|| {}),
            });
            let (start, attachment) = ledger.attach(&"main".into(), &run.marks, LaneId(lane));
            run.open_as(start);
            (ledger, attachment)
        });
        let open: Vec<_> = open.collect();
        for lane in 0..topics.len() {
            run.events(lane as u64, &[event("s", 100), event("s", 1_100)]);
        }
        let origin = run.emitted.first().unwrap().origin.clone();
        assert!(!origin.is_fenced());
        run.emitted.clear();
        let position = positions(&[&open[0].0]).remove(0).unwrap();
        let names: Vec<_> = position.metadata.windows.keys().cloned().collect();
        assert!(matches!(&names[..], [name] if name.ends_with("+k1")), "{names:?}");
        open.last().unwrap().0.lose();
        assert!(origin.is_fenced(), "{topics:?}: one of its lanes has another owner");
        origin.identity.unwrap()
    };
    assert_eq!(emitted(&["a"]), emitted(&["a", "b"]));
    assert_eq!(emitted(&["b"]), emitted(&["a", "b"]));
}
