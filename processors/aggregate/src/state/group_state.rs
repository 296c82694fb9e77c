//! The state of one group in one window.
//!
//! Integers are summed in 128 bits, so results do not depend on order. Counts are in units of
//! [`Weight`](crate::state::weight::Weight). A group takes about 200 bytes and its
//! key, 16 bytes for each filled bucket of the histogram (see [`histogram`]), and the states of its named
//! measures.

use crate::state::histogram::{self, Fraction, Histogram};
use crate::state::measure::MeasureState;

/// The percentiles of durations, in the order of their columns.
pub(crate) const PERCENTILES: [u64; 4] = [50, 90, 95, 99];

/// The default measures and the named ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupState {
    /// Events.
    pub(crate) count: u64,
    /// Events that succeeded or failed. `error_count` and `success_rate` count these.
    pub(crate) with_outcome: u64,
    /// Events that failed.
    pub(crate) errors: u64,
    /// The durations of the events that have one.
    pub(crate) durations: Durations,
    /// The named measures, in the order of the configuration.
    pub(crate) measures: Box<[MeasureState]>,
}

/// Durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// How many.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: i128,
    /// The smallest and the largest.
    pub(crate) range: Option<(i64, i64)>,
    /// Their distribution; negative ones count as 0 here, and only here.
    pub(crate) histogram: Histogram,
}

impl GroupState {
    /// Adds what `other` has.
    pub(crate) fn merge(&mut self, other: &GroupState) {
        self.count = self.count.saturating_add(other.count);
        self.with_outcome = self.with_outcome.saturating_add(other.with_outcome);
        self.errors = self.errors.saturating_add(other.errors);
        self.durations.merge(&other.durations);
        for (measure, other) in self.measures.iter_mut().zip(&other.measures) {
            measure.merge(other);
        }
    }
}

impl Durations {
    /// Adds one duration, which counts so often.
    pub(crate) fn add(&mut self, duration: i64, times: u64) {
        self.count = self.count.saturating_add(times);
        self.sum = self.sum.saturating_add(i128::from(duration).saturating_mul(i128::from(times)));
        let (least, most) = self.range.unwrap_or((duration, duration));
        self.range = Some((least.min(duration), most.max(duration)));
        self.histogram.count(histogram::of_integer(clamped(duration)), times);
    }

    /// Adds what `other` has.
    pub(crate) fn merge(&mut self, other: &Durations) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.widen(other.range);
        self.histogram.merge(&other.histogram);
    }

    /// The mean. `None` without durations.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Covers this range too.
    pub(crate) fn widen(&mut self, range: Option<(i64, i64)>) {
        self.range = match (self.range, range) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (one, None) | (None, one) => one,
        };
    }

    /// The [`PERCENTILES`], within 0.4 % and never outside the smallest and the largest. `None` without
    /// durations.
    pub(crate) fn percentiles(&self) -> Option<[i64; PERCENTILES.len()]> {
        let (least, most) = self.range?;
        let buckets = self.histogram.quantiles(PERCENTILES.map(Fraction::percent))?;
        Some(buckets.map(|bucket| {
            let nearest = histogram::integer(bucket).clamp(clamped(least), clamped(most));
            i64::try_from(nearest).unwrap_or(i64::MAX)
        }))
    }
}

fn clamped(duration: i64) -> u64 {
    u64::try_from(duration).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(durations: &[i64]) -> Durations {
        let mut all = Durations::default();
        durations.iter().for_each(|duration| all.add(*duration, 1));
        all
    }

    #[test]
    fn sums_do_not_overflow() {
        let all = of(&[i64::MAX, i64::MAX, i64::MIN]);
        assert_eq!(all.sum, i128::from(i64::MAX) - 1);
        assert_eq!(all.range, Some((i64::MIN, i64::MAX)));
    }

    #[test]
    fn one_value_is_every_percentile_exactly() {
        for value in [0, 1, 999, 123_456_789, i64::MAX] {
            assert_eq!(of(&[value]).percentiles(), Some([value; 4]));
        }
    }

    #[test]
    fn negative_durations_count_as_zero_in_percentiles_only() {
        let all = of(&[-5, -7]);
        assert_eq!(all.percentiles(), Some([0; 4]));
        assert_eq!((all.mean(), all.range), (Some(-6.0), Some((-7, -5))));
    }

    #[test]
    fn without_durations_there_is_no_mean_and_no_percentile() {
        assert_eq!((of(&[]).mean(), of(&[]).percentiles()), (None, None));
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(
            a in prop::collection::vec(any::<i64>(), 0..20),
            b in prop::collection::vec(-5..2_000_000_i64, 0..20),
            c in prop::collection::vec(0..300_i64, 0..20),
        ) {
            let (a_state, b_state, c_state) = (of(&a), of(&b), of(&c));
            let merged = |parts: &[&Durations]| {
                let mut all = Durations::default();
                parts.iter().for_each(|part| all.merge(part));
                all
            };
            let whole = of(&[a, b, c].concat());
            prop_assert_eq!(&merged(&[&a_state, &b_state, &c_state]), &whole);
            prop_assert_eq!(&merged(&[&c_state, &a_state, &b_state]), &whole);
            prop_assert_eq!(&merged(&[&a_state, &merged(&[&c_state, &b_state])]), &whole);
        }
    }
}
