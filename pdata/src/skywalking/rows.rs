//! What rows of logs and metrics have in common: of which record they are, whose, and their attributes.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions, TimestampNanosecondArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{FieldRef, Int32Type, Schema};
use arrow::error::ArrowError;

use super::of_segments::OfSegments;
use crate::columns::keys::Keys;
use crate::columns::text::Text;
use crate::columns::times::nanoseconds;
use crate::columns::views::{Buffers, TextAttributes, Views, index};
use crate::{Encoded, Projection, Signal, schema};

/// Columns that every row has.
pub(super) struct Rows<'a> {
    encoded: &'a Encoded,
    projection: &'a Projection,
    pub(super) bytes: &'a [u8],
    /// Texts that are not in the arena.
    pub(super) built: Vec<u8>,
    /// For each row, the index of its record among those that have rows.
    records: Vec<i32>,
    record_count: usize,
    positions: Option<OfSegments<'a>>,
    arrivals: Option<OfSegments<'a>>,
    keys: Keys<'a>,
    attributes: Option<TextAttributes>,
    wanted: Vec<Views>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(encoded: &'a Encoded, projection: &'a Projection) -> Rows<'a> {
        let bytes = encoded.arena.as_slice();
        Rows {
            encoded,
            projection,
            bytes,
            built: Vec::new(),
            records: Vec::new(),
            record_count: 0,
            positions: OfSegments::new(projection.positions, encoded.positions.as_ref()),
            arrivals: OfSegments::new(projection.arrivals, encoded.arrivals.as_ref()),
            keys: Keys::new(bytes, &projection.wanted),
            attributes: projection.rest.then(TextAttributes::new),
            wanted: projection.wanted.iter().map(|_| Views::new()).collect(),
        }
    }

    /// The rows that follow are of this record.
    pub(super) fn begin_record(&mut self, record: usize) {
        for numbers in [&mut self.positions, &mut self.arrivals].into_iter().flatten() {
            numbers.push(record);
        }
        self.record_count += 1;
    }

    /// Appends a row with these attributes to the record that was begun last.
    pub(super) fn push(&mut self, attributes: impl IntoIterator<Item = (Text, u128)>) {
        let row = self.records.len();
        for (key, value) in attributes {
            let key = self.keys.of(key);
            // The first value of a wanted key is in its column; more of the same key stay with the others.
            if let Some(column) = key.wanted.and_then(|at| self.wanted.get_mut(at))
                && column.len() <= row
            {
                column.pad(row);
                column.push(Some(value));
            } else if let Some(attributes) = &mut self.attributes {
                attributes.push(key.index, value);
            }
        }
        if let Some(attributes) = &mut self.attributes {
            attributes.end();
        }
        self.records.push(index(self.record_count.saturating_sub(1)));
    }

    /// The time of a row, from that of its event in milliseconds; where that is 0, from that of the record.
    pub(super) fn time(&self, millis: i64, record: usize) -> Option<i64> {
        if millis != 0 {
            return Some(nanoseconds(millis));
        }
        let written = self.encoded.written.as_ref()?.get(record).copied()?;
        (written > 0).then(|| nanoseconds(written))
    }

    /// Where texts lie.
    pub(super) fn buffers(&mut self) -> Buffers {
        Buffers::new(&self.encoded.arena, std::mem::take(&mut self.built))
    }

    /// The batch of these columns of the signal, each of which has all rows.
    pub(super) fn finish(
        self,
        signal: Signal,
        columns: &[(&'static str, ArrayRef)],
        buffers: &Buffers,
    ) -> Result<RecordBatch, ArrowError> {
        let rows = self.records.len();
        let keys = self.keys.finish(buffers)?;
        let attributes = self.attributes.map(|lists| lists.finish(&keys, buffers)).transpose()?;
        let of_row = |name: &str| columns.iter().find(|(built, _)| *built == name).map(|(_, array)| array);
        let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for field in schema::fixed(signal) {
            let array =
                if field.name() == schema::ATTRIBUTES { attributes.as_ref() } else { of_row(field.name()) };
            if let Some(array) = array {
                fields.push(if array.data_type() == field.data_type() {
                    Arc::clone(field)
                } else {
                    let other = field.as_ref().clone().with_data_type(array.data_type().clone());
                    Arc::new(other)
                });
                arrays.push(Arc::clone(array));
            }
        }
        for (wanted, mut views) in self.projection.wanted.iter().zip(self.wanted) {
            views.pad(rows);
            fields.push(Arc::clone(&wanted.field));
            arrays.push(Arc::new(buffers.text(views)?));
        }
        let records = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(self.records), None);
        for (numbers, field) in [(self.positions, schema::offset()), (self.arrivals, schema::arrival())] {
            if let Some(numbers) = numbers {
                fields.push(field);
                arrays.push(numbers.finish(&records)?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }
}

/// A column of times, some of which are missing.
pub(super) fn optional_times(times: &[Option<i64>]) -> ArrayRef {
    let there = BooleanBuffer::collect_bool(times.len(), |at| times[at].is_some());
    let values = times.iter().map(|time| time.unwrap_or(0)).collect();
    let nulls = times.iter().any(Option::is_none).then(|| NullBuffer::new(there));
    Arc::new(TimestampNanosecondArray::new(values, nulls).with_data_type(schema::timestamp()))
}
