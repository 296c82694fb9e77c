//! The processor as a whole: which rows stay, what they say then, and the rules for stages.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Field, Float64Type, Schema};
use proptest::prelude::*;
use weir_component::testkit::{Probe, check_stage, context};
use weir_component::{Context, LaneId, LaneMessage, Outlet, Processor, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::text::TextColumn;
use weir_pdata::{Ack, EventBatch, Origin, Signal, SignalSet, schema};

use crate::config;
use crate::processor::Sample;

fn sample_with(settings: &str) -> (Sample, Context) {
    let text = format!(
        "receivers: {{generator: }}\nprocessors:\n  sample: {{{settings}}}\nexporters: {{nop: }}\n\
         service: {{pipelines: {{main: {{receivers: [generator], processors: [sample], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let checked = config::read(Settings::new(&document, &topology.processors[0]));
    let context = context("sample", Path::new("/nonexistent"));
    (Sample::new(checked.unwrap_or_else(|why| panic!("{why}")), &context), context)
}

fn sample(settings: &str) -> Sample {
    sample_with(settings).0
}

/// Rows with these columns of text. Those that are no fixed column are attributes.
fn rows(columns: &[(&str, &[Option<&str>])]) -> RecordBatch {
    let field = |name: &str| {
        let field = Field::new(name, schema::text(), true);
        if schema::is_fixed_anywhere(name) {
            field
        } else {
            field.with_metadata(schema::attribute_metadata("span", name))
        }
    };
    let fields: Vec<Field> = columns.iter().map(|(name, _)| field(name)).collect();
    let arrays =
        columns.iter().map(|(_, values)| Arc::new(StringViewArray::from(values.to_vec())) as ArrayRef);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect()).unwrap()
}

fn event(signal: Signal, columns: RecordBatch, ack: Ack) -> EventBatch {
    EventBatch::columns(signal, columns, Origin::lane("kafka/t/3".into(), 40..90), ack)
}

fn run(sample: &Sample, signal: Signal, columns: RecordBatch) -> RecordBatch {
    let mut stage = sample.lane_stage(&LaneId(1).into()).unwrap();
    let mut out = Outlet::default();
    stage.handle(LaneMessage::Batch(event(signal, columns, Ack::none())), &mut out);
    let Some(LaneMessage::Batch(batch)) = out.take_forwarded().next() else { panic!("no batch came out") };
    assert_eq!(batch.origin.positions, 40..90);
    batch.as_columns().unwrap().clone()
}

fn text(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let array = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let text = TextColumn::new(array).unwrap();
    (0..batch.num_rows()).map(|row| text.get(row).map(str::to_owned)).collect()
}

fn counts(batch: &RecordBatch) -> Vec<Option<f64>> {
    batch.column_by_name("sampling.adjusted_count").unwrap().as_primitive::<Float64Type>().iter().collect()
}

/// An id of 16 bytes with this randomness.
fn id(randomness: &str) -> String {
    format!("{:0<18}{randomness}", "abc")
}

/// What becomes of one span whose trace has this randomness and state: its state and count, if it stays.
fn span(settings: &str, randomness: &str, state: Option<&str>) -> Option<(Option<String>, Option<f64>)> {
    let id = id(randomness);
    let out = run(
        &sample(settings),
        Signal::Traces,
        rows(&[("trace_id", &[Some(&*id)]), ("trace_state", &[state])]),
    );
    (out.num_rows() == 1).then(|| (text(&out, "trace_state").remove(0), counts(&out)[0]))
}

fn stays(state: &str, count: f64) -> Option<(Option<String>, Option<f64>)> {
    Some((Some(state.to_owned()), Some(count)))
}

#[test]
fn a_trace_stays_when_its_randomness_reaches_the_threshold() {
    let half = "probability: 0.5";
    assert_eq!(span(half, "7fffffffffffff", None), None);
    assert_eq!(span(half, "80000000000000", None), stays("ot=th:8", 2.0));
    assert_eq!(span("probability: 0.1", "e6660000000000", None), stays("ot=th:e666", 65_536.0 / 6_554.0));
    assert_eq!(span("probability: 0.1", "e665ffffffffff", None), None);
    assert_eq!(span("probability: 1", "00000000000001", Some("a=b")), stays("ot=th:0,a=b", 1.0));
}

/// The cases of the Collector's `TestUpdateTValueWithSampling`, by their outcome for a trace that stays.
#[test]
fn the_stricter_threshold_wins() {
    let of = |share: f64, state: &str| {
        span(&format!("probability: {share}, precision: 14"), "ffffffffffffff", Some(state))
    };
    assert_eq!(of(2.0 / 16.0, "ot=th:8"), stays("ot=th:e", 8.0));
    assert_eq!(of(14.0 / 16.0, "ot=th:8"), stays("ot=th:8", 2.0));
    assert_eq!(of(8.0 / 16.0, "ot=th:f"), stays("ot=th:f", 16.0));
    assert_eq!(of(1.0 / 16.0, "ot=th:0"), stays("ot=th:f", 16.0));
    assert_eq!(of(1.0 / 16.0, ""), stays("ot=th:f", 16.0));
    assert_eq!(of(1.0, ""), stays("ot=th:0", 1.0));
    assert_eq!(of(1.0, "ot=th:8"), stays("ot=th:8", 2.0));
    assert_eq!(of(1365.0 / 4096.0, "ot=th:555"), stays("ot=th:aab", 4096.0 / 1365.0));
}

#[test]
fn explicit_randomness_overrides_the_trace_id() {
    let half = "probability: 0.5";
    assert_eq!(span(half, "ffffffffffffff", Some("ot=rv:10000000000000")), None);
    let kept = span(half, "00000000000000", Some("v=1,ot=a:b;rv:90000000000000"));
    assert_eq!(kept, stays("ot=rv:90000000000000;th:8;a:b,v=1", 2.0));
}

#[test]
fn a_threshold_that_the_randomness_does_not_reach_counts_as_missing() {
    let (sample, context) = sample_with("probability: 0.5");
    let id = id("90000000000000");
    let input = rows(&[("trace_id", &[Some(&*id)]), ("trace_state", &[Some("ot=th:c")])]);
    let out = run(&sample, Signal::Traces, input);
    assert_eq!(
        (text(&out, "trace_state"), counts(&out)),
        (vec![Some("ot=th:8".to_owned())], vec![Some(2.0)])
    );
    let metrics = context.telemetry.encode();
    let line = "weir_sample_inconsistent_rows_total{processor=\"sample\",signal=\"traces\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn ids_of_other_forms_are_hashed_and_the_randomness_goes_with_them() {
    let id = "de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001";
    let input = || rows(&[("trace_id", &[Some(id)])]);
    let all = run(&sample("probability: 1"), Signal::Traces, input());
    let state = text(&all, "trace_state").remove(0).unwrap();
    let (prefix, rest) = state.split_at(6);
    assert_eq!((prefix, &rest[14..]), ("ot=rv:", ";th:0"));
    // A sampler behind it that goes by `rv` decides as one before it that goes by the id.
    for share in [0.1, 0.3, 0.5, 0.7, 0.9] {
        let by_id = run(&sample(&format!("probability: {share}")), Signal::Traces, input()).num_rows();
        let exported =
            rows(&[("trace_id", &[Some(&*self::id("00000000000001"))]), ("trace_state", &[Some(&*state)])]);
        let by_rv = run(&sample(&format!("probability: {share}")), Signal::Traces, exported).num_rows();
        assert_eq!(by_id, by_rv, "{share}");
    }
}

#[test]
fn rows_without_a_trace_stay() {
    let ids = [None, Some(""), Some("00000000000000000000000000000000")];
    let out = run(
        &sample("probability: 0.001"),
        Signal::Traces,
        rows(&[("trace_id", &ids), ("trace_state", &[None, Some("a=b"), None])]),
    );
    assert_eq!(counts(&out), [None; 3]);
    assert_eq!(text(&out, "trace_state"), [None, Some("a=b".to_owned()), None]);
    let bare = run(&sample("probability: 0.001"), Signal::Traces, rows(&[("operation", &[Some("a")])]));
    assert_eq!(bare.num_rows(), 1, "no trace ids at all");
}

/// A sampler that knows no traces has sampled them.
#[test]
fn rows_without_a_trace_keep_the_count_that_they_came_with() {
    let traced = id("ffffffffffffff");
    let ids = [Some(&*traced), None, Some(""), None];
    let out = |column: ArrayRef| {
        let name = "sampling.adjusted_count";
        let texts: ArrayRef = Arc::new(StringViewArray::from(ids.to_vec()));
        let count = Field::new(name, column.data_type().clone(), true);
        let count = count.with_metadata(schema::attribute_metadata("span", name));
        let fields = vec![Field::new("trace_id", schema::text(), true), count];
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![texts, column]).unwrap();
        run(&sample("probability: 0.5"), Signal::Traces, rows)
    };
    let given = Some(10.0);
    let numbers = out(Arc::new(Float64Array::from(vec![Some(3.0), given, Some(2.5), None])));
    assert_eq!(counts(&numbers), [Some(2.0), given, Some(2.5), None]);
    let texts = out(Arc::new(StringViewArray::from(vec![Some("3"), Some("10"), Some("2.5"), None])));
    assert_eq!(counts(&texts), [Some(2.0), given, Some(2.5), None]);
    let odd = out(Arc::new(StringViewArray::from(vec![Some("3"), Some("many"), Some("2.5"), None])));
    let expected = ["2.0", "many", "2.5"].map(|text| Some(text.to_owned()));
    assert_eq!(text(&odd, "sampling.adjusted_count")[..3], expected);
}

#[test]
fn logs_have_their_threshold_in_attributes_as_the_collector_writes_it() {
    let (first, second) = (id("90000000000000"), id("f8000000000000"));
    let input = rows(&[
        ("trace_id", &[Some(&*first), Some(&*second), Some(&*second), None]),
        ("sampling.threshold", &[None, None, Some("f"), None]),
        ("sampling.randomness", &[Some("70000000000000"), None, None, None]),
    ]);
    let out = run(&sample("probability: 0.5, signals: [logs]"), Signal::Logs, input);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(text(&out, "sampling.threshold"), [some("8"), some("f"), None]);
    assert_eq!(counts(&out), [Some(2.0), Some(16.0), None]);
    assert!(out.column_by_name("trace_state").is_none());
}

#[test]
fn the_rules_for_stages_hold() {
    let sample = sample("probability: 0.5");
    assert_eq!(sample.signals(), SignalSet::of(&[Signal::Traces]));
    let mut stage = sample.lane_stage(&LaneId(1).into()).unwrap();
    let columns = || rows(&[("trace_id", &[Some("dropped"), Some("kept")])]);
    let batches = Signal::ALL.map(|signal| event(signal, columns(), Ack::none())).to_vec();
    check_stage(&mut *stage, batches, |signal| signal != Signal::Traces);
    let probe = Probe::default();
    let mut out = Outlet::default();
    let low = id("00000000000001");
    stage.handle(
        LaneMessage::Batch(event(Signal::Traces, rows(&[("trace_id", &[Some(&*low)])]), probe.ack())),
        &mut out,
    );
    let forwarded: Vec<_> = out.take_forwarded().collect();
    assert!(matches!(&forwarded[..], [LaneMessage::Batch(batch)] if batch.is_empty() && probe.open() == 1));
}

proptest! {
    /// Whatever the batches and the gateway, and in however many steps, a trace stays whole or goes whole.
    #[test]
    fn a_trace_stays_or_goes_as_a_whole(
        ids in prop::collection::vec("[0-9a-f]{32}|[0-9a-f]{32}\\.[0-9]{1,2}\\.[0-9]{17}|[a-z]{1,8}", 1..20),
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
        shares in prop::collection::vec(0.001..1.0_f64, 1..4),
    ) {
        let spans: Vec<&str> = places.iter().map(|place| &**place.get(&ids)).collect();
        let strictest = shares.iter().copied().fold(1.0, f64::min);
        let whole: Vec<Option<&str>> = spans.iter().map(|id| Some(*id)).collect();
        let once = run(&sample(&format!("probability: {strictest}")), Signal::Traces, rows(&[("trace_id", &whole)]));
        let kept: std::collections::BTreeSet<Option<String>> = text(&once, "trace_id").into_iter().collect();
        let all = spans.iter().map(|id| Some((*id).to_owned()));
        let expected: Vec<_> = all.filter(|id| kept.contains(id)).collect();
        prop_assert_eq!(&text(&once, "trace_id"), &expected, "all spans of a trace, in order");
        // One span at a time, through several samplers in a row: the strictest decides.
        for id in &spans {
            let mut batch = rows(&[("trace_id", &[Some(*id)])]);
            for share in &shares {
                batch = run(&sample(&format!("probability: {share}")), Signal::Traces, batch);
            }
            prop_assert_eq!(batch.num_rows() == 1, kept.contains(&Some((*id).to_owned())), "{}", id);
            if batch.num_rows() == 1 {
                prop_assert_eq!(counts(&batch)[0], counts(&once)[0]);
            }
        }
    }
}
