//! The processor as a whole: which rows stay, what becomes of acks and positions, and the rules for stages.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use weir_component::delivery::TrunkStart;
use weir_component::testkit::{Probe, check_stage, context};
use weir_component::{Context, LaneId, LaneMessage, Outlet, Processor, Settings, TrunkMessage, Watermark};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{
    Ack, Demand, Encoded, EventBatch, Format, MemoryPermit, Origin, Outcome, Payload, Signal, SignalSet,
};

use crate::config;
use crate::processor::Filter;

fn filter_with(settings: &str) -> (Filter, Context) {
    let lines: String = settings.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "receivers: {{generator: }}\nprocessors:\n  filter:\n{lines}exporters: {{nop: }}\n\
         service: {{pipelines: {{main: {{receivers: [generator], processors: [filter], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let checked = config::read(Settings::new(&document, &topology.processors[0]));
    let context = context("filter", Path::new("/nonexistent"));
    (Filter::new(checked.unwrap_or_else(|why| panic!("{why}")), &context), context)
}

fn filter(settings: &str) -> Filter {
    filter_with(settings).0
}

/// Rows numbered from 0, with these texts.
fn rows(texts: &[Option<&str>]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("duration_ns", numbers, true), ("text", texts, true)]).unwrap()
}

fn batch(signal: Signal, columns: RecordBatch, ack: Ack) -> EventBatch {
    EventBatch::columns(signal, columns, Origin::lane("kafka/t/3".into(), 40..90), ack)
}

fn on_lane(filter: &Filter, batch: EventBatch) -> EventBatch {
    let mut stage = filter.lane_stage(&LaneId(1).into()).unwrap();
    let mut out = Outlet::default();
    stage.handle(LaneMessage::Batch(batch), &mut out);
    let Some(LaneMessage::Batch(batch)) = out.take_forwarded().next() else { panic!("no batch came out") };
    batch
}

fn numbers(batch: &EventBatch) -> Vec<i64> {
    let columns = batch.as_columns().unwrap();
    columns.column_by_name("duration_ns").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn stays(settings: &str, texts: &[Option<&str>]) -> Vec<i64> {
    numbers(&on_lane(&filter(settings), batch(Signal::Traces, rows(texts), Ack::none())))
}

#[test]
fn a_row_stays_when_one_of_keep_is_true_and_none_of_drop() {
    let texts = [Some("a"), Some("b"), None, Some("c"), Some("d")];
    assert_eq!(stays("traces: {keep: [\"text = 'a'\", \"text >= 'c'\"]}", &texts), [0, 3, 4]);
    assert_eq!(
        stays("traces: {drop: [\"text = 'a'\", \"text >= 'c'\"]}", &texts),
        [1, 2],
        "NULL is not true"
    );
    assert_eq!(stays("traces: {keep: [\"text >= 'b'\"], drop: [\"text = 'c'\"]}", &texts), [1, 4]);
    assert_eq!(stays("traces: {keep: [\"absent = 1\"]}", &texts), [0_i64; 0], "a missing column is NULL");
}

#[test]
fn a_condition_that_fails_is_for_the_row_or_against_it() {
    // `to_timestamp` fails on what is no time.
    let texts = [Some("2026-01-02T00:00:00Z"), Some("soon"), Some("2020-01-02T00:00:00Z"), None];
    let late = "\"to_timestamp(text) > to_timestamp('2025-01-01T00:00:00Z')\"";
    assert_eq!(stays(&format!("traces: {{keep: [{late}]}}"), &texts), [0, 1]);
    assert_eq!(stays(&format!("traces: {{drop: [{late}]}}"), &texts), [1, 2, 3]);
    let against = "error_mode: drop\n";
    assert_eq!(stays(&format!("{against}traces: {{keep: [{late}]}}"), &texts), [0]);
    assert_eq!(stays(&format!("{against}traces: {{drop: [{late}]}}"), &texts), [2, 3]);
    // Other conditions decide on such a row, too.
    assert_eq!(stays(&format!("traces: {{drop: [{late}, \"text = 'soon'\"]}}"), &texts), [2, 3]);
    assert_eq!(
        stays(&format!("{against}traces: {{keep: [{late}, \"text = 'soon'\"]}}"), &texts),
        [0, 1],
        "the second is true"
    );
    let (filter, context) = filter_with(&format!("error_mode: silent\ntraces: {{keep: [{late}]}}"));
    assert_eq!(numbers(&on_lane(&filter, batch(Signal::Traces, rows(&texts), Ack::none()))), [0, 1]);
    let text = context.telemetry.encode();
    for line in [
        "weir_filter_failed_rows_total{processor=\"filter\",signal=\"traces\"} 1",
        "weir_filter_kept_rows_total{processor=\"filter\",signal=\"traces\"} 2",
        "weir_filter_dropped_rows_total{processor=\"filter\",signal=\"traces\"} 2",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn a_condition_that_does_not_fit_the_columns_fails_on_every_row() {
    let list = schema_with_a_list();
    let keeps = filter("traces: {keep: [\"late > 1\"]}");
    assert_eq!(on_lane(&keeps, batch(Signal::Traces, list.clone(), Ack::none())).len(), 2);
    let drops = filter("error_mode: drop\ntraces: {keep: [\"late > 1\"]}");
    assert_eq!(on_lane(&drops, batch(Signal::Traces, list, Ack::none())).len(), 0);
}

/// A column `late` that cannot be compared with a number.
fn schema_with_a_list() -> RecordBatch {
    let mut lists = arrow::array::ListBuilder::new(arrow::array::Int64Builder::new());
    lists.append_value([Some(1)]);
    lists.append_value([Some(2)]);
    let lists: ArrayRef = Arc::new(lists.finish());
    RecordBatch::try_from_iter_with_nullable([("late", lists, true)]).unwrap()
}

#[test]
fn a_batch_without_rows_goes_on_with_its_positions_and_its_ack() {
    let probe = Probe::default();
    let filter = filter("traces: {drop: [\"duration_ns >= 0\"]}");
    let left = on_lane(&filter, batch(Signal::Traces, rows(&[Some("a")]), probe.ack()));
    assert_eq!((left.len(), left.origin.positions.clone()), (0, 40..90));
    assert_eq!(probe.open(), 1, "who delivers it says when it is done");
    drop(left);
    assert_eq!((probe.open(), probe.count(Outcome::Done)), (0, 1));
}

#[test]
fn records_that_nobody_decodes_pass_or_go_as_a_whole() {
    let encoded = || EventBatch {
        signal: Signal::Logs,
        payload: Payload::Encoded(Encoded::concat(Format::OtlpLogs, [&b"one"[..], b"two"]).unwrap()),
        origin: Origin::lane("otlp/0".into(), 7..9),
        ack: Ack::none(),
        permit: MemoryPermit::default(),
    };
    let of_traces = filter("traces: {drop: [\"text = 'a'\"]}");
    assert_eq!(of_traces.signals(), SignalSet::of(&[Signal::Traces]));
    assert!(on_lane(&of_traces, encoded()).as_columns().is_none());
    let all = filter("logs: {drop: [\"true\"]}");
    assert_eq!(all.demand(), Demand::nothing());
    let left = on_lane(&all, encoded());
    assert_eq!((left.len(), left.origin.positions.clone()), (0, 7..9));
    assert_eq!(on_lane(&filter("logs: {keep: [\"1 < 2\"]}"), encoded()).len(), 2);
}

#[test]
fn windows_and_alarms_are_filtered_on_the_trunk() {
    let filter = filter("windows: {keep: [\"duration_ns > 0\"]}\nalarms: {drop: [\"severity = 'low'\"]}");
    assert_eq!(filter.demand(), Demand::nothing(), "of events nothing is read");
    let mut stage = filter.trunk_stage(&TrunkStart::default()).unwrap();
    let mut out = Outlet::default();
    let mut send = |message| {
        stage.handle(TrunkMessage::Derived(message), &mut out);
        out.take_forwarded().collect::<Vec<_>>()
    };
    let window = |texts: &[Option<&str>], ack| LaneMessage::Batch(batch(Signal::Windows, rows(texts), ack));
    let left = send(window(&[Some("a"), Some("b")], Ack::none()));
    assert!(matches!(&left[..], [LaneMessage::Batch(batch)] if numbers(batch) == [1]));
    let probe = Probe::default();
    assert!(send(window(&[Some("a")], probe.ack())).is_empty());
    assert_eq!(probe.count(Outcome::Done), 1, "a dropped window is acknowledged");
    assert!(matches!(send(LaneMessage::Watermark(Watermark(5)))[..], [LaneMessage::Watermark(Watermark(5))]));
    assert!(
        super::tests::filter("traces: {drop: [\"text = 'a'\"]}")
            .trunk_stage(&TrunkStart::default())
            .is_none()
    );
}

#[test]
fn the_rules_for_stages_hold() {
    let filter = filter("traces: {drop: [\"text = 'a'\"]}\nalarms: {drop: [\"text = 'a'\"]}");
    let mut stage = filter.lane_stage(&LaneId(1).into()).unwrap();
    let all = || rows(&[Some("a"), Some("b")]);
    let batches = Signal::ALL.map(|signal| batch(signal, all(), Ack::none())).to_vec();
    let passes = |signal| !matches!(signal, Signal::Traces | Signal::Alarms);
    let (forwarded, _) = check_stage(&mut *stage, batches, passes);
    let lengths = forwarded.iter().filter_map(|message| match message {
        LaneMessage::Batch(batch) => Some(batch.len()),
        _ => None,
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [1, 2, 2, 2, 1]);
}

proptest! {
    /// The same rows stay however they are cut into batches: what a range that is repeated has in it does not
    /// depend on batches.
    #[test]
    fn the_rows_that_stay_do_not_depend_on_batches(
        texts in prop::collection::vec(prop::option::of("[ab]|soon|2026-01-0[1-9]T00:00:00Z"), 1..40),
        cuts in prop::collection::vec(0..40_usize, 0..5),
    ) {
        let settings = "traces: {keep: [\"text = 'a'\", \"to_timestamp(text) > to_timestamp('2026-01-04T12:00:00Z')\"], \
                        drop: [\"duration_ns % 3 = 0\"]}";
        let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
        let filter = filter(settings);
        let all = rows(&texts);
        let whole = numbers(&on_lane(&filter, batch(Signal::Traces, all.clone(), Ack::none())));
        // By definition: NULL goes, and what is no time fails and stays.
        let expected = texts.iter().zip(0_i64..).filter(|(text, number)| {
            let keep = match text {
                None => false,
                Some("a") | Some("soon") | Some("b") => true,
                Some(time) => *time > "2026-01-04T12",
            };
            keep && number % 3 != 0
        });
        prop_assert_eq!(&whole, &expected.map(|(_, number)| number).collect::<Vec<_>>());
        let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut.min(texts.len())).collect();
        bounds.extend([0, texts.len()]);
        bounds.sort_unstable();
        let parts = bounds.windows(2).flat_map(|ends| {
            let part = all.slice(ends[0], ends[1] - ends[0]);
            numbers(&on_lane(&filter, batch(Signal::Traces, part, Ack::none())))
        });
        prop_assert_eq!(whole, parts.collect::<Vec<_>>());
    }
}
