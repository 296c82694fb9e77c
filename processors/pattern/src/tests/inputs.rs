//! Where events come from: lanes, one or several, of windows and of other signals.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{DictionaryArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::Schema;
use serde_json::{Value, json};
use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::testkit::{Probe, check_stage};
use weir_component::{LaneId, LaneMessage, Outlet, Stage, Status, Telemetry, TrunkMessage, Watermark};
use weir_pdata::{Ack, EventBatch, Fence, Outcome, Signal, schema};

use super::{A, B, TWO_HITS, Trunk, batch, briefs, counted, create, rows, test_context, window, with};

const ERRORS: &str = r#"
input: logs
key: [service]
where: "severity_number > 0"
sequence:
  - {name: down, first: "body = 'down'"}
  - {name: up, followed_by: "body = 'up'", times: 2, consecutive: true}
within: 10s
out_of_orderness: 1s
late: output
"#;

fn log(time: i64, body: &str, severity: i64) -> Value {
    json!({"time": time, "service": "pay", "body": body, "severity_number": severity})
}

/// Windows of a lane as its own half hands them over.
fn lane_windows(trunk: &mut Trunk, lane: LaneId, lines: &[Value]) -> Vec<LaneMessage> {
    let batch = batch(Signal::Windows, lines, trunk.probe.ack());
    trunk.lane(lane, LaneMessage::Batch(batch))
}

#[test]
fn windows_of_lanes_wait_for_the_slowest_lane() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.send(TrunkMessage::LaneOpened(A.into()));
    trunk.send(TrunkMessage::LaneOpened(B.into()));
    let forwarded = lane_windows(&mut trunk, A, &[window("pay", 1000, 600), window("pay", 2000, 600)]);
    assert_eq!(rows(Signal::Windows, &forwarded).len(), 2);
    drop(forwarded);
    assert_eq!(trunk.lane(A, LaneMessage::Watermark(Watermark(5000))).len(), 0);
    lane_windows(&mut trunk, B, &[window("pay", 1500, 600)]);
    let messages = trunk.lane(B, LaneMessage::Watermark(Watermark(1999)));
    assert_eq!(briefs(&rows(Signal::Alarms, &messages)), ["pay 999-1499", "pay 1499-1999"]);
    assert!(matches!(messages.last(), Some(LaneMessage::Watermark(Watermark(1999)))));
}

#[test]
fn a_lane_of_windows_tells_a_watermark_and_one_of_other_signals_is_idle() {
    let processor = with(&format!("{TWO_HITS}out_of_orderness: 1s\nmax_ahead: 1h\n"));
    let mut stage = processor.lane_stage(&A.into()).unwrap();
    let mut out = Outlet::default();
    stage.handle(LaneMessage::Batch(batch(Signal::Logs, &[log(5, "x", 1)], Ack::none())), &mut out);
    assert_eq!(out.take_forwarded().len(), 1);
    assert!(matches!(out.take_to_trunk().as_slice(), [LaneMessage::Idle(_)]));
    stage.handle(LaneMessage::Watermark(Watermark::MAX), &mut out);
    assert!(
        matches!(out.take_to_trunk().as_slice(), [LaneMessage::Idle(_)]),
        "the end of a lane without windows says nothing about windows that are made of it"
    );
    out.take_forwarded();

    let mut stage = processor.lane_stage(&B.into()).unwrap();
    stage.handle(LaneMessage::Batch(batch(Signal::Windows, &[window("a", 3000, 1)], Ack::none())), &mut out);
    assert_eq!(out.take_forwarded().len(), 0, "the trunk forwards them");
    let to_trunk: Vec<_> = out.take_to_trunk().collect();
    assert!(matches!(&to_trunk[..], [LaneMessage::Batch(_), LaneMessage::Watermark(Watermark(1998))]));
    stage.handle(LaneMessage::Idle(Duration::from_secs(29)), &mut out);
    assert_eq!(out.take_to_trunk().len(), 0);
    assert_eq!(out.take_forwarded().len(), 1);
    stage.handle(LaneMessage::Idle(Duration::from_secs(30)), &mut out);
    assert!(matches!(out.take_to_trunk().as_slice(), [LaneMessage::Idle(_)]));
}

#[test]
fn what_a_lane_brought_is_given_up_when_it_closes_before_its_end() {
    for last in [TrunkMessage::FromLane(A, LaneMessage::Drain), TrunkMessage::LanesClosed([A].into())] {
        let mut trunk = Trunk::new(TWO_HITS);
        trunk.send(TrunkMessage::LaneOpened(A.into()));
        trunk.send(TrunkMessage::LaneOpened(B.into()));
        lane_windows(&mut trunk, A, &[window("partial", 1000, 600)]);
        lane_windows(&mut trunk, B, &[window("other", 1500, 600)]);
        trunk.lane(A, LaneMessage::Watermark(Watermark(1000)));
        trunk.lane(B, LaneMessage::Watermark(Watermark(1000)));
        lane_windows(&mut trunk, A, &[window("buffered", 1600, 600)]);
        assert_eq!(trunk.probe.open(), 3);
        trunk.send(last);
        assert_eq!(trunk.probe.outcome(0), Some(Outcome::Failed), "in a partial match");
        assert_eq!(trunk.probe.outcome(1), None, "of the other lane");
        assert_eq!(trunk.probe.outcome(2), Some(Outcome::Failed), "buffered");
        assert_eq!(trunk.counted("given_up_matches"), 1);
        trunk.send(TrunkMessage::LanesClosed([A].into()));
        lane_windows(&mut trunk, B, &[window("partial", 2000, 600), window("other", 2400, 600)]);
        let messages = trunk.lane(B, LaneMessage::Watermark(Watermark::MAX));
        assert_eq!(briefs(&rows(Signal::Alarms, &messages)), ["other 1499-2399"]);
    }
}

#[test]
fn a_lane_that_ended_keeps_its_part() {
    let mut trunk = Trunk::new(TWO_HITS);
    trunk.send(TrunkMessage::LaneOpened(A.into()));
    trunk.send(TrunkMessage::LaneOpened(B.into()));
    lane_windows(&mut trunk, A, &[window("pay", 1000, 600)]);
    trunk.lane(A, LaneMessage::Watermark(Watermark::MAX));
    trunk.lane(A, LaneMessage::Drain);
    trunk.send(TrunkMessage::LanesClosed([A].into()));
    assert_eq!(trunk.probe.count(Outcome::Failed), 0);
    lane_windows(&mut trunk, B, &[window("pay", 2000, 600)]);
    let messages = trunk.lane(B, LaneMessage::Watermark(Watermark::MAX));
    assert_eq!(briefs(&rows(Signal::Alarms, &messages)), ["pay 999-1999"]);
}

#[test]
fn events_go_on_down_the_lane_and_those_that_where_selects_make_the_sequence() {
    let context = test_context();
    let telemetry = context.telemetry.clone();
    let processor =
        create(&format!("{ERRORS}max_ahead: 1h\n"), context).unwrap_or_else(|problems| panic!("{problems}"));
    let (mut lane, mut trunk) =
        (processor.lane_stage(&A.into()).unwrap(), processor.trunk_stage(&TrunkStart::default()).unwrap());
    trunk.handle(TrunkMessage::LaneOpened(A.into()), &mut Outlet::default());
    let probe = Probe::default();
    let mut send = |message: LaneMessage| {
        let (mut out, mut derived) = (Outlet::default(), Outlet::default());
        lane.handle(message, &mut out);
        for message in out.take_to_trunk() {
            trunk.handle(TrunkMessage::FromLane(A, message), &mut derived);
        }
        let messages: Vec<LaneMessage> = out.take_forwarded().chain(derived.take_forwarded()).collect();
        messages
    };
    let mut logs = |lines: &[Value]| send(LaneMessage::Batch(batch(Signal::Logs, lines, probe.ack())));
    let passed = logs(&[log(1000, "down", 9), log(3000, "up", 9), log(2500, "noise", 0), log(2000, "up", 9)]);
    assert_eq!(rows(Signal::Logs, &passed).len(), 4, "all pass, once");
    assert_eq!(rows(Signal::Alarms, &passed).len(), 0, "the watermark is at 1999");
    let passed = logs(&[log(5000, "x", 0), log(1999, "down", 9), log(1998, "x", 0)]);
    assert_eq!(briefs(&rows(Signal::Alarms, &passed)), ["pay 1000-3000"]);
    let late: Vec<_> =
        rows(Signal::Logs, &passed).iter().map(|row| row["attributes"]["late"].clone()).collect();
    assert_eq!(late, [json!(false), json!(true), json!(false)], "what `where` leaves out is not late");
    assert_eq!(counted(&telemetry, "late_events"), 1);
}

/// Logs through a lane's half and the trunk; the alarms that they make.
fn through(
    lane: &mut dyn Stage<LaneMessage>,
    id: LaneId,
    trunk: &mut dyn Stage<TrunkMessage>,
    lines: &[Value],
) -> Vec<String> {
    let (mut out, mut derived) = (Outlet::default(), Outlet::default());
    lane.handle(LaneMessage::Batch(batch(Signal::Logs, lines, Ack::none())), &mut out);
    for message in out.take_to_trunk() {
        trunk.handle(TrunkMessage::FromLane(id, message), &mut derived);
    }
    let derived: Vec<LaneMessage> = derived.take_forwarded().collect();
    briefs(&rows(Signal::Alarms, &derived))
}

#[test]
fn what_a_closed_lane_brought_is_in_time_when_its_next_owner_reads_it_again() {
    let processor = with(&format!("{ERRORS}max_ahead: 1h\n"));
    let mut trunk = processor.trunk_stage(&TrunkStart::default()).unwrap();
    let mut out = Outlet::default();
    let mut lane = processor.lane_stage(&A.into()).unwrap();
    trunk.handle(TrunkMessage::LaneOpened(A.into()), &mut out);
    let read = [log(1000, "down", 9), log(2000, "up", 9), log(9000, "x", 0)];
    assert_eq!(through(&mut *lane, A, &mut *trunk, &read), [""; 0], "a partial match, at 7999");
    drop(lane);
    trunk.handle(TrunkMessage::LanesClosed([A].into()), &mut out);
    let mut next = processor.lane_stage(&B.into()).unwrap();
    trunk.handle(TrunkMessage::LaneOpened(B.into()), &mut out);
    let again = [read.as_slice(), &[log(9100, "up", 9), log(9200, "up", 9)]].concat();
    assert_eq!(through(&mut *next, B, &mut *trunk, &again), [""; 0]);
    let rest = [log(9300, "down", 9), log(9400, "up", 9), log(9500, "up", 9), log(20_000, "x", 0)];
    assert_eq!(through(&mut *next, B, &mut *trunk, &rest), ["pay 1000-9100", "pay 9300-9500"]);
}

#[test]
fn the_trunk_drops_nothing_that_a_lane_sent() {
    let mut trunk = Trunk::new(ERRORS);
    trunk.send(TrunkMessage::LaneOpened(A.into()));
    trunk.lane(A, LaneMessage::Watermark(Watermark(1999)));
    let logs = batch(Signal::Logs, &[log(1999, "down", 9)], trunk.probe.ack());
    assert_eq!(trunk.lane(A, LaneMessage::Batch(logs)).len(), 0, "it passed on its lane");
    assert_eq!(trunk.counted("late_events"), 0, "the lane has decided");
    assert_eq!((trunk.probe.open(), trunk.probe.count(Outcome::Failed)), (1, 0), "it waits");
}

#[test]
fn one_fast_clock_moves_the_watermark_no_further_than_the_clock() {
    let mut stage =
        with(&format!("{TWO_HITS}out_of_orderness: 1s\nmax_ahead: 3s\n")).lane_stage(&A.into()).unwrap();
    let mut out = Outlet::default();
    let lines = [window("a", 1_800_000, 1), window("b", 2_500, 1)];
    stage.handle(LaneMessage::Batch(batch(Signal::Windows, &lines, Ack::none())), &mut out);
    assert!(
        matches!(out.take_to_trunk().as_slice()[1], LaneMessage::Watermark(Watermark(1999))),
        "the clock is at 0"
    );
}

/// The batch, its records appended at these times: a record for each row.
fn appended(batch: EventBatch, at: &[i64]) -> EventBatch {
    let columns = batch.as_columns().unwrap().clone();
    let (mut fields, mut arrays) = (columns.schema_ref().fields().to_vec(), columns.columns().to_vec());
    let records = (0..at.len()).map(|record| i32::try_from(record).unwrap()).collect::<Int32Array>();
    fields.push(schema::arrival());
    arrays.push(Arc::new(DictionaryArray::new(records, Arc::new(Int64Array::from(at.to_vec())))));
    batch.with_columns(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap())
}

/// The watermark that a lane tells after this batch, when the gateway's clock is at 0, and what is counted.
fn watermark_of(settings: &str, batch: EventBatch) -> (Option<Watermark>, Telemetry) {
    let context = test_context();
    let telemetry = context.telemetry.clone();
    let processor = create(settings, context).unwrap_or_else(|problems| panic!("{problems}"));
    let mut out = Outlet::default();
    processor.lane_stage(&A.into()).unwrap().handle(LaneMessage::Batch(batch), &mut out);
    let watermark = out.take_to_trunk().find_map(|message| match message {
        LaneMessage::Watermark(watermark) => Some(watermark),
        _ => None,
    });
    (watermark, telemetry)
}

#[test]
fn where_the_topic_keeps_append_times_these_bind_the_watermark_and_not_the_gateways_clock() {
    let settings = format!("{ERRORS}max_ahead: 3s\nmax_future: 1h\n");
    let day = 86_400_000;
    // The second is of a host whose clock is 40 minutes ahead, the third of one that is two hours ahead.
    let lines = [log(day, "down", 9), log(day + 40 * 60_000, "up", 9), log(day + 2 * 3_600_000, "up", 9)];
    let logs = || batch(Signal::Logs, &lines, Ack::none());
    let (watermark, telemetry) = watermark_of(&settings, appended(logs(), &[day, day + 100, day + 200]));
    assert_eq!(watermark, Some(Watermark(day + 100 + 3_000 - 1_000 - 1)));
    assert_eq!((counted(&telemetry, "ahead_events"), counted(&telemetry, "future_events")), (1, 1));
    assert!(telemetry.encode().contains("weir_pattern_clock_behind_ms{processor=\"pattern\"} 0"));

    let (watermark, telemetry) = watermark_of(&settings, logs());
    assert_eq!(watermark, None, "the gateway's clock is a day behind: nothing can be used");
    assert_eq!(counted(&telemetry, "future_events"), 3);
    assert!(telemetry.encode().contains("weir_pattern_clock_behind_ms{processor=\"pattern\"} 86400000"));
}

#[test]
fn an_event_of_the_far_future_is_left_out_and_does_not_move_the_watermark() {
    let mut trunk = Trunk::new(&format!("{TWO_HITS}max_future: 1m\n"));
    trunk.send(TrunkMessage::LaneOpened(A.into()));
    lane_windows(&mut trunk, A, &[window("pay", 70_000, 600)]);
    assert_eq!((trunk.counted("future_events"), trunk.probe.open()), (1, 0));
    let mut stage = with(&format!("{TWO_HITS}max_future: 1m\n")).lane_stage(&A.into()).unwrap();
    let mut out = Outlet::default();
    let lines = [window("a", 1000, 1), window("a", 70_000, 1)];
    stage.handle(LaneMessage::Batch(batch(Signal::Windows, &lines, Ack::none())), &mut out);
    assert!(matches!(out.take_to_trunk().as_slice()[1], LaneMessage::Watermark(Watermark(-9002))));
}

#[test]
fn a_gateway_whose_clock_is_behind_says_so() {
    let context = test_context();
    let settings = "input: traces\nkey: [service]\nwithin: 1m\nmax_future: 1h\nsequence:\n  - {name: one, first: \"status = 'error'\"}\n";
    let processor = create(settings, context.clone()).unwrap_or_else(|problems| panic!("{problems}"));
    let mut stage = processor.lane_stage(&A.into()).unwrap();
    let mut see = |time: i64| {
        let span = json!({"time": time, "end_time": time, "service": "pay", "status": "ok"});
        stage.handle(LaneMessage::Batch(batch(Signal::Traces, &[span], Ack::none())), &mut Outlet::default());
        context.health.read().status
    };
    let status = see(7_200_000);
    assert!(matches!(&status, Status::PermanentError(text) if text.contains("7200 s")), "{status:?}");
    assert_eq!(see(0), Status::Ok);
}

#[test]
fn alarms_of_another_rule_can_be_the_input() {
    let settings = "input: alarms\nkey: [service]\nwithin: 1m\nsequence:\n  - {name: one, first: \"rule = 'disk'\"}\n  - {name: two, followed_by: \"rule = 'db'\"}\n";
    let mut trunk = Trunk::new(settings);
    let alarm =
        |time: i64, rule: &str| json!({"time": time, "rule": rule, "service": "pay", "state": "firing"});
    let alarms = batch(Signal::Alarms, &[alarm(1000, "disk"), alarm(2000, "db")], Ack::none());
    let passed = trunk.send(TrunkMessage::Derived(LaneMessage::Batch(alarms)));
    assert_eq!(rows(Signal::Alarms, &passed).len(), 2);
    assert_eq!(briefs(&trunk.watermark(2000)), ["pay 1000-2000"]);
}

#[test]
fn the_lane_half_keeps_the_rules_for_stages() {
    let batches = || {
        vec![
            batch(Signal::Logs, &[log(1, "down", 1)], Ack::none()),
            batch(Signal::Windows, &[window("pay", 1000, 600)], Ack::none()),
            batch(Signal::Logs, &[log(2, "up", 1), log(3, "up", 1)], Ack::none()),
        ]
    };
    let mut of_windows = with(TWO_HITS).lane_stage(&A.into()).unwrap();
    check_stage(&mut *of_windows, batches(), |signal| signal != Signal::Windows);
    let mut of_logs = with(ERRORS).lane_stage(&A.into()).unwrap();
    let (_, to_trunk) = check_stage(&mut *of_logs, batches(), |_| true);
    assert_eq!(rows(Signal::Logs, &to_trunk).len(), 3);
}

#[test]
fn events_do_not_wait_for_a_lane_that_never_brings_their_signal() {
    let mut trunk = Trunk::new(ERRORS);
    trunk.send(TrunkMessage::LaneOpened(A.into()));
    // It keeps the place of a partition without a leader, and says nothing.
    let traces = LaneStart { signal: Some(Signal::Traces), keeps_place: true, ..B.into() };
    let processor = with(ERRORS);
    drop(processor.lane_stage(&traces));
    trunk.send(TrunkMessage::LaneOpened(traces));
    let logs = [log(1000, "down", 9), log(2000, "up", 9), log(2500, "up", 9)];
    let batch = batch(Signal::Logs, &logs, trunk.probe.ack());
    trunk.lane(A, LaneMessage::Batch(batch));
    let messages = trunk.lane(A, LaneMessage::Watermark(Watermark(5000)));
    assert_eq!(briefs(&rows(Signal::Alarms, &messages)), ["pay 1000-2500"]);
}

/// The fences of the alarms among these messages.
fn fences(messages: &[LaneMessage]) -> Vec<Option<Fence>> {
    let alarms = messages.iter().filter_map(|message| match message {
        LaneMessage::Batch(batch) if batch.signal == Signal::Alarms => Some(batch.origin.fence.clone()),
        _ => None,
    });
    alarms.collect()
}

#[test]
fn an_alarm_does_not_leave_when_its_events_have_another_owner() {
    let mut trunk = Trunk::new(ERRORS);
    let owners = [(A, Fence::default()), (B, Fence::default())];
    for (lane, fence) in &owners {
        let start = LaneStart { fence: Some(fence.clone()), ..(*lane).into() };
        trunk.send(TrunkMessage::LaneOpened(start));
    }
    let mut send = |lane, service: &str, times: &[(i64, &str)]| {
        let line = |(time, body): &(i64, &str)| json!({"time": time, "service": service, "body": body, "severity_number": 9});
        let lines: Vec<Value> = times.iter().map(line).collect();
        let batch = batch(Signal::Logs, &lines, trunk.probe.ack());
        trunk.lane(lane, LaneMessage::Batch(batch));
    };
    send(A, "of-a", &[(1000, "down"), (2000, "up"), (2500, "up")]);
    send(A, "of-both", &[(1000, "down"), (2000, "up")]);
    send(B, "of-both", &[(2600, "up")]);
    trunk.lane(A, LaneMessage::Watermark(Watermark(5000)));
    let messages = trunk.lane(B, LaneMessage::Watermark(Watermark(5000)));
    assert_eq!(briefs(&rows(Signal::Alarms, &messages)), ["of-a 1000-2500", "of-both 1000-2600"]);
    let fences: Vec<Fence> = fences(&messages).into_iter().map(|fence| fence.expect("a fence")).collect();
    let closed = || fences.iter().map(Fence::is_closed).collect::<Vec<_>>();
    assert_eq!(closed(), [false, false]);
    owners[0].1.close();
    assert_eq!(closed(), [true, false], "nobody else has all events of the second");
    owners[1].1.close();
    assert_eq!(closed(), [true, true]);

    // An alarm of windows does not leave when the windows do not.
    let mut trunk = Trunk::new(TWO_HITS);
    let fence = Fence::default();
    let windows = batch(Signal::Windows, &[window("pay", 1000, 600), window("pay", 2000, 600)], Ack::none());
    let origin = windows.origin.clone().behind(Some(fence.clone()));
    trunk.send(TrunkMessage::Derived(LaneMessage::Batch(EventBatch { origin, ..windows })));
    let messages = trunk.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(5000))));
    let found = self::fences(&messages);
    fence.close();
    assert!(matches!(&found[..], [Some(fence)] if fence.is_closed()));
}
