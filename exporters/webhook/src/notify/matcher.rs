//! Which alarms are meant: conditions on their labels.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alarm::Alarm;

/// Conditions that all hold: a label, and the texts that it may have, with `*` for any characters.
/// Without conditions it means every alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Matcher(BTreeMap<String, OneOrMany>);

/// One text, or several of which one has to fit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Matcher {
    /// That each of these labels has the text beside it.
    pub(crate) fn of(labels: BTreeMap<String, String>) -> Matcher {
        Matcher(labels.into_iter().map(|(name, text)| (name, OneOrMany::One(text))).collect())
    }

    /// Whether it means this alarm. A label that the alarm does not have is empty.
    pub(crate) fn matches(&self, alarm: &Alarm) -> bool {
        self.0.iter().all(|(name, texts)| {
            let value = label(alarm, name);
            match texts {
                OneOrMany::One(text) => fits(text, value),
                OneOrMany::Many(texts) => texts.iter().any(|text| fits(text, value)),
            }
        })
    }

    /// Whether it has no condition.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, texts)) in self.0.iter().enumerate() {
            let between = if number == 0 { "" } else { " " };
            match texts {
                OneOrMany::One(text) => write!(f, "{between}{name}={text}")?,
                OneOrMany::Many(texts) => write!(f, "{between}{name}={}", texts.join("|"))?,
            }
        }
        Ok(())
    }
}

/// `rule`, `severity`, `service`, `operation`, `measure`, or a label of the alarm.
pub(crate) fn label<'a>(alarm: &'a Alarm, name: &str) -> &'a str {
    let own = match name {
        "alertname" => alarm.text("rule"),
        "rule" | "severity" | "service" | "operation" | "measure" => alarm.text(name),
        _ => "",
    };
    if !own.is_empty() {
        return own;
    }
    alarm.map("labels").find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// Whether a text fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("pay", "pay", true),
            ("pay", "payment", false),
            ("pay*", "payment", true),
            ("*pay", "prepay", true),
            ("p*y*t", "payment", true),
            ("p*y*t", "payments", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn all_conditions_hold_and_one_text_of_each() {
        let alarm = Alarm::of(
            &json!({"rule": "slow", "severity": "high", "service": "pay", "labels": {"zone": "eu"}}),
        );
        for (conditions, expected) in [
            (json!({}), true),
            (json!({"severity": ["mid", "high"], "service": "p*"}), true),
            (json!({"severity": ["mid", "high"], "service": "order"}), false),
            (json!({"zone": "eu", "rule": "slow"}), true),
            (json!({"team": "x"}), false),
            (json!({"team": ""}), true),
        ] {
            let matcher: Matcher = serde_json::from_value(conditions.clone()).unwrap();
            assert_eq!(matcher.matches(&alarm), expected, "{conditions}");
        }
    }
}
