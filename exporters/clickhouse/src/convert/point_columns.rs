//! Writing the columns of data points that are lists: numbers, `quantiles` and `exemplars`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, StructArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};

use crate::convert::nested_column::{ListBatch, RowLists, nanos, texts, write_attributes};
use crate::convert::value_column::clamped;
use crate::native::encoded_rows::{Filler, Writer};
use crate::schema::layouts::{COUNTS_TYPE, EXEMPLARS_TYPE, FLOATS_TYPE, QUANTILES_TYPE};

/// Whether an array is lists of numbers of this type, each with a value.
pub(super) fn is_list_of<T: ArrowPrimitiveType>(array: &ArrayRef) -> bool {
    let values = array.as_list_opt::<i32>().map(ListArray::values);
    values.is_some_and(|values| values.as_primitive_opt::<T>().is_some() && values.null_count() == 0)
}

/// Writes lists of floats.
pub(super) fn write_floats<'a>(
    name: &Arc<str>,
    batches: impl Iterator<Item = ListBatch<'a>> + Clone,
    writer: &mut Writer<'_>,
) {
    writer.column(name, FLOATS_TYPE);
    write_numbers::<Float64Type>(batches, |number| number.to_le_bytes(), writer);
}

/// Writes lists of counts.
pub(super) fn write_counts<'a>(
    name: &Arc<str>,
    batches: impl Iterator<Item = ListBatch<'a>> + Clone,
    writer: &mut Writer<'_>,
) {
    writer.column(name, COUNTS_TYPE);
    write_numbers::<UInt64Type>(batches, |number| number.to_le_bytes(), writer);
}

/// Writes `quantiles`.
pub(super) fn write_quantiles(name: &Arc<str>, batches: &[ListBatch<'_>], writer: &mut Writer<'_>) {
    let RowLists { ends, entries } = RowLists::of(batches);
    writer.column(name, QUANTILES_TYPE);
    writer.ends(&ends);
    for field in ["quantile", "value"] {
        let values = fields::<Float64Type>(field, &entries);
        writer.values(Filler::zeros(8), |frames| {
            frames.fixed(&values, |value| value.unwrap_or_default().to_le_bytes());
        });
    }
}

/// Writes `exemplars`. A time out of range is clamped, and stays among the attributes.
pub(super) fn write_exemplars(name: &Arc<str>, batches: &[ListBatch<'_>], writer: &mut Writer<'_>) {
    let RowLists { ends, entries } = RowLists::of(batches);
    writer.column(name, EXEMPLARS_TYPE);
    writer.ends(&ends);
    writer.values(Filler::zeros(8), |frames| {
        for (structs, numbers) in &entries {
            let nanos = nanos(structs);
            numbers.iter().for_each(|number| frames.bytes(&clamped(nanos(*number)).to_le_bytes()));
        }
    });
    let values = fields::<Float64Type>("value", &entries);
    write_nullable(&values, f64::to_le_bytes, writer);
    let values = fields::<Int64Type>("value_int", &entries);
    write_nullable(&values, i64::to_le_bytes, writer);
    for field in ["trace_id", "span_id"] {
        writer.values(Filler::zeros(1), |frames| texts(field, &entries, frames));
    }
    write_attributes(&entries, writer);
}

/// Writes where the lists of all rows end, and their numbers.
fn write_numbers<'a, T: ArrowPrimitiveType>(
    batches: impl Iterator<Item = ListBatch<'a>> + Clone,
    bytes: impl Fn(&T::Native) -> [u8; 8],
    writer: &mut Writer<'_>,
) {
    let (mut ends, mut end) = (Vec::new(), 0_u32);
    for (array, rows) in batches.clone() {
        let lists = array.and_then(|array| array.as_list_opt::<i32>());
        for row in 0..rows {
            let length = lists.filter(|lists| lists.is_valid(row)).map_or(0, |lists| lists.value_length(row));
            end = end.saturating_add(u32::try_from(length).unwrap_or(0));
            ends.push(end);
        }
    }
    writer.ends(&ends);
    writer.values(Filler::zeros(8), |frames| {
        for (array, rows) in batches {
            let lists = array.and_then(|array| array.as_list_opt::<i32>());
            let numbers = lists.and_then(|lists| Some((lists, lists.values().as_primitive_opt::<T>()?)));
            let Some((lists, numbers)) = numbers else { continue };
            let offsets = lists.value_offsets();
            let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
            if lists.null_count() == 0 {
                frames.fixed(&numbers.values()[bound(0)..bound(rows)], &bytes);
                continue;
            }
            for row in (0..rows).filter(|row| lists.is_valid(*row)) {
                frames.fixed(&numbers.values()[bound(row)..bound(row + 1)], &bytes);
            }
        }
    });
}

/// The numbers of one field of these entries.
fn fields<T: ArrowPrimitiveType>(
    field: &str,
    entries: &[(&StructArray, Vec<usize>)],
) -> Vec<Option<T::Native>> {
    let mut values = Vec::with_capacity(entries.iter().map(|(_, numbers)| numbers.len()).sum());
    for (structs, numbers) in entries {
        let column = structs.column_by_name(field).and_then(|array| array.as_primitive_opt::<T>());
        let value = |at: &usize| column.filter(|column| column.is_valid(*at)).map(|column| column.value(*at));
        values.extend(numbers.iter().map(value));
    }
    values
}

/// Writes values in a column that keeps NULL.
fn write_nullable<T: Copy + Default>(
    values: &[Option<T>],
    bytes: impl Fn(T) -> [u8; 8],
    writer: &mut Writer<'_>,
) {
    let marks: Vec<u8> = values.iter().map(|value| u8::from(value.is_none())).collect();
    writer.values(Filler::NULL, |frames| frames.bytes(&marks));
    writer.values(Filler::zeros(8), |frames| {
        frames.fixed(values, |value| bytes(value.unwrap_or_default()));
    });
}
