//! The distribution that histogram points give, and its quantiles.
//!
//! Points of the same bounds add up exactly. So do exponential points of any scale: those of a finer scale
//! are counted in the buckets of the coarser one, of which theirs are parts. Points of different bounds have
//! no common buckets, and neither do explicit and exponential ones: then there is no quantile.
//!
//! A quantile is where it is in its bucket, the observations being spread evenly there
//! ([`quantile`](Buckets::quantile)); this is the rule of Prometheus.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::state::codec::{Malformed, Reader, put_f64, put_i64, put_u64};
use crate::state::histogram::Histogram;

/// The scales that are measured. One bucket of scale -4 goes from 1 to 65,536, one of scale -5 from 1 to
/// 4,294,967,296: a quantile in it would say nothing, and one such point would make all others as coarse. Of
/// scale -4 there are 132 buckets of floats, so that [`MOST`] holds at every scale.
pub(crate) const SCALES: RangeInclusive<i32> = -4..=20;
/// The zero thresholds that are measured. The largest is that of all points of a group; exporters send 0, or
/// what is next to it.
pub(crate) const ZERO_THRESHOLDS: RangeInclusive<f64> = 0.0..=1.0;
/// The most buckets that one sign of an exponential distribution keeps; then its scale gets coarser.
const MOST: usize = 320;
/// The most bounds of a point.
pub(crate) const MOST_BOUNDS: usize = 1_024;

/// The buckets of one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PointBuckets<'a> {
    /// Rising bounds, and a count more than there are bounds.
    Explicit { bounds: &'a [f64], counts: &'a [u64] },
    /// Powers of 2^(2^-scale).
    Exponential {
        scale: i32,
        zeros: u64,
        zero_threshold: f64,
        positive: (i32, &'a [u64]),
        negative: (i32, &'a [u64]),
    },
}

/// The sum of points.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Buckets {
    layout: Layout,
    /// By bucket: the number of its upper bound, or its exponent.
    positive: Histogram,
    negative: Histogram,
    zeros: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Layout {
    /// No point yet.
    #[default]
    Nothing,
    Explicit(Arc<[f64]>),
    Exponential {
        scale: i32,
        zero_threshold: f64,
    },
    /// Points without common buckets.
    Mixed,
}

impl Buckets {
    /// Adds a point, each of its observations so often. One without observations in buckets changes nothing:
    /// its bounds say nothing about others. False: it has no buckets in common with those before it, or they
    /// have none among themselves.
    #[must_use]
    pub(crate) fn add(&mut self, point: &PointBuckets<'_>, times: u64) -> bool {
        if point.observations().is_none_or(|observations| observations == 0) {
            return true;
        }
        match *point {
            PointBuckets::Explicit { bounds, counts } => {
                match &self.layout {
                    Layout::Nothing => self.layout = Layout::Explicit(bounds.into()),
                    Layout::Explicit(known) if **known == *bounds => {}
                    _ => {
                        self.mix();
                        return false;
                    }
                }
                count(&mut self.positive, 0, counts, times);
            }
            PointBuckets::Exponential { scale, zeros, zero_threshold, positive, negative } => {
                let mut one = Buckets {
                    layout: Layout::Exponential { scale, zero_threshold },
                    zeros: zeros.saturating_mul(times),
                    ..Buckets::default()
                };
                count(&mut one.positive, positive.0, positive.1, times);
                count(&mut one.negative, negative.0, negative.1, times);
                self.merge(&one);
            }
        }
        !self.is_mixed()
    }

    /// Adds what `other` has.
    pub(crate) fn merge(&mut self, other: &Buckets) {
        match (&self.layout, &other.layout) {
            (_, Layout::Nothing) => {}
            (Layout::Nothing, _) => {
                *self = other.clone();
                self.coarsen();
            }
            (Layout::Explicit(known), Layout::Explicit(bounds)) if known == bounds => {
                self.positive.merge(&other.positive);
            }
            (
                Layout::Exponential { scale, zero_threshold },
                Layout::Exponential { scale: other_scale, zero_threshold: other_threshold },
            ) => {
                let (own, zero_threshold) = (*scale, zero_threshold.max(*other_threshold));
                let scale = own.min(*other_scale);
                for (buckets, others) in
                    [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)]
                {
                    shift(buckets, own - scale);
                    if *other_scale == scale {
                        buckets.merge(others);
                    } else {
                        let mut others = others.clone();
                        shift(&mut others, *other_scale - scale);
                        buckets.merge(&others);
                    }
                }
                self.zeros = self.zeros.saturating_add(other.zeros);
                self.layout = Layout::Exponential { scale, zero_threshold };
                self.coarsen();
            }
            _ => self.mix(),
        }
    }

    /// Whether there is no point.
    pub(crate) fn is_empty(&self) -> bool {
        self.layout == Layout::Nothing
    }

    /// Whether it has points without common buckets, and so no quantile.
    pub(crate) fn is_mixed(&self) -> bool {
        self.layout == Layout::Mixed
    }

    fn mix(&mut self) {
        *self = Buckets { layout: Layout::Mixed, ..Buckets::default() };
    }

    /// Makes the scale coarser until the buckets are not too many. The result is that of the buckets of all
    /// points, in whatever order they come: parts of them have no more buckets than all.
    fn coarsen(&mut self) {
        let Layout::Exponential { scale, .. } = &mut self.layout else { return };
        while self.positive.len().max(self.negative.len()) > MOST && *scale > *SCALES.start() {
            *scale -= 1;
            shift(&mut self.positive, 1);
            shift(&mut self.negative, 1);
        }
    }

    /// The value that this share, 0 to 1, of the observations do not exceed: with the rank `share` times
    /// their number, in the first bucket up to which so many are counted, as far from its lower to its upper
    /// end as the rank is from the observations below the bucket to those up to its end. That is by
    /// difference for explicit buckets and the bucket around zero, and by ratio for exponential ones.
    ///
    /// The lowest explicit bucket begins at 0 if its bound is above 0; else its bound is the value. In the
    /// highest the last bound is. The bucket around zero goes from minus to plus the zero threshold, or from
    /// 0, or to 0, when there is nothing on the other side.
    ///
    /// `None`: no observations, points without common buckets, or no bounds.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        match &self.layout {
            Layout::Nothing | Layout::Mixed => None,
            Layout::Explicit(bounds) => {
                let filled = self.positive.iter();
                let mut rank = Rank::of(share, filled.map(|(_, count)| u128::from(count)).sum())?;
                let mut filled = self.positive.iter();
                let (bucket, part) =
                    filled.find_map(|(bucket, count)| Some((bucket, rank.reaches(count.into())?)))?;
                in_explicit(bounds, usize::try_from(bucket).ok()?, part)
            }
            Layout::Exponential { scale, zero_threshold } => {
                self.exponential_quantile(share, *scale, *zero_threshold)
            }
        }
    }

    /// A bucket that lies within the zero threshold, which may be that of other points, is part of the bucket
    /// around zero. One that the threshold cuts is, too: the threshold reaches to its end. That is decided
    /// here, of all points together, so that their order does not matter.
    fn exponential_quantile(&self, share: f64, scale: i32, zero_threshold: f64) -> Option<f64> {
        let ends = |bucket: i32| (exponential(scale, bucket, 0.0), exponential(scale, bucket, 1.0));
        let filled = self.positive.iter().chain(self.negative.iter());
        let cut = filled
            .map(|(bucket, _)| ends(bucket))
            .find(|(lower, upper)| *lower < zero_threshold && zero_threshold < *upper);
        let zero_threshold = cut.map_or(zero_threshold, |(_, upper)| upper);
        let is_zero = |bucket: i32| ends(bucket).1 <= zero_threshold;
        let mut zeros = u128::from(self.zeros);
        let mut outside = |buckets: &Histogram| -> Vec<(i32, u128)> {
            let counts = buckets.iter().map(|(bucket, count)| (bucket, u128::from(count)));
            let (within, outside): (Vec<_>, Vec<_>) = counts.partition(|(bucket, _)| is_zero(*bucket));
            zeros += within.iter().map(|(_, count)| count).sum::<u128>();
            outside
        };
        let (positive, negative) = (outside(&self.positive), outside(&self.negative));
        let sum = |counts: &[(i32, u128)]| counts.iter().map(|(_, count)| count).sum::<u128>();
        let mut rank = Rank::of(share, sum(&negative) + zeros + sum(&positive))?;
        for (bucket, count) in negative.iter().rev() {
            if let Some(part) = rank.reaches(*count) {
                // Its ends are those of the positive bucket, turned round.
                return Some(-exponential(scale, *bucket, 1.0 - part));
            }
        }
        if zeros > 0
            && let Some(part) = rank.reaches(zeros)
        {
            let lower = if negative.is_empty() { 0.0 } else { -zero_threshold };
            let upper = if positive.is_empty() && !negative.is_empty() { 0.0 } else { zero_threshold };
            return Some(lower + (upper - lower) * part);
        }
        let found = positive.iter().find_map(|(bucket, count)| Some((*bucket, rank.reaches(*count)?)));
        found.map(|(bucket, part)| exponential(scale, bucket, part))
    }

    /// Appends the bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.layout {
            Layout::Nothing => return out.push(0),
            Layout::Mixed => return out.push(1),
            Layout::Explicit(bounds) => {
                out.push(2);
                put_u64(out, bounds.len() as u64);
                bounds.iter().for_each(|bound| put_f64(out, *bound));
            }
            Layout::Exponential { scale, zero_threshold } => {
                out.push(3);
                put_i64(out, i64::from(*scale));
                put_f64(out, *zero_threshold);
            }
        }
        self.positive.write(out);
        self.negative.write(out);
        put_u64(out, self.zeros);
    }

    /// Reads the bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Buckets, Malformed> {
        let layout = match reader.byte()? {
            0 => return Ok(Buckets::default()),
            1 => return Ok(Buckets { layout: Layout::Mixed, ..Buckets::default() }),
            2 => {
                let length = reader.length(8)?;
                let bounds: Vec<f64> = (0..length).map(|_| reader.f64()).collect::<Result<_, _>>()?;
                if !bounds.is_sorted_by(|a, b| a < b) {
                    return Err(Malformed("bounds of buckets do not rise"));
                }
                Layout::Explicit(bounds.into())
            }
            3 => {
                let scale = i32::try_from(reader.i64()?).ok().filter(|scale| SCALES.contains(scale));
                let scale = scale.ok_or(Malformed("a scale is out of range"))?;
                Layout::Exponential { scale, zero_threshold: reader.f64()? }
            }
            _ => return Err(Malformed("an unknown kind of buckets")),
        };
        let (positive, negative) = (Histogram::read(reader)?, Histogram::read(reader)?);
        Ok(Buckets { layout, positive, negative, zeros: reader.u64()? })
    }
}

impl PointBuckets<'_> {
    /// How many observations are in buckets. `None`: the point has no buckets.
    pub(crate) fn observations(&self) -> Option<u128> {
        let all = |counts: &[u64]| counts.iter().map(|count| u128::from(*count)).sum::<u128>();
        match self {
            PointBuckets::Explicit { counts, .. } => (!counts.is_empty()).then(|| all(counts)),
            PointBuckets::Exponential { zeros, positive, negative, .. } => {
                Some(u128::from(*zeros) + all(positive.1) + all(negative.1))
            }
        }
    }
}

/// A rank among observations, and how many of them are below the bucket that is looked at.
struct Rank {
    rank: f64,
    below: u128,
}

impl Rank {
    /// That of a share of so many observations. `None`: there are none.
    fn of(share: f64, total: u128) -> Option<Rank> {
        (total > 0).then_some(Rank { rank: share * total as f64, below: 0 })
    }

    /// The share of the next bucket's observations that the rank reaches, if it is in this bucket.
    fn reaches(&mut self, count: u128) -> Option<f64> {
        let before = self.below;
        self.below += count;
        (self.rank <= self.below as f64).then(|| ((self.rank - before as f64) / count as f64).clamp(0.0, 1.0))
    }
}

/// Adds the counts of buckets that follow each other.
fn count(buckets: &mut Histogram, first: i32, counts: &[u64], times: u64) {
    for (bucket, count) in (i64::from(first)..).zip(counts).filter(|(_, count)| **count > 0) {
        if let Ok(bucket) = i32::try_from(bucket) {
            buckets.count(bucket, count.saturating_mul(times));
        }
    }
}

/// The counts in buckets that are 2^`steps` times as wide.
fn shift(buckets: &mut Histogram, steps: i32) {
    if steps > 0 {
        let mut wider = Histogram::default();
        buckets.iter().for_each(|(bucket, count)| wider.count(bucket >> steps.min(31), count));
        *buckets = wider;
    }
}

fn in_explicit(bounds: &[f64], bucket: usize, part: f64) -> Option<f64> {
    let Some(upper) = bounds.get(bucket) else { return bounds.last().copied() };
    let lower = match bucket.checked_sub(1) {
        Some(below) => bounds[below],
        None if *upper > 0.0 => 0.0,
        None => return Some(*upper),
    };
    Some(lower + (upper - lower) * part)
}

/// The value so far into the bucket from `base`^`bucket` to `base`^(`bucket` + 1), with `base` 2^(2^-scale).
fn exponential(scale: i32, bucket: i32, part: f64) -> f64 {
    let exponent = (f64::from(bucket) + part) * f64::from(-scale).exp2();
    // An exponent beyond those of floats would be infinite, which no column takes.
    exponent.exp2().min(f64::MAX)
}

#[cfg(test)]
mod tests;
