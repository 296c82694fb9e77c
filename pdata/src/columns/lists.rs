//! What a span has several of: links and events. And the values that they share with the span's own columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::keys::Keys;
use crate::columns::views::{Buffers, TextAttributes, ViewBuffer, Views, index, lists, view};
use crate::schema;
use crate::skywalking::names;
use crate::skywalking::scan::{Log, Reference, Segment, Text};

/// The `links` column.
pub(crate) struct Links {
    offsets: Vec<i32>,
    trace_id: Views,
    span_id: Views,
    ref_type: Views,
    service: Views,
    instance: Views,
    endpoint: Views,
    address: Views,
}

impl Links {
    pub(crate) fn new() -> Links {
        Links {
            offsets: vec![0],
            trace_id: Views::new(),
            span_id: Views::new(),
            ref_type: Views::new(),
            service: Views::new(),
            instance: Views::new(),
            endpoint: Views::new(),
            address: Views::new(),
        }
    }

    /// Room for the links of `spans` more spans.
    pub(crate) fn reserve(&mut self, spans: usize, links: usize) {
        self.offsets.reserve(spans);
        for column in [
            &mut self.trace_id,
            &mut self.span_id,
            &mut self.ref_type,
            &mut self.service,
            &mut self.instance,
            &mut self.endpoint,
            &mut self.address,
        ] {
            column.reserve(links);
        }
    }

    /// Ends the links of a span.
    pub(crate) fn end(&mut self) {
        self.offsets.push(index(self.trace_id.len()));
    }

    pub(crate) fn push(&mut self, built: &mut Vec<u8>, bytes: &[u8], reference: &Reference, ref_type: u128) {
        self.trace_id.push(reference.trace_id.present(bytes));
        self.span_id.push(span_id(built, bytes, reference.segment_id, reference.span_id));
        self.ref_type.push(Some(ref_type));
        self.service.push(reference.service.present(bytes));
        self.instance.push(reference.instance.present(bytes));
        self.endpoint.push(reference.endpoint.present(bytes));
        self.address.push(reference.address.present(bytes));
    }

    pub(crate) fn finish(self, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let columns = [
            self.trace_id,
            self.span_id,
            self.ref_type,
            self.service,
            self.instance,
            self.endpoint,
            self.address,
        ];
        let columns = columns
            .into_iter()
            .map(|column| Ok(Arc::new(buffers.text(column)?) as ArrayRef))
            .collect::<Result<_, ArrowError>>()?;
        lists(schema::link_item(), columns, self.offsets, None)
    }
}

/// The `events` column.
pub(crate) struct Events {
    offsets: Vec<i32>,
    time: Vec<i64>,
    name: Views,
    attributes: TextAttributes,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { offsets: vec![0], time: Vec::new(), name: Views::new(), attributes: TextAttributes::new() }
    }

    /// Room for the events of `spans` more spans.
    pub(crate) fn reserve(&mut self, spans: usize, events: usize) {
        self.offsets.reserve(spans);
        self.time.reserve(events);
        self.name.reserve(events);
    }

    /// Ends the events of a span.
    pub(crate) fn end(&mut self) {
        self.offsets.push(index(self.time.len()));
    }

    pub(crate) fn push(&mut self, keys: &mut Keys<'_>, bytes: &[u8], log: &Log, segment: &Segment) {
        let data = &segment.data[log.data.clone()];
        let name = data.iter().find(|pair| pair.key.bytes(bytes) == b"event");
        self.time.push(nanoseconds(log.time_ms));
        self.name.push(name.map(|pair| pair.value.view(bytes)));
        for pair in data {
            self.attributes.push(keys.of(pair.key).index, pair.value.view(bytes));
        }
        self.attributes.end();
    }

    pub(crate) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let name = Arc::new(buffers.text(self.name)?) as ArrayRef;
        let columns = vec![times(self.time)?, name, self.attributes.finish(keys, buffers)?];
        lists(schema::span_event_item(), columns, self.offsets, None)
    }
}

/// Milliseconds to nanoseconds. Times beyond what nanoseconds reach become the first or last one that they do.
pub(crate) const fn nanoseconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_mul(1_000_000)
}

/// Builds `{segment}.{number}`; null when the segment has no id.
pub(crate) fn span_id(built: &mut Vec<u8>, bytes: &[u8], segment: Text, number: i32) -> Option<u128> {
    if segment.len() == 0 {
        return None;
    }
    let start = built.len();
    built.extend_from_slice(segment.bytes(bytes));
    built.push(b'.');
    put_number(built, number);
    Some(view(built, ViewBuffer::Built, start, built.len() - start))
}

/// Appends a number in decimal.
fn put_number(built: &mut Vec<u8>, number: i32) {
    let (mut digits, mut at, mut left) = ([0; 10], 10, number.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        built.push(b'-');
    }
    built.extend_from_slice(&digits[at..]);
}

/// A view of a reference type's name, which is built once a batch.
pub(crate) fn ref_type(
    known: &mut HashMap<i32, u128, foldhash::fast::RandomState>,
    built: &mut Vec<u8>,
    number: i32,
) -> u128 {
    *known.entry(number).or_insert_with(|| {
        let start = built.len();
        let name = usize::try_from(number).ok().and_then(|number| names::REF_TYPES.get(number));
        match name {
            Some(name) => built.extend_from_slice(name.as_bytes()),
            None => built.extend_from_slice(names::unknown(number).as_bytes()),
        }
        view(built, ViewBuffer::Built, start, built.len() - start)
    })
}

/// A column of times.
pub(crate) fn times(column: Vec<i64>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(TimestampNanosecondArray::from(column).with_data_type(schema::timestamp())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everywhere() {
        for number in [0, 1, 9, 10, 99, 100, 12345, i32::MAX, -1, -10, i32::MIN] {
            let mut built = b"x".to_vec();
            put_number(&mut built, number);
            assert_eq!(built, format!("x{number}").into_bytes());
        }
    }
}
