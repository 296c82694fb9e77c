//! Requests in OTLP's JSON.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use proptest::prelude::*;
use prost::Message;
use serde::de::DeserializeOwned;
use weir_pdata::json::JsonLines;
use weir_pdata::otlp::{from_json, to_json};
use weir_pdata::{Format, Projection, Signal};

use super::damage;
use super::generate::Source;

/// A request through JSON, with its fields in prost's order.
fn back<R: Message + Default>(format: Format, request: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    to_json(format, request, &mut json).unwrap();
    let bytes = from_json(format, &json);
    let bytes = bytes.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
    assert_eq!(bytes.len(), request.len());
    R::decode(&*bytes).unwrap().encode_to_vec()
}

/// The request as opentelemetry-proto reads it. Its reader wants enums as numbers and every field of a
/// `KeyValue`, which its own examples have.
fn read<R: Message + DeserializeOwned>(json: &str) -> Vec<u8> {
    serde_json::from_str::<R>(json).unwrap().encode_to_vec()
}

#[test]
fn the_examples_of_the_protocol_are_read() {
    let trace = include_str!("testdata/trace.json");
    assert_eq!(from_json(Format::OtlpTraces, trace.as_bytes()), Ok(read::<ExportTraceServiceRequest>(trace)));
    for logs in [include_str!("testdata/logs.json"), include_str!("testdata/events.json")] {
        assert_eq!(from_json(Format::OtlpLogs, logs.as_bytes()), Ok(read::<ExportLogsServiceRequest>(logs)));
    }
    let metrics = include_str!("testdata/metrics.json");
    let bytes = from_json(Format::OtlpMetrics, metrics.as_bytes());
    assert_eq!(bytes, Ok(read::<ExportMetricsServiceRequest>(metrics)));
}

#[test]
fn all_forms_of_values_are_read() {
    let json = r#"{"unknown":[1,{"a":2}],"resource_spans":[{"scopeSpans":[{"spans":[{
        "traceId":"5B8EFFF798038103D269B633813FC60C","span_id":"eee19b7ec3c1b174","parentSpanId":null,
        "kind":"SPAN_KIND_CLIENT","startTimeUnixNano":1544712660000000000,"endTimeUnixNano":"1544712661000000000",
        "flags":257.0,"status":{"code":"STATUS_CODE_ERROR"},"attributes":[
        {"key":"zero","value":{"intValue":0}},{"key":"min","value":{"intValue":"-9223372036854775808"}},
        {"key":"nan","value":{"doubleValue":"NaN"}},{"key":"inf","value":{"doubleValue":"-Infinity"}},
        {"key":"whole","value":{"doubleValue":5}},{"key":"text","value":{"doubleValue":"1.5"}},
        {"key":"bytes","value":{"bytesValue":"-_8"}},{"key":"more","value":{"bytesValue":"+/8="}},
        {"key":"none"},{"key":"empty","value":{}},
        {"key":"list","value":{"arrayValue":{"values":[{"stringValue":""},{}]}}}]}]}]}]}"#;
    let request = from_json(Format::OtlpTraces, json.as_bytes()).unwrap();
    let request = ExportTraceServiceRequest::decode(&*request).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_id[..3], [0x5b, 0x8e, 0xff]);
    assert_eq!((span.kind, span.flags, span.status.as_ref().unwrap().code), (3, 257, 2));
    assert_eq!(span.start_time_unix_nano + 1_000_000_000, span.end_time_unix_nano);
    assert!(span.parent_span_id.is_empty());
    let values: Vec<String> = span
        .attributes
        .iter()
        .map(|pair| format!("{:?}", pair.value.as_ref().and_then(|v| v.value.clone())))
        .collect();
    let expected = [
        Some(Value::IntValue(0)),
        Some(Value::IntValue(i64::MIN)),
        Some(Value::DoubleValue(f64::NAN)),
        Some(Value::DoubleValue(f64::NEG_INFINITY)),
        Some(Value::DoubleValue(5.0)),
        Some(Value::DoubleValue(1.5)),
        Some(Value::BytesValue(vec![0xfb, 0xff])),
        Some(Value::BytesValue(vec![0xfb, 0xff])),
        None,
        None,
    ];
    assert_eq!(values[..10], expected.map(|value| format!("{value:?}")));
    assert!(values[10].contains("StringValue(\"\")"), "{}", values[10]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (json, expected) in [
        ("{", "not valid JSON: expected a name in quotes at column 2"),
        ("[]", "``: expected an object, found an array"),
        (r#"{"resourceSpans":{}}"#, "`resourceSpans`: expected an array, found an object"),
        (
            r#"{"resourceSpans":[{},{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}"#,
            "`resourceSpans[1].scopeSpans[0].spans[0].traceId`: expected hexadecimal digits, found \"xyz\"",
        ),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":-1}]}]}]}"#,
            "`resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano`: expected an integer of 64 bits, as a \
             number or a text, found -1",
        ),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}"#,
            "`resourceSpans[0].scopeSpans[0].spans[0].kind`: expected a number or a known name, found \"SERVER\"",
        ),
    ] {
        let error = from_json(Format::OtlpTraces, json.as_bytes()).unwrap_err().to_string();
        if json == "{" {
            assert!(error.starts_with("not valid JSON: "), "{error}");
        } else {
            assert_eq!(error, expected);
        }
    }
}

#[test]
fn a_request_is_a_line_of_a_file() {
    let trace = include_str!("testdata/trace.json").replace('\n', " ");
    let logs = include_str!("testdata/logs.json").replace('\n', " ");
    let metrics = include_str!("testdata/metrics.json").replace('\n', " ");
    let own = r#"{"signal":"logs","body":"own"}"#;
    let bad =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"9223372036854775808"},{}]}]}]}"#;
    let lines =
        [&*metrics, own, r#"{"resourceSpans":5}"#, &*trace, &*logs, &*trace, bad, r#"{"resourceLogs":[]}"#];
    let read = JsonLines::read(lines.map(str::as_bytes), &Projection::everything());
    let found: Vec<_> = read.batches.iter().map(|(signal, batch)| (*signal, batch.num_rows())).collect();
    assert_eq!(found[0], (Signal::Logs, 1));
    assert_eq!(found[1], (Signal::Traces, 2));
    assert_eq!(found[2], (Signal::Logs, 2));
    assert_eq!(found[3].0, Signal::Metrics);
    assert_eq!(found.len(), 4);
    let rejected: Vec<_> = read.rejected.iter().map(|one| format!("{}: {}", one.line, one.reason)).collect();
    assert_eq!(rejected[0], "2: `resourceSpans`: expected an array, found 5");
    assert!(rejected[1].starts_with("6: 1 of its items cannot be used, the first: the time"), "{rejected:?}");
    assert_eq!((rejected.len(), read.empty), (2, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_come_back_from_json(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        let traces = Source(&bytes).traces().encode_to_vec();
        prop_assert_eq!(back::<ExportTraceServiceRequest>(Format::OtlpTraces, &traces), traces);
        let logs = Source(&bytes).logs().encode_to_vec();
        prop_assert_eq!(back::<ExportLogsServiceRequest>(Format::OtlpLogs, &logs), logs);
        let metrics = Source(&bytes).metrics().encode_to_vec();
        prop_assert_eq!(back::<ExportMetricsServiceRequest>(Format::OtlpMetrics, &metrics), metrics);
    }

    #[test]
    fn damaged_json_is_read_or_rejected(damages in prop::collection::vec(damage::damage(), 1..4)) {
        let mut json = include_bytes!("testdata/metrics.json").to_vec();
        for damage in &damages {
            damage.apply(&mut json);
        }
        if let Ok(request) = from_json(Format::OtlpMetrics, &json) {
            let in_order = ExportMetricsServiceRequest::decode(&*request).unwrap().encode_to_vec();
            prop_assert_eq!(back::<ExportMetricsServiceRequest>(Format::OtlpMetrics, &request), in_order);
        }
    }
}
