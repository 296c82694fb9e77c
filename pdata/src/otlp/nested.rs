//! The lists that a row has: links and events of spans, exemplars of data points.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, new_null_array};
use arrow::error::ArrowError;

use super::base::Base;
use super::lists::{AttributeLists, Counts, times};
use super::point::{Exemplar, Number};
use super::scan::record::Attribute;
use super::spans::{Event, Link};
use crate::columns::views::{Buffers, Views, index, lists};
use crate::schema;

/// The `links` column.
pub(super) struct Links {
    offsets: Vec<i32>,
    trace_id: Views,
    span_id: Views,
    trace_state: Views,
    attributes: AttributeLists,
    dropped: Counts,
    flags: Counts,
}

impl Links {
    pub(super) fn new() -> Links {
        Links {
            offsets: vec![0],
            trace_id: Views::new(),
            span_id: Views::new(),
            trace_state: Views::new(),
            attributes: AttributeLists::new(),
            dropped: Counts::default(),
            flags: Counts::default(),
        }
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        self.offsets.reserve(rows);
    }

    pub(super) fn append(&mut self, links: &[Link], nested: &[Attribute], base: &mut Base<'_>) {
        for link in links {
            let at = self.trace_id.len();
            self.trace_id.push(base.hex(link.trace_id));
            self.span_id.push(base.hex(link.span_id));
            self.trace_state.push(link.trace_state.present(base.bytes));
            base.put_nested(&nested[link.attributes.clone()], &mut self.attributes);
            self.dropped.set(at, link.dropped_attributes);
            self.flags.set(at, link.flags);
        }
        self.offsets.push(index(self.trace_id.len()));
    }

    pub(super) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let count = self.trace_id.len();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(buffers.text(self.trace_id)?), Arc::new(buffers.text(self.span_id)?)];
        // What only SkyWalking's references have.
        columns.resize(schema::link().len(), new_null_array(&schema::text(), count));
        columns.extend([
            Arc::new(buffers.text(self.trace_state)?) as ArrayRef,
            self.attributes.finish(keys, buffers)?,
            self.dropped.finish(count),
            self.flags.finish(count),
        ]);
        lists(schema::item(schema::otlp_link()), columns, self.offsets, None)
    }
}

/// The `events` column.
pub(super) struct Events {
    offsets: Vec<i32>,
    time: Vec<i64>,
    name: Views,
    attributes: AttributeLists,
    dropped: Counts,
}

impl Events {
    pub(super) fn new() -> Events {
        Events {
            offsets: vec![0],
            time: Vec::new(),
            name: Views::new(),
            attributes: AttributeLists::new(),
            dropped: Counts::default(),
        }
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        self.offsets.reserve(rows);
    }

    pub(super) fn append(&mut self, events: &[Event], nested: &[Attribute], base: &mut Base<'_>) {
        for event in events {
            self.dropped.set(self.time.len(), event.dropped_attributes);
            self.time.push(event.time);
            self.name.push(event.name.present(base.bytes));
            base.put_nested(&nested[event.attributes.clone()], &mut self.attributes);
        }
        self.offsets.push(index(self.time.len()));
    }

    pub(super) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let count = self.time.len();
        let columns = vec![
            times(self.time),
            Arc::new(buffers.text(self.name)?) as ArrayRef,
            self.attributes.finish(keys, buffers)?,
            self.dropped.finish(count),
        ];
        lists(schema::item(schema::otlp_event()), columns, self.offsets, None)
    }
}

/// The `exemplars` column.
pub(super) struct Exemplars {
    offsets: Vec<i32>,
    time: Vec<i64>,
    value: Vec<Option<f64>>,
    value_int: Vec<Option<i64>>,
    trace_id: Views,
    span_id: Views,
    attributes: AttributeLists,
}

impl Exemplars {
    pub(super) fn new() -> Exemplars {
        Exemplars {
            offsets: vec![0],
            time: Vec::new(),
            value: Vec::new(),
            value_int: Vec::new(),
            trace_id: Views::new(),
            span_id: Views::new(),
            attributes: AttributeLists::new(),
        }
    }

    pub(super) fn append(&mut self, exemplars: &[Exemplar], nested: &[Attribute], base: &mut Base<'_>) {
        for exemplar in exemplars {
            self.time.push(exemplar.time);
            self.value.push(match exemplar.value {
                Number::Float(value) => Some(value),
                Number::Int(value) => Some(value as f64),
                Number::None => None,
            });
            self.value_int.push(if let Number::Int(value) = exemplar.value { Some(value) } else { None });
            self.trace_id.push(base.hex(exemplar.trace_id));
            self.span_id.push(base.hex(exemplar.span_id));
            base.put_nested(&nested[exemplar.attributes.clone()], &mut self.attributes);
        }
        self.offsets.push(index(self.time.len()));
    }

    pub(super) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let columns = vec![
            times(self.time),
            Arc::new(Float64Array::from(self.value)) as ArrayRef,
            Arc::new(Int64Array::from(self.value_int)),
            Arc::new(buffers.text(self.trace_id)?),
            Arc::new(buffers.text(self.span_id)?),
            self.attributes.finish(keys, buffers)?,
        ];
        lists(schema::item(schema::exemplar()), columns, self.offsets, None)
    }
}
