//! Random segments.

use proptest::prelude::*;
use weir_proto::skywalking::{KeyStringValuePair, Log, SegmentObject, SegmentReference, SpanObject};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        3 => "[a-z.]{1,14}",
        2 => "\\PC{0,8}",
        1 => "[ä€𝄞a-c]{100,140}",
    ]
}

fn pair() -> impl Strategy<Value = KeyStringValuePair> {
    let key = prop_oneof![
        4 => prop::sample::select(vec!["http.method", "url", "db.statement", "event", "status"]).prop_map(str::to_owned),
        1 => text(),
    ];
    (key, text()).prop_map(|(key, value)| KeyStringValuePair { key, value })
}

fn small(edges: &'static [i32]) -> impl Strategy<Value = i32> {
    prop_oneof![4 => prop::sample::select(edges), 1 => any::<i32>()]
}

fn milliseconds() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1_795_211_000_000i64..1_795_212_000_000, 1 => any::<i64>(), 1 => -5i64..5]
}

fn reference() -> impl Strategy<Value = SegmentReference> {
    (small(&[0, 1]), small(&[0, 1, 2]), prop::collection::vec(text(), 6)).prop_map(
        |(ref_type, parent, mut texts)| {
            let mut next = || texts.pop().unwrap_or_default();
            SegmentReference {
                ref_type,
                trace_id: next(),
                parent_trace_segment_id: next(),
                parent_span_id: parent,
                parent_service: next(),
                parent_service_instance: next(),
                parent_endpoint: next(),
                network_address_used_at_peer: next(),
            }
        },
    )
}

fn log() -> impl Strategy<Value = Log> {
    (milliseconds(), prop::collection::vec(pair(), 0..4)).prop_map(|(time, data)| Log { time, data })
}

fn span() -> impl Strategy<Value = SpanObject> {
    let numbers = (small(&[0, 1, 2]), small(&[-1, 0, 1]), milliseconds(), milliseconds());
    let enums =
        (small(&[0, 1, 2]), small(&[0, 3, 4, 6, 7]), prop::sample::select(vec![0, 1, 14, 7001, 99, -4]));
    let lists = (
        prop::collection::vec(reference(), 0..3),
        prop::collection::vec(pair(), 0..6),
        prop::collection::vec(log(), 0..3),
    );
    (numbers, enums, lists, (text(), text()), any::<(bool, bool)>()).prop_map(
        |((id, parent, start, end), (span_type, layer, component), (refs, tags, logs), texts, flags)| {
            SpanObject {
                span_id: id,
                parent_span_id: parent,
                start_time: start,
                end_time: end,
                refs,
                operation_name: texts.0,
                peer: texts.1,
                span_type,
                span_layer: layer,
                component_id: component,
                is_error: flags.0,
                tags,
                logs,
                skip_analysis: flags.1,
            }
        },
    )
}

pub fn segment() -> impl Strategy<Value = SegmentObject> {
    (prop::collection::vec(text(), 4), prop::collection::vec(span(), 0..5), any::<bool>()).prop_map(
        |(mut texts, spans, is_size_limited)| {
            let mut next = || texts.pop().unwrap_or_default();
            SegmentObject {
                trace_id: next(),
                trace_segment_id: next(),
                spans,
                service: next(),
                service_instance: next(),
                is_size_limited,
            }
        },
    )
}
