//! The classic form of rules: one JSON object for an endpoint.
//!
//! `{"service": "pay", "operator_name": "/pay", "maxThresholdHigh": 2000, "avgThresholdLow": "300",
//! "alarmTemplate": "…"}`
//!
//! * `operator_name`, or `operatorName`, is the window's `operation`. `*`, empty, null or missing stands for
//!   any. A record in which both are there and differ is no rule, nor is one that has neither and yet a key
//!   that looks like one: it would evaluate every operation of the service.
//! * Thresholds are milliseconds, as numbers or as texts; null, empty or missing is no threshold. A severity
//!   holds when the mean is above its `avg` threshold or the longest above its `max` threshold.
//! * A byte order mark before the object is passed over.
//! * Other keys mean nothing here, since other programs read the same topic. They are given back, to be
//!   reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use weir_alarms::{Message, MessageError};

use crate::evaluation::alarm_state::Patience;
use crate::rule::{Classic, Endpoint, Extras, Kind, PerSeverity, Rule};

/// Longest record that is looked at, in bytes.
pub(crate) const MAX_RECORD: usize = 16 * 1024;

/// Why a record is not a rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ClassicError {
    #[error("the record has {0} bytes; a rule has at most {MAX_RECORD}")]
    TooLong(usize),
    #[error("the record's key is not UTF-8 text")]
    Key,
    #[error("the record has neither key nor value, so it names no rule")]
    Nothing,
    #[error("the value is not a rule in JSON: {0}")]
    Json(String),
    #[error("alarmTemplate: {0}")]
    Template(#[from] MessageError),
    #[error("`operator_name` is `{0}` and `operatorName` is `{1}`; write one of them, or the same in both")]
    TwoOperations(String, String),
    #[error(
        "there is no `operator_name`, but `{0}`, which is not known; write `operator_name`, or `\"operator_name\": \"*\"` for \
         every operation of the service"
    )]
    LooksLikeOperation(String),
}

/// A record of the rules' topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// This is the rule now. `unknown` are the keys that mean nothing.
    Put { rule: Arc<Rule>, unknown: Vec<String> },
    /// The rule of this name is no more.
    Remove(Arc<str>),
}

/// Reads a record. The rule's name is the record's key, else `service|operator_name`, as the site's keys are.
pub(crate) fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, ClassicError> {
    let length = key.map_or(0, <[u8]>::len).saturating_add(value.map_or(0, <[u8]>::len));
    if length > MAX_RECORD {
        return Err(ClassicError::TooLong(length));
    }
    let key = key.filter(|key| !key.is_empty());
    let key = key.map(|key| str::from_utf8(key).map_err(|_| ClassicError::Key)).transpose()?;
    let Some(value) = value else {
        return key.map(|key| Record::Remove(key.into())).ok_or(ClassicError::Nothing);
    };
    let value = value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value);
    // Serde would take a list's elements for the fields in their order.
    if value.trim_ascii_start().starts_with(b"[") {
        return Err(ClassicError::Json("it is a list; a rule is an object".to_owned()));
    }
    let json: Json = serde_json::from_slice(value).map_err(|error| ClassicError::Json(error.to_string()))?;
    let unknown: Vec<String> = json.unknown.into_keys().collect();
    let operation = operation(json.operator_name, json.operator_name_camel, &unknown)?;
    let endpoint = Endpoint { service: some(json.service), operation };
    let name = key.map_or_else(|| endpoint.name(), Into::into);
    let message = json.template.filter(|text| !text.trim().is_empty());
    let message = message.map(|text| Message::parse(&text)).transpose()?.unwrap_or_default();
    let avg_ns = PerSeverity { high: json.avg_high.0, mid: json.avg_mid.0, low: json.avg_low.0 };
    let max_ns = PerSeverity { high: json.max_high.0, mid: json.max_mid.0, low: json.max_low.0 };
    let kind = Kind::Classic(Classic { endpoint, avg_ns, max_ns });
    let rule = Rule {
        name,
        kind,
        patience: Patience::default(),
        min_count: 0,
        message,
        silence: 0,
        no_data: None,
        resolve_without_data: None,
        active: None,
        extras: Extras::default(),
    };
    Ok(Record::Put { rule: Arc::new(rule), unknown })
}

/// The operation that a record names in one of two keys. The outer `None`: the key is not there.
fn operation(
    snake: Option<Option<String>>,
    camel: Option<Option<String>>,
    unknown: &[String],
) -> Result<Option<Arc<str>>, ClassicError> {
    let shown = |text: &Option<Arc<str>>| text.as_deref().unwrap_or("*").to_owned();
    match (snake.map(some), camel.map(some)) {
        (Some(snake), Some(camel)) if snake != camel => {
            Err(ClassicError::TwoOperations(shown(&snake), shown(&camel)))
        }
        (Some(operation), _) | (None, Some(operation)) => Ok(operation),
        (None, None) => match unknown.iter().find(|key| looks_like_operation(key)) {
            Some(key) => Err(ClassicError::LooksLikeOperation(key.clone())),
            None => Ok(None),
        },
    }
}

/// Names of an operation in other programs, without case, `_`, `-`, `.` and spaces.
const OPERATION_KEYS: [&str; 11] = [
    "operator",
    "operators",
    "operatorname",
    "operatornames",
    "operation",
    "operations",
    "operationname",
    "operationnames",
    "opname",
    "endpoint",
    "endpointname",
];

fn looks_like_operation(key: &str) -> bool {
    let letters = key.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' '));
    let letters: String = letters.flat_map(char::to_lowercase).collect();
    OPERATION_KEYS.contains(&&*letters)
        || is_slip(&letters, "operatorname")
        || is_slip(&letters, "operationname")
}

/// Whether one letter differs, is missing or too many, or two have changed places. So `operateTime` is left
/// alone.
fn is_slip(text: &str, meant: &str) -> bool {
    let (text, meant): (Vec<char>, Vec<char>) = (text.chars().collect(), meant.chars().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&char, &char)>| {
        pairs.take_while(|(one, other)| one == other).count()
    };
    let front = same(&mut text.iter().zip(&meant));
    let back = same(&mut text[front..].iter().rev().zip(meant[front..].iter().rev()));
    match (&text[front..text.len() - back], &meant[front..meant.len() - back]) {
        ([one, two], [other, third]) => one == third && two == other,
        (one, other) => one.len() <= 1 && other.len() <= 1,
    }
}

fn some(text: Option<String>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty() && text != "*").map(Into::into)
}

#[derive(Deserialize)]
struct Json {
    // `Option` alone would let the key be missing, and a rule for everything by mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    service: Option<String>,
    #[serde(default, deserialize_with = "given")]
    operator_name: Option<Option<String>>,
    #[serde(rename = "operatorName", default, deserialize_with = "given")]
    operator_name_camel: Option<Option<String>>,
    #[serde(rename = "maxThresholdHigh", default)]
    max_high: Threshold,
    #[serde(rename = "maxThresholdMid", default)]
    max_mid: Threshold,
    #[serde(rename = "maxThresholdLow", default)]
    max_low: Threshold,
    #[serde(rename = "avgThresholdHigh", default)]
    avg_high: Threshold,
    #[serde(rename = "avgThresholdMid", default)]
    avg_mid: Threshold,
    #[serde(rename = "avgThresholdLow", default)]
    avg_low: Threshold,
    #[serde(rename = "alarmTemplate", default)]
    template: Option<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

/// A key that is there, if only with null.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Nanoseconds, from milliseconds.
#[derive(Clone, Copy, Default)]
struct Threshold(Option<f64>);

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Threshold, D::Error> {
        deserializer.deserialize_any(ThresholdVisitor)
    }
}

struct ThresholdVisitor;

impl Visitor<'_> for ThresholdVisitor {
    type Value = Threshold;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a threshold: milliseconds from 0, as a number or a text")
    }

    fn visit_f64<E: de::Error>(self, ms: f64) -> Result<Threshold, E> {
        let ns = ms * 1e6;
        if ms < 0.0 || !ns.is_finite() {
            return Err(E::invalid_value(de::Unexpected::Float(ms), &self));
        }
        Ok(Threshold(Some(ns)))
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Threshold, E> {
        self.visit_f64(ms as f64)
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Threshold, E> {
        self.visit_f64(ms as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Threshold, E> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Threshold(None));
        }
        match text.parse() {
            Ok(ms) => self.visit_f64(ms),
            Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Threshold, E> {
        Ok(Threshold(None))
    }
}

#[cfg(test)]
mod tests;
