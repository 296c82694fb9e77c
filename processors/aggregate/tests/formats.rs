//! Windows do not depend on the way that traffic comes: the same spans as SkyWalking segments and as the OTLP
//! requests that they become give the same windows, to the last digit.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use harness::{ResultRow, Run};
use proptest::prelude::*;
use prost::Message as _;
use weir_component::LaneMessage;
use weir_pdata::{Ack, Encoded, EventBatch, Format, Origin, Projection, Signal, decode, otlp};
use weir_proto::skywalking::{KeyStringValuePair, SegmentObject, SpanObject};

const SECTION: &str = "window: {sliding: 20s, slide: 5s}
out_of_orderness: 2m
group_by: [service, operation, kind]
measures:
  slow: count(where duration_ns > 500000000)
  p75: quantile(duration_ns, 0.75)
  size: sum(bytes)
  p95_size: p95(bytes)
  sizes: distinct(bytes)
  failed: ratio(status = 'error')
";

/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

fn span() -> impl Strategy<Value = SpanObject> {
    (
        0..60_000_i64,
        0..3_000_i64,
        0..3_i32,
        prop::sample::select(vec!["/pay", "/cart"]),
        any::<bool>(),
        0..9_000_u32,
    )
        .prop_map(|(start, length, span_type, operation, is_error, bytes)| SpanObject {
            span_id: 0,
            parent_span_id: -1,
            start_time: START + start,
            end_time: START + start + length,
            span_type,
            operation_name: operation.to_owned(),
            is_error,
            tags: vec![KeyStringValuePair { key: "bytes".to_owned(), value: bytes.to_string() }],
            ..SpanObject::default()
        })
}

fn segments() -> impl Strategy<Value = Vec<SegmentObject>> {
    let segment =
        (prop::collection::vec(span(), 1..6), prop::sample::select(vec!["shop", "bank"]), any::<u64>());
    let segment = segment.prop_map(|(mut spans, service, id)| {
        spans.iter_mut().zip(0..).for_each(|(span, number)| span.span_id = number);
        SegmentObject {
            trace_id: format!("{id:032x}"),
            trace_segment_id: format!("{id:x}.1.2"),
            spans,
            service: service.to_owned(),
            service_instance: "one".to_owned(),
            is_size_limited: false,
        }
    });
    prop::collection::vec(segment, 1..30)
}

/// The windows of these records.
fn windows(encoded: &Encoded) -> Vec<ResultRow> {
    let mut run = Run::new(SECTION, 1);
    let decoded = decode(encoded, &Projection::of(&run.processor.demand()));
    assert!(decoded.rejected.is_empty() && decoded.rejected_items.is_empty());
    let batch = EventBatch::columns(Signal::Traces, decoded.columns, Origin::default(), Ack::none());
    run.send(0, LaneMessage::Batch(batch));
    run.end(0);
    run.take()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_same_traffic_as_skywalking_and_as_otlp_gives_the_same_windows(segments in segments()) {
        let records: Vec<Vec<u8>> = segments.iter().map(SegmentObject::encode_to_vec).collect();
        let records = records.iter().map(Vec::as_slice);
        let skywalking = Encoded::concat(Format::SkyWalkingSegment, records).unwrap();
        let rows = decode(&skywalking, &Projection::everything()).columns;
        let mut request = Vec::new();
        otlp::encode(Signal::Traces, &rows, &mut request).unwrap();
        let otlp = Encoded::concat(Format::OtlpTraces, [request.as_slice()]).unwrap();
        let found = windows(&skywalking);
        prop_assert!(!found.is_empty());
        let events: i64 = found.iter().map(|row| row.count).sum();
        let spans: usize = segments.iter().map(|segment| segment.spans.len()).sum();
        prop_assert_eq!(events, 4 * spans as i64, "each span is in four sliding windows");
        prop_assert_eq!(found, windows(&otlp));
    }
}
