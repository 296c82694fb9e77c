//! The named measures: what each keeps per group, and its result.
//!
//! States are commutative and mergeable: the result depends on the events of the window alone, not on lanes,
//! batches or order. Values that are NULL, no number, or not finite are left out.

use weir_pdata::expr::Function;

use crate::state::buckets::{Buckets, PointBuckets};
use crate::state::distinct::Distinct;
use crate::state::exact_sum::ExactSum;
use crate::state::histogram::{self, Fraction, Histogram};
use crate::state::weight::Weight;

/// The contribution of one event to a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// The event counts.
    Present,
    /// A finite number.
    Number(f64),
    /// Whether a condition is true.
    Truth(bool),
    /// The hash of any value.
    Hash(u64),
}

/// The contribution of a histogram point to a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point<'a> {
    /// Observations.
    pub(crate) count: u64,
    /// Their sum, the smallest and the largest of them, where the point says so.
    pub(crate) sum: Option<f64>,
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    /// How they are distributed.
    pub(crate) buckets: PointBuckets<'a>,
}

/// The state that a measure keeps for the events of one group.
#[derive(Clone, Debug)]
pub(crate) enum MeasureState {
    /// `count`, and `rate` without argument: how many.
    Count(u64),
    /// `sum`, `avg`, and `rate` of something: the exact sum and how many.
    Sum(ExactSum, u64),
    /// `min`.
    Min(Option<f64>),
    /// `max`.
    Max(Option<f64>),
    /// `ratio`: how many are true, of how many.
    Ratio(u64, u64),
    /// `quantile`: a histogram, the smallest and the largest value.
    Quantile(Histogram, Option<(f64, f64)>),
    /// `quantile` of histogram points.
    Buckets(Buckets),
    /// `distinct`.
    Distinct(Distinct),
    /// `first`: time in nanoseconds and value; of equal times the smallest value.
    First(Option<(i64, f64)>),
    /// `last`: time in nanoseconds and value; of equal times the largest value.
    Last(Option<(i64, f64)>),
}

/// The result of a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measured {
    /// Of `count`.
    Integer(i64),
    /// Of all others; `None` is NULL: there was nothing to compute it from.
    Float(Option<f64>),
}

impl MeasureState {
    /// The state before the first event. Without an argument the measure is of events, or of histogram
    /// points.
    pub(crate) fn new(function: Function, has_argument: bool) -> MeasureState {
        match function {
            Function::Count => MeasureState::Count(0),
            Function::Rate if !has_argument => MeasureState::Count(0),
            Function::Sum | Function::Avg | Function::Rate => MeasureState::Sum(ExactSum::default(), 0),
            Function::Min => MeasureState::Min(None),
            Function::Max => MeasureState::Max(None),
            Function::Ratio => MeasureState::Ratio(0, 0),
            Function::Quantile(_) if !has_argument => MeasureState::Buckets(Buckets::default()),
            Function::Quantile(_) => MeasureState::Quantile(Histogram::default(), None),
            Function::Distinct => MeasureState::Distinct(Distinct::default()),
            Function::First => MeasureState::First(None),
            Function::Last => MeasureState::Last(None),
        }
    }

    /// Adds what the event at `time` (nanoseconds) gives, as often as `weight` says. Values of another kind
    /// than the measure reads are left out.
    pub(crate) fn add(&mut self, time: i64, value: Value, weight: Weight) {
        match (self, value) {
            (MeasureState::Count(count), _) => *count = count.saturating_add(weight.units),
            (MeasureState::Sum(sum, count), Value::Number(number)) => {
                add_to_sum(sum, number * weight.factor);
                *count = count.saturating_add(weight.units);
            }
            (MeasureState::Min(least), Value::Number(number)) => *least = Some(smaller(*least, number)),
            (MeasureState::Max(most), Value::Number(number)) => *most = Some(larger(*most, number)),
            (MeasureState::Ratio(hits, count), Value::Truth(truth)) => {
                *hits = hits.saturating_add(if truth { weight.units } else { 0 });
                *count = count.saturating_add(weight.units);
            }
            (MeasureState::Quantile(histogram, range), Value::Number(number)) => {
                histogram.count(histogram::of_float(number), weight.units);
                *range = wider(*range, Some((number, number)));
            }
            (MeasureState::Distinct(distinct), Value::Hash(hash)) => distinct.add(hash),
            (MeasureState::First(first), Value::Number(number)) => {
                *first = earlier(*first, Some((time, number)));
            }
            (MeasureState::Last(last), Value::Number(number)) => *last = later(*last, Some((time, number))),
            _ => {}
        }
    }

    /// Adds what a histogram point gives: its observations, as often as `weight` says. False: it has other
    /// buckets than the points before it, so that there is no quantile.
    #[must_use]
    pub(crate) fn add_point(&mut self, point: &Point<'_>, weight: Weight) -> bool {
        let observations = point.count.saturating_mul(weight.units);
        match self {
            MeasureState::Count(count) => *count = count.saturating_add(observations),
            MeasureState::Sum(sum, count) => {
                if let Some(value) = point.sum {
                    add_to_sum(sum, value * weight.factor);
                    *count = count.saturating_add(observations);
                }
            }
            MeasureState::Min(least) => {
                *least = point.least.map_or(*least, |value| Some(smaller(*least, value)));
            }
            MeasureState::Max(most) => {
                *most = point.most.map_or(*most, |value| Some(larger(*most, value)));
            }
            MeasureState::Buckets(buckets) => return buckets.add(&point.buckets, weight.units),
            _ => {}
        }
        true
    }

    /// Whether it has no result because histogram points have different buckets.
    pub(crate) fn is_mixed(&self) -> bool {
        matches!(self, MeasureState::Buckets(buckets) if buckets.is_mixed())
    }

    /// Adds what `other` has. States of different measures are not mixed: `other` is then left out.
    pub(crate) fn merge(&mut self, other: &MeasureState) {
        match (self, other) {
            (MeasureState::Count(count), MeasureState::Count(more)) => *count = count.saturating_add(*more),
            (MeasureState::Sum(sum, count), MeasureState::Sum(others, more)) => {
                sum.merge(others);
                *count = count.saturating_add(*more);
            }
            (MeasureState::Min(least), MeasureState::Min(other)) => {
                *least = other.map_or(*least, |other| Some(smaller(*least, other)));
            }
            (MeasureState::Max(most), MeasureState::Max(other)) => {
                *most = other.map_or(*most, |other| Some(larger(*most, other)));
            }
            (MeasureState::Ratio(hits, count), MeasureState::Ratio(more_hits, more)) => {
                *hits = hits.saturating_add(*more_hits);
                *count = count.saturating_add(*more);
            }
            (MeasureState::Quantile(histogram, range), MeasureState::Quantile(others, other)) => {
                histogram.merge(others);
                *range = wider(*range, *other);
            }
            (MeasureState::Distinct(distinct), MeasureState::Distinct(others)) => distinct.merge(others),
            (MeasureState::Buckets(buckets), MeasureState::Buckets(others)) => buckets.merge(others),
            (MeasureState::First(first), MeasureState::First(other)) => *first = earlier(*first, *other),
            (MeasureState::Last(last), MeasureState::Last(other)) => *last = later(*last, *other),
            _ => {}
        }
    }

    /// The result for a window of `seconds`, when counts are in units of which this many are one.
    pub(crate) fn result(&self, function: Function, seconds: f64, unit: u64) -> Measured {
        let ones = |units: u64| units as f64 / unit as f64;
        Measured::Float(match self {
            MeasureState::Count(count) if function == Function::Count => {
                return Measured::Integer(i64::try_from(Weight::whole(*count, unit)).unwrap_or(i64::MAX));
            }
            MeasureState::Count(count) => Some(ones(*count) / seconds),
            MeasureState::Sum(_, 0) | MeasureState::Ratio(_, 0) => None,
            MeasureState::Sum(sum, count) => Some(match function {
                Function::Avg => sum.value() / ones(*count),
                Function::Rate => sum.value() / seconds,
                _ => sum.value(),
            }),
            MeasureState::Min(value) | MeasureState::Max(value) => *value,
            MeasureState::Ratio(hits, count) => Some(*hits as f64 / *count as f64),
            MeasureState::Quantile(histogram, range) => {
                let share = match function {
                    Function::Quantile(share) => Fraction::new(share),
                    _ => Fraction::percent(50),
                };
                range.and_then(|(least, most)| {
                    Some(histogram::float(histogram.quantile(share)?).clamp(least, most))
                })
            }
            MeasureState::Buckets(buckets) => match function {
                Function::Quantile(share) => buckets.quantile(share),
                _ => None,
            },
            MeasureState::Distinct(distinct) => Some(distinct.value()),
            MeasureState::First(value) | MeasureState::Last(value) => value.map(|(_, value)| value),
        })
    }
}

/// A product beyond the floats is left out: sums are of finite numbers.
fn add_to_sum(sum: &mut ExactSum, number: f64) {
    if number.is_finite() {
        sum.add(number);
    }
}

fn smaller(least: Option<f64>, value: f64) -> f64 {
    least.map_or(value, |least| least.min(value))
}

fn larger(most: Option<f64>, value: f64) -> f64 {
    most.map_or(value, |most| most.max(value))
}

/// The range that covers both.
pub(crate) fn wider(a: Option<(f64, f64)>, b: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, None) | (None, one) => one,
    }
}

fn earlier(a: Option<(i64, f64)>, b: Option<(i64, f64)>) -> Option<(i64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if (b.0, b.1) < (a.0, a.1) { b } else { a }),
        (one, None) | (None, one) => one,
    }
}

fn later(a: Option<(i64, f64)>, b: Option<(i64, f64)>) -> Option<(i64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if (b.0, b.1) > (a.0, a.1) { b } else { a }),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::state::codec::Reader;
    use proptest::prelude::*;

    /// Every function, and whether it has an argument.
    pub(crate) const FUNCTIONS: [(Function, bool); 13] = [
        (Function::Quantile(0.5), false),
        (Function::Count, false),
        (Function::Rate, false),
        (Function::Rate, true),
        (Function::Sum, true),
        (Function::Avg, true),
        (Function::Min, true),
        (Function::Max, true),
        (Function::Ratio, true),
        (Function::Quantile(0.5), true),
        (Function::Distinct, true),
        (Function::First, true),
        (Function::Last, true),
    ];

    /// The value of a number for the function.
    pub(crate) fn value(function: Function, number: f64) -> Value {
        match function {
            Function::Ratio => Value::Truth(number > 0.0),
            Function::Distinct => Value::Hash(crate::state::distinct::hash(&number.to_string())),
            _ => Value::Number(number),
        }
    }

    fn of((function, argument): (Function, bool), events: &[(i64, f64)]) -> MeasureState {
        let mut state = MeasureState::new(function, argument);
        events.iter().for_each(|(time, number)| state.add(*time, value(function, *number), Weight::ONE));
        state
    }

    fn result(function: Function, events: &[(i64, f64)]) -> Measured {
        of((function, true), events).result(function, 2.0, 1)
    }

    #[test]
    fn each_function_computes_what_its_name_says() {
        let events = [(3, 4.0), (1, 1.0), (2, -2.0), (1, 0.5)];
        let float = |value| Measured::Float(Some(value));
        assert_eq!(result(Function::Count, &events), Measured::Integer(4));
        assert_eq!(result(Function::Sum, &events), float(3.5));
        assert_eq!(result(Function::Avg, &events), float(0.875));
        assert_eq!(result(Function::Rate, &events), float(1.75));
        assert_eq!(result(Function::Min, &events), float(-2.0));
        assert_eq!(result(Function::Max, &events), float(4.0));
        assert_eq!(result(Function::Ratio, &events), float(0.75));
        assert_eq!(result(Function::Distinct, &events), float(4.0));
        assert_eq!(result(Function::First, &events), float(0.5));
        assert_eq!(result(Function::Last, &events), float(4.0));
        assert_eq!(result(Function::Quantile(1.0), &events), float(4.0));
        assert_eq!(of((Function::Rate, false), &events).result(Function::Rate, 2.0, 1), float(2.0));
    }

    #[test]
    fn nothing_gives_null_except_for_counts() {
        for (function, argument) in FUNCTIONS {
            let expected = match function {
                Function::Count => Measured::Integer(0),
                Function::Rate if !argument => Measured::Float(Some(0.0)),
                Function::Distinct => Measured::Float(Some(0.0)),
                _ => Measured::Float(None),
            };
            assert_eq!(of((function, argument), &[]).result(function, 2.0, 1), expected, "{function:?}");
        }
    }

    proptest! {
        #[test]
        fn order_split_and_the_bytes_do_not_matter(
            (events, shuffled) in prop::collection::vec((0..5_i64, -9.0..9.0_f64), 0..40)
                .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
            cuts in (0..40_usize, 0..40_usize),
        ) {
            for function in FUNCTIONS {
                let whole = of(function, &events).result(function.0, 7.0, 1);
                let low = cuts.0.min(cuts.1).min(shuffled.len());
                let high = cuts.0.max(cuts.1).min(shuffled.len());
                let parts = [&shuffled[..low], &shuffled[low..high], &shuffled[high..]].map(|events| {
                    let mut bytes = Vec::new();
                    of(function, events).write(&mut bytes);
                    let mut state = MeasureState::new(function.0, function.1);
                    let mut reader = Reader::new(&bytes);
                    state.read(&mut reader).unwrap();
                    reader.end().unwrap();
                    state
                });
                let [mut a, b, mut c] = parts;
                // (a + b) + c, and c + (b + a).
                let (mut ab, mut ba) = (a.clone(), b.clone());
                ab.merge(&b);
                ab.merge(&c);
                ba.merge(&a);
                c.merge(&ba);
                a.merge(&b);
                prop_assert_eq!(ab.result(function.0, 7.0, 1), whole);
                prop_assert_eq!(c.result(function.0, 7.0, 1), whole);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for (function, argument) in FUNCTIONS {
                let mut state = MeasureState::new(function, argument);
                if state.read(&mut Reader::new(&bytes)).is_ok() {
                    let _ = state.result(function, 7.0, 1);
                }
            }
        }
    }
}
