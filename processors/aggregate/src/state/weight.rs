//! How often an event counts.

/// The weight of an event: a whole number of thousandths, so that sums of weights are exact, and do not
/// depend on order. Without `weight` in the configuration every event counts once, and states count events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weight {
    /// Thousandths; without `weight` in the configuration whole ones.
    pub(crate) units: u64,
    /// The same as a factor of values.
    pub(crate) factor: f64,
}

impl Weight {
    /// Thousandths in one.
    pub(crate) const UNIT: u64 = 1_000;
    /// The largest weight.
    const MOST: f64 = 1e9;
    /// That of an event where the configuration has no `weight`.
    pub(crate) const ONE: Weight = Weight { units: 1, factor: 1.0 };

    /// That of an event for which the configuration's `weight` gives this number: at least a thousandth, at
    /// most a thousand million. What is NULL or not above 0 counts once.
    pub(crate) fn of(number: Option<f64>) -> Weight {
        let number = number.filter(|number| *number > 0.0).unwrap_or(1.0).min(Weight::MOST);
        let units = ((number * Weight::UNIT as f64).round() as u64).max(1);
        Weight { units, factor: units as f64 / Weight::UNIT as f64 }
    }

    /// Units as whole ones, rounded half up.
    pub(crate) fn whole(units: u64, unit: u64) -> u64 {
        if unit == 1 { units } else { (units.saturating_add(unit / 2)) / unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_number_of_thousandths() {
        let units = |number| Weight::of(number).units;
        let given = [Some(10.0), Some(1.0), Some(9.999_694_8), Some(1e-9), Some(1e30)];
        assert_eq!(given.map(units), [10_000, 1_000, 10_000, 1, 1_000_000_000_000]);
        assert_eq!([None, Some(0.0), Some(-3.0)].map(units), [1_000; 3], "counts once");
        assert_eq!(Weight::of(Some(2.5)).factor, 2.5);
    }

    #[test]
    fn whole_ones_are_rounded() {
        assert_eq!([0, 499, 500, 1_499, 1_500].map(|units| Weight::whole(units, 1_000)), [0, 0, 1, 1, 2]);
        assert_eq!(Weight::whole(7, 1), 7);
    }
}
