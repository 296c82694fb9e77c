//! How late events are, lane by lane: histograms of two distances in event time, and the advice that follows.
//!
//! * *Delay*: from the time of an event to its arrival. The arrival is the append time of its record where
//!   the lane keeps it, else the gateway's clock when the batch is read.
//! * *Disorder*: how far an event is behind the latest one that its lane brought before it. An event counts
//!   as at most [`AHEAD`] ahead of its arrival, so that one fast clock does not make all others late.
//!
//! An event whose disorder is not above `out_of_orderness` is not late in `aggregate`. So the advice is the
//! lowest bound of a bucket that 99.9 % of events do not exceed.
//!
//! A batch is counted in plain memory of its lane; its buckets are then added to what is shared, without a
//! lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use weir_pdata::Arrivals;

/// How far, in milliseconds, an event counts as ahead of its arrival.
const AHEAD: i64 = 10_000;
/// Buckets of a histogram: 0, then four for each power of two of milliseconds, up to 49 days.
const BUCKETS: usize = 125;
/// The share of events that the advice keeps, in thousandths.
const KEPT: u64 = 999;

/// The time columns, in the order in which they are looked for.
const TIMES: [&str; 2] = ["end_time", "time"];

/// The bucket of a distance in milliseconds. One below 0 counts as 0.
fn bucket(millis: i64) -> usize {
    let Ok(above) = u64::try_from(millis.saturating_sub(1)) else { return 0 };
    let shift = 61_u32.saturating_sub(above.leading_zeros());
    let place = 4 * u64::from(shift) + (above >> shift);
    usize::try_from(place).map_or(BUCKETS - 1, |place| (place + 1).min(BUCKETS - 1))
}

/// The largest distance of a bucket, in milliseconds.
pub(crate) fn bound(bucket: usize) -> i64 {
    match bucket.checked_sub(1) {
        None => 0,
        Some(place) if place < 8 => place as i64 + 1,
        Some(place) => {
            let shift = place / 4 - 1;
            (place as i64 % 4 + 5) << shift
        }
    }
}

/// Distances of one kind.
#[derive(Debug)]
pub(crate) struct Distances {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    longest: AtomicI64,
}

impl Default for Distances {
    fn default() -> Distances {
        let counts = [const { AtomicU64::new(0) }; BUCKETS];
        Distances { counts, sum: AtomicU64::new(0), longest: AtomicI64::new(0) }
    }
}

impl Distances {
    fn add(&self, batch: &BatchCounts) {
        for (shared, own) in self.counts.iter().zip(&batch.counts).filter(|(_, own)| **own > 0) {
            shared.fetch_add(u64::from(*own), Ordering::Relaxed);
        }
        self.sum.fetch_add(batch.sum, Ordering::Relaxed);
        self.longest.fetch_max(batch.longest, Ordering::Relaxed);
    }

    /// How many events there are in each bucket.
    pub(crate) fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed))
    }

    /// The sum, in milliseconds.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// The longest, in milliseconds.
    pub(crate) fn longest(&self) -> i64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// The lowest bound of a bucket that so many thousandths of the distances do not exceed. `None` without
    /// any.
    pub(crate) fn at(&self, thousandths: u64) -> Option<i64> {
        let counts = self.counts();
        let total: u64 = counts.iter().sum();
        let rank = u64::try_from((u128::from(total) * u128::from(thousandths)).div_ceil(1_000)).ok()?;
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += count;
            total > 0 && below >= rank
        });
        found.map(bound)
    }
}

/// The distances of a lane, or of all lanes that a receiver has had.
#[derive(Debug, Default)]
pub(crate) struct Disorder {
    pub(crate) delay: Distances,
    pub(crate) behind: Distances,
}

impl Disorder {
    /// The `out_of_orderness`, in milliseconds, that would have kept 99.9 % of the events.
    pub(crate) fn advice(&self) -> Option<i64> {
        self.behind.at(KEPT)
    }
}

/// The distances of one batch.
struct BatchCounts {
    counts: [u32; BUCKETS],
    sum: u64,
    longest: i64,
}

impl BatchCounts {
    fn new() -> BatchCounts {
        BatchCounts { counts: [0; BUCKETS], sum: 0, longest: 0 }
    }

    fn add(&mut self, millis: i64) {
        let millis = millis.max(0);
        let count = &mut self.counts[bucket(millis)];
        *count = count.saturating_add(1);
        self.sum = self.sum.saturating_add(millis.unsigned_abs());
        self.longest = self.longest.max(millis);
    }
}

/// Measures the batches of one lane.
pub(crate) struct LaneDisorder {
    /// The latest event time of the lane, in milliseconds.
    latest: i64,
    of_lane: Arc<Disorder>,
    of_receiver: Arc<Disorder>,
}

impl LaneDisorder {
    /// A lane that has brought nothing.
    pub(crate) fn new(of_lane: Arc<Disorder>, of_receiver: Arc<Disorder>) -> LaneDisorder {
        LaneDisorder { latest: i64::MIN, of_lane, of_receiver }
    }

    /// Measures a batch that is read at `now`, in milliseconds. One without a time column is not measured.
    pub(crate) fn measure(&mut self, batch: &RecordBatch, now: i64) {
        let column = TIMES.iter().find_map(|name| batch.column_by_name(name));
        let Some(times) = column.and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>()) else {
            return;
        };
        if times.null_count() == times.len() {
            return;
        }
        let arrivals = Arrivals::of(batch);
        let (mut delay, mut behind) = (BatchCounts::new(), BatchCounts::new());
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let time = times.value(row).div_euclid(1_000_000);
            let arrival = arrivals.as_ref().and_then(|arrivals| arrivals.get(row)).unwrap_or(now);
            delay.add(arrival.saturating_sub(time));
            behind.add(self.latest.max(time).saturating_sub(time));
            self.latest = self.latest.max(time.min(arrival.saturating_add(AHEAD)));
        }
        for disorder in [&self.of_lane, &self.of_receiver] {
            disorder.delay.add(&delay);
            disorder.behind.add(&behind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, TimestampNanosecondArray};

    fn batch(name: &str, millis: &[Option<i64>]) -> RecordBatch {
        let times = millis.iter().map(|time| time.map(|time| time * 1_000_000));
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC"));
        RecordBatch::try_from_iter_with_nullable([(name, times, true)]).unwrap()
    }

    fn lane() -> (LaneDisorder, Arc<Disorder>) {
        let shared = Arc::new(Disorder::default());
        (LaneDisorder::new(Arc::default(), Arc::clone(&shared)), shared)
    }

    #[test]
    fn buckets_are_where_their_bounds_say() {
        for distance in (0..5_000).chain([1 << 20, (1 << 20) + 1, 3_600_000, 4_000_000_000]) {
            let at = bucket(distance);
            assert!(distance <= bound(at), "{distance}: {at} ends at {}", bound(at));
            assert!(at == 0 || distance > bound(at - 1), "{distance}: {at}");
        }
        assert_eq!((bucket(-5), bucket(i64::MAX), bound(0)), (0, BUCKETS - 1, 0));
        assert!((1..BUCKETS).all(|at| bound(at) > bound(at - 1)));
        // The bounds of the exported histogram are bounds of buckets.
        assert!((0..=22).all(|power| bound(bucket(1 << power)) == 1 << power));
    }

    /// 1,000 events in order and each tenth 500 ms late, then one that is 40 s late: all but the last within
    /// 512 ms.
    #[test]
    fn the_advice_is_the_bound_that_would_have_kept_all_but_one_in_a_thousand() {
        let (mut lane, shared) = lane();
        let times: Vec<Option<i64>> =
            (0..1_000).map(|n| Some(100_000 + n * 10 - if n % 10 == 9 { 500 } else { 0 })).collect();
        times.chunks(64).for_each(|times| lane.measure(&batch("time", times), 200_000));
        lane.measure(&batch("time", &[Some(69_980)]), 200_000);
        assert_eq!(shared.advice(), Some(512));
        assert_eq!(shared.behind.longest(), 40_000);
        assert_eq!(shared.behind.counts().iter().sum::<u64>(), 1_001);
        lane.measure(&batch("time", &[Some(69_980)]), 200_000);
        assert_eq!(shared.advice(), Some(40_960), "two of 1,002 are more than one in a thousand");
    }

    #[test]
    fn a_fast_clock_makes_no_other_event_late() {
        let (mut lane, shared) = lane();
        lane.measure(&batch("end_time", &[Some(90_000), Some(9_000_000), None, Some(90_001)]), 90_000);
        assert_eq!(shared.behind.longest(), 9_999, "10 s ahead of its arrival, and not more");
        assert_eq!(shared.delay.longest(), 0);
        assert_eq!(shared.delay.counts().iter().sum::<u64>(), 3);
    }

    #[test]
    fn what_has_no_time_is_not_measured() {
        let (mut lane, shared) = lane();
        lane.measure(&batch("observed", &[Some(1)]), 5);
        lane.measure(&batch("time", &[None]), 5);
        assert_eq!((shared.advice(), shared.delay.at(500)), (None, None));
    }
}
