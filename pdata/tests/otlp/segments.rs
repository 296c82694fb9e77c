//! Segments of SkyWalking as OTLP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use weir_pdata::otlp::encode;
use weir_pdata::{Demand, Format, Projection, Signal};
use weir_proto::skywalking::{KeyStringValuePair, Log, SegmentObject, SegmentReference, SpanObject};

use super::decoded;

fn pair(key: &str, value: &str) -> KeyStringValuePair {
    KeyStringValuePair { key: key.to_owned(), value: value.to_owned() }
}

/// Attributes as `key=value`, in order.
fn shown(attributes: &[KeyValue]) -> Vec<String> {
    let value = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => format!("int {number}"),
        Value::BoolValue(value) => format!("bool {value}"),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| format!("{}={}", pair.key, value(pair))).collect()
}

#[test]
fn a_segment_has_the_collectors_ids_and_keeps_what_the_collector_loses() {
    let segment_id = "4f2f27748b8e44ecaf18fe0347194e86.33.16560607369950066";
    let parents = ["de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001", "p.2"];
    let refs = parents.map(|parent| SegmentReference {
        ref_type: 1,
        trace_id: "de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001".to_owned(),
        parent_trace_segment_id: parent.to_owned(),
        parent_span_id: 3,
        parent_service: "shop".to_owned(),
        parent_service_instance: "shop-1".to_owned(),
        parent_endpoint: "/buy".to_owned(),
        network_address_used_at_peer: "pay:80".to_owned(),
    });
    let span = SpanObject {
        span_id: 123,
        parent_span_id: -1,
        start_time: 1000,
        end_time: 1500,
        refs: refs.to_vec(),
        operation_name: "/pay".to_owned(),
        peer: "db:1".to_owned(),
        span_type: 0,
        span_layer: 3,
        component_id: 14,
        is_error: true,
        tags: vec![pair("url", "/pay"), pair("url", "")],
        logs: vec![Log { time: 1001, data: vec![pair("event", "error"), pair("stack", "s")] }],
        skip_analysis: true,
    };
    let child = SpanObject { span_id: 124, parent_span_id: 123, span_type: 2, ..SpanObject::default() };
    let segment = SegmentObject {
        trace_id: "de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001".to_owned(),
        trace_segment_id: segment_id.to_owned(),
        spans: vec![span, child],
        service: "pay".to_owned(),
        service_instance: "pay-1".to_owned(),
        is_size_limited: true,
    };
    let trace_id = [222, 89, 128, 184, 253, 227, 74, 55, 27, 228, 27, 205, 94, 47, 212, 221];
    let span_id = [233, 196, 85, 168, 37, 66, 48, 106];
    for parts in [false, true] {
        // In either form of the ids.
        let projection = Projection::of(&Demand { id_parts: parts, ..Demand::everything() });
        let columns = decoded(Format::SkyWalkingSegment, &[&segment.encode_to_vec()], &projection).columns;
        let mut out = Vec::new();
        encode(Signal::Traces, &columns, &mut out).unwrap();
        let request = ExportTraceServiceRequest::decode(&*out).unwrap();
        assert_eq!(request.resource_spans.len(), 1);
        let frame = &request.resource_spans[0];
        let resource = shown(&frame.resource.as_ref().unwrap().attributes);
        assert_eq!(resource, ["service.name=pay", "service.instance.id=pay-1"]);
        let [entry, local] = &frame.scope_spans[0].spans[..] else { panic!("{frame:?}") };
        assert_eq!((&*entry.trace_id, &*entry.span_id), (&trace_id[..], &span_id[..]));
        assert_eq!((entry.kind, local.kind), (2, 1));
        assert_eq!((entry.start_time_unix_nano, entry.end_time_unix_nano), (1_000_000_000, 1_500_000_000));
        assert_eq!(entry.status.as_ref().unwrap().code, 2);
        assert_eq!(local.parent_span_id, span_id);
        assert_eq!(
            shown(&entry.attributes),
            [
                "url=/pay",
                "url=",
                "sw8.trace_id=de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001",
                "sw8.peer=db:1",
                &format!("sw8.segment_id={segment_id}"),
                "sw8.component=SpringMVC",
                "sw8.layer=http",
                "sw8.span_id=int 123",
                "sw8.component_id=int 14",
                "sw8.skip_analysis=bool true",
                "sw8.size_limited=bool true",
            ]
        );
        assert!(shown(&local.attributes).contains(&"sw8.parent_span_id=int 123".to_owned()));
        assert_eq!(entry.events[0].name, "error");
        assert_eq!(shown(&entry.events[0].attributes), ["event=error", "stack=s"]);
        assert_eq!(entry.links.len(), 2);
        assert_eq!(entry.links[0].trace_id, trace_id);
        assert_eq!(entry.links[0].span_id.len(), 8);
        assert_eq!(entry.links[1].span_id, [0; 0], "too short to have one");
        assert_eq!(
            shown(&entry.links[1].attributes),
            [
                "parent.service=shop",
                "parent.service.instance=shop-1",
                "parent.endpoint=/buy",
                "network.AddressUsedAtPeer=pay:80",
                "refType=CrossThread",
                "sw8.trace_id=de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001",
                "sw8.parent_segment_id=p.2",
                "sw8.parent_span_id=3",
            ]
        );
    }
}

/// Windows read these columns: they have to be the same whichever way a span comes.
#[test]
fn a_segment_over_otlp_makes_the_same_windows() {
    let span = |span_id, start_time, end_time, is_error, span_type, span_layer| SpanObject {
        span_id,
        parent_span_id: span_id - 1,
        start_time,
        end_time,
        operation_name: format!("/op{span_id}"),
        is_error,
        span_type,
        span_layer,
        ..SpanObject::default()
    };
    let segment = SegmentObject {
        trace_id: "t".to_owned(),
        trace_segment_id: "s".to_owned(),
        spans: vec![
            span(0, 1_749_088_705_000, 1_749_088_705_070, false, 0, 3),
            span(1, 1_749_088_705_001, 1_749_088_705_001, true, 1, 1),
            span(2, 1_749_088_705_070, 1_749_088_705_000, false, 1, 4),
            span(3, 1_749_088_705_070, 1_749_088_705_071, false, 7, 0),
        ],
        service: "pay".to_owned(),
        service_instance: "pay-1".to_owned(),
        is_size_limited: false,
    };
    let columns =
        ["time", "end_time", "duration_ns", "service", "service_instance", "operation", "kind", "status"];
    let read = |format, bytes: &[u8]| {
        let decoded = decoded(format, &[bytes], &Projection::of(&Demand::names(columns)));
        let mut lines = Vec::new();
        weir_pdata::json::write_rows(&decoded.columns, Signal::Traces, &mut lines);
        (String::from_utf8(lines).unwrap(), decoded.backwards)
    };
    let bytes = segment.encode_to_vec();
    let direct = read(Format::SkyWalkingSegment, &bytes);
    let all = decoded(Format::SkyWalkingSegment, &[&bytes], &Projection::everything()).columns;
    let mut request = Vec::new();
    encode(Signal::Traces, &all, &mut request).unwrap();
    let over_otlp = read(Format::OtlpTraces, &request);
    assert_eq!(direct.0.lines().count(), 4);
    assert_eq!(direct.1, 1);
    assert_eq!(over_otlp, direct);
}

#[test]
fn windows_and_alarms_have_no_form() {
    for signal in [Signal::Windows, Signal::Alarms] {
        let mut out = Vec::new();
        let batch =
            arrow::array::RecordBatch::new_empty(std::sync::Arc::new(arrow::datatypes::Schema::empty()));
        let error = encode(signal, &batch, &mut out).unwrap_err();
        assert_eq!(error.to_string(), format!("{signal} have no form in OTLP"));
        assert!(out.is_empty());
    }
}
