//! Evaluating a batch with failing rows: those are NULL, the others are evaluated as usual.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;

use super::compile::Compiled;

/// The value of each row; and the rows that failed, in rising order, with the error of the first.
pub(super) fn evaluate(
    compiled: &Compiled,
    input: &RecordBatch,
) -> Result<(ArrayRef, Vec<usize>, Option<DataFusionError>)> {
    let error = match whole(&compiled.physical, input) {
        Ok(values) => return Ok((values, Vec::new(), None)),
        Err(error) => error,
    };
    let mut apart = Apart { compiled, values: Vec::new(), done: 0, failed: Vec::new(), first: None };
    apart.halve(input, error)?;
    let values: Vec<&dyn Array> = apart.values.iter().map(AsRef::as_ref).collect();
    Ok((concat(&values)?, apart.failed, apart.first))
}

/// A panic of the engine is an error of the rows that it looked at.
fn whole(physical: &Arc<dyn PhysicalExpr>, input: &RecordBatch) -> Result<ArrayRef> {
    let rows = input.num_rows();
    let evaluated = catch_unwind(AssertUnwindSafe(|| physical.evaluate(input)?.into_array(rows)));
    evaluated.unwrap_or_else(|_| Err(DataFusionError::Execution("the SQL engine panicked".to_owned())))
}

/// A batch that is taken apart until what fails is alone.
struct Apart<'a> {
    compiled: &'a Compiled,
    values: Vec<ArrayRef>,
    /// How many rows have their value.
    done: usize,
    failed: Vec<usize>,
    first: Option<DataFusionError>,
}

impl Apart<'_> {
    /// Evaluates the halves of a batch that failed.
    fn halve(&mut self, input: &RecordBatch, error: DataFusionError) -> Result<()> {
        let rows = input.num_rows();
        if rows <= 1 {
            self.values.push(new_null_array(&self.compiled.result, rows));
            self.failed.extend(self.done..self.done + rows);
            self.done += rows;
            self.first.get_or_insert(error);
            return Ok(());
        }
        let half = rows / 2;
        for (from, length) in [(0, half), (half, rows - half)] {
            let part = slice(input, from, length)?;
            match whole(&self.compiled.physical, &part) {
                Ok(values) => {
                    self.done += length;
                    self.values.push(if *values.data_type() == self.compiled.result {
                        values
                    } else {
                        cast(&values, &self.compiled.result)?
                    });
                }
                Err(error) => self.halve(&part, error)?,
            }
        }
        Ok(())
    }
}

/// Some rows of a batch, without the values of dictionaries that only other rows have: an operator may look
/// at all of a dictionary's values.
fn slice(input: &RecordBatch, from: usize, length: usize) -> Result<RecordBatch> {
    let part = input.slice(from, length);
    let columns = part.columns().iter().map(|column| match column.data_type() {
        DataType::Dictionary(key, _) if **key == DataType::Int32 => own_values(column.as_dictionary()),
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    if columns.is_empty() {
        return Ok(part);
    }
    Ok(RecordBatch::try_new(part.schema(), columns)?)
}

fn own_values(dictionary: &DictionaryArray<Int32Type>) -> Result<ArrayRef> {
    let values = arrow::compute::take(dictionary.values(), dictionary.keys(), None)?;
    let rows = i32::try_from(values.len()).unwrap_or(i32::MAX);
    let keys: Int32Array =
        (0..rows).map(|row| values.is_valid(row.unsigned_abs() as usize).then_some(row)).collect();
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}
