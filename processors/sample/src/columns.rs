//! The columns that `sample` reads and writes.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use weir_pdata::attributes::without_originals;
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

/// What is written of the rows that stay.
pub(crate) struct Written {
    /// `trace_state`, or `sampling.threshold`.
    pub(crate) state: StringViewArray,
    /// `sampling.randomness` of logs.
    pub(crate) randomness: Option<StringViewArray>,
    /// `sampling.adjusted_count`.
    pub(crate) counts: Float64Array,
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
    put(attribute(ADJUSTED_COUNT, DataType::Float64), Arc::new(written.counts));
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
}
