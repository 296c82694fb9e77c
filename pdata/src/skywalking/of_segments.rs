//! Numbers that are known of each record, as a column.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, PrimitiveArray};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

use crate::columns::views::dictionary;

/// A number that the receiver knows of each record, of those that have rows.
pub(super) struct OfSegments<'a> {
    of_records: &'a [i64],
    values: Vec<i64>,
}

impl<'a> OfSegments<'a> {
    /// `None` when nothing reads them or the receiver does not know them.
    pub(super) fn new(is_read: bool, of_records: Option<&'a Arc<[i64]>>) -> Option<OfSegments<'a>> {
        of_records.filter(|_| is_read).map(|of_records| OfSegments { of_records, values: Vec::new() })
    }

    pub(super) fn push(&mut self, record: usize) {
        self.values.push(self.of_records.get(record).copied().unwrap_or_default());
    }

    /// The column: `segments` has the index of each row's segment.
    pub(super) fn finish(self, segments: &PrimitiveArray<Int32Type>) -> Result<ArrayRef, ArrowError> {
        dictionary(segments.values().clone(), None, Arc::new(Int64Array::from(self.values)))
    }
}
