//! The classic form of rules: one JSON object for an endpoint.
//!
//! `{"service": "pay", "operator_name": "/pay", "maxThresholdHigh": 2000, "avgThresholdLow": "300",
//! "alarmTemplate": "…"}`
//!
//! * `operator_name`, or `operatorName`, is the window's `operation`. `*`, empty, null or missing stands for
//!   any. A record in which both are there and differ is no rule, nor is one that has neither and yet a key
//!   that looks like one: it would evaluate every operation of the service.
//! * Thresholds are numbers, or numbers as texts; null, empty or missing is no threshold. A severity holds
//!   when one of its thresholds is passed: the longest or the mean duration is above (milliseconds), the
//!   share of successes is below (0 to 1, or a text with `%`), or the number of events in a window is below
//!   or above.
//! * A byte order mark before the object is passed over.
//! * Other keys mean nothing here, since other programs read the same topic. They are given back, to be
//!   reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use weir_alarms::{Message, MessageError};

use crate::evaluation::alarm_state::Patience;
use crate::rule::{Classic, Endpoint, Extras, Kind, Limit, PerSeverity, Rule, Side};

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
    let limits = [
        ("max_duration_ns", Side::Above, [json.max_high, json.max_mid, json.max_low]),
        ("avg_duration_ns", Side::Above, [json.avg_high, json.avg_mid, json.avg_low]),
        ("success_rate", Side::Below, [json.success_high, json.success_mid, json.success_low]),
        ("count", Side::Below, [json.least_high, json.least_mid, json.least_low]),
        ("count", Side::Above, [json.most_high, json.most_mid, json.most_low]),
    ];
    let given = limits.into_iter().filter(|(.., at)| at.iter().any(Option::is_some));
    let limits = given.map(|(measure, side, [high, mid, low])| Limit {
        measure,
        side,
        at: PerSeverity { high, mid, low },
    });
    let kind = Kind::Classic(Classic { endpoint, limits: limits.collect() });
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
    #[serde(rename = "maxThresholdHigh", default, deserialize_with = "millis")]
    max_high: Option<f64>,
    #[serde(rename = "maxThresholdMid", default, deserialize_with = "millis")]
    max_mid: Option<f64>,
    #[serde(rename = "maxThresholdLow", default, deserialize_with = "millis")]
    max_low: Option<f64>,
    #[serde(rename = "avgThresholdHigh", default, deserialize_with = "millis")]
    avg_high: Option<f64>,
    #[serde(rename = "avgThresholdMid", default, deserialize_with = "millis")]
    avg_mid: Option<f64>,
    #[serde(rename = "avgThresholdLow", default, deserialize_with = "millis")]
    avg_low: Option<f64>,
    #[serde(rename = "successRateThresholdHigh", default, deserialize_with = "share")]
    success_high: Option<f64>,
    #[serde(rename = "successRateThresholdMid", default, deserialize_with = "share")]
    success_mid: Option<f64>,
    #[serde(rename = "successRateThresholdLow", default, deserialize_with = "share")]
    success_low: Option<f64>,
    #[serde(rename = "minTrafficThresholdHigh", default, deserialize_with = "events")]
    least_high: Option<f64>,
    #[serde(rename = "minTrafficThresholdMid", default, deserialize_with = "events")]
    least_mid: Option<f64>,
    #[serde(rename = "minTrafficThresholdLow", default, deserialize_with = "events")]
    least_low: Option<f64>,
    #[serde(rename = "maxTrafficThresholdHigh", default, deserialize_with = "events")]
    most_high: Option<f64>,
    #[serde(rename = "maxTrafficThresholdMid", default, deserialize_with = "events")]
    most_mid: Option<f64>,
    #[serde(rename = "maxTrafficThresholdLow", default, deserialize_with = "events")]
    most_low: Option<f64>,
    #[serde(rename = "alarmTemplate", default)]
    template: Option<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

/// A key that is there, if only with null.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The unit in which a threshold is written.
#[derive(Clone, Copy)]
enum Unit {
    /// Of time; nanoseconds in windows.
    Millis,
    /// From 0 to 1.
    Share,
    /// In a window.
    Events,
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    deserializer.deserialize_any(Unit::Millis)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    deserializer.deserialize_any(Unit::Share)
}

fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    deserializer.deserialize_any(Unit::Events)
}

impl Visitor<'_> for Unit {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unit::Millis => "a threshold: milliseconds from 0, as a number or a text",
            Unit::Share => {
                "a threshold: a share from 0 to 1, as a number or a text, or a text such as `99.5%`"
            }
            Unit::Events => "a threshold: a number of events from 0, as a number or a text",
        })
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<f64>, E> {
        let value = match self {
            Unit::Millis => number * 1e6,
            Unit::Share | Unit::Events => number,
        };
        let is_share = !matches!(self, Unit::Share) || number <= 1.0;
        if number < 0.0 || !value.is_finite() || !is_share {
            return Err(E::invalid_value(de::Unexpected::Float(number), &self));
        }
        Ok(Some(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<f64>, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<f64>, E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<f64>, E> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let percent = text.strip_suffix('%').filter(|_| matches!(self, Unit::Share));
        let number = percent.unwrap_or(text).trim_end().parse::<f64>();
        match number.map(|number| if percent.is_some() { number / 100.0 } else { number }) {
            Ok(number) => self.visit_f64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<f64>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
