//! The names that message templates know.

use serde_json::{Map, Value, json};

use crate::Alarm;

/// The names that say what every alarm says.
pub const NAMES: [&str; 10] =
    ["rule", "severity", "level", "state", "measure", "value", "threshold", "labels", "time", "starts_at"];

impl Alarm {
    /// The values of the alarm, by the [`NAMES`]. `value` and `threshold` have the measure's unit; times are
    /// texts.
    #[must_use]
    pub fn template_context(&self) -> Map<String, Value> {
        let labels: Map<String, Value> =
            self.labels.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
        let values = [
            json!(&*self.rule),
            json!(self.severity.name()),
            json!(self.severity.name()),
            json!(self.state()),
            json!(self.measure.as_deref()),
            number(self.value),
            number(self.threshold),
            Value::Object(labels),
            json!(rfc3339(self.time)),
            json!(rfc3339(self.starts_at)),
        ];
        NAMES.into_iter().map(str::to_owned).zip(values).collect()
    }
}

/// `a.b` is found as `a.b` in a template, up to eight parts. What is there already stays; null is not there.
pub fn insert(context: &mut Map<String, Value>, name: &str, value: Value) {
    if !value.is_null() {
        insert_at(context, name, value, 8);
    }
}

fn insert_at(context: &mut Map<String, Value>, name: &str, value: Value, depth: usize) {
    match name.split_once('.').filter(|_| depth > 1) {
        None => drop(context.entry(name).or_insert(value)),
        Some((first, rest)) => {
            if let Value::Object(inner) = context.entry(first).or_insert_with(|| Value::Object(Map::new())) {
                insert_at(inner, rest, value, depth - 1);
            }
        }
    }
}

/// A whole number without `.0`; null when there is none.
#[must_use]
pub fn number(value: Option<f64>) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Some(value) if value.fract() == 0.0 && value.abs() < EXACT => json!(value as i64),
        value => json!(value),
    }
}

/// Nanoseconds as RFC 3339; `None` when the year is out of range.
#[must_use]
pub fn rfc3339(ns: i64) -> Option<String> {
    let time = arrow::temporal_conversions::timestamp_ns_to_datetime(ns)?;
    Some(format!("{}Z", time.to_string().replace(' ', "T")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_names_nest_and_the_first_stays() {
        let mut context = Map::new();
        for (name, value) in
            [("a.b", json!(1)), ("a.c", json!(2)), ("a.b", json!(3)), ("x", json!(4)), ("x.y", json!(5))]
        {
            insert(&mut context, name, value);
        }
        insert(&mut context, "null", Value::Null);
        insert(&mut context, "1.2.3.4.5.6.7.8.9", json!(6));
        let eighth = json!({"2": {"3": {"4": {"5": {"6": {"7": {"8.9": 6}}}}}}});
        assert_eq!(Value::Object(context), json!({"a": {"b": 1, "c": 2}, "x": 4, "1": eighth}));
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        for (value, shown) in [(Some(3.0), json!(3)), (Some(-0.5), json!(-0.5)), (Some(1e300), json!(1e300))]
        {
            assert_eq!(number(value), shown);
        }
        assert_eq!(number(Some(f64::NAN)), Value::Null);
        assert_eq!(number(None), Value::Null);
    }

    #[test]
    fn times_have_the_digits_they_need() {
        assert_eq!(rfc3339(1_999_000_000).unwrap(), "1970-01-01T00:00:01.999Z");
        assert_eq!(rfc3339(0).unwrap(), "1970-01-01T00:00:00Z");
    }
}
