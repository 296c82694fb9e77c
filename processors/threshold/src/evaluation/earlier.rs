//! The columns of the window before, for conditions that read them.

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
    columns.iter().map(value).collect()
}

/// These windows, in this order, with the columns of the window before each of them.
pub(crate) fn with_earlier<'s>(
    batch: &RecordBatch,
    columns: &[EarlierColumn],
    windows: &[&Window],
    series: impl Fn(&Window) -> Option<&'s Series>,
) -> Result<RecordBatch, ArrowError> {
    let rows: UInt32Array = windows.iter().map(|window| u32::try_from(window.row).ok()).collect();
    let rows = take_record_batch(batch, &rows)?;
    let before: Vec<Option<&Values>> = windows
        .iter()
        .map(|window| series(window).and_then(|series| values_before(series, window)))
        .collect();
    let mut fields: Vec<Arc<Field>> = rows.schema_ref().fields().iter().cloned().collect();
    let mut arrays: Vec<ArrayRef> = rows.columns().to_vec();
    for earlier in columns {
        let value = |values: &Option<&Values>| {
            values.and_then(|values| values.iter().find(|(column, _)| *column == earlier.column)?.1)
        };
        fields.push(Arc::new(Field::new(&*earlier.name, DataType::Float64, true)));
        arrays.push(Arc::new(before.iter().map(value).collect::<Float64Array>()));
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
