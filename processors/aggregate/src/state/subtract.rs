//! Subtracting a part from a sum.
//!
//! Counts, sums and histograms are exact, so they can be subtracted. The smallest, largest, first and last
//! value of a sum, its set of different values, and the buckets of its histogram points cannot. Where the
//! part may have decided them, they are computed again from the parts that stay. A count that has reached the
//! largest integer is no longer the sum of its parts. Then all of the state is computed again. So the result
//! is the same as if the sum had been made of these parts alone.

use crate::state::buckets::Buckets;
use crate::state::distinct::Distinct;
use crate::state::exact_sum::ExactSum;
use crate::state::group_state::{Durations, GroupState};
use crate::state::histogram::Histogram;
use crate::state::measure::MeasureState;

/// How much of a sum is right after a part was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// All of it.
    #[default]
    All,
    /// All that can be subtracted.
    Subtracted,
    /// Nothing: a count had reached the largest integer.
    Nothing,
}

impl GroupState {
    /// Takes out a part that was added. Where not all is left, call [`reset`](Self::reset) with the result,
    /// and [`merge_again`](Self::merge_again) with each part that stays.
    #[must_use]
    pub(crate) fn subtract(&mut self, part: &GroupState) -> Left {
        let counts = [
            (&mut self.count, part.count),
            (&mut self.with_outcome, part.with_outcome),
            (&mut self.errors, part.errors),
        ];
        let mut left = self.durations.subtract(&part.durations);
        for (count, part) in counts {
            left = left.max(subtract(count, part));
        }
        for (measure, part) in self.measures.iter_mut().zip(&part.measures) {
            left = left.max(measure.subtract(part));
        }
        left
    }

    /// Forgets all that is not left.
    pub(crate) fn reset(&mut self, left: Left) {
        match left {
            Left::All => {}
            Left::Subtracted => {
                self.durations.range = None;
                self.measures.iter_mut().for_each(MeasureState::reset_non_invertible);
            }
            Left::Nothing => {
                (self.count, self.with_outcome, self.errors) = (0, 0, 0);
                self.durations = Durations::default();
                self.measures.iter_mut().for_each(MeasureState::reset);
            }
        }
    }

    /// Adds of a part what was not left.
    pub(crate) fn merge_again(&mut self, part: &GroupState, left: Left) {
        match left {
            Left::All => {}
            Left::Subtracted => {
                self.durations.widen(part.durations.range);
                for (measure, part) in self.measures.iter_mut().zip(&part.measures) {
                    measure.merge_non_invertible(part);
                }
            }
            Left::Nothing => self.merge(part),
        }
    }
}

/// Takes a part off a count.
fn subtract(count: &mut u64, part: u64) -> Left {
    let left = if *count == u64::MAX && part > 0 { Left::Nothing } else { Left::All };
    *count = count.saturating_sub(part);
    left
}

/// All, or all that can be subtracted.
fn all_if(whole: bool) -> Left {
    if whole { Left::All } else { Left::Subtracted }
}

/// All, or nothing, as a histogram says of itself.
fn exact(is_exact: bool) -> Left {
    if is_exact { Left::All } else { Left::Nothing }
}

impl Durations {
    fn subtract(&mut self, part: &Durations) -> Left {
        let sums = [i128::MIN, i128::MAX].contains(&self.sum);
        self.sum = self.sum.saturating_sub(part.sum);
        let touches =
            self.range.zip(part.range).is_some_and(|(all, part)| all.0 == part.0 || all.1 == part.1);
        exact(!sums)
            .max(subtract(&mut self.count, part.count))
            .max(exact(self.histogram.subtract(&part.histogram)))
            .max(all_if(!touches))
    }
}

impl MeasureState {
    fn subtract(&mut self, part: &MeasureState) -> Left {
        match (self, part) {
            (MeasureState::Count(count), MeasureState::Count(less)) => subtract(count, *less),
            (MeasureState::Sum(sum, count), MeasureState::Sum(less, fewer)) => {
                let left = subtract(count, *fewer);
                if *count == 0 {
                    *sum = ExactSum::default();
                } else {
                    sum.subtract(less);
                }
                left
            }
            (MeasureState::Ratio(hits, count), MeasureState::Ratio(fewer_hits, fewer)) => {
                subtract(hits, *fewer_hits).max(subtract(count, *fewer))
            }
            (MeasureState::Min(all), MeasureState::Min(part))
            | (MeasureState::Max(all), MeasureState::Max(part)) => all_if(part.is_none() || all != part),
            (MeasureState::Quantile(histogram, all), MeasureState::Quantile(less, part)) => {
                let touches = all.zip(*part).is_some_and(|(all, part)| all.0 == part.0 || all.1 == part.1);
                exact(histogram.subtract(less)).max(all_if(!touches))
            }
            (MeasureState::Distinct(_), MeasureState::Distinct(part)) => all_if(part.is_empty()),
            (MeasureState::Buckets(_), MeasureState::Buckets(part)) => all_if(part.is_empty()),
            (MeasureState::First(all), MeasureState::First(part))
            | (MeasureState::Last(all), MeasureState::Last(part)) => all_if(part.is_none() || all != part),
            _ => Left::All,
        }
    }

    /// The state before the first event.
    fn reset(&mut self) {
        match self {
            MeasureState::Count(count) => *count = 0,
            MeasureState::Sum(sum, count) => (*sum, *count) = (ExactSum::default(), 0),
            MeasureState::Ratio(hits, count) => (*hits, *count) = (0, 0),
            MeasureState::Quantile(histogram, _) => *histogram = Histogram::default(),
            _ => {}
        }
        self.reset_non_invertible();
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

    use crate::state::measure::Measured;
    use crate::state::measure::tests::{FUNCTIONS, value};
    use crate::state::weight::Weight;
    use weir_pdata::expr::Function;

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

    /// 18 million events of the weight 10^9 are more than 2^64 thousandths.
    #[test]
    fn what_stays_of_a_count_that_reached_its_end_is_right() {
        let heavy = |units: u64| {
            let mut state = of(&[]);
            (state.count, state.with_outcome, state.errors) = (units, units, units);
            state.durations.add(5, units);
            for ((function, _), measure) in FUNCTIONS.iter().zip(&mut state.measures) {
                measure.add(1, value(*function, 3.0), Weight { units, factor: 1.0 });
            }
            state
        };
        let parts = [heavy(u64::MAX), heavy(40), heavy(2)];
        let mut all = of(&[]);
        parts.iter().for_each(|part| all.merge(part));
        for gone in 0..2 {
            let left = all.subtract(&parts[gone]);
            assert_eq!(left == Left::Nothing, gone == 0, "{gone}");
            all.reset(left);
            parts[gone + 1..].iter().for_each(|part| all.merge_again(part, left));
            let count = [42, 2][gone];
            assert_eq!((all.count, all.with_outcome, all.errors), (count, count, count));
            assert_eq!(all.durations, heavy(count).durations);
            for ((function, argument), state) in FUNCTIONS.iter().zip(&all.measures) {
                let result = state.result(*function, 2.0, 1);
                match function {
                    Function::Count => assert_eq!(result, Measured::Integer(count.cast_signed())),
                    Function::Rate if !argument => {
                        assert_eq!(result, Measured::Float(Some(count as f64 / 2.0)));
                    }
                    Function::Avg => {
                        let parts = [2.0, 1.0][gone];
                        assert_eq!(result, Measured::Float(Some(3.0 * parts / count as f64)));
                    }
                    _ => {}
                }
            }
        }
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
                let left = all.subtract(&parts[gone]);
                all.reset(left);
                parts[gone + 1..].iter().for_each(|part| all.merge_again(part, left));
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
