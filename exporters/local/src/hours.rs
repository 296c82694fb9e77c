//! Which rows belong to which hour.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use chrono::DateTime;
use weir_pdata::Signal;

/// One export opens at most this many files; rows of rarer hours share the folder [`Hour::OTHER`].
const MAX_HOURS: usize = 48;
const SECONDS: i64 = 3_600;

/// An hour of event time: hours since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hour(Option<i64>);

impl Hour {
    /// For rows without time, and rows of hours beyond the busiest 48 of an export.
    pub(crate) const OTHER: Hour = Hour(None);

    /// The hour of a time in nanoseconds.
    pub(crate) fn of_nanos(time: i64) -> Hour {
        Hour(Some(time.div_euclid(SECONDS * 1_000_000_000)))
    }

    /// The folder below that of the signal: `2026-11-21/07`, or `other`.
    pub(crate) fn folder(self) -> String {
        let start = self.0.and_then(|hour| DateTime::from_timestamp(hour.saturating_mul(SECONDS), 0));
        start.map_or_else(|| "other".to_owned(), |start| start.format("%Y-%m-%d/%H").to_string())
    }

    /// Milliseconds at which the hour named by these two folders ends.
    pub(crate) fn end_ms(day: &str, hour: &str) -> Option<i64> {
        let start = DateTime::parse_from_rfc3339(&format!("{day}T{hour}:00:00Z")).ok()?;
        start.timestamp_millis().checked_add(SECONDS * 1_000)
    }
}

/// The column that says to which hour a row of this signal belongs.
pub(crate) fn time_column(signal: Signal) -> &'static str {
    if signal == Signal::Windows { "window_end" } else { "time" }
}

/// The hours that get a file each, of all rows of an export.
pub(crate) struct Hours {
    column: &'static str,
    chosen: HashSet<Hour>,
}

impl Hours {
    /// Chooses the hours with the most rows.
    pub(crate) fn of(signal: Signal, batches: &[RecordBatch]) -> Hours {
        let column = time_column(signal);
        let mut rows: HashMap<Hour, usize> = HashMap::new();
        for batch in batches {
            for hour in hours(batch, column) {
                *rows.entry(hour).or_default() += 1;
            }
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|(hour, rows)| (std::cmp::Reverse(*rows), *hour));
        Hours { column, chosen: rows.into_iter().take(MAX_HOURS).map(|(hour, _)| hour).collect() }
    }

    /// The rows of a batch by hour, each in order.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<(Hour, RecordBatch)>, ArrowError> {
        let mut rows: BTreeMap<Hour, Vec<u32>> = BTreeMap::new();
        for (row, hour) in (0..).zip(hours(batch, self.column)) {
            let hour = if self.chosen.contains(&hour) { hour } else { Hour::OTHER };
            rows.entry(hour).or_default().push(row);
        }
        if rows.len() == 1 {
            return Ok(rows.into_keys().map(|hour| (hour, batch.clone())).collect());
        }
        let part = |(hour, rows)| Ok((hour, take_record_batch(batch, &UInt32Array::from(rows))?));
        rows.into_iter().map(part).collect()
    }
}

/// The hour of each row.
fn hours(batch: &RecordBatch, column: &str) -> Vec<Hour> {
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let cast = |array: &ArrayRef| arrow::compute::cast(array, &nanos).ok();
    let times =
        batch.column_by_name(column).filter(|array| matches!(array.data_type(), DataType::Timestamp(..)));
    let Some(times) = times.and_then(cast) else { return vec![Hour::OTHER; batch.num_rows()] };
    let times = times.as_primitive::<TimestampNanosecondType>();
    let hour = |row| if times.is_null(row) { Hour::OTHER } else { Hour::of_nanos(times.value(row)) };
    (0..times.len()).map(hour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = SECONDS * 1_000_000_000;

    #[test]
    fn folders_are_day_and_hour_in_utc() {
        assert_eq!(Hour::of_nanos(1_749_088_705_000_000_000).folder(), "2025-06-05/01");
        assert_eq!(Hour::of_nanos(-1).folder(), "1969-12-31/23");
        assert_eq!(Hour::of_nanos(i64::MIN).folder(), "1677-09-21/00");
        assert_eq!(Hour::of_nanos(i64::MAX).folder(), "2262-04-11/23");
        assert_eq!(Hour::OTHER.folder(), "other");
        assert_eq!(Hour::end_ms("1970-01-01", "01"), Some(7_200_000));
        assert_eq!(Hour::end_ms("1970-01-01", "24"), None);
    }

    fn batch(hours: impl IntoIterator<Item = Option<i64>>) -> RecordBatch {
        let times: Vec<_> = hours.into_iter().map(|hour| hour.map(|hour| hour * HOUR + 5)).collect();
        let times = arrow::array::TimestampNanosecondArray::from(times).with_timezone("UTC");
        RecordBatch::try_from_iter_with_nullable([("time", std::sync::Arc::new(times) as ArrayRef, true)])
            .unwrap()
    }

    #[test]
    fn rows_are_split_by_hour_in_order() {
        let batch = batch([Some(3), Some(1), None, Some(3)]);
        let parts = Hours::of(Signal::Traces, std::slice::from_ref(&batch)).split(&batch).unwrap();
        let found: Vec<_> = parts.iter().map(|(hour, rows)| (hour.0, rows.num_rows())).collect();
        assert_eq!(found, [(None, 1), (Some(1), 1), (Some(3), 2)]);
    }

    #[test]
    fn rows_of_too_many_hours_share_a_folder() {
        let batch = batch((0..1_000).map(Some).chain([Some(7); 3]));
        let parts = Hours::of(Signal::Traces, std::slice::from_ref(&batch)).split(&batch).unwrap();
        assert_eq!(parts.len(), MAX_HOURS + 1);
        assert!(parts.iter().any(|(hour, rows)| *hour == Hour(Some(7)) && rows.num_rows() == 4));
        assert_eq!(parts.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>(), 1_003);
    }
}
