//! JSON lines: what is read, what is rejected, and that writing and reading agree.

#![allow(clippy::unwrap_used)]

#[path = "segments/damage.rs"]
mod damage;
#[path = "segments/generate.rs"]
mod generate;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};
use proptest::prelude::*;
use prost::Message;
use weir_pdata::attributes::{AttributeColumn, Nested, Value};
use weir_pdata::json::{JsonLines, write_rows};
use weir_pdata::text::TextColumn;
use weir_pdata::{Demand, Encoded, Format, Projection, Signal, decode, schema};

fn read_with(lines: &str, projection: &Projection) -> JsonLines {
    JsonLines::read(lines.lines().map(str::as_bytes), projection)
}

fn read(lines: &str) -> JsonLines {
    read_with(lines, &Projection::everything())
}

fn batch(lines: &str) -> RecordBatch {
    let mut read = read(lines);
    assert_eq!(read.rejected, []);
    assert_eq!(read.batches.len(), 1);
    read.batches.remove(0).1
}

fn written(batch: &RecordBatch, signal: Signal) -> String {
    let mut out = Vec::new();
    write_rows(batch, signal, &mut out);
    String::from_utf8(out).unwrap()
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    TextColumn::new(batch.column_by_name(name).unwrap()).unwrap().get(row).map(str::to_owned)
}

fn time(batch: &RecordBatch, name: &str, row: usize) -> i64 {
    batch.column_by_name(name).unwrap().as_primitive::<TimestampNanosecondType>().value(row)
}

const SPAN: &str = r#"{"signal":"traces","time":1749088705000,"end_time":1749088705070,"duration_ns":70000000,"trace_id":"t","span_id":"s.0","service":"pay","operation":"/pay","kind":"server","status":"ok","component_id":7,"size_limited":false,"links":[{"trace_id":"t0","ref_type":"cross_process"}],"events":[{"time":"2025-06-05T01:58:25.000000001Z","name":"error","attributes":{"event":"error","n":1}}],"attributes":{"http.method":"GET","n":-3,"f":1.0,"b":true,"none":null,"list":[1,{"a":"ä"}],"n":4},"resource":{"host.name":"h1"}}"#;

#[test]
fn a_span_is_written_as_it_was_read() {
    let batch = batch(SPAN);
    assert_eq!(written(&batch, Signal::Traces), format!("{SPAN}\n"));
    let fixed: Vec<_> = schema::fixed(Signal::Traces).iter().cloned().collect();
    assert_eq!(batch.schema().fields().iter().cloned().collect::<Vec<_>>(), fixed);
}

#[test]
fn attributes_keep_their_types_and_order() {
    let batch = batch(SPAN);
    // [1, {"a": "ä"}] as OTLP has it.
    let list = b"\x2a\x13\x0a\x02\x18\x01\x0a\x0d\x32\x0b\x0a\x09\x0a\x01a\x12\x04\x0a\x02\xc3\xa4";
    let attributes: Vec<_> =
        AttributeColumn::new(batch.column_by_name("attributes").unwrap()).unwrap().row(0).collect();
    let expected = [
        ("http.method", Value::String("GET")),
        ("n", Value::Int64(-3)),
        ("f", Value::Float64(1.0)),
        ("b", Value::Bool(true)),
        ("none", Value::Null),
        ("list", Value::Nested(Nested::new(list))),
        ("n", Value::Int64(4)),
    ];
    assert_eq!(attributes, expected);
}

#[test]
fn wanted_keys_become_text_columns_and_leave_the_list() {
    let demand =
        Demand { attributes: true, ..Demand::names(["n", "absent", "resource.host.name", "service"]) };
    let read = read_with(SPAN, &Projection::of(&demand));
    let batch = &read.batches[0].1;
    let schema = batch.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["service", "attributes", "absent", "n", "resource.host.name"]);
    assert_eq!(text(batch, "n", 0).as_deref(), Some("-3"));
    assert_eq!(text(batch, "absent", 0), None);
    assert_eq!(text(batch, "resource.host.name", 0).as_deref(), Some("h1"));
    let line = written(batch, Signal::Traces);
    assert!(line.contains(r#""attributes":{"http.method":"GET","n":-3,"f":1.0"#), "{line}");
    assert!(line.contains(r#""resource":{"host.name":"h1"}"#), "{line}");
}

#[test]
fn a_span_that_ends_before_it_starts_takes_no_time_and_is_counted() {
    let segment = r#"{"traceId":"t","traceSegmentId":"s","service":"a","spans":[{"spanId":0,"startTime":"1749088705000","endTime":"0"}]}"#;
    let read = read(&format!(
        "{}\n{}\n{}\n{segment}",
        r#"{"signal":"traces","time":1500,"end_time":1000}"#,
        r#"{"signal":"traces","time":1000,"end_time":1000}"#,
        r#"{"signal":"traces","time":1000,"end_time":1500,"duration_ns":-7}"#,
    ));
    assert_eq!((read.backwards, read.rejected.len()), (3, 0));
    let column = |at: usize, name: &str| read.batches[at].1.column_by_name(name).unwrap().clone();
    let durations = column(0, "duration_ns");
    assert_eq!(durations.as_primitive::<Int64Type>().values(), &[0, 0, 0]);
    assert_eq!(column(1, "duration_ns").as_primitive::<Int64Type>().values(), &[0]);
    let ends = column(1, "end_time");
    assert_eq!(ends.as_primitive::<TimestampNanosecondType>().values(), &[0], "times stay as they came");
}

#[test]
fn a_missing_duration_is_the_time_between_start_and_end() {
    let batch = batch(
        r#"{"signal":"traces","time":1000,"end_time":1500}
{"signal":"traces","time":1000}
{"signal":"traces","time":1000,"end_time":1500,"duration_ns":7}"#,
    );
    let durations = batch.column_by_name("duration_ns").unwrap().as_primitive::<Int64Type>();
    assert_eq!(durations.iter().collect::<Vec<_>>(), [Some(500_000_000), None, Some(7)]);
}

#[test]
fn times_are_milliseconds_or_text_and_round_trip() {
    let times = [
        ("-1", -1_000_000),
        ("\"2025-06-05T03:58:25.5+02:00\"", 1_749_088_705_500_000_000),
        ("\"2025-06-05T01:58:25.000000001Z\"", 1_749_088_705_000_000_001),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ];
    for (json, nanoseconds) in times {
        let once = batch(&format!(r#"{{"signal":"logs","time":{json}}}"#));
        assert_eq!(time(&once, "time", 0), nanoseconds, "{json}");
        let twice = batch(&written(&once, Signal::Logs));
        assert_eq!(time(&twice, "time", 0), nanoseconds, "{json}");
    }
}

#[test]
fn every_signal_round_trips() {
    let lines = [
        SPAN,
        r#"{"signal":"logs","time":1,"severity_number":9,"body":"a \"b\"\n","body_value":[1,{"a":null}],"trace_id":"t","flags":4294967295,"attributes":{"k":"v"}}"#,
        r#"{"signal":"metrics","time":1,"metric":"m","monotonic":true,"value":2.0,"value_int":2,"count":18446744073709551615,"bounds":[0.5,1.0],"bucket_counts":[1,0,18446744073709551615],"quantiles":[{"quantile":0.5,"value":1.0}],"exemplars":[{"time":1,"value_int":-3,"trace_id":"t","attributes":{"a":[1.5]}}],"service":"s","attributes":{"k":"v"},"resource":{"r":1},"scope":{"s":true},"metadata":{"m":"d"}}"#,
        r#"{"signal":"windows","operator":"aggregate","window_start":7000,"window_end":14000,"window_size_ms":7000,"firing":0,"service":"pay","count":3,"success_rate":1.0,"p99_duration_ns":4.5,"ratio":0.25,"ok":true}"#,
        r#"{"signal":"alarms","time":14000,"rule":"slow","severity":"high","state":"firing","service":"pay","labels":{"service":"pay","a":"b"},"measure":"p99","value":5.0,"threshold":1.5,"message":"m","rule_epoch":3}"#,
    ];
    let read = read(&lines.join("\n"));
    assert_eq!(read.rejected, []);
    assert_eq!(read.batches.iter().map(|(signal, _)| *signal).collect::<Vec<_>>(), Signal::ALL);
    for ((signal, batch), line) in read.batches.iter().zip(lines) {
        assert_eq!(written(batch, *signal), format!("{line}\n"));
        for field in schema::fixed(*signal) {
            assert_eq!(batch.schema().field_with_name(field.name()).unwrap(), &**field);
        }
    }
}

#[test]
fn further_fields_of_windows_are_columns_of_their_type() {
    let batch = batch(
        r#"{"signal":"windows","service":"a","success_rate":1,"count":2,"mixed":1,"p50_duration_ns":5}
{"signal":"windows","avg_duration_ns":3,"mixed":1.5,"late":"x"}"#,
    );
    let schema = batch.schema();
    let data_type = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
    for float in ["success_rate", "p50_duration_ns", "avg_duration_ns", "mixed"] {
        assert_eq!(data_type(float), DataType::Float64, "{float}");
    }
    assert_eq!(data_type("count"), DataType::Int64);
    assert_eq!(data_type("service"), DataType::Utf8View);
    let mixed = batch.column_by_name("mixed").unwrap().as_primitive::<Float64Type>();
    assert_eq!(mixed.iter().collect::<Vec<_>>(), [Some(1.0), Some(1.5)]);
    let late = batch.column_by_name("late").unwrap();
    assert!(late.is_null(0) && late.is_valid(1));
}

#[test]
fn windows_cannot_make_columns_without_end() {
    let line = |from: usize| {
        let fields: Vec<_> = (from..from + 600).map(|n| format!("\"m{n}\":1")).collect();
        format!("{{\"signal\":\"windows\",{}}}", fields.join(","))
    };
    let read = read(&[line(0), line(600), line(0)].join("\n"));
    let rejected: Vec<_> = read.rejected.iter().map(|r| format!("{}: {}", r.line, r.reason)).collect();
    assert_eq!(rejected, ["1: `m1000`: windows may have at most 1000 different further fields"]);
    assert_eq!(read.batches[0].1.num_rows(), 2);
}

#[test]
fn floats_without_a_json_number_round_trip() {
    let line = r#"{"signal":"alarms","value":"NaN","threshold":"-Infinity"}"#;
    let batch = batch(line);
    let value = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(0);
    assert!(value("value").is_nan());
    assert_eq!(value("threshold"), f64::NEG_INFINITY);
    assert_eq!(written(&batch, Signal::Alarms), format!("{line}\n"));
}

#[test]
fn lines_that_are_no_events_are_rejected_with_their_number_and_reason() {
    let lines = [
        r#"{"signal":"traces","service":"good"}"#,
        r#"{"signal":"traces""#,
        "[1]",
        r#"{"signal":"spans"}"#,
        "",
        r#"{"signal":5}"#,
        r#"{"hello":"world"}"#,
        r#"{"signal":"traces","sevice":"x"}"#,
        r#"{"signal":"traces","service":5}"#,
        r#"{"signal":"traces","time":"yesterday"}"#,
        r#"{"signal":"traces","time":1,"time":2}"#,
        r#"{"signal":"traces","component_id":3000000000}"#,
        r#"{"signal":"traces","links":[{"trace":"x"}]}"#,
        r#"{"signal":"windows","count":[]}"#,
        r#"{"traceId":"t","spans":[{"tags":[{"key":1}]}]}"#,
        r#"{"signal":"traces","service":"good too"}"#,
    ];
    let read = read(&lines.join("\n"));
    let rejected: Vec<_> = read.rejected.iter().map(|r| format!("{}: {}", r.line, r.reason)).collect();
    let expected = [
        "1: not valid JSON: expected `,` or `}` at column 19",
        "2: expected an object, found an array",
        r#"3: `signal` is "spans": expected one of "traces", "logs", "metrics", "windows", "alarms""#,
        r#"5: `signal` is an integer: expected one of "traces", "logs", "metrics", "windows", "alarms""#,
        "6: neither an event (it has no `signal`) nor a SkyWalking segment nor an OTLP request (it has none of their fields)",
        "7: `sevice`: unknown field of traces: put it under `attributes`",
        "8: `service`: expected a text, found an integer",
        "9: `time`: `yesterday` is not an RFC 3339 time: premature end of input",
        "10: `time`: comes twice",
        "11: `component_id`: 3000000000 does not fit Int32",
        "12: `links`: unknown field `trace`",
        "13: `count`: expected a number, text or boolean, found an array",
        "14: `spans[0].tags[0].key`: expected a text, found an integer",
    ];
    assert_eq!(rejected, expected);
    assert_eq!(read.empty, 1);
    assert_eq!(read.batches[0].1.num_rows(), 2);
    assert_eq!(text(&read.batches[0].1, "service", 1).as_deref(), Some("good too"));
}

#[test]
fn segments_are_read_in_either_case_of_names_and_any_form_of_numbers() {
    let camel = r#"{"traceId":"t","traceSegmentId":"s","service":"a","serviceInstance":"i","isSizeLimited":true,"spans":[{"spanId":1,"parentSpanId":-1,"startTime":"1749088705000","endTime":1749088705070,"refs":[{"refType":"CrossThread","traceId":"t","parentTraceSegmentId":"p","parentSpanId":2,"parentService":"b","networkAddressUsedAtPeer":"x:1"}],"operationName":"/o","peer":"y","spanType":"Exit","spanLayer":"Http","componentId":14,"isError":true,"skipAnalysis":true,"tags":[{"key":"k","value":"v"}],"logs":[{"time":"1","data":[{"key":"event","value":"error"}]}]}]}"#;
    let snake = r#"{"trace_id":"t","trace_segment_id":"s","service":"a","service_instance":"i","is_size_limited":true,"new":[],"spans":[{"span_id":1.0,"parent_span_id":"-1","start_time":1749088705000,"end_time":"1749088705070","refs":[{"ref_type":1,"trace_id":"t","parent_trace_segment_id":"p","parent_span_id":2,"parent_service":"b","parent_endpoint":null,"network_address_used_at_peer":"x:1"}],"operation_name":"/o","peer":"y","span_type":1,"span_layer":3,"component_id":14,"is_error":true,"skip_analysis":true,"tags":[{"key":"k","value":"v"}],"logs":[{"time":1,"data":[{"key":"event","value":"error"}]}]}]}"#;
    let own = r#"{"signal":"traces","time":1749088705000,"end_time":1749088705070,"duration_ns":70000000,"trace_id":"t","span_id":"s.1","parent_span_id":"p.2","segment_id":"s","segment_span_id":1,"service":"a","service_instance":"i","operation":"/o","kind":"client","status":"error","peer":"y","component":"SpringMVC","component_id":14,"layer":"http","skip_analysis":true,"size_limited":true,"links":[{"trace_id":"t","span_id":"p.2","ref_type":"cross_thread","parent_service":"b","network_address":"x:1"}],"events":[{"time":1,"name":"error","attributes":{"event":"error"}}],"attributes":{"k":"v"}}"#;
    let batch = batch(&format!("{camel}\n{snake}"));
    assert_eq!(written(&batch, Signal::Traces), format!("{own}\n{own}\n"));
}

#[test]
fn a_segment_without_spans_is_counted_as_empty() {
    let read = read(r#"{"traceId":"t","spans":[]}"#);
    assert_eq!((read.empty, read.batches.len(), read.rejected.len()), (1, 0, 0));
}

#[test]
fn a_segment_that_the_decoder_refuses_is_rejected_with_its_line() {
    let spans = vec!["{}"; 50_000].join(",");
    let read = read(&format!("{SPAN}\n{{\"spans\":[{spans}]}}"));
    assert_eq!(read.rejected.len(), 1);
    assert_eq!(read.rejected[0].line, 1);
    assert_eq!(read.batches.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoded_segments_read_back_as_they_were_written(
        segments in prop::collection::vec(generate::segment(), 1..4),
    ) {
        let records: Vec<_> = segments.iter().map(Message::encode_to_vec).collect();
        let demand = Demand::everything().and(Demand::names(["http.method"]));
        let projection = Projection::of(&demand);
        let encoded = Encoded::concat(Format::SkyWalkingSegment, records.iter().map(|r| &**r)).unwrap();
        let lines = written(&decode(&encoded, &projection).columns, Signal::Traces);
        let read = read_with(&lines, &projection);
        prop_assert_eq!(&read.rejected, &[]);
        let again: String = read.batches.iter().map(|(signal, batch)| written(batch, *signal)).collect();
        prop_assert_eq!(again, lines);
    }

    #[test]
    fn any_bytes_are_read_or_rejected(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
    ) {
        let read = JsonLines::read(lines.iter().map(|line| &**line), &Projection::everything());
        let rows: usize = read.batches.iter().map(|(_, batch)| batch.num_rows()).sum();
        prop_assert_eq!(rows + read.rejected.len() + read.empty, lines.len());
    }

    #[test]
    fn damaged_lines_are_read_or_rejected(damages in prop::collection::vec(damage::damage(), 1..4)) {
        let mut line = SPAN.as_bytes().to_vec();
        for damage in &damages {
            damage.apply(&mut line);
        }
        let read = JsonLines::read([&*line], &Projection::everything());
        let rows: usize = read.batches.iter().map(|(_, batch)| batch.num_rows()).sum();
        prop_assert_eq!(rows + read.rejected.len() + read.empty, 1);
    }
}

/// Values of attributes, as JSON, and keys of which few differ.
fn attributes() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        r#""x""#,
        r#""7""#,
        r#""""#,
        "7",
        "-0.5",
        "1.0",
        "1e300",
        "true",
        "false",
        "null",
        "[1,2]",
        r#"{"a":[null]}"#,
        "{}",
        "18446744073709551616",
    ]);
    let key = prop::sample::select(vec!["a", "b", "retries", "service"]);
    prop::collection::vec((key, value), 0..6).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

/// The attributes of each line, by key: of each the values in their order.
fn stored(batches: &JsonLines) -> Vec<Vec<(String, Vec<String>)>> {
    let mut all = Vec::new();
    for (signal, batch) in &batches.batches {
        for line in written(batch, *signal).lines() {
            let read = read(line);
            let mut by_key: std::collections::BTreeMap<String, Vec<String>> =
                std::collections::BTreeMap::new();
            for column in ["attributes", "resource"] {
                let lists = AttributeColumn::new(read.batches[0].1.column_by_name(column).unwrap()).unwrap();
                for (key, value) in lists.row(0) {
                    by_key.entry(format!("{column}.{key}")).or_default().push(format!("{value:?}"));
                }
            }
            all.push(by_key.into_iter().collect());
        }
    }
    all
}

proptest! {
    #[test]
    fn naming_an_attribute_does_not_change_what_is_stored(
        lines in prop::collection::vec((attributes(), attributes()), 1..6),
    ) {
        let line = |(own, resource): &(String, String)| {
            format!(r#"{{"signal":"traces","time":1,"attributes":{own},"resource":{resource}}}"#)
        };
        let lines = lines.iter().map(line).collect::<Vec<_>>().join("\n");
        let names = ["retries", "a", "attr.service", "resource.a", "resource.retries"];
        let named = Projection::of(&Demand::everything().and(Demand::names(names)));
        prop_assert_eq!(stored(&read_with(&lines, &named)), stored(&read(&lines)));
    }
}

#[test]
fn an_integer_beyond_64_bits_keeps_its_digits() {
    let digits = "18446744073709551616";
    let batch = batch(&format!(r#"{{"signal":"metrics","value":{digits},"attributes":{{"n":{digits}}}}}"#));
    let lists = AttributeColumn::new(batch.column_by_name("attributes").unwrap()).unwrap();
    assert_eq!(lists.row(0).next(), Some(("n", Value::String(digits))));
    let value = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>().value(0);
    assert_eq!(value, 18_446_744_073_709_551_616.0);
    let rejected = read(&format!(r#"{{"signal":"traces","duration_ns":{digits}}}"#)).rejected;
    assert_eq!(rejected[0].reason.to_string(), format!("`duration_ns`: {digits} does not fit Int64"));
}

#[test]
fn a_byte_order_mark_and_half_a_character_do_not_cost_the_line() {
    let batch = batch("\u{feff}{\"signal\":\"logs\",\"body\":\"cut \\ud83d\"}");
    assert_eq!(text(&batch, "body", 0).as_deref(), Some("cut \u{fffd}"));
}

/// Lines are rejected, or read as rows that are written and read again.
fn any_lines(bytes: &[u8]) {
    let read = JsonLines::read(bytes.split(|byte| *byte == b'\n'), &Projection::everything());
    for (signal, batch) in &read.batches {
        let lines = written(batch, *signal);
        let again = self::read(&lines);
        let rows: usize = again.batches.iter().map(|(_, batch)| batch.num_rows()).sum();
        assert_eq!((rows, again.rejected), (batch.num_rows(), vec![]), "{lines}");
    }
}

#[test]
fn fuzz_json_lines() {
    let seeds = [
        SPAN,
        r#"{"signal":"logs","time":1749088705000,"severity_number":9,"body":"x","attributes":{"a":[1,{"b":null}]}}"#,
        r#"{"signal":"windows","window_start":0,"window_end":7000,"operator":"aggregate","count":3,"service":"pay"}"#,
        r#"{"traceSegmentId":"s","spans":[{"spanId":0,"parentSpanId":-1,"startTime":1,"endTime":2}]}"#,
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"n"}]}]}]}"#,
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let tokens = [
        "null",
        "\n",
        "\"NaN\"",
        "1e400",
        "-0.0",
        "18446744073709551616",
        "\"\\ud800\"",
        "[[[[[[[[",
        "\"signal\":\"metrics\"",
        ",",
    ];
    weir_fuzz::fuzz("json_lines", &seeds, &tokens, any_lines);
}
