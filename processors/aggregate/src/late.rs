//! The mark on events that are late for every window.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use weir_pdata::EventBatch;

/// The column that says whether an event is late.
pub const COLUMN: &str = "late";

/// The same batch with a column `late` that is true in these rows. Without such rows the batch stays as it is.
///
/// A column `late` of truth values that is there already (of an `aggregate` before this one) keeps what it says; any
/// other column of that name is replaced.
pub fn mark(batch: EventBatch, rows: &[usize]) -> EventBatch {
    if rows.is_empty() {
        return batch;
    }
    let marked = batch.as_columns().and_then(|columns| with_mark(columns, rows).ok());
    match marked {
        Some(columns) => batch.with_columns(columns),
        None => batch,
    }
}

fn with_mark(columns: &RecordBatch, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
    let mut late = BooleanBufferBuilder::new(columns.num_rows());
    late.append_n(columns.num_rows(), false);
    rows.iter().for_each(|row| late.set_bit(*row, true));
    let mut late = BooleanArray::new(late.finish(), None);
    let (mut fields, mut arrays) = (columns.schema().fields().to_vec(), columns.columns().to_vec());
    let field = Arc::new(Field::new(COLUMN, DataType::Boolean, true));
    match columns.schema().index_of(COLUMN) {
        Ok(at) => {
            if let Some(before) = arrays[at].as_boolean_opt() {
                late = arrow::compute::or_kleene(before, &late)?;
            }
            fields[at] = field;
            arrays[at] = Arc::new(late);
        }
        Err(_) => {
            fields.push(field);
            arrays.push(Arc::new(late));
        }
    }
    let schema = Schema::new_with_metadata(fields, columns.schema().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), arrays)
}
