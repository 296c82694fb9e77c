//! Log records to columns.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryViewArray, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::base::{Base, Columns, usable};
use super::lists::{Counts, numbers_but_zero, times};
use super::records::{LogRecord, Records};
use super::scan::Request;
use crate::attributes::ValueType;
use crate::columns::names::{FixedNames, Name, Names, fixed_names};
use crate::columns::text::Text;
use crate::columns::views::Views;
use crate::decode::result::DecodeError;
use crate::{Encoded, Projection, Signal, schema};

/// Names of the types of bodies, by [`ValueType`].
pub(super) static BODY_TYPES: FixedNames =
    LazyLock::new(|| fixed_names(["string", "int64", "float64", "bool", "bytes", "array", "map", "null"]));

/// The columns of logs while they are decoded. `None` is a column that nothing reads.
pub(super) struct Logs<'a> {
    base: Base<'a>,
    time: Option<Vec<i64>>,
    observed_time: Option<Vec<i64>>,
    /// The rows without a time of their own.
    time_missing: Option<Vec<usize>>,
    severity_number: Option<Vec<i32>>,
    severity_text: Option<Views>,
    body: Option<Views>,
    body_type: Option<Names>,
    /// The rows whose body is no text, and where its `AnyValue` is.
    body_value: Option<Vec<(usize, Text)>>,
    event_name: Option<Views>,
    trace_id: Option<Views>,
    span_id: Option<Views>,
    flags: Option<Counts>,
    dropped_attributes: Option<Counts>,
}

impl<'a> Columns<'a> for Logs<'a> {
    type Items = Records;

    fn new(encoded: &'a Encoded, projection: &'a Projection) -> Logs<'a> {
        let has = |name: &str| projection.has_fixed(name);
        let views = |name: &str| has(name).then(Views::new);
        let counts = |name: &str| has(name).then(Counts::default);
        Logs {
            base: Base::new(encoded, projection),
            time: has("time").then(Vec::new),
            observed_time: has("observed_time").then(Vec::new),
            time_missing: has("time_missing").then(Vec::new),
            severity_number: has("severity_number").then(Vec::new),
            severity_text: views("severity_text"),
            body: views("body"),
            body_type: has("body_type").then(|| Names::new(&BODY_TYPES)),
            body_value: has(schema::BODY_VALUE).then(Vec::new),
            event_name: views("event_name"),
            trace_id: views("trace_id"),
            span_id: views("span_id"),
            flags: counts("flags"),
            dropped_attributes: counts("dropped_attributes"),
        }
    }

    fn append(&mut self, request: &Request<Records>, size: usize, record: usize) -> Result<(), DecodeError> {
        self.base.make_room(size)?;
        let records = &request.items;
        self.base.reserve(records.records.len(), records.attributes.len());
        for (resource, scopes) in usable(request) {
            self.base.begin_resource(request, resource);
            for (scope, items) in scopes {
                self.base.begin_scope(request, scope);
                for log in &records.records[items] {
                    self.append_log(records, log, record);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let rows = self.base.rows;
        let bytes = self.base.bytes;
        self.base.finish(Signal::Logs, |buffers, _| {
            let text =
                |column: Option<Views>| column.map(|column| Ok(Arc::new(buffers.text(column)?) as ArrayRef));
            let count = |column: Option<Counts>| column.map(|column| Ok(column.finish(rows)));
            vec![
                ("time", self.time.map(|column| Ok(times(column)))),
                ("observed_time", self.observed_time.map(|column| Ok(times(column)))),
                ("time_missing", self.time_missing.map(|missing| Ok(marks(&missing, rows)))),
                ("severity_number", self.severity_number.map(|column| Ok(numbers_but_zero(column)))),
                ("severity_text", text(self.severity_text)),
                ("body", text(self.body)),
                ("body_type", self.body_type.map(Names::finish)),
                (schema::BODY_VALUE, self.body_value.map(|values| Ok(body_values(&values, rows, bytes)))),
                ("event_name", text(self.event_name)),
                ("trace_id", text(self.trace_id)),
                ("span_id", text(self.span_id)),
                ("flags", count(self.flags)),
                ("dropped_attributes", count(self.dropped_attributes)),
            ]
        })
    }
}

impl Logs<'_> {
    fn append_log(&mut self, records: &Records, log: &LogRecord, record: usize) {
        let row = self.base.rows;
        let base = &mut self.base;
        base.begin_row(record);
        // What OTLP tells those to do who want one time.
        let missing = log.time == 0 && log.observed_time != 0;
        if let Some(column) = &mut self.time {
            column.push(if missing { log.observed_time } else { log.time });
        }
        if let Some(column) = &mut self.observed_time {
            column.push(log.observed_time);
        }
        if let Some(rows) = self.time_missing.as_mut().filter(|_| missing) {
            rows.push(row);
        }
        if let Some(column) = &mut self.severity_number {
            column.push(log.severity_number);
        }
        let body = log.body.filter(|(body, _)| body.kind != ValueType::Null);
        if let Some(column) = &mut self.body {
            column.push(body.and_then(|(body, _)| base.text_of(body)));
        }
        if let Some(column) = &mut self.body_type {
            column.push(body.map_or(Name::Null, |(body, _)| Name::Fixed(body.kind as i32)));
        }
        if let (Some(values), Some((body, place))) = (&mut self.body_value, body)
            && body.kind != ValueType::String
        {
            values.push((row, place));
        }
        for (column, text) in
            [(&mut self.severity_text, log.severity_text), (&mut self.event_name, log.event_name)]
        {
            if let Some(column) = column {
                column.push(text.present(base.bytes));
            }
        }
        for (column, id) in [(&mut self.trace_id, log.trace_id), (&mut self.span_id, log.span_id)] {
            if let Some(column) = column {
                column.push(base.hex(id));
            }
        }
        if let Some(column) = &mut self.flags {
            column.set(row, log.flags);
        }
        if let Some(column) = &mut self.dropped_attributes {
            column.set(row, log.dropped_attributes);
        }
        base.end_row(&records.attributes[log.attributes.clone()], |_, _| {});
    }
}

/// A column that is true in these rows, and null in the others.
fn marks(rows: &[usize], count: usize) -> ArrayRef {
    if rows.is_empty() {
        return new_null_array(&DataType::Boolean, count);
    }
    let mut set = vec![false; count];
    rows.iter().for_each(|row| set[*row] = true);
    let set = BooleanBuffer::from(set);
    Arc::new(BooleanArray::new(set.clone(), Some(NullBuffer::new(set))))
}

/// A column of the `AnyValue`s of these rows, of which there are few.
fn body_values(values: &[(usize, Text)], rows: usize, arena: &[u8]) -> ArrayRef {
    if values.is_empty() {
        return new_null_array(&DataType::BinaryView, rows);
    }
    let mut column: Vec<Option<&[u8]>> = vec![None; rows];
    values.iter().for_each(|(row, place)| column[*row] = Some(place.bytes(arena)));
    Arc::new(BinaryViewArray::from_iter(column))
}
