//! Spans.

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StructArray};
use arrow::datatypes::{TimestampNanosecondType, UInt32Type};
use weir_proto::wire::message;
use weir_proto::write;

use super::frames::{Frames, LevelColumns};
use super::skywalking;
use super::values::{
    Named, Text, put_attribute, put_fixed32, put_fixed64, put_hex, put_int32, put_varint, unsigned,
};
use crate::attributes::{AttributeColumn, Value};
use crate::otlp::spans::field;
use crate::text::TextColumn;
use crate::{Level, Signal, schema};

const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const STATUSES: [&str; 3] = ["unset", "ok", "error"];
const SPANS: u32 = message(2);

/// Appends the rows.
pub(super) fn encode(batch: &RecordBatch, out: &mut Vec<u8>) {
    let named = Named(batch);
    let mut frames = Frames::new(Signal::Traces, batch);
    let attributes = LevelColumns::new(Signal::Traces, batch, Level::Row);
    let (start, end) = (named.time("time"), named.time("end_time"));
    let (trace_id, span_id) = (named.text("trace_id"), named.text("span_id"));
    let parent_span_id = named.text("parent_span_id");
    let (operation, trace_state) = (named.text("operation"), named.text("trace_state"));
    let (kind, status) = (named.text("kind").codes(&KINDS), named.text("status").codes(&STATUSES));
    let status_message = named.text("status_message");
    let flags = named.u32("flags");
    let (dropped_attributes, dropped_events) = (named.u32("dropped_attributes"), named.u32("dropped_events"));
    let dropped_links = named.u32("dropped_links");
    let (links, events) = (Links::new(batch), Events::new(batch));
    let segments = Segments::new(&named);
    let peer = named.text("peer");
    let attribute_count = batch.column_by_name(schema::ATTRIBUTES).and_then(AttributeColumn::new);
    out.reserve(128 * batch.num_rows() + 48 * attribute_count.map_or(0, |lists| lists.count()));
    for row in 0..batch.num_rows() {
        frames.enter(row, out, |_| {});
        let span = write::begin(SPANS, out);
        let segment = segments.id.get(row);
        let mut odd_trace = None;
        if let Some(id) = trace_id.get(row) {
            odd_trace = put_trace_id(field::TRACE_ID, id, segment.is_some(), out);
        }
        if let Some(id) = span_id.get(row) {
            put_span_id(field::SPAN_ID, id, segment.is_some(), out);
        }
        trace_state.put(field::TRACE_STATE, row, out);
        if let Some(id) = parent_span_id.get(row) {
            put_span_id(field::PARENT_SPAN_ID, id, segment.is_some(), out);
        }
        operation.put(field::NAME, row, out);
        put_int32(field::KIND, kind.get(row), out);
        put_fixed64(field::START, start(row), out);
        put_fixed64(field::END, end(row), out);
        let mut has_peer = false;
        attributes.each(row, |key, value| {
            has_peer |= matches!(key, "server.address" | "peer.service");
            put_attribute(field::ATTRIBUTES, key, value, out);
        });
        if let Some(id) = odd_trace {
            put_attribute(field::ATTRIBUTES, "sw8.trace_id", Value::String(id), out);
        }
        if let Some(peer) = peer.get(row).filter(|_| !has_peer) {
            put_attribute(field::ATTRIBUTES, "sw8.peer", Value::String(peer), out);
        }
        segments.put(row, parent_span_id.get(row), out);
        put_varint(field::DROPPED_ATTRIBUTES, u64::from(dropped_attributes(row)), out);
        events.put(row, segment.is_some(), out);
        put_varint(field::DROPPED_EVENTS, u64::from(dropped_events(row)), out);
        links.put(row, segment.is_some(), out);
        put_varint(field::DROPPED_LINKS, u64::from(dropped_links(row)), out);
        let code = status.get(row);
        if code != 0 || status_message.get(row).is_some() {
            let start = write::begin(field::STATUS, out);
            status_message.put(field::STATUS_MESSAGE, row, out);
            put_int32(field::STATUS_CODE, code, out);
            write::end(start, out);
        }
        put_fixed32(field::FLAGS, flags(row), out);
        write::end(span, out);
    }
    frames.finish(out);
}

/// Appends the id of a trace. Gives it back when it is not its own hexadecimal form, so that it is kept.
pub(super) fn put_trace_id<'a>(
    tag: u32,
    id: &'a str,
    of_skywalking: bool,
    out: &mut Vec<u8>,
) -> Option<&'a str> {
    if !of_skywalking && put_hex(tag, id, out) {
        return None;
    }
    if let Some(bytes) = skywalking::trace_id(id) {
        write::bytes_field(tag, &bytes, out);
    }
    Some(id)
}

/// Appends the id of a span.
pub(super) fn put_span_id(tag: u32, id: &str, of_skywalking: bool, out: &mut Vec<u8>) {
    if !of_skywalking && put_hex(tag, id, out) {
        return;
    }
    let bytes = skywalking::span_of(id).and_then(|(segment, number)| skywalking::span_id(segment, number));
    if let Some(bytes) = bytes {
        write::bytes_field(tag, &bytes, out);
    }
}

/// What only spans of SkyWalking have.
struct Segments<'a> {
    id: Text<'a>,
    number: Box<dyn Fn(usize) -> Option<i32> + 'a>,
    component: Text<'a>,
    component_id: Box<dyn Fn(usize) -> Option<i32> + 'a>,
    layer: Text<'a>,
    skip_analysis: Box<dyn Fn(usize) -> bool + 'a>,
    size_limited: Box<dyn Fn(usize) -> bool + 'a>,
}

impl<'a> Segments<'a> {
    fn new(named: &Named<'a>) -> Segments<'a> {
        Segments {
            id: named.text("segment_id"),
            number: Box::new(named.i32("segment_span_id")),
            component: named.text("component"),
            component_id: Box::new(named.i32("component_id")),
            layer: named.text("layer"),
            skip_analysis: Box::new(named.flag("skip_analysis")),
            size_limited: Box::new(named.flag("size_limited")),
        }
    }

    fn put(&self, row: usize, parent: Option<&str>, out: &mut Vec<u8>) {
        let mut put = |key: &str, value: Value<'_>| put_attribute(field::ATTRIBUTES, key, value, out);
        let segment = self.id.get(row);
        for (key, text) in [
            ("sw8.segment_id", segment),
            ("sw8.component", self.component.get(row)),
            ("sw8.layer", self.layer.get(row)),
        ] {
            if let Some(text) = text {
                put(key, Value::String(text));
            }
        }
        let parent = parent.and_then(skywalking::span_of).filter(|(other, _)| Some(*other) == segment);
        for (key, number) in [
            ("sw8.span_id", (self.number)(row)),
            ("sw8.parent_span_id", parent.map(|(_, number)| number)),
            ("sw8.component_id", (self.component_id)(row).filter(|number| *number != 0)),
        ] {
            if let Some(number) = number {
                put(key, Value::Int64(i64::from(number)));
            }
        }
        for (key, flag) in
            [("sw8.skip_analysis", (self.skip_analysis)(row)), ("sw8.size_limited", (self.size_limited)(row))]
        {
            if flag {
                put(key, Value::Bool(true));
            }
        }
    }
}

/// The lists of structures of a column.
pub(super) fn structures<'a>(batch: &'a RecordBatch, name: &str) -> Option<(&'a ListArray, &'a StructArray)> {
    let lists = batch.column_by_name(name)?.as_list_opt::<i32>()?;
    Some((lists, lists.values().as_struct_opt()?))
}

/// The entries of a row's list.
pub(super) fn entries(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let bound = |at: usize| usize::try_from(lists.value_offsets()[at]).unwrap_or(0);
    if lists.is_valid(row) { bound(row)..bound(row + 1) } else { 0..0 }
}

/// A text field of structures.
pub(super) fn text<'a>(structs: &'a StructArray, name: &str) -> Text<'a> {
    Text(structs.column_by_name(name).and_then(TextColumn::new))
}

fn number(structs: &StructArray, name: &str, at: usize) -> u32 {
    let column = structs.column_by_name(name).and_then(|array| array.as_primitive_opt::<UInt32Type>());
    column.filter(|column| column.is_valid(at)).map_or(0, |column| column.value(at))
}

struct Links<'a>(Option<(&'a ListArray, &'a StructArray)>);

impl<'a> Links<'a> {
    fn new(batch: &'a RecordBatch) -> Links<'a> {
        Links(structures(batch, "links"))
    }

    fn put(&self, row: usize, of_skywalking: bool, out: &mut Vec<u8>) {
        let Some((lists, structs)) = self.0 else { return };
        for at in entries(lists, row) {
            let start = write::begin(field::LINKS, out);
            let (trace_id, span_id) = (text(structs, "trace_id").get(at), text(structs, "span_id").get(at));
            let mut odd_trace = None;
            if let Some(id) = trace_id {
                odd_trace = put_trace_id(field::LINK_TRACE_ID, id, of_skywalking, out);
            }
            if let Some(id) = span_id {
                put_span_id(field::LINK_SPAN_ID, id, of_skywalking, out);
            }
            text(structs, "trace_state").put(field::LINK_TRACE_STATE, at, out);
            let attributes = structs.column_by_name("attributes").and_then(AttributeColumn::new);
            for (key, value) in attributes.iter().flat_map(|lists| lists.row(at)) {
                put_attribute(field::LINK_ATTRIBUTES, key, value, out);
            }
            put_reference(structs, at, odd_trace, span_id.filter(|_| of_skywalking), out);
            put_varint(field::LINK_DROPPED, u64::from(number(structs, "dropped_attributes", at)), out);
            put_fixed32(field::LINK_FLAGS, number(structs, "flags", at), out);
            write::end(start, out);
        }
    }
}

/// Appends what a reference of SkyWalking has, under the Collector's names.
fn put_reference(
    structs: &StructArray,
    at: usize,
    trace_id: Option<&str>,
    span_id: Option<&str>,
    out: &mut Vec<u8>,
) {
    let mut put = |key: &str, text: Option<&str>| {
        if let Some(text) = text {
            put_attribute(field::LINK_ATTRIBUTES, key, Value::String(text), out);
        }
    };
    for (key, name) in [
        ("parent.service", "parent_service"),
        ("parent.service.instance", "parent_service_instance"),
        ("parent.endpoint", "parent_endpoint"),
        ("network.AddressUsedAtPeer", "network_address"),
    ] {
        put(key, text(structs, name).get(at));
    }
    let ref_type = text(structs, "ref_type").get(at).map(|name| match name {
        "cross_process" => "CrossProcess",
        "cross_thread" => "CrossThread",
        other => other,
    });
    put("refType", ref_type);
    put("sw8.trace_id", trace_id);
    if let Some((segment, number)) = span_id.and_then(|id| id.rsplit_once('.')) {
        put("sw8.parent_segment_id", Some(segment));
        put("sw8.parent_span_id", Some(number));
    }
}

struct Events<'a>(Option<(&'a ListArray, &'a StructArray)>);

impl<'a> Events<'a> {
    fn new(batch: &'a RecordBatch) -> Events<'a> {
        Events(structures(batch, "events"))
    }

    fn put(&self, row: usize, of_skywalking: bool, out: &mut Vec<u8>) {
        let Some((lists, structs)) = self.0 else { return };
        for at in entries(lists, row) {
            let start = write::begin(field::EVENTS, out);
            let times = structs.column_by_name("time");
            let times = times.and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>());
            let time = times.filter(|times| times.is_valid(at)).map_or(0, |times| times.value(at));
            put_fixed64(field::EVENT_TIME, unsigned(time), out);
            match text(structs, "name").get(at) {
                Some(name) => write::bytes_field(field::EVENT_NAME, name.as_bytes(), out),
                // The Collector's name of all logs of spans.
                None if of_skywalking => write::bytes_field(field::EVENT_NAME, b"logs", out),
                None => {}
            }
            let attributes = structs.column_by_name("attributes").and_then(AttributeColumn::new);
            for (key, value) in attributes.iter().flat_map(|lists| lists.row(at)) {
                put_attribute(field::EVENT_ATTRIBUTES, key, value, out);
            }
            put_varint(field::EVENT_DROPPED, u64::from(number(structs, "dropped_attributes", at)), out);
            write::end(start, out);
        }
    }
}
