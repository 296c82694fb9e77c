//! Rows that came too late: what becomes of them, and the mark on them.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use serde::Deserialize;

use crate::EventBatch;

/// The column that says whether a row is late.
pub const COLUMN: &str = "late";

/// The key `late` of a processor: what becomes of late rows. They pass in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// They are counted.
    #[default]
    Drop,
    /// They are counted, and [marked](mark).
    Output,
}

/// The same batch with a column `late` that is true in these rows. Without such rows the batch stays as it
/// is.
///
/// A column `late` of truth values that is there already (another processor has marked the batch) keeps its
/// place and what it says: a true stays true, a NULL stays NULL in rows that are not late. Any other column
/// of that name is replaced. A new column comes last and is false in the other rows.
#[must_use]
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
    let count = columns.num_rows();
    let mut late = BooleanBufferBuilder::new(count);
    late.append_n(count, false);
    rows.iter().filter(|row| **row < count).for_each(|row| late.set_bit(*row, true));
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use crate::{Ack, Origin, Signal};

    fn marked(columns: [(&str, ArrayRef); 2], rows: &[usize]) -> RecordBatch {
        let columns =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)));
        let batch = EventBatch::columns(Signal::Logs, columns.unwrap(), Origin::default(), Ack::none());
        mark(batch, rows).as_columns().unwrap().clone()
    }

    fn names(batch: &RecordBatch) -> Vec<&str> {
        batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect()
    }

    fn late(batch: &RecordBatch) -> Vec<Option<bool>> {
        batch.column_by_name(COLUMN).unwrap().as_boolean().iter().collect()
    }

    fn numbers() -> ArrayRef {
        Arc::new(Int64Array::from(vec![1, 2, 3, 4]))
    }

    #[test]
    fn the_mark_is_the_last_column_and_false_in_other_rows() {
        let batch = marked([("a", numbers()), ("b", numbers())], &[1, 9]);
        assert_eq!(names(&batch), ["a", "b", "late"]);
        assert_eq!(late(&batch), [Some(false), Some(true), Some(false), Some(false)]);
        assert_eq!(names(&marked([("a", numbers()), ("b", numbers())], &[])), ["a", "b"], "nothing is late");
    }

    #[test]
    fn a_mark_that_is_there_keeps_its_place_and_what_it_says() {
        let before: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, None, Some(false)]));
        let batch = marked([("late", before), ("b", numbers())], &[2, 3]);
        assert_eq!(names(&batch), ["late", "b"]);
        assert_eq!(late(&batch), [Some(true), None, Some(true), Some(true)]);
    }

    #[test]
    fn a_column_of_that_name_with_other_values_is_replaced() {
        let before: ArrayRef = Arc::new(StringArray::from(vec!["x"; 4]));
        let batch = marked([("late", before), ("b", numbers())], &[0]);
        assert_eq!(names(&batch), ["late", "b"]);
        assert_eq!(late(&batch), [Some(true), Some(false), Some(false), Some(false)]);
    }
}
