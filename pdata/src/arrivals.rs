//! Append times of the records that rows came from.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};

use crate::schema;

/// The column [`schema::ARRIVAL`] of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals<'a> {
    /// For each row, the place of its record in `times`.
    records: &'a [i32],
    times: &'a [i64],
}

impl<'a> Arrivals<'a> {
    /// Reads the column. `None`: the batch does not have it, or it is an attribute of that name.
    #[must_use]
    pub fn of(batch: &'a RecordBatch) -> Option<Arrivals<'a>> {
        let column = batch.column_by_name(schema::ARRIVAL)?.as_dictionary_opt::<Int32Type>()?;
        let times = column.values().as_primitive_opt::<Int64Type>()?;
        let known = column.keys().null_count() == 0 && times.null_count() == 0;
        known.then(|| Arrivals { records: column.keys().values(), times: times.values() })
    }

    /// When the record of this row was appended, in milliseconds since 1970. `None`: there is no such row.
    #[inline]
    #[must_use]
    pub fn get(&self, row: usize) -> Option<i64> {
        let record = usize::try_from(*self.records.get(row)?).ok()?;
        self.times.get(record).copied()
    }
}
