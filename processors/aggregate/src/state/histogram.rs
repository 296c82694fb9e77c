//! A mergeable histogram for quantiles, with a relative error below 0.4 %.
//!
//! Buckets are those of HDR histograms: each power of two is cut into 128 equal parts. Only buckets that hold
//! something take memory (16 bytes each), because one operator keeps one histogram per group and most groups
//! see few different values: a dense HDR histogram of the same range takes about 170 KB a group. Where at
//! least half of the buckets from the first to the last hold something, all of these are kept, in 8 bytes
//! each, and nothing is searched. A histogram of integers has at most 7,424 buckets (116 KiB); latencies
//! between 1 ms and 1 s fill at most 1,280.
//!
//! The bytes: number of buckets, then for each, in rising order, the distance of its index to the one before
//! (the first: the index itself, signed) and its count.

use std::cmp::Ordering;

use crate::state::codec::{Malformed, Reader, put_i64, put_u64};

/// Bits of a value that tell buckets within a power of two apart.
const BITS: u32 = 7;
const PARTS: u64 = 1 << BITS;
/// The bucket of `u64::MAX`.
const LAST_INTEGER: i32 = (64 - BITS as i32 - 1) * PARTS as i32 + 2 * PARTS as i32 - 1;
/// Bits of a float below those that choose its bucket.
const FLOAT_SHIFT: u32 = 52 - BITS;

/// Counts by bucket. Buckets are numbered by [`of_integer`] or [`of_float`]; one histogram uses one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    buckets: Buckets,
}

/// The buckets that are not empty.
#[derive(Clone, Debug)]
enum Buckets {
    /// A single bucket needs no memory of its own: many groups see one event a slice.
    One([(i32, u64); 1]),
    /// In rising order of index, no count is 0.
    Some(Vec<(i32, u64)>),
    All(Range),
}

/// The counts of all buckets from `first` on, the last of which may be 0 too.
#[derive(Clone, Debug)]
struct Range {
    first: i32,
    counts: Vec<u64>,
    /// How many are not 0.
    filled: usize,
}

/// Fewer buckets than this are searched.
const FEW: usize = 32;
/// A range is kept while one of so many of its buckets holds something. It begins with twice as many.
const SPARSE: usize = 4;

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets::Some(Vec::new())
    }
}

impl Range {
    /// The range of these buckets, when enough of it holds something.
    fn of(buckets: &[(i32, u64)]) -> Option<Range> {
        let ((first, _), (last, _)) = (buckets.first()?, buckets.last()?);
        let length = usize::try_from(i64::from(*last) - i64::from(*first) + 1).ok()?;
        if buckets.len() < FEW || length > SPARSE / 2 * buckets.len() {
            return None;
        }
        let mut counts = vec![0; length];
        for (bucket, values) in buckets {
            counts[bucket.abs_diff(*first) as usize] = *values;
        }
        Some(Range { first: *first, counts, filled: buckets.len() })
    }

    /// The count of a bucket that is in the range.
    fn get_mut(&mut self, bucket: i32) -> Option<&mut u64> {
        let at = usize::try_from(i64::from(bucket) - i64::from(self.first)).ok()?;
        self.counts.get_mut(at)
    }

    /// Makes the range so large that this bucket is in it, when enough of it holds something then.
    fn reach(&mut self, bucket: i32) -> bool {
        let last = i64::from(self.first) + self.counts.len() as i64 - 1;
        let (first, last) = (self.first.min(bucket), last.max(i64::from(bucket)));
        let Ok(length) = usize::try_from(last - i64::from(first) + 1) else { return false };
        if length > SPARSE * self.filled {
            return false;
        }
        let before = self.first.abs_diff(first) as usize;
        self.counts.splice(0..0, std::iter::repeat_n(0, before));
        self.counts.resize(length, 0);
        self.first = first;
        true
    }

    fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        let bucket = |at: usize| self.first.wrapping_add(at as i32);
        let counts = self.counts.iter().enumerate().filter(|(_, values)| **values > 0);
        counts.map(move |(at, values)| (bucket(at), *values))
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Histogram) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Histogram {}

impl Histogram {
    /// The buckets that hold something, in rising order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        let (some, all) = match &self.buckets {
            Buckets::One(one) => (&one[..], None),
            Buckets::Some(buckets) => (&buckets[..], None),
            Buckets::All(range) => (&[][..], Some(range.iter())),
        };
        some.iter().copied().chain(all.into_iter().flatten())
    }

    /// How many buckets hold something.
    pub(crate) fn len(&self) -> usize {
        match &self.buckets {
            Buckets::One(_) => 1,
            Buckets::Some(buckets) => buckets.len(),
            Buckets::All(range) => range.filled,
        }
    }

    /// Counts one value.
    #[cfg(test)]
    pub(crate) fn record(&mut self, bucket: i32) {
        self.count(bucket, 1);
    }

    /// Counts so many values. Allocates only when the bucket is new and the list is full.
    pub(crate) fn count(&mut self, bucket: i32, values: u64) {
        match &mut self.buckets {
            Buckets::All(range) => {
                if let Some(count) = range.get_mut(bucket) {
                    let new = *count == 0;
                    *count = count.saturating_add(values);
                    range.filled += usize::from(new);
                } else if range.reach(bucket) {
                    self.count(bucket, values);
                } else {
                    self.buckets = Buckets::Some(range.iter().collect());
                    self.count(bucket, values);
                }
            }
            Buckets::One([one]) if one.0 == bucket => one.1 = one.1.saturating_add(values),
            Buckets::One([one]) => {
                let mut buckets = Vec::with_capacity(4);
                buckets.push(*one);
                buckets.insert(usize::from(bucket > one.0), (bucket, values));
                self.buckets = Buckets::Some(buckets);
            }
            Buckets::Some(buckets) if buckets.is_empty() => self.buckets = Buckets::One([(bucket, values)]),
            Buckets::Some(buckets) => match buckets.binary_search_by_key(&bucket, |(index, _)| *index) {
                Ok(at) => buckets[at].1 = buckets[at].1.saturating_add(values),
                Err(at) => {
                    buckets.insert(at, (bucket, values));
                    if let Some(range) = Range::of(buckets) {
                        self.buckets = Buckets::All(range);
                    }
                }
            },
        }
    }

    /// Counts what `other` counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        if self.len() == 0 {
            self.buckets = other.buckets.clone();
            return;
        }
        if matches!(self.buckets, Buckets::All(_)) || other.len() <= self.len() / 8 + 1 {
            other.iter().for_each(|(bucket, values)| self.count(bucket, values));
            return;
        }
        let mut merged = Vec::with_capacity(self.len().max(other.len()));
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            match a.0.cmp(&b.0) {
                Ordering::Less => merged.extend(left.next()),
                Ordering::Greater => merged.extend(right.next()),
                Ordering::Equal => {
                    merged.push((a.0, a.1.saturating_add(b.1)));
                    left.next();
                    right.next();
                }
            }
        }
        merged.extend(left);
        merged.extend(right);
        self.buckets = Range::of(&merged).map_or(Buckets::Some(merged), Buckets::All);
    }

    /// Takes out what `other` counted. All of it was merged before. False: one of the counts had reached the
    /// largest integer, so that it is not known how many stay.
    #[must_use]
    pub(crate) fn subtract(&mut self, other: &Histogram) -> bool {
        let mut exact = true;
        let mut rest = |count: u64, fewer: u64| {
            exact &= count < u64::MAX || fewer == 0;
            count.saturating_sub(fewer)
        };
        match &mut self.buckets {
            Buckets::One([one]) => {
                let fewer = other.iter().find(|other| other.0 == one.0).map_or(0, |other| other.1);
                one.1 = rest(one.1, fewer);
                if one.1 == 0 {
                    self.buckets = Buckets::default();
                }
            }
            Buckets::All(range) => {
                for (bucket, values) in other.iter() {
                    let Some(count) = range.get_mut(bucket).filter(|count| **count > 0) else { continue };
                    *count = rest(*count, values);
                    range.filled -= usize::from(*count == 0);
                }
                if range.counts.len() > SPARSE * range.filled {
                    self.buckets = Buckets::Some(range.iter().collect());
                }
            }
            Buckets::Some(buckets) if other.len() <= buckets.len() / 8 + 1 => {
                for (bucket, values) in other.iter() {
                    if let Ok(at) = buckets.binary_search_by_key(&bucket, |(index, _)| *index) {
                        buckets[at].1 = rest(buckets[at].1, values);
                        if buckets[at].1 == 0 {
                            buckets.remove(at);
                        }
                    }
                }
            }
            Buckets::Some(buckets) => {
                let mut theirs = other.iter().peekable();
                buckets.retain_mut(|(bucket, values)| {
                    while theirs.next_if(|(other, _)| other < bucket).is_some() {}
                    let fewer = theirs.next_if(|(other, _)| other == bucket).map_or(0, |(_, fewer)| fewer);
                    *values = rest(*values, fewer);
                    *values > 0
                });
            }
        }
        exact
    }

    /// The bucket of the smallest value that at least `share` of all values do not exceed. `None` when empty.
    pub(crate) fn quantile(&self, share: Fraction) -> Option<i32> {
        self.quantiles([share]).map(|[bucket]| bucket)
    }

    /// [`quantile`](Self::quantile) of several shares, which do not fall.
    pub(crate) fn quantiles<const N: usize>(&self, shares: [Fraction; N]) -> Option<[i32; N]> {
        let mut left = self.iter();
        let (mut at, mut below) = left.next().map(|(bucket, count)| (bucket, u128::from(count)))?;
        let mut found = [at; N];
        if self.len() == 1 {
            return Some(found);
        }
        let total: u128 = self.iter().map(|(_, count)| u128::from(count)).sum();
        for (found, share) in found.iter_mut().zip(shares) {
            let rank = share.rank(total);
            while below < rank
                && let Some((bucket, count)) = left.next()
            {
                below += u128::from(count);
                at = bucket;
            }
            *found = at;
        }
        Some(found)
    }

    /// Appends the bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len() as u64);
        let mut before = 0_i64;
        for (index, count) in self.iter() {
            put_i64(out, i64::from(index) - before);
            put_u64(out, count);
            before = i64::from(index);
        }
    }

    /// Reads the bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Histogram, Malformed> {
        let length = reader.length(2)?;
        let mut one = Buckets::default();
        let mut buckets = Vec::with_capacity(if length > 1 { length } else { 0 });
        let mut before = 0_i64;
        for position in 0..length {
            let step = reader.i64()?;
            let index = before.checked_add(step).ok_or(Malformed("a bucket is out of range"))?;
            if position > 0 && step <= 0 {
                return Err(Malformed("buckets are out of order"));
            }
            let count = reader.u64()?;
            if count == 0 {
                return Err(Malformed("a bucket is empty"));
            }
            let bucket = i32::try_from(index).map_err(|_| Malformed("a bucket is out of range"))?;
            if length == 1 {
                one = Buckets::One([(bucket, count)]);
            } else {
                buckets.push((bucket, count));
            }
            before = index;
        }
        let some = |buckets: Vec<_>| Range::of(&buckets).map_or(Buckets::Some(buckets), Buckets::All);
        Ok(Histogram { buckets: if length == 1 { one } else { some(buckets) } })
    }
}

/// A share of values, 0 to 1, in parts of a thousand million: so that 0.07 of 100 values are 7, not 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fraction(u64);

const WHOLE: u64 = 1_000_000_000;

impl Fraction {
    /// The share that is nearest to `share`, cut to 0 to 1.
    pub(crate) fn new(share: f64) -> Fraction {
        Fraction((share.clamp(0.0, 1.0) * WHOLE as f64).round() as u64)
    }

    /// This many percent.
    pub(crate) const fn percent(percent: u64) -> Fraction {
        Fraction(percent * (WHOLE / 100))
    }

    /// The rank, from 1, of the value asked for among `total` values.
    pub(crate) fn rank(self, total: u128) -> u128 {
        total.saturating_mul(u128::from(self.0)).div_ceil(u128::from(WHOLE)).max(1)
    }
}

/// The bucket of an integer. Below 256 each integer has its own.
pub(crate) fn of_integer(value: u64) -> i32 {
    let shift = (64 - BITS - 1).saturating_sub(value.leading_zeros());
    // At most LAST_INTEGER.
    (u64::from(shift) * PARTS + (value >> shift)) as i32
}

/// The middle of the bucket of an integer.
pub(crate) fn integer(bucket: i32) -> u64 {
    let bucket = u64::from(bucket.clamp(0, LAST_INTEGER).unsigned_abs());
    if bucket < 2 * PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    let low = (bucket % PARTS + PARTS) << shift;
    low + (1 << (shift - 1))
}

/// The bucket of a finite float. Negative ones mirror positive ones; zero has its own.
pub(crate) fn of_float(value: f64) -> i32 {
    if value == 0.0 {
        return 0;
    }
    // A finite float has 18 bits left here.
    let bucket = (value.abs().to_bits() >> FLOAT_SHIFT) as i32 + 1;
    if value > 0.0 { bucket } else { -bucket }
}

/// The middle of the bucket of a float.
pub(crate) fn float(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let last = of_float(f64::MAX);
    let bits = u64::from(bucket.unsigned_abs().min(last.unsigned_abs()) - 1) << FLOAT_SHIFT;
    let middle = f64::from_bits(bits | 1 << (FLOAT_SHIFT - 1));
    if bucket > 0 { middle } else { -middle }
}

#[cfg(test)]
mod tests;
