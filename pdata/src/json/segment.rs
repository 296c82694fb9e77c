//! `SegmentObject` in protobuf's JSON form.
//!
//! Field names in camel case or snake case; enums by name or number; 64-bit integers as numbers or texts;
//! null and absent fields are defaults. Fields that the message does not have are ignored, as newer agents
//! may send them.

use weir_proto::skywalking::{
    KeyStringValuePair, Log, RefType, SegmentObject, SegmentReference, SpanLayer, SpanObject, SpanType,
};

use super::value::Json;

pub(super) type Fields = Vec<(String, Json)>;

const FIELDS: [&str; 6] =
    ["traceId", "traceSegmentId", "spans", "service", "serviceInstance", "isSizeLimited"];

/// Whether an object looks like a segment: it has a field of one.
pub(super) fn is_segment(fields: &Fields) -> bool {
    fields.iter().any(|(name, _)| FIELDS.iter().any(|camel| same(name, camel)))
}

/// The segment. The error is the field and what is wrong with it.
pub(super) fn segment(fields: &Fields) -> Result<SegmentObject, Wrong> {
    let read = Read::new(fields);
    Ok(SegmentObject {
        trace_id: read.text("traceId")?,
        trace_segment_id: read.text("traceSegmentId")?,
        spans: read.list("spans", span)?,
        service: read.text("service")?,
        service_instance: read.text("serviceInstance")?,
        is_size_limited: read.bool("isSizeLimited")?,
    })
}

fn span(read: &Read<'_>) -> Result<SpanObject, Wrong> {
    Ok(SpanObject {
        span_id: read.int32("spanId")?,
        parent_span_id: read.int32("parentSpanId")?,
        start_time: read.int64("startTime")?,
        end_time: read.int64("endTime")?,
        refs: read.list("refs", reference)?,
        operation_name: read.text("operationName")?,
        peer: read.text("peer")?,
        span_type: read.number("spanType", |name| SpanType::from_str_name(name).map(Into::into))?,
        span_layer: read.number("spanLayer", |name| SpanLayer::from_str_name(name).map(Into::into))?,
        component_id: read.int32("componentId")?,
        is_error: read.bool("isError")?,
        tags: read.list("tags", pair)?,
        logs: read
            .list("logs", |read| Ok(Log { time: read.int64("time")?, data: read.list("data", pair)? }))?,
        skip_analysis: read.bool("skipAnalysis")?,
    })
}

fn reference(read: &Read<'_>) -> Result<SegmentReference, Wrong> {
    Ok(SegmentReference {
        ref_type: read.number("refType", |name| RefType::from_str_name(name).map(Into::into))?,
        trace_id: read.text("traceId")?,
        parent_trace_segment_id: read.text("parentTraceSegmentId")?,
        parent_span_id: read.int32("parentSpanId")?,
        parent_service: read.text("parentService")?,
        parent_service_instance: read.text("parentServiceInstance")?,
        parent_endpoint: read.text("parentEndpoint")?,
        network_address_used_at_peer: read.text("networkAddressUsedAtPeer")?,
    })
}

pub(super) fn pair(read: &Read<'_>) -> Result<KeyStringValuePair, Wrong> {
    Ok(KeyStringValuePair { key: read.text("key")?, value: read.text("value")? })
}

/// The field that is wrong, and what is wrong with it.
pub(super) type Wrong = (String, String);

/// Reads the fields of one object.
pub(super) struct Read<'a> {
    /// Where the object is, for messages: empty, or ending with a dot.
    path: String,
    fields: &'a Fields,
}

impl<'a> Read<'a> {
    /// Of an object that is in no other.
    pub(super) fn new(fields: &'a Fields) -> Read<'a> {
        Read { path: String::new(), fields }
    }

    fn get(&self, name: &str) -> Option<&'a Json> {
        let found = self.fields.iter().rev().find(|(field, _)| same(field, name));
        found.map(|(_, value)| value).filter(|value| **value != Json::Null)
    }

    fn wrong(&self, name: &str, expected: &str, found: &Json) -> Wrong {
        (format!("{}{name}", self.path), format!("expected {expected}, found {}", found.kind()))
    }

    pub(super) fn text(&self, name: &str) -> Result<String, Wrong> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Json::Text(text)) => Ok(text.clone()),
            Some(other) => Err(self.wrong(name, "a text", other)),
        }
    }

    fn bool(&self, name: &str) -> Result<bool, Wrong> {
        match self.get(name) {
            None => Ok(false),
            Some(Json::Bool(value)) => Ok(*value),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    pub(super) fn int64(&self, name: &str) -> Result<i64, Wrong> {
        let Some(json) = self.get(name) else {
            return Ok(0);
        };
        integer(json).ok_or_else(|| self.wrong(name, "an integer of 64 bits", json))
    }

    pub(super) fn int32(&self, name: &str) -> Result<i32, Wrong> {
        self.number(name, |_| None)
    }

    fn number(&self, name: &str, named: impl Fn(&str) -> Option<i32>) -> Result<i32, Wrong> {
        let Some(json) = self.get(name) else {
            return Ok(0);
        };
        if let Json::Text(text) = json
            && let Some(number) = named(text)
        {
            return Ok(number);
        }
        let number = integer(json).and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.wrong(name, "an integer of 32 bits, or a known name", json))
    }

    /// A nested object, when it is there.
    pub(super) fn object<T>(
        &self,
        name: &str,
        item: impl Fn(&Read<'_>) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Wrong> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Object(fields)) => {
                item(&Read { path: format!("{}{name}.", self.path), fields }).map(Some)
            }
            Some(other) => Err(self.wrong(name, "an object", other)),
        }
    }

    pub(super) fn list<T>(
        &self,
        name: &str,
        item: impl Fn(&Read<'_>) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Wrong> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Json::Array(items)) => items,
            Some(other) => return Err(self.wrong(name, "an array", other)),
        };
        let read = |(at, json): (usize, &Json)| match json {
            Json::Object(fields) => item(&Read { path: format!("{}{name}[{at}].", self.path), fields }),
            other => Err(self.wrong(name, "an array of objects", other)),
        };
        items.iter().enumerate().map(read).collect()
    }
}

/// An integer, also as text or as a float without fraction.
#[allow(clippy::cast_possible_truncation)]
fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Int(value) => Some(*value),
        Json::Text(text) => text.parse().ok(),
        // Floats are exact integers below 2^53.
        Json::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
        _ => None,
    }
}

/// Whether `name` is `camel`, or the same in snake case.
pub(crate) fn same(name: &str, camel: &str) -> bool {
    if name == camel {
        return true;
    }
    let snake = camel.chars().flat_map(|c| {
        let underscore = c.is_ascii_uppercase().then_some('_');
        underscore.into_iter().chain(std::iter::once(c.to_ascii_lowercase()))
    });
    name.chars().eq(snake)
}
