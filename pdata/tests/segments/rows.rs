//! Spans as plain Rust values: what prost's structs mean by the data model, and what a batch says.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use weir_pdata::attributes::{AttributeColumn, Value};
use weir_pdata::text::TextColumn;
use weir_proto::skywalking::{KeyStringValuePair, SegmentObject, SpanObject};

type Pairs = Vec<(String, String)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub times: (i64, i64, i64),
    pub texts: Vec<(&'static str, Option<String>)>,
    pub segment_span_id: i32,
    pub component_id: i32,
    pub flags: (bool, bool),
    pub links: Vec<Vec<Option<String>>>,
    pub events: Vec<(i64, Option<String>, Pairs)>,
    pub wanted: Vec<Option<String>>,
    pub attributes: Pairs,
}

const TEXTS: [&str; 12] = [
    "trace_id",
    "segment_id",
    "span_id",
    "parent_span_id",
    "service",
    "service_instance",
    "operation",
    "peer",
    "kind",
    "status",
    "layer",
    "component",
];

/// The rows that the data model asks for.
pub fn expected(segment: &SegmentObject, wanted: &[&str]) -> Vec<Row> {
    segment.spans.iter().map(|span| expected_row(segment, span, wanted)).collect()
}

fn expected_row(segment: &SegmentObject, span: &SpanObject, wanted: &[&str]) -> Row {
    let id = |segment: &str, span: i32| present(segment).map(|segment| format!("{segment}.{span}"));
    let messaging = span.span_layer == 4;
    let kind = match span.span_type {
        0 if messaging => "consumer".to_owned(),
        0 => "server".to_owned(),
        1 if messaging => "producer".to_owned(),
        1 => "client".to_owned(),
        2 => "internal".to_owned(),
        other => format!("unknown({other})"),
    };
    let layer = match span.span_layer {
        0 => None,
        1 => Some("database".to_owned()),
        2 => Some("rpc_framework".to_owned()),
        3 => Some("http".to_owned()),
        4 => Some("mq".to_owned()),
        5 => Some("cache".to_owned()),
        6 => Some("faas".to_owned()),
        other => Some(format!("unknown({other})")),
    };
    let component = match span.component_id {
        1 => Some("Tomcat".to_owned()),
        14 => Some("SpringMVC".to_owned()),
        7001 => Some("Flask".to_owned()),
        // Only these three and unnamed numbers are generated; recorded ones are compared by number.
        _ => None,
    };
    let parent = match span.refs.first() {
        _ if span.parent_span_id >= 0 => id(&segment.trace_segment_id, span.parent_span_id),
        Some(first) => id(&first.parent_trace_segment_id, first.parent_span_id),
        None => None,
    };
    let texts = [
        present(&segment.trace_id),
        present(&segment.trace_segment_id),
        id(&segment.trace_segment_id, span.span_id),
        parent,
        present(&segment.service),
        present(&segment.service_instance),
        present(&span.operation_name),
        present(&span.peer),
        Some(kind),
        Some(if span.is_error { "error" } else { "ok" }.to_owned()),
        layer,
        component,
    ];
    let mut attributes = pairs(&span.tags);
    let wanted = wanted
        .iter()
        .map(|wanted| {
            let at = attributes.iter().position(|(key, _)| key == wanted)?;
            Some(attributes.remove(at).1)
        })
        .collect();
    let (start, end) = (nanoseconds(span.start_time), nanoseconds(span.end_time));
    Row {
        // One that ends before it starts takes no time.
        times: (start, end, if end < start { 0 } else { end.saturating_sub(start) }),
        texts: TEXTS.into_iter().zip(texts).collect(),
        segment_span_id: span.span_id,
        component_id: span.component_id,
        flags: (span.skip_analysis, segment.is_size_limited),
        links: span
            .refs
            .iter()
            .map(|link| {
                let ref_type = match link.ref_type {
                    0 => "cross_process".to_owned(),
                    1 => "cross_thread".to_owned(),
                    other => format!("unknown({other})"),
                };
                vec![
                    present(&link.trace_id),
                    id(&link.parent_trace_segment_id, link.parent_span_id),
                    Some(ref_type),
                    present(&link.parent_service),
                    present(&link.parent_service_instance),
                    present(&link.parent_endpoint),
                    present(&link.network_address_used_at_peer),
                ]
            })
            .collect(),
        events: span
            .logs
            .iter()
            .map(|log| {
                let data = pairs(&log.data);
                let name = data.iter().find(|(key, _)| key == "event").map(|(_, value)| value.clone());
                (nanoseconds(log.time), name, data)
            })
            .collect(),
        wanted,
        attributes,
    }
}

fn present(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn pairs(pairs: &[KeyStringValuePair]) -> Pairs {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

fn nanoseconds(milliseconds: i64) -> i64 {
    let exact = i128::from(milliseconds) * 1_000_000;
    exact.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The rows that a batch with every column says.
pub fn actual(batch: &RecordBatch, wanted: &[&str]) -> Vec<Row> {
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let time = |name: &str, row| column(name).as_primitive::<TimestampNanosecondType>().value(row);
    let text = |name: &str, row| {
        TextColumn::new(column(name))
            .unwrap_or_else(|| panic!("{name} is not text"))
            .get(row)
            .map(str::to_owned)
    };
    let int = |name: &str, row| column(name).as_primitive::<Int32Type>().value(row);
    let flag = |name: &str, row| column(name).as_boolean().value(row);
    (0..batch.num_rows())
        .map(|row| Row {
            times: (
                time("time", row),
                time("end_time", row),
                column("duration_ns").as_primitive::<Int64Type>().value(row),
            ),
            texts: TEXTS.into_iter().map(|name| (name, text(name, row))).collect(),
            segment_span_id: int("segment_span_id", row),
            component_id: int("component_id", row),
            flags: (flag("skip_analysis", row), flag("size_limited", row)),
            links: links(column("links").as_list(), row),
            events: events(column("events").as_list(), row),
            wanted: wanted.iter().map(|name| text(name, row)).collect(),
            attributes: attributes(column("attributes"), row),
        })
        .collect()
}

fn links(column: &ListArray, row: usize) -> Vec<Vec<Option<String>>> {
    let links = column.value(row);
    let links = links.as_struct();
    let texts: Vec<_> = links.columns().iter().map(|column| TextColumn::new(column).unwrap()).collect();
    (0..links.len())
        .map(|link| texts.iter().map(|text| text.get(link).map(str::to_owned)).collect())
        .collect()
}

fn events(column: &ListArray, row: usize) -> Vec<(i64, Option<String>, Pairs)> {
    let events = column.value(row);
    let events = events.as_struct();
    let time = events.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>();
    let name = TextColumn::new(events.column_by_name("name").unwrap()).unwrap();
    (0..events.len())
        .map(|event| {
            let data = attributes(events.column_by_name("attributes").unwrap(), event);
            (time.value(event), name.get(event).map(str::to_owned), data)
        })
        .collect()
}

fn attributes(column: &ArrayRef, row: usize) -> Pairs {
    AttributeColumn::new(column)
        .unwrap()
        .row(row)
        .map(|(key, value)| match value {
            Value::String(text) => (key.to_owned(), text.to_owned()),
            other => panic!("{key} is not text but {other:?}"),
        })
        .collect()
}
