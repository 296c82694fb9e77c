//! A batch as the pattern sees it: for each row its time, which steps hold, its key, and the values to keep.
//!
//! Conditions are evaluated once for the batch, never row by row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};
use serde_json::Value;
use weir_alarms::template_context::{number, rfc3339};
use weir_pdata::expr::{ExprError, Failures};
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, schema};

use crate::operator::Operator;

/// Nanoseconds of a millisecond.
pub(crate) const NANOS: i64 = 1_000_000;
/// Longest text kept of an event, in bytes.
const MAX_TEXT: usize = 1024;

/// The column of a window's end.
pub(crate) const WINDOW_END: &str = "window_end";

/// The times of a batch, in milliseconds: of a window its last one, `window_end` - 1 ms.
pub(crate) struct Times {
    column: Option<TimestampNanosecondArray>,
    of_windows: bool,
}

impl Times {
    pub(crate) fn of(batch: &RecordBatch, operator: &Operator) -> Times {
        Times { column: timestamps(batch, &operator.time), of_windows: operator.input == Signal::Windows }
    }

    /// The time of a row; `None` when it has none.
    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        let time = time_at(self.column.as_ref()?, row)?.div_euclid(NANOS);
        Some(if self.of_windows { time - 1 } else { time })
    }
}

/// The rows that the pattern reads: those of the operator, for which `where` holds.
///
/// # Errors
/// `where` does not fit the columns.
pub(crate) fn selected(batch: &RecordBatch, operator: &Operator) -> Result<Option<BooleanArray>, ExprError> {
    let mut failures = Failures::default();
    let condition = operator.condition.as_ref().map(|condition| condition.filter(batch, &mut failures));
    let mut rows = condition.transpose()?;
    operator.note_failures(&failures);
    if let Some(only) = &operator.only {
        let text = batch.column_by_name("operator").and_then(TextColumn::new);
        let mine = |row: &usize| text.is_some_and(|text| text.get(*row) == Some(only));
        let both = |row: usize| mine(&row) && rows.as_ref().is_none_or(|rows| rows.value(row));
        rows = Some((0..batch.num_rows()).map(|row| Some(both(row))).collect());
    }
    Ok(rows)
}

/// The rows of one batch, ready to be kept.
pub(crate) struct Rows {
    truth: Vec<u64>,
    keys: Vec<Option<ArrayRef>>,
    values: Vec<Column>,
    starts: Option<TimestampNanosecondArray>,
}

enum Column {
    Integers(Int64Array),
    Numbers(Float64Array),
    Times(TimestampNanosecondArray),
    Truth(BooleanArray),
    Text(ArrayRef),
    Nothing,
}

impl Rows {
    /// Reads a batch.
    ///
    /// # Errors
    /// A condition does not fit its columns.
    pub(crate) fn read(batch: &RecordBatch, operator: &Operator) -> Result<Rows, ExprError> {
        let mut truth = vec![0_u64; batch.num_rows()];
        let mut failures = Failures::default();
        for (step, condition) in operator.conditions.iter().enumerate() {
            let holds = condition.filter(batch, &mut failures)?;
            for (truth, holds) in truth.iter_mut().zip(holds.iter()) {
                *truth |= u64::from(holds.unwrap_or(false)) << step;
            }
        }
        operator.note_failures(&failures);
        let key = |name: &Arc<str>| {
            let array = batch.column_by_name(name)?;
            let is_text = TextColumn::new(array).is_some();
            if is_text { Some(array.clone()) } else { cast(array, &schema::text()).ok() }
        };
        Ok(Rows {
            truth,
            keys: operator.key.iter().map(key).collect(),
            values: operator.kept.iter().map(|name| Column::of(batch.column_by_name(name))).collect(),
            starts: timestamps(batch, "window_start").filter(|_| operator.input == Signal::Windows),
        })
    }

    /// Bit `i` is set when step `i` holds.
    pub(crate) fn truth(&self, row: usize) -> u64 {
        self.truth.get(row).copied().unwrap_or(0)
    }

    /// Writes a text to `text` that is the same for rows of one key, and for no others.
    pub(crate) fn write_key(&self, row: usize, text: &mut String) {
        text.clear();
        for column in &self.keys {
            match part(column.as_ref(), row) {
                Some(part) => {
                    text.push_str(&part.len().to_string());
                    text.push(':');
                    text.push_str(part);
                }
                None => text.push('-'),
            }
        }
    }

    /// The texts of the key columns.
    pub(crate) fn key(&self, row: usize) -> Arc<[Option<String>]> {
        self.keys.iter().map(|column| part(column.as_ref(), row).map(str::to_owned)).collect()
    }

    /// The values to keep, in the order of [`Operator::kept`].
    pub(crate) fn values(&self, row: usize) -> Box<[Value]> {
        self.values.iter().map(|column| column.get(row)).collect()
    }

    /// Where the window began, in nanoseconds.
    pub(crate) fn window_start(&self, row: usize) -> Option<i64> {
        time_at(self.starts.as_ref()?, row)
    }
}

impl Column {
    fn of(array: Option<&ArrayRef>) -> Column {
        let Some(array) = array else { return Column::Nothing };
        let data_type = array.data_type();
        let read = match data_type {
            _ if TextColumn::new(array).is_some() => Some(Column::Text(array.clone())),
            DataType::Boolean => array.as_boolean_opt().cloned().map(Column::Truth),
            DataType::Timestamp(..) => times(array).map(Column::Times),
            _ if data_type.is_integer() => cast(array, &DataType::Int64)
                .ok()
                .and_then(|array| array.as_primitive_opt::<Int64Type>().cloned())
                .map(Column::Integers),
            _ if data_type.is_numeric() => cast(array, &DataType::Float64)
                .ok()
                .and_then(|array| array.as_primitive_opt::<Float64Type>().cloned())
                .map(Column::Numbers),
            _ => None,
        };
        read.unwrap_or(Column::Nothing)
    }

    fn get(&self, row: usize) -> Value {
        match self {
            Column::Integers(array) if array.is_valid(row) => array.value(row).into(),
            Column::Numbers(array) if array.is_valid(row) => number(Some(array.value(row))),
            Column::Truth(array) if array.is_valid(row) => array.value(row).into(),
            Column::Times(array) if array.is_valid(row) => rfc3339(array.value(row)).into(),
            Column::Text(array) => {
                let text = TextColumn::new(array).and_then(|text| text.get(row));
                text.map(|text| text.get(..text.floor_char_boundary(MAX_TEXT))).into()
            }
            _ => Value::Null,
        }
    }
}

fn part(column: Option<&ArrayRef>, row: usize) -> Option<&str> {
    column.and_then(TextColumn::new)?.get(row)
}

fn timestamps(batch: &RecordBatch, name: &str) -> Option<TimestampNanosecondArray> {
    times(batch.column_by_name(name)?)
}

fn times(array: &ArrayRef) -> Option<TimestampNanosecondArray> {
    let is_time = matches!(array.data_type(), DataType::Timestamp(..));
    let array = is_time.then(|| cast(array, &schema::timestamp()).ok()).flatten()?;
    array.as_primitive_opt::<TimestampNanosecondType>().cloned()
}

fn time_at(times: &TimestampNanosecondArray, row: usize) -> Option<i64> {
    (row < times.len() && times.is_valid(row)).then(|| times.value(row))
}
