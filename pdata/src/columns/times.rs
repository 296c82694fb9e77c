//! Columns of times.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray};
use arrow::error::ArrowError;

use crate::schema;

/// Milliseconds to nanoseconds. Times beyond what nanoseconds reach become the first or last one that they
/// do.
pub(crate) const fn nanoseconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_mul(1_000_000)
}

/// A column of times.
pub(crate) fn times(column: Vec<i64>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(TimestampNanosecondArray::from(column).with_data_type(schema::timestamp())))
}
