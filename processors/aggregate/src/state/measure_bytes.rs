//! The bytes of a measure's state, as a lane sends them to the trunk.

use crate::state::buckets::Buckets;
use crate::state::codec::{Malformed, Reader, put_f64, put_i64, put_u64};
use crate::state::distinct::Distinct;
use crate::state::exact_sum::ExactSum;
use crate::state::histogram::Histogram;
use crate::state::measure::MeasureState;

impl MeasureState {
    /// Appends the bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            MeasureState::Count(count) => put_u64(out, *count),
            MeasureState::Sum(sum, count) => {
                put_u64(out, *count);
                sum.write(out);
            }
            MeasureState::Min(value) | MeasureState::Max(value) => {
                out.push(u8::from(value.is_some()));
                value.iter().for_each(|value| put_f64(out, *value));
            }
            MeasureState::Ratio(hits, count) => {
                put_u64(out, *hits);
                put_u64(out, *count);
            }
            MeasureState::Quantile(histogram, range) => {
                histogram.write(out);
                out.push(u8::from(range.is_some()));
                if let Some((least, most)) = range {
                    put_f64(out, *least);
                    put_f64(out, *most);
                }
            }
            MeasureState::Buckets(buckets) => buckets.write(out),
            MeasureState::Distinct(distinct) => distinct.write(out),
            MeasureState::First(value) | MeasureState::Last(value) => {
                out.push(u8::from(value.is_some()));
                if let Some((time, value)) = value {
                    put_i64(out, *time);
                    put_f64(out, *value);
                }
            }
        }
    }

    /// Reads the bytes of a state of the same measure as `self`, in its place.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        match self {
            MeasureState::Count(count) => *count = reader.u64()?,
            MeasureState::Sum(sum, count) => {
                *count = reader.u64()?;
                *sum = ExactSum::read(reader)?;
            }
            MeasureState::Min(value) | MeasureState::Max(value) => {
                *value = there(reader)?.then(|| reader.f64()).transpose()?;
            }
            MeasureState::Ratio(hits, count) => {
                *hits = reader.u64()?;
                *count = reader.u64()?;
                if hits > count {
                    return Err(Malformed("more hits than events"));
                }
            }
            MeasureState::Quantile(histogram, range) => {
                *histogram = Histogram::read(reader)?;
                *range = there(reader)?.then(|| Ok((reader.f64()?, reader.f64()?))).transpose()?;
                if range.is_some_and(|(least, most)| least > most) {
                    return Err(Malformed("a range is upside down"));
                }
            }
            MeasureState::Buckets(buckets) => *buckets = Buckets::read(reader)?,
            MeasureState::Distinct(distinct) => *distinct = Distinct::read(reader)?,
            MeasureState::First(value) | MeasureState::Last(value) => {
                *value = there(reader)?.then(|| Ok((reader.i64()?, reader.f64()?))).transpose()?;
            }
        }
        Ok(())
    }
}

fn there(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("neither there nor missing")),
    }
}
