//! Subtracting a part from a sum.
//!
//! Counts, sums and histograms are exact, so they can be subtracted. The smallest, largest, first and last
//! value of a sum, its set of different values, and the buckets of its histogram points cannot. Where the
//! part may have decided them, they are computed again from the parts that stay. So the result is the same as
//! if the sum had been made of these parts alone.

use crate::state::buckets::Buckets;
use crate::state::distinct::Distinct;
use crate::state::exact_sum::ExactSum;
use crate::state::group_state::{Durations, GroupState};
use crate::state::measure::MeasureState;

impl GroupState {
    /// Takes out a part that was added. False: call [`reset_non_invertible`](Self::reset_non_invertible), and
    /// [`merge_non_invertible`](Self::merge_non_invertible) each part that stays.
    #[must_use]
    pub(crate) fn subtract(&mut self, part: &GroupState) -> bool {
        self.count = self.count.saturating_sub(part.count);
        self.with_status = self.with_status.saturating_sub(part.with_status);
        self.errors = self.errors.saturating_sub(part.errors);
        let mut whole = self.durations.subtract(&part.durations);
        for (measure, part) in self.measures.iter_mut().zip(&part.measures) {
            whole &= measure.subtract(part);
        }
        whole
    }

    /// Forgets what cannot be subtracted.
    pub(crate) fn reset_non_invertible(&mut self) {
        self.durations.range = None;
        self.measures.iter_mut().for_each(MeasureState::reset_non_invertible);
    }

    /// Adds of a part what cannot be subtracted.
    pub(crate) fn merge_non_invertible(&mut self, part: &GroupState) {
        self.durations.widen(part.durations.range);
        for (measure, part) in self.measures.iter_mut().zip(&part.measures) {
            measure.merge_non_invertible(part);
        }
    }
}

impl Durations {
    fn subtract(&mut self, part: &Durations) -> bool {
        self.count = self.count.saturating_sub(part.count);
        self.sum = self.sum.saturating_sub(part.sum);
        self.histogram.subtract(&part.histogram);
        let touches =
            self.range.zip(part.range).is_some_and(|(all, part)| all.0 == part.0 || all.1 == part.1);
        !touches
    }
}

impl MeasureState {
    fn subtract(&mut self, part: &MeasureState) -> bool {
        match (self, part) {
            (MeasureState::Count(count), MeasureState::Count(less)) => {
                *count = count.saturating_sub(*less);
                true
            }
            (MeasureState::Sum(sum, count), MeasureState::Sum(less, fewer)) => {
                *count = count.saturating_sub(*fewer);
                if *count == 0 {
                    *sum = ExactSum::default();
                } else {
                    sum.subtract(less);
                }
                true
            }
            (MeasureState::Ratio(hits, count), MeasureState::Ratio(fewer_hits, fewer)) => {
                *hits = hits.saturating_sub(*fewer_hits);
                *count = count.saturating_sub(*fewer);
                true
            }
            (MeasureState::Min(all), MeasureState::Min(part))
            | (MeasureState::Max(all), MeasureState::Max(part)) => part.is_none() || all != part,
            (MeasureState::Quantile(histogram, all), MeasureState::Quantile(less, part)) => {
                histogram.subtract(less);
                let touches = all.zip(*part).is_some_and(|(all, part)| all.0 == part.0 || all.1 == part.1);
                !touches
            }
            (MeasureState::Distinct(_), MeasureState::Distinct(part)) => part.is_empty(),
            (MeasureState::Buckets(_), MeasureState::Buckets(part)) => part.is_empty(),
            (MeasureState::First(all), MeasureState::First(part))
            | (MeasureState::Last(all), MeasureState::Last(part)) => part.is_none() || all != part,
            _ => true,
        }
    }

    fn reset_non_invertible(&mut self) {
        match self {
            MeasureState::Count(_) | MeasureState::Sum(..) | MeasureState::Ratio(..) => {}
            MeasureState::Min(value) | MeasureState::Max(value) => *value = None,
            MeasureState::Quantile(_, range) => *range = None,
            MeasureState::Distinct(distinct) => *distinct = Distinct::default(),
            MeasureState::Buckets(buckets) => *buckets = Buckets::default(),
            MeasureState::First(value) | MeasureState::Last(value) => *value = None,
        }
    }

    fn merge_non_invertible(&mut self, part: &MeasureState) {
        match (self, part) {
            (MeasureState::Count(_) | MeasureState::Sum(..) | MeasureState::Ratio(..), _) => {}
            (MeasureState::Quantile(_, range), MeasureState::Quantile(_, part)) => {
                *range = crate::state::measure::wider(*range, *part);
            }
            // They hold nothing else.
            (all, part) => all.merge(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::state::measure::tests::{FUNCTIONS, value};
    use crate::state::weight::Weight;

    fn of(events: &[(i64, f64)]) -> GroupState {
        let measures = FUNCTIONS.map(|(function, argument)| MeasureState::new(function, argument));
        let mut state = GroupState { measures: measures.into(), ..GroupState::default() };
        for (time, number) in events {
            state.count += 1;
            state.durations.add(*time, 1);
            for ((function, _), measure) in FUNCTIONS.iter().zip(&mut state.measures) {
                measure.add(*time, value(*function, *number), Weight::ONE);
            }
        }
        state
    }

    fn event() -> impl Strategy<Value = (i64, f64)> {
        let number = prop_oneof![(-3..3_i8).prop_map(f64::from), -9.0..9.0_f64, Just(1e100), Just(-1e100)];
        (-2..40_i64, number)
    }

    proptest! {
        #[test]
        fn what_stays_is_as_if_the_rest_had_never_been_there(
            parts in prop::collection::vec(prop::collection::vec(event(), 0..8), 1..8),
        ) {
            let parts: Vec<GroupState> = parts.iter().map(|events| of(events)).collect();
            let mut all = of(&[]);
            parts.iter().for_each(|part| all.merge(part));
            for gone in 0..parts.len() {
                if !all.subtract(&parts[gone]) {
                    all.reset_non_invertible();
                    parts[gone + 1..].iter().for_each(|part| all.merge_non_invertible(part));
                }
                let mut fresh = of(&[]);
                parts[gone + 1..].iter().for_each(|part| fresh.merge(part));
                prop_assert_eq!((all.count, &all.durations), (fresh.count, &fresh.durations));
                let pairs = all.measures.iter().zip(&fresh.measures);
                for ((function, _), (all, fresh)) in FUNCTIONS.iter().zip(pairs) {
                    let (all, fresh) = (all.result(*function, 7.0, 1), fresh.result(*function, 7.0, 1));
                    prop_assert_eq!(all, fresh, "{:?}", function);
                }
            }
        }
    }
}
