//! The end of spans, in a table that computes `end_time` from `time` and `duration_ns`.
//!
//! [`BEFORE`] makes it exact: it is how much earlier a span ends than its beginning and duration say. That
//! is 0 but for spans that end before they begin, whose duration is 0, and for times that are clamped. A
//! batch in which it is 0 everywhere has no such column, and the table's default applies.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, RecordBatchOptions,
    TimestampNanosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Field, FieldRef, Int64Type, Schema, TimestampNanosecondType};
use arrow::error::ArrowError;
use weir_pdata::Signal;

use crate::convert::value_column::clamped;
use crate::schema::columns::TableColumns;
use crate::schema::layouts::BEFORE;

const TIME: &str = "time";
const END: &str = "end_time";
const DURATION: &str = "duration_ns";

/// Whether the table computes the end of spans.
pub(crate) fn computes_ends(signal: Signal, table: &TableColumns) -> bool {
    signal == Signal::Traces && table.find(BEFORE).is_some() && table.find(END).is_none()
}

/// The rows without `end_time`, and with [`BEFORE`] where it says something, for a table that computes ends.
/// An end that had to be clamped stays, alone in its column, so that its own value goes into a map.
pub(crate) fn with_table_ends(signal: Signal, rows: RecordBatch, table: &TableColumns) -> RecordBatch {
    if !computes_ends(signal, table) {
        return rows;
    }
    let Some(ends) = column::<TimestampNanosecondType>(&rows, END) else { return rows };
    let times = column::<TimestampNanosecondType>(&rows, TIME);
    let durations = column::<Int64Type>(&rows, DURATION);
    let usual = times.zip(durations).is_some_and(|(times, durations)| are_usual(times, durations, ends));
    let (mut before, mut own) = (None, None);
    if !usual {
        let parts = |row: usize| (clamped(value(times, row)), value(durations, row));
        // As the table computes it, with 64 bits.
        let of = |(row, end): (usize, Option<i64>)| {
            let (time, duration) = parts(row);
            end.map_or(0, |end| time.wrapping_add(duration).wrapping_sub(clamped(end)))
        };
        let all: Int64Array = ends.iter().enumerate().map(of).map(Some).collect();
        let clamped_ends: TimestampNanosecondArray =
            ends.iter().map(|end| end.filter(|end| clamped(*end) != *end)).collect();
        before = all.values().iter().any(|before| *before != 0).then(|| Arc::new(all) as ArrayRef);
        own = (clamped_ends.null_count() < clamped_ends.len())
            .then(|| Arc::new(clamped_ends.with_timezone("UTC")) as ArrayRef);
    }
    let new = [(BEFORE, before), (END, own)];
    replaced(&rows, new).unwrap_or(rows)
}

/// Rows that were made for a table that computes ends, with their `end_time` again.
pub(crate) fn with_ends(rows: RecordBatch) -> RecordBatch {
    let times = column::<TimestampNanosecondType>(&rows, TIME);
    let (durations, before) = (column::<Int64Type>(&rows, DURATION), column::<Int64Type>(&rows, BEFORE));
    let end = |row| value(times, row).wrapping_add(value(durations, row)).wrapping_sub(value(before, row));
    let ends: TimestampNanosecondArray = (0..rows.num_rows()).map(end).map(Some).collect();
    let ends = Arc::new(ends.with_timezone("UTC")) as ArrayRef;
    replaced(&rows, [(BEFORE, None), (END, Some(ends))]).unwrap_or(rows)
}

/// Whether every span ends when its beginning and duration say, and nothing is clamped.
fn are_usual(
    times: &TimestampNanosecondArray,
    durations: &Int64Array,
    ends: &TimestampNanosecondArray,
) -> bool {
    let complete = times.null_count() + durations.null_count() + ends.null_count() == 0;
    // All are looked at, which takes less time than to stop at the first.
    let all = times.values().iter().zip(durations.values()).zip(ends.values());
    complete
        && all.fold(true, |usual, ((time, duration), end)| {
            let fits = (time.wrapping_add(*duration) == *end) & (clamped(*time) == *time);
            usual & fits & (clamped(*end) == *end)
        })
}

fn column<'a, T: ArrowPrimitiveType>(rows: &'a RecordBatch, name: &str) -> Option<&'a PrimitiveArray<T>> {
    rows.column_by_name(name)?.as_primitive_opt()
}

/// The value of a row; 0, as the table has it, where there is none.
fn value<T: ArrowPrimitiveType<Native = i64>>(array: Option<&PrimitiveArray<T>>, row: usize) -> i64 {
    array.filter(|array| array.is_valid(row)).map_or(0, |array| array.value(row))
}

/// The rows with these columns instead of those of the same names. An attribute that is named like [`BEFORE`]
/// remains an attribute.
fn replaced(rows: &RecordBatch, new: [(&str, Option<ArrayRef>); 2]) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if field.metadata().is_empty() && new.iter().any(|(name, _)| name == field.name()) {
            continue;
        }
        let renamed = || Arc::new(field.as_ref().clone().with_name(format!("attr.{BEFORE}")));
        fields.push(if field.name() == BEFORE { renamed() } else { Arc::clone(field) });
        columns.push(Arc::clone(array));
    }
    for (name, array) in new {
        if let Some(array) = array {
            fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
            columns.push(array);
        }
    }
    let schema = Schema::new_with_metadata(fields, rows.schema_ref().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::schema::ddl::columns_of;

    const LAST: i64 = u32::MAX as i64 * 1_000_000_000 + 999_999_999;

    fn times(values: Vec<Option<i64>>) -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
    }

    /// Rows of (time, duration, end).
    fn rows(spans: &[(i64, i64, Option<i64>)]) -> RecordBatch {
        let durations: Int64Array = spans.iter().map(|span| Some(span.1)).collect();
        RecordBatch::try_from_iter_with_nullable([
            (TIME, times(spans.iter().map(|span| Some(span.0)).collect()), true),
            (END, times(spans.iter().map(|span| span.2).collect()), true),
            (DURATION, Arc::new(durations) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn names(rows: &RecordBatch) -> Vec<&str> {
        rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect()
    }

    fn stored(rows: RecordBatch) -> RecordBatch {
        with_table_ends(Signal::Traces, rows, &columns_of(Signal::Traces))
    }

    fn befores(rows: &RecordBatch) -> Vec<i64> {
        column::<Int64Type>(rows, BEFORE).unwrap().values().to_vec()
    }

    #[test]
    fn an_end_that_follows_from_the_duration_is_not_sent() {
        let stored = stored(rows(&[(5, 7, Some(12)), (LAST, 0, Some(LAST))]));
        assert_eq!(names(&stored), [TIME, DURATION]);
        let ends = with_ends(stored);
        assert_eq!(column::<TimestampNanosecondType>(&ends, END).unwrap().values().to_vec(), [12, LAST]);
    }

    #[test]
    fn a_span_that_ends_before_it_begins_says_by_how_much() {
        let stored = stored(rows(&[(50, 0, Some(20)), (5, 7, Some(12)), (9, 3, None)]));
        assert_eq!(names(&stored), [TIME, DURATION, BEFORE]);
        assert_eq!(befores(&stored), [30, 0, 0]);
        let ends = with_ends(stored);
        assert_eq!(names(&ends), [TIME, DURATION, END]);
        assert_eq!(column::<TimestampNanosecondType>(&ends, END).unwrap().values().to_vec(), [20, 12, 12]);
    }

    #[test]
    fn clamped_ends_stay_as_they_are_beside_what_is_stored() {
        // The table has the times 0 and the last one that it can have.
        let spans = [(-9, 4, Some(-5)), (3, i64::MAX, Some(i64::MAX)), (-4, 6, Some(2))];
        let stored = stored(rows(&spans));
        assert_eq!(befores(&stored), [4, 3_i64.wrapping_add(i64::MAX).wrapping_sub(LAST), 4]);
        let own = column::<TimestampNanosecondType>(&stored, END).unwrap();
        assert_eq!(own.iter().collect::<Vec<_>>(), [Some(-5), Some(i64::MAX), None]);
    }

    #[test]
    fn an_attribute_of_the_columns_name_is_an_attribute() {
        let spans = rows(&[(50, 0, Some(20))]);
        let metadata = HashMap::from([(weir_pdata::schema::ATTRIBUTE_KEY.to_owned(), BEFORE.to_owned())]);
        let mut fields = spans.schema_ref().fields().to_vec();
        fields.push(Arc::new(
            Field::new(BEFORE, arrow::datatypes::DataType::Int64, true).with_metadata(metadata),
        ));
        let mut columns = spans.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(vec![77])));
        let stored = stored(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap());
        assert_eq!(names(&stored), [TIME, DURATION, "attr._before_ns", BEFORE]);
        assert_eq!(befores(&stored), [30]);
    }

    #[test]
    fn a_table_that_stores_ends_gets_them() {
        let line = |(name, kind): (&str, &str)| format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}\n");
        let time = "DateTime64(9, 'UTC')";
        for columns in [vec![(TIME, time), (END, time)], vec![(TIME, time), (END, time), (BEFORE, "Int64")]] {
            let text: String = columns.into_iter().map(line).collect();
            let table = TableColumns::parse(text.as_bytes()).unwrap();
            let spans = rows(&[(50, 0, Some(20))]);
            assert_eq!(with_table_ends(Signal::Traces, spans.clone(), &table), spans);
        }
    }
}
