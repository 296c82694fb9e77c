//! Late or not late is decided in the lane: windows are a function of what partitions hold and of which lanes
//! were idle, not of which lane was read faster, of batches, or of how far the trunk was behind.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use harness::{appended, batch, create, event, rows};
use proptest::prelude::*;
use weir_component::clock::ManualClock;
use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::{
    Context, LaneId, LaneMessage, Outlet, Processor, Stage, Status, TrunkMessage, Watermark,
};
use weir_pdata::Ack;

/// Start, end, service; and how many events.
type Counts = BTreeMap<(i64, i64, String), i64>;

/// Lanes and a trunk with a mailbox between them, as in the program.
struct Program {
    processor: Box<dyn Processor>,
    context: Context,
    clock: Arc<ManualClock>,
    lanes: BTreeMap<u64, Box<dyn Stage<LaneMessage>>>,
    trunk: Box<dyn Stage<TrunkMessage>>,
    mailbox: VecDeque<TrunkMessage>,
    /// Of the last firing of each window.
    windows: Counts,
    /// Of all firings together.
    emitted: i64,
    /// Events that carry the mark.
    marked: i64,
}

impl Program {
    fn new(section: &str) -> Program {
        Program::with(section, &TrunkStart::default())
    }

    fn with(section: &str, trunk: &TrunkStart) -> Program {
        let (processor, context, clock) = create(section).unwrap_or_else(|error| panic!("{error}"));
        let trunk = processor.trunk_stage(trunk).unwrap();
        Program {
            processor,
            context,
            clock,
            lanes: BTreeMap::new(),
            trunk,
            mailbox: VecDeque::new(),
            windows: Counts::new(),
            emitted: 0,
            marked: 0,
        }
    }

    fn open(&mut self, lane: u64) {
        self.open_of(lane, None);
    }

    fn open_of(&mut self, lane: u64, receiver: Option<&Arc<str>>) {
        let start = LaneStart { receiver: receiver.cloned(), ..LaneId(lane).into() };
        self.lanes.insert(lane, self.processor.lane_stage(&start).unwrap());
        self.mailbox.push_back(TrunkMessage::LaneOpened(start));
    }

    fn send(&mut self, lane: u64, message: LaneMessage) {
        let mut out = Outlet::default();
        self.lanes.get_mut(&lane).unwrap().handle(message, &mut out);
        self.mailbox.extend(out.take_to_trunk().map(|message| TrunkMessage::FromLane(LaneId(lane), message)));
        for message in out.take_forwarded() {
            if let LaneMessage::Batch(batch) = message
                && let Some(late) = batch.as_columns().unwrap().column_by_name("late")
            {
                self.marked += late.as_boolean().true_count() as i64;
            }
        }
    }

    fn events(&mut self, lane: u64, events: &[(i64, u8)]) {
        let events: Vec<_> =
            events.iter().map(|(time, service)| event(&format!("s{service}"), *time)).collect();
        self.send(lane, LaneMessage::Batch(batch(&events, Ack::none())));
    }

    /// The trunk handles so many messages.
    fn work(&mut self, messages: usize) {
        for _ in 0..messages {
            let Some(message) = self.mailbox.pop_front() else { return };
            let mut out = Outlet::default();
            self.trunk.handle(message, &mut out);
            for message in out.take_forwarded() {
                let LaneMessage::Batch(batch) = message else { continue };
                for row in rows(&batch) {
                    self.emitted += row.count;
                    self.windows.insert((row.start, row.end, row.keys[0].clone().unwrap()), row.count);
                }
            }
        }
    }

    fn end(&mut self) {
        let lanes: Vec<u64> = self.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.send(lane, LaneMessage::Watermark(Watermark::MAX)));
        self.work(usize::MAX);
    }
}

/// The rule applied to each partition alone: its windows, and how many of its events are late.
fn expected(
    partitions: &[Vec<(i64, u8)>],
    (size, slide): (i64, i64),
    bound: i64,
    lateness: i64,
) -> (Counts, i64) {
    let (mut windows, mut late) = (Counts::new(), 0);
    for events in partitions {
        let mut latest: Option<i64> = None;
        for (time, service) in events {
            let first = time - time.rem_euclid(slide);
            let starts = (0..size).map(|n| first - n * slide).take_while(|start| *start > time - size);
            let closed = |end: i64| latest.is_some_and(|latest| end - 1 + lateness < latest - bound);
            let (all, open): (Vec<i64>, Vec<i64>) =
                (starts.clone().collect(), starts.filter(|start| !closed(start + size)).collect());
            late += i64::from(open.is_empty() && !all.is_empty());
            for start in open {
                *windows.entry((start, start + size, format!("s{service}"))).or_default() += 1;
            }
            latest = latest.max(Some(*time));
        }
    }
    (windows, late)
}

fn partitions() -> impl Strategy<Value = Vec<Vec<(i64, u8)>>> {
    // Time goes on by steps, with stragglers far beyond any bound.
    let partition = prop::collection::vec((0..400_i64, 0..1_500_i64, any::<bool>(), 0..3_u8), 0..40);
    let times = partition.prop_map(|steps| {
        let mut now = 0;
        let of_step = |(step, back, straggles, service): (i64, i64, bool, u8)| {
            now += step;
            (now - if straggles { back } else { 0 }, service)
        };
        steps.into_iter().map(of_step).collect()
    });
    prop::collection::vec(times, 1..4)
}

/// Which lane is read next, how much, and how many messages the trunk handles then.
fn schedule() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    prop::collection::vec(
        (0..4_usize, prop_oneof![Just(1_usize), 1..12_usize, Just(4096)], 0..6_usize),
        0..80,
    )
}

/// Reads the partitions as this schedule says, the rest at the end in batches of `last`.
fn read(
    program: &mut Program,
    partitions: &[Vec<(i64, u8)>],
    schedule: &[(usize, usize, usize)],
    last: usize,
) {
    (0..partitions.len()).for_each(|lane| program.open(lane as u64));
    let mut at = vec![0; partitions.len()];
    let mut give = |program: &mut Program, lane: usize, records: usize| {
        let all = &partitions[lane];
        let to = all.len().min(at[lane] + records);
        if to > at[lane] {
            program.events(lane as u64, &all[at[lane]..to]);
        }
        at[lane] = to;
        to < all.len()
    };
    for (lane, records, messages) in schedule {
        give(program, lane % partitions.len(), *records);
        program.work(*messages);
    }
    for lane in 0..partitions.len() {
        while give(program, lane, last) {}
    }
    program.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_a_function_of_what_the_partitions_hold(
        partitions in partitions(),
        schedule in schedule(),
        (size, slide) in
            prop_oneof![Just((700_i64, 700_i64)), Just((600, 200)), Just((500, 300)), Just((300, 500))],
        bound in prop_oneof![Just(0_i64), Just(250)],
        lateness in prop_oneof![Just(0_i64), Just(400)],
    ) {
        let window =
            if size == slide { format!("tumbling: {size}ms") } else { format!("sliding: {size}ms, slide: {slide}ms") };
        let section = format!(
            "{{window: {{{window}}}, out_of_orderness: {bound}ms, allowed_lateness: {lateness}ms, late: output, group_by: [service]}}"
        );
        let (windows, late) = expected(&partitions, (size, slide), bound, lateness);
        // Live; and again from the beginning, record by record, and in batches as large as they come.
        for (schedule, last) in [(schedule.as_slice(), 7), (&[], 1), (&[], 4096)] {
            let mut program = Program::new(&section);
            read(&mut program, &partitions, schedule, last);
            prop_assert_eq!(&program.windows, &windows);
            prop_assert_eq!(program.marked, late);
        }
    }

    #[test]
    fn every_event_is_in_a_window_or_carries_the_mark_also_when_lanes_sleep_and_open(
        partitions in partitions(),
        schedule in prop::collection::vec((0..4_usize, 0..8_usize, 0..6_usize), 0..80),
        session in any::<bool>(),
    ) {
        let window = if session { "session: 300ms" } else { "tumbling: 700ms" };
        let section =
            format!("{{window: {{{window}}}, out_of_orderness: 100ms, late: output, group_by: [service]}}");
        let mut program = Program::new(&section);
        program.open(0);
        let (mut at, mut sent) = (vec![0; partitions.len()], 0);
        for (lane, records, messages) in schedule {
            let lane = lane % partitions.len();
            if !program.lanes.contains_key(&(lane as u64)) {
                program.open(lane as u64);
            }
            let to = partitions[lane].len().min(at[lane] + records);
            if to == at[lane] {
                program.send(lane as u64, LaneMessage::Idle(Duration::from_secs(3_600)));
            } else {
                program.events(lane as u64, &partitions[lane][at[lane]..to]);
            }
            sent += (to - at[lane]) as i64;
            at[lane] = to;
            program.work(messages);
        }
        program.end();
        prop_assert_eq!(program.emitted + program.marked, sent);
    }
}

#[test]
fn a_lane_that_wakes_holds_the_trunk_before_its_batch_arrives() {
    let mut program =
        Program::new("{window: {tumbling: 1s}, out_of_orderness: 0s, late: output, group_by: [service]}");
    (0..2).for_each(|lane| program.open(lane));
    program.events(0, &[(100, 0)]);
    program.send(0, LaneMessage::Idle(Duration::from_secs(3_600)));
    // It has woken, and is in time, before the trunk hears that it was idle, and that the other is far ahead.
    program.events(0, &[(900, 0)]);
    program.events(1, &[(5_000, 0)]);
    program.work(usize::MAX);
    assert!(program.windows.is_empty(), "{:?}", program.windows);
    program.end();
    assert_eq!(program.windows[&(0, 1_000, "s0".to_owned())], 2);
    assert_eq!(program.marked, 0);
}

#[test]
fn a_lane_that_wakes_or_opens_takes_the_watermark_of_the_trunk_as_its_own() {
    let mut program =
        Program::new("{window: {tumbling: 1s}, out_of_orderness: 0s, late: output, group_by: [service]}");
    (0..2).for_each(|lane| program.open(lane));
    program.send(0, LaneMessage::Idle(Duration::from_secs(3_600)));
    program.events(1, &[(500, 0), (5_000, 0)]);
    program.work(usize::MAX);
    assert_eq!(program.windows[&(0, 1_000, "s0".to_owned())], 1);
    program.open(2);
    for (lane, marked) in [(0, 1), (2, 2)] {
        program.events(lane, &[(900, 0), (5_100, 0)]);
        assert_eq!(program.marked, marked);
    }
    program.end();
    assert_eq!(program.windows[&(0, 1_000, "s0".to_owned())], 1);
    assert_eq!(program.windows[&(5_000, 6_000, "s0".to_owned())], 3);
}

#[test]
fn sessions_mark_what_is_late_for_its_lane() {
    let mut program =
        Program::new("{window: {session: 1s}, out_of_orderness: 0s, late: output, group_by: [service]}");
    program.open(0);
    program.events(0, &[(1_500, 0), (3_000, 1), (2_000, 0), (2_001, 0)]);
    assert_eq!(program.marked, 1, "that of 2.0 s would have lasted until 2.999 s, which is the watermark");
    program.end();
    assert_eq!(program.emitted, 3);
}

#[test]
fn one_fast_clock_makes_no_other_event_late() {
    let mut program = Program::new(
        "{window: {tumbling: 7s}, out_of_orderness: 10s, max_future: 1h, late: output, group_by: [service]}",
    );
    (0..3).for_each(|lane| program.open(lane));
    let begin = 1_700_000_000_000;
    for second in 0..60 {
        let now = begin + second * 1_000;
        program.clock.set(now);
        for lane in 0..3 {
            // Service 1 runs on a host whose clock is 40 minutes ahead.
            program.events(lane, &[(now + 40 * 60_000, 1), (now, 0)]);
            program.work(usize::MAX);
        }
    }
    program.end();
    assert_eq!(program.marked, 0);
    let of = |service: &str| {
        program.windows.iter().filter(|((.., of), _)| of == service).map(|(_, count)| count).sum::<i64>()
    };
    assert_eq!((of("s0"), of("s1")), (180, 180), "each in the window of its own time");
    let text = program.context.telemetry.encode();
    assert!(text.contains("weir_aggregate_ahead_events_total{processor=\"aggregate\"} 180"), "{text}");
}

/// The content of three partitions after a minute: each event with the time at which it was appended. Service
/// 1 runs on a host whose clock is 40 minutes ahead, service 2 on one that is two hours ahead.
fn with_fast_clocks(begin: i64) -> Vec<Vec<(i64, u8, i64)>> {
    let second = |second: i64| {
        let now = begin + second * 1_000;
        // The third is written a little after it happened.
        [(now + 40 * 60_000, 1, now), (now + 2 * 3_600_000, 2, now + 1), (now, 0, now + 900)]
    };
    vec![(0..60).flat_map(second).collect(); 3]
}

/// The windows of these partitions, read in batches of so many events, when the gateway's clock is `clock` at
/// an event that was appended at a time.
fn windows_of(
    partitions: &[Vec<(i64, u8, i64)>],
    batch: usize,
    clock: impl Fn(i64) -> i64,
) -> (Counts, Program) {
    let mut program = Program::new(
        "{window: {tumbling: 7s}, out_of_orderness: 10s, max_future: 1h, late: output, group_by: [service]}",
    );
    (0..partitions.len()).for_each(|lane| program.open(lane as u64));
    let mut rest: Vec<_> = partitions.iter().map(|events| events.chunks(batch)).collect();
    loop {
        let mut read = false;
        for (lane, chunks) in rest.iter_mut().enumerate() {
            let Some(chunk) = chunks.next() else { continue };
            read = true;
            program.clock.set(clock(chunk.last().unwrap().2));
            let events: Vec<_> =
                chunk.iter().map(|(time, service, _)| event(&format!("s{service}"), *time)).collect();
            let times: Vec<_> = chunk.iter().map(|(.., appended)| *appended).collect();
            program.send(lane as u64, LaneMessage::Batch(appended(&events, &times)));
            program.work(usize::MAX);
        }
        if !read {
            break;
        }
    }
    program.end();
    (std::mem::take(&mut program.windows), program)
}

#[test]
fn a_replay_gives_the_windows_of_the_live_run_where_the_topic_keeps_append_times() {
    let begin = 1_700_000_000_000;
    let partitions = with_fast_clocks(begin);
    let (live, live_run) = windows_of(&partitions, 3, |appended| appended + 5);
    // A day later, as fast as it can be read; and by a gateway whose own clock stands an hour behind.
    let (replay, replay_run) = windows_of(&partitions, 4096, |_| begin + 86_400_000);
    let (behind, _) = windows_of(&partitions, 50, |appended| appended - 3_700_000);
    assert_eq!(live, replay);
    assert_eq!(live, behind);
    assert_eq!((live_run.marked, replay_run.marked), (0, 0), "no event is late");
    let of = |service: &str| live.iter().filter(|((.., of), _)| of == service).map(|(_, n)| n).sum::<i64>();
    assert_eq!((of("s0"), of("s1"), of("s2")), (180, 180, 0), "two hours are beyond max_future");
    for run in [live_run, replay_run] {
        let text = run.context.telemetry.encode();
        assert!(text.contains("weir_aggregate_ahead_events_total{processor=\"aggregate\"} 180"), "{text}");
        assert!(text.contains("weir_aggregate_future_events_total{processor=\"aggregate\"} 180"), "{text}");
    }
}

#[test]
fn a_gateway_whose_clock_is_behind_says_so() {
    let mut program = Program::new("{window: {tumbling: 7s}, max_future: 1h, group_by: [service]}");
    program.open(0);
    program.clock.set(1_700_000_000_000);
    let behind = |program: &Program| {
        let text = program.context.telemetry.encode();
        let line =
            text.lines().find(|line| line.starts_with("weir_aggregate_clock_behind_ms{")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()
    };
    program.events(0, &[(1_700_007_300_000, 0), (1_700_007_200_000, 0)]);
    assert_eq!(behind(&program), 7_200_000, "the clock is two hours behind the nearest of them");
    let status = program.context.health.read().status;
    assert!(matches!(&status, Status::PermanentError(text) if text.contains("7200 s")), "{status:?}");
    program.clock.set(1_700_007_200_000);
    program.events(0, &[(1_700_007_200_000, 0)]);
    assert_eq!(behind(&program), 0);
    assert_eq!(program.context.health.read().status, Status::Ok);
    // A lane of hosts that are hours ahead, beside one that is not.
    program.open(1);
    program.events(1, &[(1_700_017_200_000, 0)]);
    assert_eq!((behind(&program), program.context.health.read().status), (0, Status::Ok));
}

#[test]
fn windows_wait_for_every_receiver_that_is_configured() {
    let (fast, slow): (Arc<str>, Arc<str>) = ("fast".into(), "slow".into());
    let trunk = TrunkStart { receivers: [fast.clone(), slow.clone()].into(), ..TrunkStart::default() };
    let mut program = Program::with(
        "{window: {tumbling: 1s}, out_of_orderness: 0s, late: output, group_by: [service]}",
        &trunk,
    );
    program.open_of(0, Some(&fast));
    program.mailbox.push_back(TrunkMessage::ReceiverReady(fast.clone()));
    program.events(0, &[(100, 0), (9_000, 0)]);
    program.work(usize::MAX);
    assert!(program.windows.is_empty(), "the other has not connected");
    program.open_of(1, Some(&slow));
    program.mailbox.push_back(TrunkMessage::ReceiverReady(slow.clone()));
    program.events(1, &[(200, 0), (300, 0), (5_000, 0)]);
    program.work(usize::MAX);
    assert_eq!((program.windows[&(0, 1_000, "s0".to_owned())], program.marked), (3, 0));
    // Its lanes move: nothing fires without what they bring when they begin again.
    program.lanes.remove(&1);
    program.mailbox.push_back(TrunkMessage::LanesClosed([LaneId(1)].into()));
    program.events(0, &[(20_000, 0)]);
    program.work(usize::MAX);
    assert!(!program.windows.contains_key(&(5_000, 6_000, "s0".to_owned())));
    program.open_of(2, Some(&slow));
    program.mailbox.push_back(TrunkMessage::ReceiverReady(slow.clone()));
    program.events(2, &[(5_000, 0)]);
    // A receiver without lanes, or one that has ended, does not hold them.
    program.send(2, LaneMessage::Watermark(Watermark::MAX));
    program.lanes.remove(&2);
    program.mailbox.push_back(TrunkMessage::LanesClosed([LaneId(2)].into()));
    program.work(usize::MAX);
    program.events(0, &[(30_000, 0)]);
    program.work(usize::MAX);
    assert_eq!(program.windows[&(5_000, 6_000, "s0".to_owned())], 1);
    assert_eq!(program.windows[&(20_000, 21_000, "s0".to_owned())], 1);
}
