//! A batch of windows, read by column name.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampNanosecondType};
use serde::{Deserialize, Serialize};
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

/// Reads a batch of windows by column name. Group-by columns are the text columns besides `operator`. Windows
/// of a part of the input are series of their own: their `shard` is a label.
pub(crate) struct WindowRows<'a> {
    pub(crate) batch: &'a RecordBatch,
    operator: Option<TextColumn<'a>>,
    start: Option<TimestampNanosecondArray>,
    end: Option<TimestampNanosecondArray>,
    labels: Vec<(Arc<str>, TextColumn<'a>)>,
    shard: Option<Int64Array>,
    numbers: Vec<(&'a str, Float64Array)>,
}

/// One window: its place in the batch, and what says which series it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) row: usize,
    /// Nanoseconds.
    pub(crate) start: Option<i64>,
    /// Nanoseconds, exclusive.
    pub(crate) end: i64,
    pub(crate) operator: String,
    pub(crate) shard: u32,
    pub(crate) labels: Vec<(Arc<str>, String)>,
    /// It has fired before, with less in it.
    pub(crate) again: bool,
    /// A hash of operator, shard and labels.
    pub(crate) group: u64,
}

/// Numbers of a window, by column.
pub(crate) type Values = Arc<[(Arc<str>, Option<f64>)]>;

/// Whose windows are evaluated one after the other: those of an operator, of all lanes of a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, u32)", into = "(String, u32)")]
pub(crate) struct WindowStream {
    pub(crate) operator: Arc<str>,
    pub(crate) shard: u32,
}

/// The windows of a batch that can be evaluated.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// In the order of their ends.
    pub(crate) windows: Vec<Window>,
    /// Windows without an end.
    pub(crate) endless: u64,
}

impl<'a> WindowRows<'a> {
    pub(crate) fn new(batch: &'a RecordBatch) -> WindowRows<'a> {
        let mut windows = WindowRows {
            batch,
            operator: None,
            start: None,
            end: None,
            labels: Vec::new(),
            shard: None,
            numbers: Vec::new(),
        };
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name().as_str();
            let time = || {
                cast(column, &schema::timestamp())
                    .ok()?
                    .as_primitive_opt::<TimestampNanosecondType>()
                    .cloned()
            };
            match name {
                "window_start" => windows.start = time(),
                "window_end" => windows.end = time(),
                "operator" => windows.operator = TextColumn::new(column),
                "shard" if column.data_type() == &DataType::Int64 => {
                    windows.shard = column.as_primitive_opt().cloned();
                }
                _ => {
                    if let Some(text) = TextColumn::new(column) {
                        windows.labels.push((name.into(), text));
                    } else if column.data_type().is_numeric()
                        && let Ok(numbers) = cast(column, &DataType::Float64)
                        && let Some(numbers) = numbers.as_primitive_opt::<Float64Type>()
                    {
                        windows.numbers.push((name, numbers.clone()));
                    }
                }
            }
        }
        windows.labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        windows
    }

    /// The windows that can be evaluated.
    pub(crate) fn find(&self, hasher: &impl BuildHasher) -> Found {
        let mut found = Found::default();
        for row in 0..self.batch.num_rows() {
            let Some(end) = time(self.end.as_ref(), row) else {
                found.endless += 1;
                continue;
            };
            let labels =
                self.labels.iter().filter_map(|(name, text)| Some((name.clone(), text.get(row)?.to_owned())));
            let mut labels: Vec<(Arc<str>, String)> = labels.collect();
            let shard = self.shard(row);
            if shard != 0 {
                let at = labels.partition_point(|(name, _)| &**name < "shard");
                labels.insert(at, ("shard".into(), shard.to_string()));
            }
            let operator = self.operator.and_then(|operator| operator.get(row)).unwrap_or_default();
            found.windows.push(Window {
                row,
                group: hasher.hash_one((operator, shard, &labels)),
                start: time(self.start.as_ref(), row),
                end,
                operator: operator.to_owned(),
                shard,
                labels,
                again: self.number("firing", row).is_some_and(|firing| firing > 0.0),
            });
        }
        found.windows.sort_by_key(|window| window.end);
        found
    }

    fn shard(&self, row: usize) -> u32 {
        let shards = self.shard.as_ref().filter(|shards| row < shards.len() && shards.is_valid(row));
        shards.and_then(|shards| u32::try_from(shards.value(row)).ok()).unwrap_or(0)
    }

    /// A number of a row; `None` when it is null or not finite, or the column is missing or no number.
    pub(crate) fn number(&self, name: &str, row: usize) -> Option<f64> {
        let (_, numbers) = self.numbers.iter().find(|(known, _)| *known == name)?;
        let number = (row < numbers.len() && numbers.is_valid(row)).then(|| numbers.value(row));
        number.filter(|number| number.is_finite())
    }

    /// A column of numbers. `None`: it is missing. `Err`: it has something else.
    pub(crate) fn numbers_of(&self, name: &str) -> Result<Option<&Float64Array>, ()> {
        if let Some((_, numbers)) = self.numbers.iter().find(|(known, _)| *known == name) {
            return Ok(Some(numbers));
        }
        if self.batch.column_by_name(name).is_some() { Err(()) } else { Ok(None) }
    }

    /// The numbers of a row that are not null.
    pub(crate) fn numbers(&self, row: usize) -> impl Iterator<Item = (&'a str, f64)> {
        let valid =
            self.numbers.iter().filter(move |(_, numbers)| row < numbers.len() && numbers.is_valid(row));
        valid.map(move |(name, numbers)| (*name, numbers.value(row)))
    }

    /// Whether a number of a row is below `limit`. NULL is not.
    pub(crate) fn is_below(&self, name: &str, row: usize, limit: u64) -> bool {
        let number = self.number(name, row);
        number.is_some_and(|number| number.partial_cmp(&(limit as f64)) == Some(Ordering::Less))
    }
}

impl From<(String, u32)> for WindowStream {
    fn from((operator, shard): (String, u32)) -> WindowStream {
        WindowStream { operator: operator.into(), shard }
    }
}

impl From<WindowStream> for (String, u32) {
    fn from(stream: WindowStream) -> (String, u32) {
        (stream.operator.to_string(), stream.shard)
    }
}

impl Window {
    /// Whether it is a window of this stream.
    pub(crate) fn is_of(&self, stream: &WindowStream) -> bool {
        self.shard == stream.shard && self.operator == *stream.operator
    }

    /// Whose window it is.
    pub(crate) fn stream(&self) -> WindowStream {
        WindowStream { operator: self.operator.as_str().into(), shard: self.shard }
    }

    /// The value of a group-by column.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str())
    }
}

fn time(times: Option<&TimestampNanosecondArray>, row: usize) -> Option<i64> {
    times.filter(|times| row < times.len() && times.is_valid(row)).map(|times| times.value(row))
}
