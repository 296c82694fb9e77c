//! One request of each kind with a value in every field, and the row that each item is, column by column.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use weir_pdata::decode::DecodeError;
use weir_pdata::json::write_rows;
use weir_pdata::{Demand, Encoded, Format, Projection, RejectedItems, decode, schema};

use super::decoded;

/// 2025-06-05T01:58:25Z.
const START: u64 = 1_749_088_705_000_000_000;
const MS: u64 = 1_000_000;

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![
            pair("service.name", text("pay")),
            pair("host.name", text("h1")),
            pair("service.instance.id", text("i-1")),
            pair("pid", Value::IntValue(-7)),
        ],
        dropped_attributes_count: 2,
        entity_refs: vec![EntityRef {
            schema_url: "e".to_owned(),
            r#type: "host".to_owned(),
            id_keys: vec!["host.name".to_owned()],
            description_keys: vec![],
        }],
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.2".to_owned(),
        attributes: vec![pair("short", Value::BoolValue(true))],
        dropped_attributes_count: 1,
    })
}

/// What all three have of the resource and of the scope.
const ABOUT: &str = r#""scope_schema_url":"s-url","scope_dropped_attributes":1,"resource_schema_url":"r-url","resource_dropped_attributes":2,"entity_refs":"[{\"schema_url\":\"e\",\"type\":\"host\",\"id_keys\":[\"host.name\"],\"description_keys\":[]}]""#;
const LISTS: &str = r#""resource":{"service.name":"pay","host.name":"h1","service.instance.id":"i-1","pid":-7},"scope":{"short":true}"#;

fn span() -> Span {
    let nested = KeyValueList { values: vec![pair("x", Value::BytesValue(vec![0xab])), pair("", text(""))] };
    let list = ArrayValue { values: vec![any(Value::IntValue(1)), any(Value::KvlistValue(nested))] };
    Span {
        trace_id: (0..16).collect(),
        span_id: vec![0xff; 8],
        trace_state: "k=v".to_owned(),
        parent_span_id: vec![1, 2, 3, 4, 5, 6, 7, 8],
        flags: 0x301,
        name: "GET /pay".to_owned(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 70 * MS,
        attributes: vec![
            pair("http.method", text("GET")),
            pair("server.port", Value::IntValue(8080)),
            pair("server.address", text("db.example")),
            pair("ratio", Value::DoubleValue(0.5)),
            pair("raw", Value::BytesValue(vec![0, 0xff])),
            pair("list", Value::ArrayValue(list)),
            KeyValue { key: "none".to_owned(), ..KeyValue::default() },
            pair("http.method", text("again")),
        ],
        dropped_attributes_count: 3,
        events: vec![Event {
            time_unix_nano: START + 1,
            name: "exception".to_owned(),
            attributes: vec![pair("n", Value::IntValue(300))],
            dropped_attributes_count: 4,
        }],
        dropped_events_count: 5,
        links: vec![Link {
            trace_id: vec![0x10; 16],
            span_id: vec![0x20; 8],
            trace_state: "l=1".to_owned(),
            attributes: vec![pair("why", text("retry"))],
            dropped_attributes_count: 6,
            flags: 7,
        }],
        dropped_links_count: 8,
        status: Some(Status { message: "boom".to_owned(), code: 2 }),
    }
}

fn traces(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, schema_url: "s-url".to_owned() }];
    let frame = ResourceSpans { resource: resource(), scope_spans, schema_url: "r-url".to_owned() };
    ExportTraceServiceRequest { resource_spans: vec![frame] }.encode_to_vec()
}

fn lines(format: Format, request: &[u8]) -> String {
    let decoded = decoded(format, &[request], &Projection::everything());
    assert_eq!((decoded.rejected, decoded.rejected_items), (vec![], vec![]));
    let mut out = Vec::new();
    write_rows(&decoded.columns, format.signal(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_span_has_every_field_in_its_column() {
    let expected = format!(
        r#"{{"signal":"traces","time":1749088705000,"end_time":1749088705070,"duration_ns":70000000,"trace_id":"000102030405060708090a0b0c0d0e0f","span_id":"ffffffffffffffff","parent_span_id":"0102030405060708","service":"pay","service_instance":"i-1","operation":"GET /pay","kind":"client","status":"error","status_message":"boom","peer":"db.example:8080","trace_state":"k=v","flags":769,"dropped_attributes":3,"dropped_events":5,"dropped_links":8,"scope_name":"lib","scope_version":"1.2",{ABOUT},"links":[{{"trace_id":"10101010101010101010101010101010","span_id":"2020202020202020","trace_state":"l=1","attributes":{{"why":"retry"}},"dropped_attributes":6,"flags":7}}],"events":[{{"time":"2025-06-05T01:58:25.000000001Z","name":"exception","attributes":{{"n":300}},"dropped_attributes":4}}],"attributes":{{"http.method":"GET","server.port":8080,"server.address":"db.example","ratio":0.5,"raw":"00ff","list":[1,{{"x":"ab","":""}}],"none":null,"http.method":"again"}},{LISTS}}}
"#
    );
    assert_eq!(lines(Format::OtlpTraces, &traces(vec![span()])), expected);
}

#[test]
fn what_is_missing_is_null_and_what_is_unknown_is_kept() {
    let odd = Span { kind: 9, status: Some(Status { code: 7, ..Status::default() }), ..Span::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![Span::default(), odd], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let expected = r#"{"signal":"traces","duration_ns":0,"kind":"unspecified","status":"unset"}
{"signal":"traces","duration_ns":0,"kind":"unknown(9)","status":"unknown(7)"}
"#;
    assert_eq!(lines(Format::OtlpTraces, &request.encode_to_vec()), expected);
}

#[test]
fn a_span_that_ends_before_it_starts_takes_no_time_and_is_counted() {
    let span = |start_time_unix_nano, end_time_unix_nano| Span {
        start_time_unix_nano,
        end_time_unix_nano,
        ..Span::default()
    };
    let request =
        traces(vec![span(START, START - 1), span(START, 0), span(0, START), span(START, START + 5)]);
    let decoded = decoded(Format::OtlpTraces, &[&request], &Projection::everything());
    assert_eq!(decoded.backwards, 2);
    let mut out = Vec::new();
    write_rows(&decoded.columns, weir_pdata::Signal::Traces, &mut out);
    let durations = String::from_utf8(out).unwrap();
    let durations: Vec<_> =
        durations.lines().map(|line| line.split("\"duration_ns\":").nth(1).unwrap().chars().next()).collect();
    assert_eq!(durations, [Some('0'), Some('0'), Some('0'), Some('5')]);
}

#[test]
fn a_log_has_every_field_in_its_column() {
    let full = LogRecord {
        time_unix_nano: START,
        observed_time_unix_nano: START + MS,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(any(text("it broke"))),
        attributes: vec![pair("k", text("v"))],
        dropped_attributes_count: 9,
        flags: 1,
        trace_id: vec![0xaa; 16],
        span_id: vec![0xbb; 8],
        event_name: "event".to_owned(),
    };
    let list = ArrayValue { values: vec![any(Value::DoubleValue(1.0)), AnyValue::default()] };
    let late = LogRecord {
        observed_time_unix_nano: START,
        body: Some(any(Value::ArrayValue(list))),
        ..LogRecord::default()
    };
    let number = LogRecord { body: Some(any(Value::IntValue(5))), ..LogRecord::default() };
    let log_records = vec![full, late, number];
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, schema_url: "s-url".to_owned() }];
    let frame = ResourceLogs { resource: resource(), scope_logs, schema_url: "r-url".to_owned() };
    let request = ExportLogsServiceRequest { resource_logs: vec![frame] }.encode_to_vec();
    let about = format!(r#""scope_name":"lib","scope_version":"1.2",{ABOUT}"#);
    let service = r#""service":"pay","service_instance":"i-1""#;
    let expected = format!(
        r#"{{"signal":"logs","time":1749088705000,"observed_time":1749088705001,"severity_number":17,"severity_text":"ERROR","body":"it broke","body_type":"string","event_name":"event","trace_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","span_id":"bbbbbbbbbbbbbbbb",{service},"flags":1,"dropped_attributes":9,{about},"attributes":{{"k":"v"}},{LISTS}}}
{{"signal":"logs","time":1749088705000,"observed_time":1749088705000,"body":"[1.0,null]","body_type":"array","body_value":[1.0,null],"time_missing":true,{service},{about},{LISTS}}}
{{"signal":"logs","body":"5","body_type":"int64","body_value":"5",{service},{about},{LISTS}}}
"#
    )
    .replace(r#""body_value":"5""#, r#""body_value":5"#);
    assert_eq!(lines(Format::OtlpLogs, &request), expected);
}

fn metric(name: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: "what it is".to_owned(),
        unit: "ms".to_owned(),
        metadata: vec![pair("m", text("d"))],
        data: Some(data),
    }
}

#[test]
fn points_of_all_types_have_every_field_in_its_column() {
    let exemplars = || {
        vec![Exemplar {
            filtered_attributes: vec![pair("f", text("g"))],
            time_unix_nano: START,
            span_id: vec![2; 8],
            trace_id: vec![1; 16],
            value: Some(exemplar::Value::AsInt(-4)),
        }]
    };
    let attributes = || vec![pair("k", text("v"))];
    let times = (START, START + MS);
    let gauge = NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: times.0,
        time_unix_nano: times.1,
        exemplars: exemplars(),
        flags: 1,
        value: Some(number_data_point::Value::AsDouble(1.5)),
    };
    let sum =
        NumberDataPoint { value: Some(number_data_point::Value::AsInt(3)), ..NumberDataPoint::default() };
    let histogram = HistogramDataPoint {
        count: u64::MAX,
        sum: Some(9.0),
        bucket_counts: vec![1, 2, 0],
        explicit_bounds: vec![0.5, 5.0],
        min: Some(0.25),
        max: Some(8.0),
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        count: 6,
        sum: Some(7.0),
        scale: -2,
        zero_count: 1,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 300] }),
        negative: Some(Buckets { offset: 4, bucket_counts: vec![2] }),
        min: Some(-1.0),
        max: Some(2.0),
        zero_threshold: 0.125,
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        count: 2,
        sum: 3.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }],
        ..SummaryDataPoint::default()
    };
    let metrics = vec![
        metric("g", Data::Gauge(Gauge { data_points: vec![gauge] })),
        metric(
            "s",
            Data::Sum(Sum { data_points: vec![sum], aggregation_temporality: 2, is_monotonic: true }),
        ),
        metric("h", Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 })),
        metric(
            "e",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: 0,
            }),
        ),
        metric("q", Data::Summary(Summary { data_points: vec![summary] })),
    ];
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, schema_url: "s-url".to_owned() }];
    let frame = ResourceMetrics { resource: resource(), scope_metrics, schema_url: "r-url".to_owned() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![frame] }.encode_to_vec();
    let about = format!(
        r#""service":"pay","service_instance":"i-1","scope_name":"lib","scope_version":"1.2",{ABOUT}"#
    );
    let rest = format!(r#"{LISTS},"metadata":{{"m":"d"}}"#);
    let described = |data: &str| format!(r#""metric_type":"{data}","unit":"ms","description":"what it is""#);
    let expected = [
        format!(
            r#"{{"signal":"metrics","time":1749088705001,"start_time":1749088705000,"metric":"g",{},"value":1.5,"exemplars":[{{"time":1749088705000,"value":-4.0,"value_int":-4,"trace_id":"01010101010101010101010101010101","span_id":"0202020202020202","attributes":{{"f":"g"}}}}],"flags":1,{about},"attributes":{{"k":"v"}},{rest}}}"#,
            described("gauge")
        ),
        format!(
            r#"{{"signal":"metrics","metric":"s",{},"temporality":"cumulative","monotonic":true,"value":3.0,"value_int":3,{about},{rest}}}"#,
            described("sum")
        ),
        format!(
            r#"{{"signal":"metrics","metric":"h",{},"temporality":"delta","count":18446744073709551615,"sum":9.0,"min":0.25,"max":8.0,"bounds":[0.5,5.0],"bucket_counts":[1,2,0],{about},{rest}}}"#,
            described("histogram")
        ),
        format!(
            r#"{{"signal":"metrics","metric":"e",{},"temporality":"unspecified","count":6,"sum":7.0,"min":-1.0,"max":2.0,"scale":-2,"zero_count":1,"zero_threshold":0.125,"positive_offset":-3,"positive_bucket_counts":[1,300],"negative_offset":4,"negative_bucket_counts":[2],{about},{rest}}}"#,
            described("exponential_histogram")
        ),
        format!(
            r#"{{"signal":"metrics","metric":"q",{},"count":2,"sum":3.0,"quantiles":[{{"quantile":0.5,"value":1.0}}],{about},{rest}}}"#,
            described("summary")
        ),
    ];
    assert_eq!(lines(Format::OtlpMetrics, &request).lines().collect::<Vec<_>>(), expected);
}

/// The number of spans in the result, and what was left out.
fn outcome(request: &[u8]) -> (usize, Vec<RejectedItems>) {
    let decoded = decoded(Format::OtlpTraces, &[request], &Projection::everything());
    assert_eq!(decoded.rejected, []);
    (decoded.columns.num_rows(), decoded.rejected_items)
}

#[test]
fn only_the_spans_that_cannot_be_used_are_left_out() {
    let good = || Span { name: "good".to_owned(), ..Span::default() };
    let late = Span { start_time_unix_nano: 1 << 63, ..Span::default() };
    let event = Event { time_unix_nano: u64::MAX, ..Event::default() };
    let late_event = Span { events: vec![event], ..Span::default() };
    let (rows, left_out) = outcome(&traces(vec![good(), late, late_event, good()]));
    assert_eq!((rows, left_out.len()), (2, 1));
    assert_eq!((left_out[0].record, left_out[0].items), (0, 2));
    assert!(left_out[0].reason.to_string().contains("later than the year 2262"), "{}", left_out[0].reason);

    let mut odd = traces(vec![good(), Span { name: "odd!".to_owned(), ..Span::default() }]);
    let at = odd.windows(4).position(|four| four == b"odd!").unwrap();
    odd[at] = 0xff;
    let (rows, left_out) = outcome(&odd);
    assert_eq!(rows, 1);
    assert_eq!(left_out, [RejectedItems { record: 0, items: 1, reason: DecodeError::Utf8 { offset: at } }]);

    // What a resource has concerns all of its spans.
    let mut odd = traces(vec![good(), good()]);
    let at = odd.windows(2).position(|two| two == b"h1").unwrap();
    odd[at] = 0xff;
    let (rows, left_out) = outcome(&odd);
    assert_eq!((rows, left_out[0].items), (0, 2));
}

#[test]
fn what_is_no_request_is_rejected_whole() {
    let request = traces(vec![span()]);
    let mut deep = AnyValue::default();
    for _ in 0..60 {
        deep = any(Value::ArrayValue(ArrayValue { values: vec![deep] }));
    }
    let attributes = vec![KeyValue { key: "deep".to_owned(), value: Some(deep), ..KeyValue::default() }];
    let deep = traces(vec![Span { attributes, ..Span::default() }]);
    // Two bytes each would be many times as much in columns.
    let many: Vec<u8> = [0x0a, 0].repeat(30_000);
    let spans = [&[0x0a, 0xe4, 0xd4, 3, 0x12, 0xe0, 0xd4, 3][..], &[0x12, 0].repeat(30_000)].concat();
    let cut = &request[..request.len() - 3];
    let records = [&*request, cut, &*deep, &*many, &*spans, b"\x0a\x05abc"];
    let decoded = decode(&Encoded::concat(Format::OtlpTraces, records).unwrap(), &Projection::everything());
    assert_eq!(decoded.columns.num_rows(), 1);
    let rejected: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.record).collect();
    assert_eq!(rejected, [1, 2, 3, 4, 5]);
    for swollen in &decoded.rejected[2..4] {
        assert!(matches!(swollen.reason, DecodeError::Swollen { .. }), "{}", swollen.reason);
    }
    assert_eq!(decoded.empty, 0);
    let empty = decode(&Encoded::concat(Format::OtlpLogs, [&b""[..]]).unwrap(), &Projection::everything());
    assert_eq!((empty.empty, empty.rejected.len()), (1, 0));
}

#[test]
fn only_what_is_read_is_built() {
    let request = traces(vec![span(), span()]);
    let names =
        ["service", "http.method", "server.port", "list", "resource.host.name", "scope.short", "peer"];
    let projection = Projection::of(&Demand { positions: true, ..Demand::names(names) });
    let mut encoded = Encoded::concat(Format::OtlpTraces, [&*request, &*request]).unwrap();
    encoded.positions = Some([70, 71].into());
    let columns = decode(&encoded, &projection).columns;
    let found: Vec<_> = columns.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        found,
        [
            "service",
            "peer",
            "http.method",
            "list",
            "resource.host.name",
            "scope.short",
            "server.port",
            schema::OFFSET
        ]
    );
    let shown = |name: &str| {
        let array = columns.column_by_name(name).unwrap();
        let mut out = Vec::new();
        weir_pdata::json::write_value(array, 3, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(shown("http.method"), r#""GET""#);
    assert_eq!(shown("server.port"), r#""8080""#);
    assert_eq!(shown("list"), r#""[1,{\"x\":\"ab\",\"\":\"\"}]""#);
    assert_eq!(shown("resource.host.name"), r#""h1""#);
    assert_eq!(shown("scope.short"), r#""true""#);
    assert_eq!(shown(schema::OFFSET), "71");
    let scope = columns.schema().field_with_name("scope.short").unwrap().clone();
    assert_eq!(scope.metadata(), &schema::attribute_metadata("scope", "short"));
}

#[test]
fn a_large_request_is_decoded_however_many_keys_are_read() {
    let large = Span { attributes: vec![pair("large", text(&"x".repeat(20 << 20)))], ..Span::default() };
    let names = (0..64).map(|n| format!("key.{n}")).chain(["large".to_owned()]);
    let projection = Projection::of(&Demand::everything().and(Demand::names(names)));
    let decoded = decoded(Format::OtlpTraces, &[&traces(vec![large])], &projection);
    assert_eq!((decoded.rejected, decoded.columns.num_rows()), (vec![], 1));
}
