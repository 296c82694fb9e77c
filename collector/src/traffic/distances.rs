//! Histograms of distances in time, that many lanes count in without a lock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Buckets of a histogram: 0, then four for each power of two of milliseconds, up to 49 days, and one for
/// more.
const BUCKETS: usize = 126;
/// A generation, in milliseconds.
const GENERATION: i64 = 3_600_000;

/// The bucket of a distance in milliseconds. One below 0 counts as 0.
fn bucket(millis: i64) -> usize {
    let Ok(above) = u64::try_from(millis.saturating_sub(1)) else { return 0 };
    let shift = 61_u32.saturating_sub(above.leading_zeros());
    let place = 4 * u64::from(shift) + (above >> shift);
    usize::try_from(place).map_or(BUCKETS - 1, |place| (place + 1).min(BUCKETS - 1))
}

/// The largest distance of a bucket, in milliseconds. The last one has none.
pub(crate) fn bound(bucket: usize) -> Option<i64> {
    match bucket.checked_sub(1) {
        None => Some(0),
        Some(place) if place < 8 => Some(place as i64 + 1),
        Some(_) if bucket >= BUCKETS - 1 => None,
        Some(place) => {
            let shift = place / 4 - 1;
            Some((place as i64 % 4 + 5) << shift)
        }
    }
}

/// Distances of one kind: all since the start, and those of the last one to two hours in which some came.
#[derive(Debug, Default)]
pub(crate) struct Distances {
    all: Counts,
    recent: Recent,
}

impl Distances {
    /// Adds the distances of a batch that is read at `now`, in milliseconds.
    pub(crate) fn add(&self, batch: &BatchCounts, now: i64) {
        self.all.add(batch);
        self.recent.at(now.div_euclid(GENERATION)).add(batch);
    }

    /// How many distances there have been in each bucket since the start.
    pub(crate) fn counts(&self) -> [u64; BUCKETS] {
        self.all.get()
    }

    /// The sum of all since the start, in milliseconds. It ends at the largest integer.
    pub(crate) fn sum(&self) -> u64 {
        self.all.sum.load(Ordering::Relaxed)
    }

    /// How many of the recent distances are in each bucket.
    pub(crate) fn recent(&self) -> [u64; BUCKETS] {
        let [one, other] = [0, 1].map(|at| self.recent.generations[at].get());
        std::array::from_fn(|at| one[at].saturating_add(other[at]))
    }

    /// The longest of the recent ones, in milliseconds.
    pub(crate) fn longest(&self) -> i64 {
        self.recent.generations.iter().map(|counts| counts.longest.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// The lowest bound of a bucket that so many thousandths of the recent distances do not exceed; when they
    /// reach into the last one, the longest. `None` without any.
    pub(crate) fn at(&self, thousandths: u64) -> Option<i64> {
        let counts = self.recent();
        let total: u128 = counts.iter().map(|count| u128::from(*count)).sum();
        let rank = (total * u128::from(thousandths)).div_ceil(1_000);
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += u128::from(*count);
            total > 0 && below >= rank
        });
        found.map(|at| bound(at).unwrap_or_else(|| self.longest()))
    }
}

/// The generation that is counted in, and the one before it.
#[derive(Debug)]
struct Recent {
    generations: [Counts; 2],
    /// The number of the newer one.
    newest: AtomicI64,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { generations: Default::default(), newest: AtomicI64::new(i64::MIN) }
    }
}

impl Recent {
    /// The counts of this generation. Whoever is the first in it forgets the last but one, and what others
    /// add in that moment. A lane that is still in the one before counts there. A clock that was set begins
    /// anew, whatever it said before.
    fn at(&self, generation: i64) -> &Counts {
        let place = |generation: i64| usize::from(generation.rem_euclid(2) == 1);
        let newest = self.newest.load(Ordering::Relaxed);
        let ahead = generation.saturating_sub(newest);
        if ahead != 0
            && ahead != -1
            && self.newest.compare_exchange(newest, generation, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.generations[place(generation)].forget();
            if ahead != 1 {
                self.generations[1 - place(generation)].forget();
            }
        }
        &self.generations[place(generation)]
    }
}

#[derive(Debug)]
struct Counts {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    longest: AtomicI64,
}

impl Default for Counts {
    fn default() -> Counts {
        let counts = [const { AtomicU64::new(0) }; BUCKETS];
        Counts { counts, sum: AtomicU64::new(0), longest: AtomicI64::new(0) }
    }
}

impl Counts {
    fn add(&self, batch: &BatchCounts) {
        for (shared, own) in self.counts.iter().zip(&batch.counts).filter(|(_, own)| **own > 0) {
            shared.fetch_add(u64::from(*own), Ordering::Relaxed);
        }
        let more = |sum: u64| Some(sum.saturating_add(batch.sum));
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        self.longest.fetch_max(batch.longest, Ordering::Relaxed);
    }

    fn forget(&self) {
        self.counts.iter().chain([&self.sum]).for_each(|count| count.store(0, Ordering::Relaxed));
        self.longest.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed))
    }
}

/// The distances of one batch.
pub(crate) struct BatchCounts {
    counts: [u32; BUCKETS],
    sum: u64,
    longest: i64,
}

impl BatchCounts {
    /// None yet.
    pub(crate) fn new() -> BatchCounts {
        BatchCounts { counts: [0; BUCKETS], sum: 0, longest: 0 }
    }

    /// Counts a distance in milliseconds. One below 0 counts as 0.
    pub(crate) fn add(&mut self, millis: i64) {
        let millis = millis.max(0);
        let count = &mut self.counts[bucket(millis)];
        *count = count.saturating_add(1);
        self.sum = self.sum.saturating_add(millis.unsigned_abs());
        self.longest = self.longest.max(millis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(to: &Distances, distances: &[i64], now: i64) {
        let mut batch = BatchCounts::new();
        distances.iter().for_each(|distance| batch.add(*distance));
        to.add(&batch, now);
    }

    fn events(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }

    #[test]
    fn buckets_are_where_their_bounds_say() {
        for distance in (0..5_000).chain([1 << 20, (1 << 20) + 1, 3_600_000, 4_000_000_000, 1 << 32]) {
            let at = bucket(distance);
            let end = bound(at).unwrap();
            assert!(distance <= end, "{distance}: {at} ends at {end}");
            assert!(at == 0 || distance > bound(at - 1).unwrap(), "{distance}: {at}");
        }
        assert_eq!((bucket(-5), bucket(i64::MAX), bound(0)), (0, BUCKETS - 1, Some(0)));
        assert!((1..BUCKETS - 1).all(|at| bound(at) > bound(at - 1)));
        // The bounds of the exported histogram are bounds of buckets.
        assert!((0..=22).all(|power| bound(bucket(1 << power)) == Some(1 << power)));
    }

    /// 2^32 ms are 49.7 days.
    #[test]
    fn the_last_bucket_has_no_bound() {
        assert_eq!((bucket((1 << 32) + 1), bound(BUCKETS - 2)), (BUCKETS - 1, Some(1 << 32)));
        assert_eq!((bound(BUCKETS - 1), bound(usize::MAX)), (None, None));
        let distances = Distances::default();
        add(&distances, &[9_000_000_001], 0);
        assert_eq!(distances.at(999), Some(9_000_000_001), "the longest, as it is not within 49 days");
    }

    #[test]
    fn sums_end_at_the_largest_integer() {
        let distances = Distances::default();
        (0..5).for_each(|_| add(&distances, &[i64::MAX], 0));
        assert_eq!((distances.sum(), events(&distances.counts())), (u64::MAX, 5));
    }

    #[test]
    fn a_distance_of_two_hours_ago_is_forgotten() {
        let distances = Distances::default();
        let hours = |hours: i64| 1_800_000_000_000 + hours * 3_600_000;
        add(&distances, &[60_000], hours(0));
        add(&distances, &[10], hours(1));
        assert_eq!((distances.at(1_000), distances.longest()), (Some(65_536), 60_000));
        // A lane that read its clock before the hour ended.
        add(&distances, &[20], hours(1) - 1);
        assert_eq!(events(&distances.recent()), 3);
        add(&distances, &[10], hours(2));
        assert_eq!(
            (distances.at(1_000), distances.longest(), events(&distances.recent())),
            (Some(10), 10, 2)
        );
        // Silence for hours, and a clock that is set back.
        for now in [hours(9), hours(3)] {
            add(&distances, &[4], now);
            assert_eq!((distances.at(1_000), events(&distances.recent())), (Some(4), 1));
        }
        // What is exported only grows.
        assert_eq!((events(&distances.counts()), distances.sum()), (6, 60_048));
    }
}
