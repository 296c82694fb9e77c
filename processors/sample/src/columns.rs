//! The columns that `sample` reads and writes.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, RecordBatchOptions, StringViewArray,
};
use arrow::compute::cast;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use weir_pdata::attributes::without_originals;
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, schema};

/// The trace id of traces and logs.
pub(crate) const TRACE_ID: &str = "trace_id";
/// The W3C trace state of traces.
pub(crate) const TRACE_STATE: &str = "trace_state";
/// The attribute that says how many rows one stands for.
pub(crate) const ADJUSTED_COUNT: &str = "sampling.adjusted_count";
/// The attribute of logs that has the threshold, as the Collector's sampler writes it.
pub(crate) const THRESHOLD: &str = "sampling.threshold";
/// The attribute of logs that has the randomness.
pub(crate) const RANDOMNESS: &str = "sampling.randomness";

/// The batch, with the attributes that are written in columns alone.
pub(crate) fn owned(batch: &RecordBatch) -> Cow<'_, RecordBatch> {
    without_originals(batch, |name| [ADJUSTED_COUNT, THRESHOLD, RANDOMNESS].contains(&name))
}

/// A column as text. `None`: the batch does not have it.
pub(crate) fn text(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    let column = batch.column_by_name(name)?;
    if TextColumn::new(column).is_some() {
        Some(Arc::clone(column))
    } else {
        cast(column, &schema::text()).ok()
    }
}

/// The counts of the rows that stay. They are numbers, unless a row that is in no trace came with a text that
/// is none.
fn counts(
    batch: &RecordBatch,
    written: Float64Array,
    untraced: &BooleanArray,
) -> Result<ArrayRef, ArrowError> {
    let Some(before) = batch.column_by_name(ADJUSTED_COUNT).filter(|_| untraced.true_count() > 0) else {
        return Ok(Arc::new(written));
    };
    let texts = cast(before, &schema::text())?;
    let numbers = cast(&texts, &DataType::Float64)?;
    let lost = |row: usize| untraced.value(row) && texts.is_valid(row) && numbers.is_null(row);
    if (0..batch.num_rows()).any(lost) {
        return zip(untraced, &texts, &cast(&written, &schema::text())?);
    }
    zip(untraced, &numbers, &written)
}

/// What is written of the rows that stay.
pub(crate) struct Written {
    /// `trace_state`, or `sampling.threshold`.
    pub(crate) state: StringViewArray,
    /// `sampling.randomness` of logs.
    pub(crate) randomness: Option<StringViewArray>,
    /// `sampling.adjusted_count`, of those that are in a trace.
    pub(crate) counts: Float64Array,
    /// Which rows are in no trace. They have the count that they came with, if any.
    pub(crate) untraced: BooleanArray,
}

/// The batch with these columns in place of those that it has.
///
/// # Errors
/// None that is known: the columns have as many rows as the batch.
pub(crate) fn with(batch: &RecordBatch, signal: Signal, written: Written) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<FieldRef> = batch.schema_ref().fields().to_vec();
    let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
    let mut put =
        |field: Field, array: ArrayRef| match fields.iter().position(|known| known.name() == field.name()) {
            Some(at) => (fields[at], arrays[at]) = (Arc::new(field), array),
            None => {
                fields.push(Arc::new(field));
                arrays.push(array);
            }
        };
    let attribute = |name: &str, data_type: DataType| {
        Field::new(name, data_type, true).with_metadata(schema::attribute_metadata("span", name))
    };
    match signal {
        Signal::Traces => {
            put(Field::new(TRACE_STATE, DataType::Utf8View, true), Arc::new(written.state));
        }
        _ => put(attribute(THRESHOLD, DataType::Utf8View), Arc::new(written.state)),
    }
    if let Some(randomness) = written.randomness {
        put(attribute(RANDOMNESS, DataType::Utf8View), Arc::new(randomness));
    }
    let counts = counts(batch, written.counts, &written.untraced)?;
    put(attribute(ADJUSTED_COUNT, counts.data_type().clone()), counts);
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
}
