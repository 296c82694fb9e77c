//! The histogram points of a batch of metrics.
//!
//! Delta points are measured, explicit and exponential ones. Left out, and counted, are the points that have
//! an [`Unmeasured`]. Rows of other kinds of metrics have no distribution.

use arrow::array::{Array, AsArray, Float64Array, Int32Array, ListArray, RecordBatch, UInt64Array};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, UInt64Type};
use weir_pdata::text::TextColumn;

use crate::state::buckets::{MOST_BOUNDS, PointBuckets, SCALES, ZERO_THRESHOLDS};
use crate::state::measure::Point;
use crate::unmeasured::Unmeasured;

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
        Some(buckets.and_then(|buckets| self.point(row, buckets)))
    }

    fn point(&self, row: usize, buckets: PointBuckets<'a>) -> Result<Point<'a>, Unmeasured> {
        let count = value(self.count, row).unwrap_or(0);
        let sum = finite(self.sum, row);
        let adds_up = buckets.observations().is_none_or(|observations| observations == u128::from(count));
        // Nothing adds up to nothing.
        if !adds_up || count == 0 && sum.is_some_and(|sum| sum != 0.0) {
            return Err(Unmeasured::Malformed);
        }
        // Of no observation none is the smallest.
        let of_some = |number: Option<f64>| number.filter(|_| count > 0);
        let (least, most) = (of_some(finite(self.least, row)), of_some(finite(self.most, row)));
        Ok(Point { count, sum, least, most, buckets })
    }

    fn explicit(&self, row: usize) -> Result<PointBuckets<'a>, Unmeasured> {
        let bounds: &[f64] = list::<Float64Type>(self.bounds, row)?;
        let counts: &[u64] = list::<UInt64Type>(self.bucket_counts, row)?;
        let rises = bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|bound| bound.is_finite());
        // A point may have no buckets at all; then it has a count and a sum alone.
        let fits = counts.len() == bounds.len() + 1 || counts.is_empty() && bounds.is_empty();
        if rises && fits && bounds.len() <= MOST_BOUNDS {
            Ok(PointBuckets::Explicit { bounds, counts })
        } else {
            Err(Unmeasured::Malformed)
        }
    }

    fn exponential(&self, row: usize) -> Result<PointBuckets<'a>, Unmeasured> {
        let scale = value(self.scale, row).ok_or(Unmeasured::Malformed)?;
        if !SCALES.contains(&scale) {
            return Err(Unmeasured::Scale);
        }
        let zero_threshold = value(self.zero_threshold, row).unwrap_or(0.0);
        if !ZERO_THRESHOLDS.contains(&zero_threshold) {
            return Err(Unmeasured::ZeroThreshold);
        }
        let side = |side: &Side<'a>| {
            let counts = list::<UInt64Type>(side.counts, row)?;
            let offset = value(side.offset, row).unwrap_or(0);
            let held = filled(offset, counts).is_none_or(|(first, last)| are_of_floats(scale, first, last));
            if held { Ok((offset, counts)) } else { Err(Unmeasured::Malformed) }
        };
        Ok(PointBuckets::Exponential {
            scale,
            zeros: value(self.zeros, row).unwrap_or(0),
            // Adding 0 makes -0 and 0 one value.
            zero_threshold: zero_threshold + 0.0,
            positive: side(&self.positive)?,
            negative: side(&self.negative)?,
        })
    }
}

/// The numbers of the first and the last bucket that holds something.
fn filled(offset: i32, counts: &[u64]) -> Option<(i64, i64)> {
    let number = |at: usize| i64::from(offset).saturating_add(i64::try_from(at).unwrap_or(i64::MAX));
    let first = counts.iter().position(|count| *count > 0)?;
    let last = counts.iter().rposition(|count| *count > 0)?;
    Some((number(first), number(last)))
}

/// Whether these buckets are among those of the floats, which go from 2^-1074 to 2^1024.
fn are_of_floats(scale: i32, first: i64, last: i64) -> bool {
    // The upper end of a bucket is in it, the lower one is not.
    let by = scale.unsigned_abs();
    let (lowest, end) =
        if scale < 0 { (-1_075 >> by, 1_024 >> by) } else { ((-1_074_i64 << by) - 1, 1_024 << by) };
    lowest <= first && last < end
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

/// The numbers of a list; a NULL list is empty.
///
/// # Errors
/// Its numbers are not of this type, or one is NULL.
fn list<T: ArrowPrimitiveType>(column: Option<&ListArray>, row: usize) -> Result<&[T::Native], Unmeasured> {
    let Some(column) = column.filter(|column| column.is_valid(row)) else { return Ok(&[]) };
    let values = column.values().as_primitive_opt::<T>().ok_or(Unmeasured::Malformed)?;
    let (from, to) = (column.value_offsets()[row] as usize, column.value_offsets()[row + 1] as usize);
    let whole = values.null_count() == 0 || (from..to).all(|at| values.is_valid(at));
    if whole { Ok(&values.values()[from..to]) } else { Err(Unmeasured::Malformed) }
}
