//! A condition that compares one column with a number, which needs no SQL to be evaluated.

use std::cmp::Ordering;
use std::sync::Arc;

use weir_alarms::Compared;
use weir_pdata::expr::Expr;

/// Integers below this are floats without rounding.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `column > number`, with `>`, `>=`, `<` or `<=`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) column: Arc<str>,
    order: Ordering,
    or_equal: bool,
    number: f64,
}

impl Comparison {
    /// Of a condition and what it compares. `None`: it is something else.
    pub(crate) fn of(condition: &Expr, compared: &Compared) -> Option<Comparison> {
        let column = compared.measure.clone()?;
        let number = compared.threshold.filter(|number| number.abs() < EXACT)?;
        let text = condition.to_string();
        let (left, rest) = text.split_at(text.find(['<', '>', '=', '!'])?);
        let order = match rest.get(..1)? {
            ">" => Ordering::Greater,
            "<" if !rest.starts_with("<>") => Ordering::Less,
            _ => return None,
        };
        let or_equal = rest.get(1..2) == Some("=");
        let is_left = left.trim().trim_matches('"') == &*column;
        Some(Comparison { column, order: if is_left { order } else { order.reverse() }, or_equal, number })
    }

    /// Whether it holds for a value, as in SQL.
    pub(crate) fn holds(&self, value: f64) -> bool {
        let order = value.partial_cmp(&self.number);
        order == Some(self.order) || (self.or_equal && order == Some(Ordering::Equal))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use proptest::prelude::*;
    use weir_pdata::expr::Failures;

    use super::*;

    fn comparison(text: &str) -> (Expr, Option<Comparison>) {
        let condition = Expr::parse_condition(text).unwrap();
        let comparison = Comparison::of(&condition, &Compared::of(&condition));
        (condition, comparison)
    }

    #[test]
    fn other_conditions_are_left_to_sql() {
        for text in
            ["a = 1", "a != 1", "a <> 1", "a > 1 AND a < 3", "a > b", "a + 1 > 2", "a > 9007199254740992"]
        {
            assert_eq!(comparison(text).1, None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_says_what_sql_says(
            operator in prop::sample::select(vec![">", ">=", "<", "<="]),
            number in prop::sample::select(vec!["0", "-1", "10", "9.5", "2e9", "0.1", "9007199254740991"]),
            turned in any::<bool>(),
            floats in prop::collection::vec(prop::option::of(prop_oneof![
                Just(0.0), Just(-0.0), Just(9.5), Just(10.0), Just(0.1), Just(2e9), any::<f64>()
            ]), 1..20),
            integers in prop::collection::vec(prop::option::of(prop_oneof![
                -2..12_i64, any::<i64>(), Just(9_007_199_254_740_991), Just(9_007_199_254_740_993)
            ]), 1..20),
        ) {
            let text = if turned { format!("{number} {operator} a") } else { format!("a {operator} {number}") };
            let (condition, comparison) = comparison(&text);
            let comparison = comparison.unwrap();
            let floats: ArrayRef = Arc::new(Float64Array::from(floats));
            let integers: ArrayRef = Arc::new(Int64Array::from(integers));
            for column in [floats, integers] {
                let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
                let windows = crate::evaluation::windows::WindowRows::new(&batch);
                let expected = condition.filter(&batch, &mut Failures::default()).unwrap();
                for row in 0..batch.num_rows() {
                    let holds = windows.number("a", row).is_some_and(|value| comparison.holds(value));
                    prop_assert_eq!(holds, expected.value(row), "{} {:?}", text, windows.number("a", row));
                }
            }
        }
    }
}
