//! One test per rule of the processor.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use harness::{Event, Run, batch, event, rows};
use weir_component::delivery::TrunkStart;
use weir_component::{LaneId, LaneMessage, Outlet, TrunkMessage, Watermark};
use weir_pdata::{Ack, Demand, EventBatch, Origin, Signal};

const SECTION: &str = "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}";
const NOTHING: [String; 0] = [];

fn logs(times: &[i64]) -> EventBatch {
    let times = TimestampNanosecondArray::from_iter_values(times.iter().map(|time| time * 1_000_000));
    let services = StringArray::from(vec!["s"; times.len()]);
    let codes = Int64Array::from_iter_values(0..times.len() as i64);
    let columns: [(&str, ArrayRef); 3] = [
        ("time", Arc::new(times.with_timezone("UTC"))),
        ("service", Arc::new(services)),
        ("code", Arc::new(codes)),
    ];
    EventBatch::columns(
        Signal::Logs,
        RecordBatch::try_from_iter(columns).unwrap(),
        Origin::default(),
        Ack::none(),
    )
}

#[test]
fn events_that_where_leaves_out_move_the_watermark() {
    let mut run = Run::new(
        "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service], where: service = 'a'}",
        1,
    );
    run.events(0, &[event("a", 100)]);
    run.events(0, &[event("b", 1000)]);
    assert_eq!(run.taken(), ["a,1[0,1000)"]);
}

#[test]
fn a_condition_that_is_null_is_false() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, group_by: [service], where: nothing = 'x' or service = 'a'}", 1);
    run.events(0, &[event("a", 100), event("b", 100)]);
    run.end(0);
    assert_eq!(run.taken(), ["a,1[0,1000)"]);
}

#[test]
fn events_from_the_future_neither_count_nor_move_the_watermark() {
    let mut run = Run::new(SECTION, 1);
    run.clock.set(1_000_000);
    let limit = 1_000_000 + 3_600_000;
    run.events(0, &[event("a", 100), event("a", limit + 1)]);
    assert_eq!((run.watermarks.clone(), run.metric("future_events")), (vec![Watermark(99)], 1));
    run.events(0, &[event("a", limit)]);
    assert_eq!(
        run.watermarks.last(),
        Some(&Watermark(999_999)),
        "the limit itself is allowed, and counts as now"
    );
    assert_eq!((run.taken(), run.metric("future_events")), (vec!["a,1[0,1000)".to_owned()], 1));
    run.end(0);
    assert_eq!(run.taken(), ["a,1[4600000,4601000)"]);
}

#[test]
fn events_without_a_usable_time_are_left_out_and_counted() {
    let mut run = Run::new(SECTION, 1);
    let mut absurd = event("a", 0);
    absurd.time = Some(i64::MIN / 1_000_000);
    run.events(0, &[Event { time: None, ..event("a", 0) }, absurd, event("a", 5)]);
    let mut timeless = batch(&[event("a", 1), event("a", 2)], Ack::none());
    let columns = timeless.as_columns().unwrap().project(&[2, 3]).unwrap();
    timeless = timeless.with_columns(columns);
    run.send(0, LaneMessage::Batch(timeless));
    run.end(0);
    assert_eq!((run.taken(), run.metric("timeless_events")), (vec!["a,1[0,1000)".to_owned()], 4));
}

#[test]
fn null_and_empty_group_values_are_groups_of_their_own() {
    let mut run = Run::new(SECTION, 1);
    run.events(
        0,
        &[
            Event { service: None, ..event("", 1) },
            event("", 1),
            event("a", 1),
            Event { service: None, ..event("", 2) },
        ],
    );
    run.end(0);
    assert_eq!(run.taken(), ["NULL,2[0,1000)", ",1[0,1000)", "a,1[0,1000)"]);
}

#[test]
fn without_group_by_there_is_one_group() {
    let mut run = Run::new("{window: {tumbling: 1s}, group_by: []}", 1);
    run.events(0, &[event("a", 1), event("b", 1)]);
    run.end(0);
    assert_eq!(run.taken(), ["NULL,2[0,1000)"]);
}

#[test]
fn one_batch_per_window_ordered_by_window_and_key() {
    let mut run = Run::new(SECTION, 1);
    run.events(0, &[event("c", 0), event("b", 0), event("b", 1500), event("a", 1500), event("a", 9999)]);
    assert_eq!(run.emitted.len(), 2);
    assert_eq!(run.taken(), ["b,1[0,1000)", "c,1[0,1000)", "a,1[1000,2000)", "b,1[1000,2000)"]);
}

#[test]
fn results_come_before_their_watermark_and_the_columns_are_those_of_the_data_model() {
    let section = "{window: {tumbling: 7s}, measures: {z: count(), a: max(bytes)}}";
    let mut run = Run::new(section, 1);
    run.events(0, &[event("a", 1)]);
    run.end(0);
    let columns = run.emitted[0].as_columns().unwrap().schema();
    let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names.join(" "),
        "operator window_start window_end window_size_ms service operation firing count error_count success_rate \
         avg_duration_ns max_duration_ns min_duration_ns p50_duration_ns p90_duration_ns p95_duration_ns \
         p99_duration_ns traffic_rate a z"
    );
    let (processor, ..) = harness::create(section).unwrap();
    let mut lane = processor.lane_stage(&LaneId(0).into()).unwrap();
    let mut trunk = processor.trunk_stage(&TrunkStart::default()).unwrap();
    let (mut below, mut out) = (Outlet::default(), Outlet::default());
    lane.handle(LaneMessage::Batch(batch(&[event("a", 1)], Ack::none())), &mut below);
    lane.handle(LaneMessage::Watermark(Watermark::MAX), &mut below);
    trunk.handle(TrunkMessage::LaneOpened(LaneId(0).into()), &mut out);
    for message in below.take_to_trunk() {
        trunk.handle(TrunkMessage::FromLane(LaneId(0), message), &mut out);
    }
    let kinds: Vec<_> = out.take_forwarded().collect();
    assert!(
        matches!(
            kinds.as_slice(),
            [LaneMessage::Watermark(_), LaneMessage::Batch(_), LaneMessage::Watermark(Watermark::MAX)]
        ),
        "{kinds:?}"
    );
}

#[test]
fn default_measures_of_traces() {
    let mut run = Run::new("{window: {tumbling: 2s}, group_by: [service]}", 1);
    let events = [(3, "ok"), (1, "error"), (2, "ok"), (-4, "ok")].map(|(duration, status)| Event {
        duration: Some(duration),
        status: Some(status.to_owned()),
        ..event("a", 0)
    });
    run.events(0, &events);
    run.end(0);
    let row = run.take().remove(0);
    for (name, value) in [
        ("count", 4.0),
        ("error_count", 1.0),
        ("success_rate", 0.75),
        ("avg_duration_ns", 0.5),
        ("max_duration_ns", 3.0),
        ("min_duration_ns", -4.0),
        ("p50_duration_ns", 1.0),
        ("p99_duration_ns", 3.0),
        ("traffic_rate", 2.0),
    ] {
        assert_eq!(row.values[name], Some(value), "{name}");
    }
}

#[test]
fn signals_without_duration_and_status_have_null_measures() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, signals: [logs], time: time, group_by: [service, code]}", 1);
    run.send(0, LaneMessage::Batch(logs(&[1, 2])));
    run.end(0);
    let rows = run.take();
    assert_eq!(rows.iter().map(|row| row.keys[1].clone().unwrap()).collect::<Vec<_>>(), ["0", "1"]);
    for (name, value) in &rows[0].values {
        let expected = matches!(name.as_str(), "count" | "traffic_rate").then_some(1.0);
        assert_eq!(*value, expected, "{name}");
    }
}

#[test]
fn named_measures_of_every_function() {
    let mut run = Run::new(
        "{window: {tumbling: 2s}, group_by: [service], measures: {c: count(where bytes > 1), v: count(bytes), s: sum(bytes), \
         lo: min(bytes), hi: max(bytes), av: avg(bytes), r: \"ratio(bytes > 1)\", q: \"quantile(bytes, 1)\", d: distinct(bytes), \
         f: first(bytes), l: last(bytes), n: rate(), sr: rate(bytes), none: \"sum(bytes where bytes > 99)\"}}",
        1,
    );
    let bytes = |time, bytes: Option<&str>| Event { bytes: bytes.map(str::to_owned), ..event("a", time) };
    run.events(
        0,
        &[
            bytes(5, Some("2.5")),
            bytes(1, Some("1")),
            bytes(3, None),
            bytes(9, Some("2.5")),
            bytes(7, Some("-0")),
        ],
    );
    run.end(0);
    let values = run.take().remove(0).values;
    for (name, value) in [
        ("c", Some(2.0)),
        ("v", Some(4.0)),
        ("s", Some(6.0)),
        ("lo", Some(0.0)),
        ("hi", Some(2.5)),
        ("av", Some(1.5)),
        ("r", Some(0.5)),
        ("q", Some(2.5)),
        ("d", Some(3.0)),
        ("f", Some(1.0)),
        ("l", Some(2.5)),
        ("n", Some(2.5)),
        ("sr", Some(3.0)),
        ("none", None),
    ] {
        assert_eq!(values[name], value, "{name}");
    }
}

#[test]
fn beyond_max_groups_new_groups_of_a_lane_fold_into_one() {
    let mut run = Run::new("{window: {tumbling: 1s}, group_by: [service, operation], max_groups: 2}", 1);
    run.events(0, &["a", "b", "c", "a", "d"].map(|service| event(service, 1)));
    run.end(0);
    let rows = run.take();
    let keys: Vec<_> = rows
        .iter()
        .map(|row| (row.keys[0].clone().unwrap(), row.keys[1].clone().unwrap(), row.count))
        .collect();
    let row = |service: &str, operation: &str, count| (service.to_owned(), operation.to_owned(), count);
    assert_eq!(keys, [row("__overflow__", "__overflow__", 2), row("a", "/op", 2), row("b", "/op", 1)]);
    assert_eq!(run.metric("overflow_events"), 2);
}

#[test]
fn beyond_max_groups_new_groups_of_the_trunk_fold_into_one() {
    let mut run = Run::new("{window: {tumbling: 1s}, group_by: [service], max_groups: 2}", 2);
    run.events(0, &["a", "b"].map(|service| event(service, 1)));
    run.events(1, &["b", "c"].map(|service| event(service, 1)));
    run.end(0);
    run.end(1);
    assert_eq!(run.taken(), ["__overflow__,1[0,1000)", "a,1[0,1000)", "b,2[0,1000)"]);
    assert_eq!(run.metric("overflow_events"), 1);
}

#[test]
fn groups_of_windows_that_have_left_make_room() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service], max_groups: 1}", 1);
    for (service, time) in [("a", 0), ("b", 1000), ("c", 2000)] {
        run.events(0, &[event(service, time)]);
        run.watermark(0, time + 999);
    }
    assert_eq!(run.taken(), ["a,1[0,1000)", "b,1[1000,2000)", "c,1[2000,3000)"]);
    assert_eq!(run.metric("overflow_events"), 0);
}

#[test]
fn batches_are_forwarded_as_they_came_and_other_signals_are_not_read() {
    let mut run = Run::new(SECTION, 1);
    run.keep_forwarded = true;
    let traces = batch(&[event("a", 1)], Ack::none());
    run.send(0, LaneMessage::Batch(traces.clone()));
    run.send(0, LaneMessage::Batch(logs(&[5000])));
    let forwarded: Vec<_> = run.forwarded.drain(..).collect();
    let [LaneMessage::Batch(first), LaneMessage::Batch(second)] = forwarded.as_slice() else {
        panic!("{forwarded:?}")
    };
    assert_eq!(first.as_columns(), traces.as_columns());
    assert_eq!(second.signal, Signal::Logs);
    assert_eq!(run.watermarks, [Watermark(0)], "logs do not move the watermark of traces");
}

#[test]
fn a_lane_is_idle_after_idle_timeout_and_not_before() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, idle_timeout: 5s, group_by: [service]}", 2);
    run.events(0, &[event("a", 1), event("a", 3000)]);
    run.send(1, LaneMessage::Idle(Duration::from_millis(4999)));
    assert_eq!(run.taken(), NOTHING);
    run.send(1, LaneMessage::Idle(Duration::from_secs(5)));
    assert_eq!(run.taken(), ["a,1[0,1000)"]);
    run.events(1, &[event("b", 3500)]);
    run.events(0, &[event("a", 9000)]);
    assert_eq!(
        run.watermarks.last(),
        Some(&Watermark(3499)),
        "the lane that came back holds the other again"
    );
}

#[test]
fn what_an_idle_lane_has_given_is_in_the_windows_that_fire_without_it() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, idle_timeout: 5s, group_by: [service]}", 3);
    // The windows of lanes 0 and 1 are still open on them: lane 2 alone has a later time.
    run.events(0, &[event("a", 1)]);
    run.events(1, &[event("a", 2)]);
    run.events(2, &[event("a", 3), event("a", 5000)]);
    (0..2).for_each(|lane| run.send(lane, LaneMessage::Idle(Duration::from_secs(5))));
    assert_eq!(run.taken(), ["a,3[0,1000)"], "the idle lanes hold it no more, and miss nothing");
    // A lane that comes back adds to a window that it has let go.
    run.events(0, &[event("b", 5001)]);
    run.send(0, LaneMessage::Idle(Duration::from_secs(5)));
    run.events(0, &[event("b", 5002)]);
    run.events(2, &[event("a", 6000)]);
    run.events(0, &[event("a", 6000)]);
    assert_eq!(run.taken(), ["a,1[5000,6000)", "b,2[5000,6000)"]);
    assert_eq!(run.metric("late_events"), 0);
}

#[test]
fn a_lane_with_other_signals_only_is_idle_for_this_processor() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, idle_timeout: 5s, group_by: [service]}", 2);
    run.events(0, &[event("a", 3000)]);
    for second in 0..5 {
        run.clock.set(second * 1000);
        run.send(1, LaneMessage::Batch(logs(&[1])));
    }
    assert!(run.watermarks.is_empty());
    run.clock.set(3_600_000);
    run.send(1, LaneMessage::Batch(logs(&[1])));
    assert_eq!(run.watermarks, [Watermark(2999)]);
}

#[test]
fn a_lane_with_a_wrong_clock_does_not_hold_the_others_for_ever() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, idle_timeout: 5s, group_by: [service]}", 2);
    run.events(0, &[event("a", 3000)]);
    for second in 0..=5 {
        run.clock.set(second * 1000);
        assert!(run.watermarks.is_empty());
        run.events(1, &[event("b", 1_000_000_000)]);
    }
    assert_eq!((run.watermarks.clone(), run.metric("future_events")), (vec![Watermark(2999)], 6));
    run.events(1, &[event("b", 2500)]);
    run.events(0, &[event("a", 9000)]);
    assert_eq!(run.watermarks.last(), Some(&Watermark(2999)), "with its clock set it holds the others again");
}

#[test]
fn a_pause_of_back_pressure_is_not_idleness() {
    let mut run =
        Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, idle_timeout: 5s, group_by: [service]}", 2);
    run.events(0, &[event("a", 3000)]);
    run.events(1, &[event("b", 1)]);
    run.clock.set(60_000);
    run.send(1, LaneMessage::Batch(logs(&[1])));
    assert_eq!(run.watermarks, [Watermark(0)], "one long silence counts as a second");
}

#[test]
fn an_expression_that_fails_on_a_batch_is_counted_and_stops_nothing() {
    let mut run = Run::new(
        "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service], measures: {m: max(odd)}}",
        1,
    );
    let good = batch(&[event("a", 1)], Ack::none());
    let columns = good.as_columns().unwrap();
    let odd: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]));
    let fields = columns
        .schema()
        .fields()
        .iter()
        .zip(columns.columns())
        .map(|(f, c)| (f.name().clone(), c.clone()))
        .collect::<Vec<_>>();
    let columns = RecordBatch::try_from_iter(fields.into_iter().chain([("odd".to_owned(), odd)])).unwrap();
    run.send(0, LaneMessage::Batch(good.clone().with_columns(columns)));
    run.send(0, LaneMessage::Batch(good));
    assert_eq!(run.metric("failed_events"), 1);
    run.end(0);
    let row = run.take().remove(0);
    assert_eq!((row.count, row.values["m"]), (2, None), "the events still count");
}

#[test]
fn one_odd_value_takes_no_other_event_with_it() {
    let mut run = Run::new(
        "{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service], where: 'coalesce(retries, 0) >= 1', \
          measures: {m: max(factorial(n)), finite: max(f), some: count(f)}}",
        1,
    );
    let events = batch(&[event("a", 1), event("a", 2), event("a", 3), event("a", 4)], Ack::none());
    let columns = events.as_columns().unwrap();
    let more: [(&str, ArrayRef); 3] = [
        ("retries", Arc::new(StringArray::from(vec![Some("2"), Some("x"), Some("1"), None]))),
        ("n", Arc::new(Int64Array::from(vec![3, 4, 30, 5]))),
        ("f", Arc::new(Float64Array::from(vec![f64::NAN, 7.0, f64::INFINITY, 8.0]))),
    ];
    let known = columns.schema();
    let known =
        known.fields().iter().map(|field| field.name().as_str()).zip(columns.columns().iter().cloned());
    let columns = RecordBatch::try_from_iter(known.chain(more)).unwrap();
    run.send(0, LaneMessage::Batch(events.with_columns(columns)));
    assert_eq!(run.metric("failed_events"), 1, "of the factorial of 30");
    run.end(0);
    let row = run.take().remove(0);
    assert_eq!(row.count, 2, "`x` is no number and counts as 0");
    assert_eq!((row.values["m"], row.values["finite"], row.values["some"]), (Some(6.0), None, Some(0.0)));
}

#[test]
fn the_success_rate_of_93_of_100_is_not_below_its_limit() {
    let mut run = Run::new("{window: {tumbling: 1s}, out_of_orderness: 0s, group_by: [service]}", 1);
    let events: Vec<_> = (0..100)
        .map(|at| Event { status: Some(if at < 7 { "error" } else { "ok" }.to_owned()), ..event("a", at) })
        .collect();
    run.events(0, &events);
    run.end(0);
    let rate = run.take().remove(0).values["success_rate"].unwrap();
    assert!(rate >= 0.93, "{rate}");
}

#[test]
fn a_partial_that_is_none_is_reported_and_its_inputs_fail() {
    let probe = weir_component::testkit::Probe::default();
    let mut run = Run::new(SECTION, 1);
    let nonsense = EventBatch { signal: Signal::Windows, ..batch(&[event("a", 1)], probe.ack()) };
    run.trunk(TrunkMessage::FromLane(LaneId(0), LaneMessage::Batch(nonsense)));
    assert_eq!(run.metric("lost_partials"), 1);
    assert_eq!(probe.outcome(0), Some(weir_pdata::Outcome::Failed));
}

#[test]
fn messages_of_earlier_trunk_stages_pass_and_the_least_watermark_goes_on() {
    let mut run = Run::new(SECTION, 1);
    let earlier = {
        let mut earlier = Run::new(SECTION, 1);
        earlier.events(0, &[event("x", 1)]);
        earlier.end(0);
        earlier.emitted.remove(0)
    };
    run.trunk(TrunkMessage::Derived(LaneMessage::Batch(earlier)));
    assert_eq!(rows(&run.emitted.remove(0)).len(), 1);
    run.events(0, &[event("a", 50)]);
    run.trunk(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(10))));
    run.trunk(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(70))));
    assert_eq!(run.watermarks, [Watermark(49)], "it never goes back, and own windows are still to come");
    run.events(0, &[event("a", 60)]);
    run.events(0, &[event("a", 90)]);
    assert_eq!(run.watermarks, [49, 59, 70].map(Watermark));
}

#[test]
fn the_demand_is_every_column_read() {
    let (processor, ..) = harness::create(
        "{window: {tumbling: 1s}, where: kind = 'server', group_by: [service, http.route], measures: {m: \"max(http.size where peer = 'x')\"}}",
    )
    .unwrap();
    let names = ["end_time", "duration_ns", "status", "kind", "service", "http.route", "http.size", "peer"];
    let whose = ["service", "service_instance"];
    let demanded = |names: Demand| Demand { arrivals: true, ..names };
    assert_eq!(processor.demand(), demanded(Demand::names(names.into_iter().chain(whose))));
    let (processor, ..) =
        harness::create("{window: {tumbling: 1s}, signals: [logs], time: time, group_by: [service]}")
            .unwrap();
    assert_eq!(processor.demand(), demanded(Demand::names(["time", "service", "service_instance"])));
}

/// Error logs: time, service, severity.
fn log_batch(logs: &[(i64, &str, i32)]) -> EventBatch {
    let times = TimestampNanosecondArray::from_iter_values(logs.iter().map(|log| log.0 * 1_000_000));
    let columns: [(&str, ArrayRef); 3] = [
        ("time", Arc::new(times.with_timezone("UTC"))),
        ("service", Arc::new(StringArray::from_iter_values(logs.iter().map(|log| log.1)))),
        ("severity_number", Arc::new(Int32Array::from_iter_values(logs.iter().map(|log| log.2)))),
    ];
    let columns = RecordBatch::try_from_iter(columns).unwrap();
    EventBatch::columns(Signal::Logs, columns, Origin::default(), Ack::none())
}

#[test]
fn error_logs_are_counted_per_service() {
    let mut run = Run::new(
        "{window: {sliding: 2s, slide: 1s}, signals: [logs], time: time, group_by: [service], where: severity_number >= 17, \
         measures: {fatal: count(where severity_number >= 21), each_second: rate()}}",
        1,
    );
    let logs = [(100, "a", 17), (200, "a", 9), (1100, "a", 21), (1200, "b", 17), (1300, "b", 1)];
    run.send(0, LaneMessage::Batch(log_batch(&logs)));
    run.end(0);
    let rows = run.take();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.start,
                row.keys[0].as_deref().unwrap(),
                row.count,
                row.values["fatal"],
                row.values["each_second"],
            )
        })
        .collect();
    let row = |start, service, count, fatal| (start, service, count, Some(fatal), Some(count as f64 / 2.0));
    let expected = [
        row(-1000, "a", 1, 0.0),
        row(0, "a", 2, 1.0),
        row(0, "b", 1, 0.0),
        row(1000, "a", 1, 1.0),
        row(1000, "b", 1, 0.0),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn host_metrics_are_measured_by_any_numeric_column() {
    let mut run = Run::new(
        "{window: {tumbling: 1s}, signals: [metrics], time: time, group_by: [host.name], where: metric = 'cpu', \
         measures: {mean: avg(value), most: max(value), ticks: sum(value_int)}}",
        2,
    );
    for (lane, host, points) in [(0, "h1", [0.25, 0.75]), (1, "h2", [0.5, 1.0])] {
        let times = TimestampNanosecondArray::from_iter_values([1_000_000, 2_000_000]);
        let columns: [(&str, ArrayRef); 5] = [
            ("time", Arc::new(times.with_timezone("UTC"))),
            ("metric", Arc::new(StringArray::from(vec!["cpu", "cpu"]))),
            ("value", Arc::new(Float64Array::from(points.to_vec()))),
            ("value_int", Arc::new(Int64Array::from(vec![3, 4]))),
            ("host.name", Arc::new(StringArray::from(vec![host, host]))),
        ];
        let columns = RecordBatch::try_from_iter(columns).unwrap();
        let batch = EventBatch::columns(Signal::Metrics, columns, Origin::default(), Ack::none());
        run.send(lane, LaneMessage::Batch(batch));
    }
    (0..2).for_each(|lane| run.end(lane));
    let rows = run.take();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            (row.keys[0].as_deref().unwrap(), row.values["mean"], row.values["most"], row.values["ticks"])
        })
        .collect();
    assert_eq!(shown, [("h1", Some(0.5), Some(0.75), Some(7.0)), ("h2", Some(0.75), Some(1.0), Some(7.0))]);
}

#[test]
fn the_memory_of_groups_is_freed_when_their_windows_close() {
    for window in ["{tumbling: 1s}", "{sliding: 3s, slide: 1s}", "{session: 1s}", "{processing: 1s}"] {
        let mut run =
            Run::new(&format!("{{window: {window}, out_of_orderness: 0s, group_by: [service]}}"), 2);
        for lane in 0..2 {
            let events: Vec<Event> = (0..500).map(|at| event(&format!("s{at}"), at % 5)).collect();
            run.events(lane, &events);
        }
        assert!(run.groups() >= 1000, "{window}: {}", run.groups());
        (0..2).for_each(|lane| run.end(lane));
        assert_eq!(run.groups(), 0, "{window}");
    }
}

#[test]
fn groups_of_a_stage_that_is_dropped_are_counted_no_more() {
    let mut run = Run::new(SECTION, 1);
    run.events(0, &[event("a", 1)]);
    assert_eq!(run.groups(), 1);
    run.close(0);
    assert_eq!(run.groups(), 0);
}

#[test]
fn days_of_a_time_zone_have_the_length_that_they_have() {
    let mut run = Run::new("{window: {tumbling: 1d, time_zone: Europe/Berlin}, group_by: [service]}", 1);
    run.clock.set(2_000_000_000_000);
    // 29 March 2026, 00:00 in Berlin: the clocks are set forward.
    let midnight = 1_774_738_800_000;
    run.events(
        0,
        &[event("a", midnight - 1), event("a", midnight), event("a", midnight + 23 * 3_600_000 - 1)],
    );
    run.end(0);
    let spans: Vec<_> = run.take().iter().map(|row| (row.start, row.end, row.count)).collect();
    let hours = |hours: i64| midnight + hours * 3_600_000;
    assert_eq!(spans, [(hours(-24), midnight, 1), (midnight, hours(23), 2)]);
}

#[test]
fn events_between_sliding_windows_are_in_none_and_not_late() {
    let mut run =
        Run::new("{window: {sliding: 1s, slide: 3s}, out_of_orderness: 0s, group_by: [service]}", 1);
    run.events(0, &[500, 1000, 2999, 3000, 9000].map(|time| event("a", time)));
    run.events(0, &[event("a", 1500)]);
    run.end(0);
    assert_eq!(run.taken(), ["a,1[0,1000)", "a,1[3000,4000)", "a,1[9000,10000)"]);
    assert_eq!((run.metric("late_events"), run.metric("timeless_events")), (0, 0));
}
