//! The histogram points of a batch of metrics.
//!
//! Delta points are measured, explicit and exponential ones. Left out, and counted, are cumulative points
//! (each has what those before it had), and points whose counts do not fit their buckets. Rows of other kinds
//! of metrics have no distribution.

use arrow::array::{Array, AsArray, Float64Array, Int32Array, ListArray, RecordBatch, UInt64Array};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, UInt64Type};
use weir_pdata::text::TextColumn;

use crate::state::buckets::{MOST_BOUNDS, PointBuckets, SCALES};
use crate::state::measure::Point;

/// The columns of histogram points. A column that the batch lacks is NULL.
pub(crate) struct Points<'a> {
    kinds: Option<TextColumn<'a>>,
    temporalities: Option<TextColumn<'a>>,
    count: Option<&'a UInt64Array>,
    sum: Option<&'a Float64Array>,
    least: Option<&'a Float64Array>,
    most: Option<&'a Float64Array>,
    bounds: Option<&'a ListArray>,
    bucket_counts: Option<&'a ListArray>,
    scale: Option<&'a Int32Array>,
    zeros: Option<&'a UInt64Array>,
    zero_threshold: Option<&'a Float64Array>,
    positive: Side<'a>,
    negative: Side<'a>,
}

/// The buckets of one sign of exponential points.
struct Side<'a> {
    offset: Option<&'a Int32Array>,
    counts: Option<&'a ListArray>,
}

/// The reason why a point is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmeasured {
    /// It is cumulative, or does not say that it is not.
    Cumulative,
    /// Its counts do not fit its buckets, or it has too many of them.
    Malformed,
}

impl<'a> Points<'a> {
    /// Reads a batch.
    pub(crate) fn of(batch: &'a RecordBatch) -> Points<'a> {
        let column = |name: &str| batch.column_by_name(name);
        let floats = |name: &str| column(name).and_then(|array| array.as_primitive_opt());
        let whole = |name: &str| column(name).and_then(|array| array.as_primitive_opt());
        let small = |name: &str| column(name).and_then(|array| array.as_primitive_opt());
        let lists = |name: &str| column(name).and_then(|array| array.as_list_opt::<i32>());
        let text = |name: &str| column(name).and_then(TextColumn::new);
        Points {
            kinds: text("metric_type"),
            temporalities: text("temporality"),
            count: whole("count"),
            sum: floats("sum"),
            least: floats("min"),
            most: floats("max"),
            bounds: lists("bounds"),
            bucket_counts: lists("bucket_counts"),
            scale: small("scale"),
            zeros: whole("zero_count"),
            zero_threshold: floats("zero_threshold"),
            positive: Side { offset: small("positive_offset"), counts: lists("positive_bucket_counts") },
            negative: Side { offset: small("negative_offset"), counts: lists("negative_bucket_counts") },
        }
    }

    /// The point of a row. `None`: it is no histogram.
    pub(crate) fn get(&self, row: usize) -> Option<Result<Point<'a>, Unmeasured>> {
        let is_exponential = match self.kinds.as_ref()?.get(row)? {
            "histogram" => false,
            "exponential_histogram" => true,
            _ => return None,
        };
        if self.temporalities.as_ref().and_then(|column| column.get(row)) != Some("delta") {
            return Some(Err(Unmeasured::Cumulative));
        }
        let buckets = if is_exponential { self.exponential(row) } else { self.explicit(row) };
        let point = buckets.map(|buckets| Point {
            count: value(self.count, row).unwrap_or(0),
            sum: finite(self.sum, row),
            least: finite(self.least, row),
            most: finite(self.most, row),
            buckets,
        });
        Some(point.ok_or(Unmeasured::Malformed))
    }

    fn explicit(&self, row: usize) -> Option<PointBuckets<'a>> {
        let bounds: &[f64] = list::<Float64Type>(self.bounds, row)?;
        let counts: &[u64] = list::<UInt64Type>(self.bucket_counts, row)?;
        let rises = bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|bound| bound.is_finite());
        // A point may have no buckets at all; then it has a count and a sum alone.
        let fits = counts.len() == bounds.len() + 1 || counts.is_empty() && bounds.is_empty();
        (rises && fits && bounds.len() <= MOST_BOUNDS).then_some(PointBuckets::Explicit { bounds, counts })
    }

    fn exponential(&self, row: usize) -> Option<PointBuckets<'a>> {
        let scale = value(self.scale, row)?;
        let side = |side: &Side<'a>| {
            let counts = list::<UInt64Type>(side.counts, row)?;
            let offset = value(side.offset, row).unwrap_or(0);
            // The last bucket has a number, too.
            let last = i64::from(offset) + i64::try_from(counts.len()).ok()?;
            i32::try_from(last).ok().map(|_| (offset, counts))
        };
        SCALES.contains(&scale).then_some(PointBuckets::Exponential {
            scale,
            zeros: value(self.zeros, row).unwrap_or(0),
            zero_threshold: finite(self.zero_threshold, row).unwrap_or(0.0).max(0.0),
            positive: side(&self.positive)?,
            negative: side(&self.negative)?,
        })
    }
}

fn value<T: ArrowPrimitiveType>(
    column: Option<&arrow::array::PrimitiveArray<T>>,
    row: usize,
) -> Option<T::Native> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn finite(column: Option<&Float64Array>, row: usize) -> Option<f64> {
    // Adding 0 makes -0 and 0 one value.
    value(column, row).filter(|number| number.is_finite()).map(|number| number + 0.0)
}

/// The numbers of a list; a NULL list is empty. `None`: its numbers are not of this type, or one is NULL.
fn list<T: ArrowPrimitiveType>(column: Option<&ListArray>, row: usize) -> Option<&[T::Native]> {
    let Some(column) = column.filter(|column| column.is_valid(row)) else { return Some(&[]) };
    let values = column.values().as_primitive_opt::<T>()?;
    let (from, to) = (column.value_offsets()[row] as usize, column.value_offsets()[row + 1] as usize);
    let whole = values.null_count() == 0 || (from..to).all(|at| values.is_valid(at));
    whole.then(|| &values.values()[from..to])
}
