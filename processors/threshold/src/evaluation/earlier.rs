//! The columns of earlier windows, for conditions that read them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::evaluation::series::Series;
use crate::evaluation::windows::{Values, Window, WindowRows};
use crate::rule::earlier::EarlierColumn;

/// A window that is further away is none before.
pub(crate) const LONGEST_GAP: i64 = 24 * 3_600_000_000_000;

/// The columns of a window that the next one may ask for.
pub(crate) fn values_of(columns: &[EarlierColumn], windows: &WindowRows<'_>, window: &Window) -> Values {
    let value =
        |earlier: &EarlierColumn| (earlier.column.clone(), windows.number(&earlier.column, window.row));
    columns.iter().filter(|earlier| earlier.back.is_none()).map(value).collect()
}

/// These windows, in this order, with the columns of earlier windows of each of them: of the one before, and
/// of one that ended at a given time. A window is known by its place.
pub(crate) fn with_earlier<'s>(
    batch: &RecordBatch,
    columns: &[EarlierColumn],
    windows: &[&Window],
    series: impl Fn(usize) -> Option<&'s Series>,
    past: impl Fn(usize, &str, i64) -> Option<f64>,
) -> Result<RecordBatch, ArrowError> {
    let rows: UInt32Array = windows.iter().map(|window| u32::try_from(window.row).ok()).collect();
    let rows = take_record_batch(batch, &rows)?;
    let before: Vec<Option<&Values>> = windows
        .iter()
        .enumerate()
        .map(|(at, window)| series(at).and_then(|series| values_before(series, window)))
        .collect();
    let mut fields: Vec<Arc<Field>> = rows.schema_ref().fields().iter().cloned().collect();
    let mut arrays: Vec<ArrayRef> = rows.columns().to_vec();
    for earlier in columns {
        let value = |values: &Option<&Values>| {
            values.and_then(|values| values.iter().find(|(column, _)| *column == earlier.column)?.1)
        };
        fields.push(Arc::new(Field::new(&*earlier.name, DataType::Float64, true)));
        let values: Float64Array = match earlier.back {
            None => before.iter().map(value).collect(),
            Some(back) => {
                let windows = windows.iter().enumerate();
                windows.map(|(at, window)| past(at, &earlier.column, window.end.checked_sub(back)?)).collect()
            }
        };
        arrays.push(Arc::new(values));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// Of the last window of the series that ends before this one.
fn values_before<'s>(series: &'s Series, window: &Window) -> Option<&'s Values> {
    let (end, values) = match series.last_end < window.end {
        true => (series.last_end, &series.values),
        false => (series.earlier.last_end, &series.earlier.values),
    };
    (end < window.end && window.end.saturating_sub(end) <= LONGEST_GAP).then_some(values)
}
