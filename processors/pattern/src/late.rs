//! The mark on late rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use weir_pdata::EventBatch;

/// The column that says whether a row is late.
const COLUMN: &str = "late";

/// The same batch with a column `late` that is true in these rows, and false in the others unless it says more already.
/// Without such rows the batch stays as it is.
pub(crate) fn mark(batch: EventBatch, rows: &[usize]) -> EventBatch {
    if rows.is_empty() {
        return batch;
    }
    match batch.as_columns().and_then(|columns| with_mark(columns, rows).ok()) {
        Some(columns) => batch.with_columns(columns),
        None => batch,
    }
}

fn with_mark(columns: &RecordBatch, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
    let before = columns.column_by_name(COLUMN).and_then(|column| column.as_boolean_opt());
    let was = |row: usize| before.is_some_and(|before| before.is_valid(row) && before.value(row));
    let mut late: Vec<bool> = (0..columns.num_rows()).map(was).collect();
    for row in rows {
        if let Some(late) = late.get_mut(*row) {
            *late = true;
        }
    }
    let schema = columns.schema();
    let others = schema.fields().iter().zip(columns.columns()).filter(|(field, _)| field.name() != COLUMN);
    let (mut fields, mut arrays): (Vec<_>, Vec<ArrayRef>) =
        others.map(|(field, array)| (field.clone(), array.clone())).unzip();
    fields.push(Arc::new(Field::new(COLUMN, DataType::Boolean, true)));
    arrays.push(Arc::new(BooleanArray::from(late)));
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), arrays)
}
