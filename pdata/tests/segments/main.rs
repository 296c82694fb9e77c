//! The segment decoder means by any bytes what prost means by them.

#![allow(clippy::unwrap_used)]

mod damage;
mod generate;
mod rows;

use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields};
use base64::Engine;
use proptest::prelude::*;
use prost::Message;
use weir_pdata::span_ids::{as_texts, in_parts as in_parts_of};
use weir_pdata::{
    Arrivals, DecodeError, Decoded, Demand, Encoded, Format, Projection, Signal, decode, schema,
};
use weir_proto::skywalking::{KeyStringValuePair, Log, SegmentObject, SpanObject};

const WANTED: [&str; 2] = ["http.method", "db.statement"];

fn encoded<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Encoded {
    Encoded::concat(Format::SkyWalkingSegment, records).unwrap()
}

fn everything(wanted: &[&str]) -> Projection {
    Projection::of(&Demand::everything().and(Demand::names(wanted.iter().copied())))
}

fn decode_all<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    decode(&encoded(records), &everything(&WANTED))
}

/// Sorted, as the projection sorts them.
fn wanted() -> Vec<&'static str> {
    everything(&WANTED).wanted.iter().map(|w| *WANTED.iter().find(|key| **key == w.key).unwrap()).collect()
}

/// The fuzz body: any bytes at all, between two good records.
pub fn fuzz_segment(data: &[u8]) {
    let good = SegmentObject {
        trace_segment_id: "good".to_owned(),
        spans: vec![SpanObject { operation_name: "/good".to_owned(), ..SpanObject::default() }],
        ..SegmentObject::default()
    };
    let bytes = good.encode_to_vec();
    let decoded = decode_all([&*bytes, data, &*bytes]);
    let mut expected = rows::expected(&good, &wanted());
    match SegmentObject::decode(data) {
        // Kept although prost refuses it: for texts that are not UTF-8 only, and the others stay as they are.
        Err(_) if !decoded.escaped.is_empty() => {
            assert_eq!(decoded.rejected, []);
            let rows = rows::actual(&decoded.columns, &wanted());
            assert_eq!((rows.first(), rows.last()), (expected.first(), expected.last()));
            return;
        }
        Ok(segment) => {
            assert_eq!(decoded.rejected, []);
            assert_eq!(decoded.empty, usize::from(segment.spans.is_empty()));
            let mut rows = rows::expected(&segment, &wanted());
            // The table of components is not what is compared here.
            let actual = rows::actual(&decoded.columns.slice(1, rows.len()), &wanted());
            for (row, actual) in rows.iter_mut().zip(&actual) {
                row.texts[11] = actual.texts[11].clone();
            }
            expected.extend(rows);
        }
        Err(error) => {
            let rejected: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.record).collect();
            assert_eq!(rejected, [1], "prost says {error}");
        }
    }
    expected.extend(rows::expected(&good, &wanted()));
    assert_eq!(rows::actual(&decoded.columns, &wanted()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_segment_gives_the_rows_of_the_data_model(
        segments in prop::collection::vec(generate::segment(), 0..5),
    ) {
        let records: Vec<_> = segments.iter().map(Message::encode_to_vec).collect();
        let decoded = decode_all(records.iter().map(|record| &**record));
        let expected = segments.iter().flat_map(|segment| rows::expected(segment, &wanted()));
        let expected: Vec<_> = expected.collect();
        let backwards = expected.iter().filter(|row| row.times.1 < row.times.0).count();
        prop_assert_eq!(rows::actual(&decoded.columns, &wanted()), expected);
        prop_assert_eq!(decoded.rejected, []);
        prop_assert_eq!(decoded.backwards, backwards);
        prop_assert_eq!(decoded.empty, segments.iter().filter(|segment| segment.spans.is_empty()).count());
    }

    #[test]
    fn ids_in_parts_make_the_same_texts(segments in prop::collection::vec(generate::segment(), 1..4)) {
        let records: Vec<_> = segments.iter().map(Message::encode_to_vec).collect();
        let encoded = encoded(records.iter().map(|record| &**record));
        let whole = decode(&encoded, &Projection::everything()).columns;
        let parts = Demand { id_parts: true, ..Demand::everything() };
        let in_parts = decode(&encoded, &Projection::of(&parts)).columns;
        prop_assert!(in_parts.column_by_name("span_id").is_none() && in_parts.column_by_name("parent_span_id").is_none());
        let both = decode(&encoded, &Projection::of(&parts.and(Demand::everything()))).columns;
        for made in [as_texts(&in_parts), as_texts(&both)] {
            prop_assert_eq!(made.num_columns(), whole.num_columns());
            for (field, column) in whole.schema_ref().fields().iter().zip(whole.columns()) {
                prop_assert_eq!(made.column_by_name(field.name()).unwrap(), column, "{}", field.name());
            }
        }
        prop_assert_eq!(&*in_parts_of(&both), &in_parts);
    }

    #[test]
    fn damaged_segments_mean_what_they_mean_to_prost(
        segment in generate::segment(),
        damages in prop::collection::vec(damage::damage(), 1..4),
    ) {
        let mut bytes = segment.encode_to_vec();
        for damage in &damages {
            damage.apply(&mut bytes);
        }
        fuzz_segment(&bytes);
    }

    #[test]
    fn random_bytes_mean_what_they_mean_to_prost(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        fuzz_segment(&bytes);
    }

    #[test]
    fn a_projection_leaves_columns_out_and_changes_no_other(
        segments in prop::collection::vec(generate::segment(), 1..4),
        names in prop::sample::subsequence(
            vec!["time", "duration_ns", "trace_id", "span_id", "kind", "links", "events", "peer", "url", "status"], 0..8,
        ),
        attributes in any::<bool>(),
    ) {
        let records: Vec<_> = segments.iter().map(Message::encode_to_vec).collect();
        let encoded = encoded(records.iter().map(|record| &**record));
        let demand = Demand { attributes, ..Demand::names(names.iter().copied()) };
        let part = decode(&encoded, &Projection::of(&demand)).columns;
        let whole = decode(&encoded, &everything(&names)).columns;
        prop_assert_eq!(part.num_rows(), whole.num_rows());
        let schema = part.schema();
        let mut columns: Vec<_> = schema.fields().iter().map(|field| &**field.name()).collect();
        for (name, column) in columns.iter().zip(part.columns()) {
            prop_assert_eq!(&column.to_data(), &whole.column_by_name(name).unwrap().to_data());
        }
        let mut asked = names.clone();
        asked.extend(attributes.then_some("attributes"));
        columns.sort_unstable();
        asked.sort_unstable();
        prop_assert_eq!(columns, asked);
    }
}

#[test]
fn the_java_agents_segments_are_as_prost_decodes_them() {
    let file = include_bytes!("../../../tests/testdata/skywalking-java-9.4.0.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
    let records: Vec<Vec<u8>> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|record| record["topic"] == "skywalking-segments")
        .map(|record| {
            base64::engine::general_purpose::STANDARD.decode(record["value"].as_str().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(records.len(), 90);
    let decoded = decode_all(records.iter().map(|record| &**record));
    assert_eq!((decoded.rejected, decoded.empty), (Vec::new(), 0));
    let segments = records.iter().map(|record| SegmentObject::decode(&**record).unwrap());
    let mut expected: Vec<_> = segments.flat_map(|segment| rows::expected(&segment, &wanted())).collect();
    let actual = rows::actual(&decoded.columns, &wanted());
    for (row, actual) in expected.iter_mut().zip(&actual) {
        row.texts[11] = actual.texts[11].clone();
    }
    assert_eq!(actual, expected);
}

fn list_of(entry: Fields) -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(entry), true)))
}

#[test]
fn the_columns_have_the_types_of_the_schema() {
    let columns = decode_all([]).columns;
    for field in schema::fixed(Signal::Traces) {
        // Links and events have fewer fields than those of OTLP.
        let expected = match field.name().as_str() {
            "links" => list_of(schema::link()),
            "events" => list_of(schema::span_event()),
            _ => field.data_type().clone(),
        };
        if let Ok(column) = columns.schema().field_with_name(field.name()) {
            assert_eq!(column.data_type(), &expected);
        }
    }
    let schema = columns.schema();
    let method = schema.field_with_name("http.method").unwrap();
    assert_eq!(method.metadata(), &schema::attribute_metadata("span", "http.method"));
}

#[test]
fn the_schema_does_not_depend_on_the_records() {
    let segment = SegmentObject { spans: vec![SpanObject::default()], ..SegmentObject::default() };
    assert_eq!(decode_all([]).columns.schema(), decode_all([&*segment.encode_to_vec()]).columns.schema());
}

fn with_tags(tags: impl Iterator<Item = (String, String)>) -> SegmentObject {
    let tags = tags.map(|(key, value)| KeyStringValuePair { key, value }).collect();
    SegmentObject { spans: vec![SpanObject { tags, ..SpanObject::default() }], ..SegmentObject::default() }
}

#[test]
fn ten_thousand_distinct_keys_are_kept() {
    let segment = with_tags((0..10_000).map(|n| (format!("key-{n}"), n.to_string())));
    let bytes = segment.encode_to_vec();
    let decoded = decode_all([&*bytes, &*bytes]);
    let expected = [rows::expected(&segment, &wanted()), rows::expected(&segment, &wanted())].concat();
    assert_eq!(rows::actual(&decoded.columns, &wanted()), expected);
}

#[test]
fn the_first_value_of_a_repeated_key_is_in_its_column_and_the_others_stay() {
    let tags = [("http.method", "GET"), ("a", "1"), ("http.method", "PUT")];
    let segment = with_tags(tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    let rows = rows::actual(&decode_all([&*segment.encode_to_vec()]).columns, &["http.method"]);
    assert_eq!(rows[0].wanted, [Some("GET".to_owned())]);
    let rest = [("a".to_owned(), "1".to_owned()), ("http.method".to_owned(), "PUT".to_owned())];
    assert_eq!(rows[0].attributes, rest);
}

#[test]
fn a_text_that_is_not_utf8_is_escaped_and_its_segment_stays() {
    let segment = |tag: &str, log: &str, service: &str| {
        let pair = |key: &str, value: &str| {
            vec![KeyStringValuePair { key: key.to_owned(), value: value.to_owned() }]
        };
        let logs = vec![Log { time: 5, data: pair("message", log) }];
        let span = SpanObject { tags: pair("http.method", tag), logs, ..SpanObject::default() };
        SegmentObject { service: service.to_owned(), spans: vec![span], ..SegmentObject::default() }
    };
    let with = |from: &[u8], to: u8| {
        let mut bytes = segment("longer than usual", "logged", "shop").encode_to_vec();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at] = to;
        bytes
    };
    let decoded = decode_all([&*with(b"usual", 0xe9), &*with(b"logged", 0xff), &*with(b"shop", 0xff)]);
    let expected = [
        segment("longer than \\xe9sual", "logged", "shop"),
        segment("longer than usual", "\\xffogged", "shop"),
    ];
    let expected: Vec<_> = expected.iter().flat_map(|segment| rows::expected(segment, &wanted())).collect();
    assert_eq!(rows::actual(&decoded.columns, &wanted()), expected);
    let escaped: Vec<_> = decoded.escaped.iter().map(|text| (text.record, &*text.key)).collect();
    assert_eq!(escaped, [(0, "http.method"), (1, "message")]);
    assert_eq!(decoded.rejected.len(), 1, "a segment of a service whose name is no text");
    assert_eq!(decoded.rejected[0].record, 2);
}

#[test]
fn a_name_that_is_not_utf8_rejects_its_record_only() {
    let segment = SegmentObject { service: "value".to_owned(), ..SegmentObject::default() };
    let mut bytes = segment.encode_to_vec();
    let at = bytes.windows(5).position(|window| window == b"value").unwrap();
    bytes[at + 2] = 0xff;
    let decoded = decode_all([&*bytes, &[], &[0xff], &*SegmentObject::default().encode_to_vec()]);
    let reasons: Vec<_> = decoded.rejected.iter().map(|r| (r.record, r.reason.to_string())).collect();
    assert_eq!(reasons[0], (0, format!("the text that starts at byte {at} is not valid UTF-8")));
    assert_eq!(reasons[1], (2, "not a valid protobuf message: byte 0: a varint does not end".to_owned()));
    assert_eq!((decoded.empty, decoded.columns.num_rows()), (2, 0));
}

/// A message field around these bytes, all of them shorter than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

#[test]
fn corner_cases_mean_what_they_mean_to_prost() {
    let nested = |content: &[u8]| {
        let pair = field(12, content);
        let log = field(13, &field(2, content));
        [field(3, &pair), field(3, &log), field(3, content), content.to_vec()]
    };
    let groups = |depth: usize| [[0x7b].repeat(depth), [0x7c].repeat(depth)].concat();
    let mut contents: Vec<Vec<u8>> = vec![
        // A key twice: the first not UTF-8, then the last.
        vec![0x0a, 1, 0xff, 0x0a, 1, b'a'],
        vec![0x0a, 1, b'a', 0x0a, 1, 0xff],
        // A character cut in two by the end of its text.
        vec![0x0a, 1, 0xc3, 0x12, 1, 0xa4],
        // Unknown fields of every wire type.
        vec![0x78, 1, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0x7d, 0, 0, 0, 0, 0x7a, 1, 0xff],
        // Wire types and field numbers that do not exist.
        vec![0x7e],
        vec![0x7f],
        vec![0x02, 0],
        // A tag in more bytes than needed.
        vec![0x8a, 0x00, 1, b'a'],
        // A tag of more than 32 bits.
        vec![0x8a, 0x80, 0x80, 0x80, 0x80, 0x01, 1, b'a'],
        // A known field as a fixed-size value and as a group.
        vec![0x0d, 0, 0, 0, 0],
        vec![0x0b, 0x0c],
    ];
    contents.extend([1, 20, 40, 55].map(groups));
    for content in contents {
        for bytes in nested(&content) {
            fuzz_segment(&bytes);
        }
    }
    for depth in 90..110 {
        let deep = groups(depth);
        let long = |number: u8, content: &[u8]| {
            let mut bytes = vec![number << 3 | 2];
            prost::encoding::encode_varint(content.len() as u64, &mut bytes);
            [&bytes, content].concat()
        };
        for bytes in
            [deep.clone(), long(3, &deep), long(3, &long(12, &deep)), long(3, &long(13, &long(2, &deep)))]
        {
            fuzz_segment(&bytes);
        }
    }
}

#[test]
fn records_that_swell_are_refused() {
    let spans = [0x1a, 0].repeat(100_000);
    let long_id = SegmentObject {
        trace_segment_id: "x".repeat(100_000),
        spans: vec![SpanObject::default(); 4000],
        ..SegmentObject::default()
    };
    let decoded = decode_all([&*spans, &*long_id.encode_to_vec()]);
    for (record, what) in ["spans", "bytes of span ids"].into_iter().enumerate() {
        let rejected = decoded.rejected[record];
        let swollen = matches!(rejected.reason, DecodeError::Swollen { what: found, .. } if found == what);
        assert!(swollen && rejected.record == record, "{rejected:?}");
    }
}

#[test]
fn a_record_of_50_megabytes_is_decoded() {
    let value = "0123456789".repeat(100_000);
    let segment = with_tags((0..50).map(|n| (n.to_string(), value.clone())));
    let decoded = decode_all([&*segment.encode_to_vec()]);
    assert_eq!(rows::actual(&decoded.columns, &wanted()), rows::expected(&segment, &wanted()));
}

#[test]
fn a_record_outside_of_its_arena_is_rejected() {
    let mut outside = encoded([&b"ab"[..]]);
    let backwards = std::ops::Range { start: 2, end: 1 };
    outside.records = [0..3, backwards, 4..u32::MAX].into();
    let decoded = decode(&outside, &Projection::everything());
    assert!(decoded.rejected.iter().all(|rejected| rejected.reason == DecodeError::OutOfBounds));
    assert_eq!(decoded.rejected.len(), 3);
}

#[test]
fn texts_are_views_of_the_received_bytes() {
    let segment = with_tags([("some.key".to_owned(), "longer than twelve bytes".to_owned())].into_iter());
    let bytes = segment.encode_to_vec();
    let encoded = encoded([&*bytes]);
    let projection = Projection::of(&Demand::names(["some.key"]));
    let columns = decode(&encoded, &projection).columns;
    let views = columns.column(0).as_string_view();
    assert_eq!(views.data_buffers()[0].as_ptr(), encoded.arena.as_ptr());
    assert_eq!(views.len(), 1);
}

#[test]
fn rows_have_the_append_time_of_their_record_when_it_is_asked_for() {
    let segment = |spans: usize| {
        SegmentObject { spans: vec![SpanObject::default(); spans], ..SegmentObject::default() }
            .encode_to_vec()
    };
    let records = [segment(1), segment(0), vec![0xff], segment(2)];
    let mut encoded = encoded(records.iter().map(Vec::as_slice));
    encoded.arrivals = Some([1_000, 2_000, 3_000, 4_000].as_slice().into());
    let asked = Demand { arrivals: true, ..Demand::names(["service"]) };
    let rows = decode(&encoded, &Projection::of(&asked)).columns;
    let arrivals = Arrivals::of(&rows).unwrap();
    let times: Vec<_> = (0..4).map(|row| arrivals.get(row)).collect();
    assert_eq!(times, [Some(1_000), Some(4_000), Some(4_000), None]);
    let mut lines = Vec::new();
    weir_pdata::json::write_rows(&rows, Signal::Traces, &mut lines);
    assert!(!String::from_utf8(lines).unwrap().contains("_arrival"), "it is no part of the event");
    let none = |rows: &arrow::array::RecordBatch| rows.column_by_name(schema::ARRIVAL).is_none();
    assert!(none(&decode(&encoded, &Projection::everything()).columns), "not asked for");
    encoded.arrivals = None;
    assert!(none(&decode(&encoded, &Projection::of(&asked)).columns), "not known");
}

#[test]
fn rows_have_the_position_of_their_record_when_it_is_asked_for() {
    let segment = |id: &str, spans: usize| SegmentObject {
        trace_segment_id: id.to_owned(),
        spans: vec![SpanObject::default(); spans],
        ..SegmentObject::default()
    };
    let records = [
        segment("a", 2).encode_to_vec(),
        segment("b", 0).encode_to_vec(),
        vec![0xff],
        segment("c", 1).encode_to_vec(),
    ];
    let mut encoded = encoded(records.iter().map(Vec::as_slice));
    encoded.positions = Some([7, 8, 9, 40].as_slice().into());
    let asked = Demand { positions: true, ..Demand::names(["service"]) };
    let rows = decode(&encoded, &Projection::of(&asked)).columns;
    let positions = rows.column_by_name(schema::OFFSET).unwrap();
    let positions = arrow::compute::cast(positions, &arrow::datatypes::DataType::Int64).unwrap();
    let positions = positions.as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(positions.values().as_ref(), [7, 7, 40]);
    let mut lines = Vec::new();
    weir_pdata::json::write_rows(&rows, Signal::Traces, &mut lines);
    assert!(!String::from_utf8(lines).unwrap().contains("_offset"), "it is no part of the event");
    let rows = decode(&encoded, &Projection::everything()).columns;
    assert!(rows.column_by_name(schema::OFFSET).is_none(), "nobody asked");
    encoded.positions = None;
    assert!(decode(&encoded, &Projection::of(&asked)).columns.column_by_name(schema::OFFSET).is_none());
}

#[test]
fn fuzz_segments() {
    let text = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/testdata/skywalking-java-9.4.0.jsonl.gz"
    ));
    let mut lines = String::new();
    flate2::read::GzDecoder::new(&*text.unwrap()).read_to_string(&mut lines).unwrap();
    let records = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let segments = records.filter(|record| record["topic"] == "skywalking-segments");
    let bytes = segments.map(|record| {
        base64::engine::general_purpose::STANDARD.decode(record["value"].as_str().unwrap()).unwrap()
    });
    let seeds: Vec<Vec<u8>> = bytes.filter(|bytes| bytes.len() < 4096).take(40).collect();
    weir_fuzz::fuzz("segments", &seeds, &[], fuzz_segment);
}
