//! The columns of a batch whose segments are all decoded.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::error::ArrowError;

use super::Columns;
use crate::columns::names::Names;
use crate::columns::times::times;
use crate::columns::views::{Buffers, Views, dictionary};
use crate::{Signal, schema, span_ids};

impl Columns<'_> {
    /// The batch. Its schema depends on the projection, and on what the receiver knows of the records.
    pub(in crate::skywalking) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let buffers = Buffers::new(self.arena, std::mem::take(&mut self.built));
        let keys = self.keys.finish(&buffers)?;
        let segments = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(self.segments), None);
        let per_segment = |column: Option<Views>| {
            column.map(|column| dictionary(segments.values().clone(), None, Arc::new(buffers.text(column)?)))
        };
        let text =
            |column: Option<Views>| column.map(|column| Ok(Arc::new(buffers.text(column)?) as ArrayRef));
        let named = |column: Option<Names>| column.map(Names::finish);
        let mut built: Vec<(&str, Option<Result<ArrayRef, ArrowError>>)> = vec![
            ("time", self.time.map(times)),
            ("end_time", self.end_time.map(times)),
            ("duration_ns", self.duration_ns.map(|column| Ok(Arc::new(Int64Array::from(column)) as _))),
            ("trace_id", per_segment(self.trace_id)),
            ("span_id", text(self.span_id)),
            ("parent_span_id", text(self.parent_span_id)),
            ("segment_id", per_segment(self.segment_id)),
            ("segment_span_id", self.segment_span_id.map(ints)),
            ("service", per_segment(self.service)),
            ("service_instance", per_segment(self.service_instance)),
            ("operation", text(self.operation)),
            ("kind", named(self.kind)),
            ("status", named(self.status)),
            ("peer", text(self.peer)),
            ("component", named(self.component)),
            ("component_id", self.component_id.map(ints)),
            ("layer", named(self.layer)),
            ("skip_analysis", self.skip_analysis.map(bools)),
            ("size_limited", self.size_limited.map(bools)),
            ("links", self.links.map(|links| links.finish(&buffers))),
            ("events", self.events.map(|events| events.finish(&keys, &buffers))),
            (schema::ATTRIBUTES, self.attributes.map(|lists| lists.finish(&keys, &buffers))),
        ];
        let mut fields = Vec::with_capacity(built.len() + self.wanted.len());
        let mut columns = Vec::with_capacity(built.len() + self.wanted.len());
        for field in schema::fixed(Signal::Traces) {
            let column = built.iter_mut().find(|(name, _)| name == field.name());
            if let Some(array) = column.and_then(|(_, array)| array.take()) {
                let array = array?;
                // Links and events have fewer fields than those of OTLP.
                fields.push(match array.data_type() == field.data_type() {
                    true => field.clone(),
                    false => Arc::new(Field::new(field.name(), array.data_type().clone(), true)),
                });
                columns.push(array);
            }
        }
        if let (Some(segments), Some(numbers)) = (self.parent_segment_id, self.parent_number) {
            fields.extend(span_ids::fields());
            columns.extend([Arc::new(buffers.text(segments)?) as ArrayRef, ints(numbers)?]);
        }
        let own = self.self_duration_ns.map(|(_, column)| Int64Array::from(column));
        let derived = [own, self.transfer_ns.map(Int64Array::from)];
        for (name, column) in schema::DERIVED.into_iter().zip(derived) {
            if let Some(column) = column {
                fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
                columns.push(Arc::new(column));
            }
        }
        for (wanted, mut views) in self.projection.wanted.iter().zip(self.wanted) {
            views.pad(self.rows);
            fields.push(Arc::clone(&wanted.field));
            columns.push(Arc::new(buffers.text(views)?));
        }
        let of_segments = [(self.positions, schema::offset()), (self.arrivals, schema::arrival())];
        for (numbers, field) in of_segments {
            if let Some(numbers) = numbers {
                fields.push(field);
                columns.push(numbers.finish(&segments)?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
    }
}

fn ints(column: Vec<i32>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(Int32Array::from(column)))
}

fn bools(mut column: BooleanBufferBuilder) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(BooleanArray::new(column.finish(), None)))
}
