//! Log records.

use arrow::array::{Array, AsArray, RecordBatch};
use weir_proto::wire::message;
use weir_proto::write;

use super::frames::{Frames, LevelColumns};
use super::traces::{put_span_id, put_trace_id};
use super::values::{
    Named, put_attribute, put_fixed32, put_fixed64, put_int32, put_nested, put_value, put_varint,
};
use crate::attributes::{Nested, Value};
use crate::json::nested::any_value_of;
use crate::otlp::hex::digit;
use crate::otlp::records::field;
use crate::{Level, Signal, schema};

const RECORDS: u32 = message(2);

/// Appends the rows.
pub(super) fn encode(batch: &RecordBatch, out: &mut Vec<u8>) {
    let named = Named(batch);
    let mut frames = Frames::new(Signal::Logs, batch);
    let attributes = LevelColumns::new(Signal::Logs, batch, Level::Row);
    let (time, observed_time) = (named.time("time"), named.time("observed_time"));
    let time_missing = named.flag("time_missing");
    let severity_number = named.i32("severity_number");
    let severity_text = named.text("severity_text");
    let (body, body_type) = (named.text("body").0, named.text("body_type"));
    let body_value = batch.column_by_name(schema::BODY_VALUE).and_then(|array| array.as_binary_view_opt());
    let (trace_id, span_id) = (named.text("trace_id"), named.text("span_id"));
    let (event_name, endpoint) = (named.text("event_name"), named.text("endpoint"));
    let segment_id = named.text("segment_id");
    let flags = named.u32("flags");
    let dropped_attributes = named.u32("dropped_attributes");
    for row in 0..batch.num_rows() {
        frames.enter(row, out, |_| {});
        let record = write::begin(RECORDS, out);
        if !time_missing(row) {
            put_fixed64(field::TIME, time(row), out);
        }
        put_int32(field::SEVERITY_NUMBER, severity_number(row).unwrap_or(0), out);
        severity_text.put(field::SEVERITY_TEXT, row, out);
        let any_value = body_value.filter(|values| values.is_valid(row)).map(|values| values.value(row));
        match (any_value, body.and_then(|body| body.get(row))) {
            (Some(bytes), _) => {
                write::message_field(field::BODY, out, |out| put_nested(Nested::new(bytes), out));
            }
            (None, Some(text)) => write::message_field(field::BODY, out, |out| {
                put_body(body_type.get(row).unwrap_or_default(), text, out);
            }),
            (None, None) => {}
        }
        attributes.each(row, |key, value| put_attribute(field::ATTRIBUTES, key, value, out));
        let segment = segment_id.get(row);
        let id = trace_id.get(row);
        for (key, text) in [
            ("sw8.segment_id", segment),
            ("sw8.endpoint", endpoint.get(row)),
            ("sw8.trace_id", id.filter(|id| segment.is_some() || !is_hex(id))),
        ] {
            if let Some(text) = text {
                put_attribute(field::ATTRIBUTES, key, Value::String(text), out);
            }
        }
        put_varint(field::DROPPED_ATTRIBUTES, u64::from(dropped_attributes(row)), out);
        put_fixed32(field::FLAGS, flags(row), out);
        if let Some(id) = id {
            put_trace_id(field::TRACE_ID, id, segment.is_some(), out);
        }
        if let Some(id) = span_id.get(row) {
            put_span_id(field::SPAN_ID, id, segment.is_some(), out);
        }
        put_fixed64(field::OBSERVED_TIME, observed_time(row), out);
        event_name.put(field::EVENT_NAME, row, out);
        write::end(record, out);
    }
    frames.finish(out);
}

fn is_hex(id: &str) -> bool {
    id.len().is_multiple_of(2) && id.bytes().all(|byte| digit(byte).is_some())
}

/// Appends a body that is known by its text and type. What is not of the type it says is a text.
fn put_body(body_type: &str, text: &str, out: &mut Vec<u8>) {
    match body_type {
        "array" | "map" if let Some(bytes) = any_value_of(text) => out.extend_from_slice(&bytes),
        "int64" if let Ok(number) = text.parse() => put_value(Value::Int64(number), out),
        "float64" if let Ok(number) = text.parse() => put_value(Value::Float64(number), out),
        "bool" if let Ok(value) = text.parse() => put_value(Value::Bool(value), out),
        "bytes" if is_hex(text) => {
            let digits = text.as_bytes().chunks_exact(2);
            let byte = |pair: &[u8]| digit(pair[0]).unwrap_or(0) << 4 | digit(pair[1]).unwrap_or(0);
            put_value(Value::Bytes(&digits.map(byte).collect::<Vec<_>>()), out);
        }
        _ => put_value(Value::String(text), out),
    }
}
