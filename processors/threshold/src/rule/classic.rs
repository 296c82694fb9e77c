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
use crate::rule::{Classic, Endpoint, Kind, PerSeverity, Rule};

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

/// What a record of the rules' topic says.
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
    let rule = Rule { name, kind, patience: Patience::default(), min_count: 0, message };
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

/// What other programs call an operation, without case, `_`, `-`, `.` and spaces.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(key: Option<&str>, value: &str) -> (Arc<Rule>, Classic) {
        let Record::Put { rule, .. } = read(key.map(str::as_bytes), Some(value.as_bytes())).unwrap() else {
            panic!("removed")
        };
        let Kind::Classic(classic) = rule.kind.clone() else { panic!("not classic") };
        (rule, classic)
    }

    fn error(key: Option<&[u8]>, value: Option<&str>) -> String {
        read(key, value.map(str::as_bytes)).unwrap_err().to_string()
    }

    #[test]
    fn a_full_rule_is_read() {
        let (rule, classic) = put(
            Some("r1"),
            r#"{"service":"pay","operatorName":"/pay","maxThresholdHigh":2000,"maxThresholdMid":"1500","maxThresholdLow":1000.5,
               "avgThresholdHigh":" 500 ","avgThresholdMid":null,"avgThresholdLow":"","alarmTemplate":"${service} slow","createTime":1}"#,
        );
        assert_eq!(&*rule.name, "r1");
        assert_eq!(
            classic.endpoint,
            Endpoint { service: Some("pay".into()), operation: Some("/pay".into()) }
        );
        assert_eq!(classic.max_ns, PerSeverity { high: Some(2e9), mid: Some(1.5e9), low: Some(1.0005e9) });
        assert_eq!(classic.avg_ns, PerSeverity { high: Some(5e8), mid: None, low: None });
        assert_eq!(rule.message, Message::parse("${service} slow").unwrap());
    }

    #[test]
    fn a_byte_order_mark_before_the_object_is_passed_over() {
        let (rule, classic) = put(None, "\u{feff}{\"service\":\"pay\",\"maxThresholdHigh\":2}");
        assert_eq!((&*rule.name, classic.max_ns.high), ("pay|*", Some(2e6)));
        assert!(error(None, Some("\u{feff}[]")).contains("it is a list"));
    }

    #[test]
    fn without_key_the_endpoint_is_the_name() {
        assert_eq!(&*put(None, r#"{"service":"pay","operator_name":"/pay"}"#).0.name, "pay|/pay");
        assert_eq!(&*put(None, r#"{"service":"pay"}"#).0.name, "pay|*");
        assert_eq!(&*put(Some(""), r#"{"service":"*","operatorName":""}"#).0.name, "*|*");
    }

    #[test]
    fn the_operation_has_two_names_and_they_must_agree() {
        let pay = Endpoint { service: Some("s".into()), operation: Some("/pay".into()) };
        let every = Endpoint { service: Some("s".into()), operation: None };
        for (keys, endpoint) in [
            (r#""operator_name":"/pay""#, &pay),
            (r#""operatorName":"/pay""#, &pay),
            (r#""operator_name":"/pay","operatorName":"/pay""#, &pay),
            (r#""operator_name":"*""#, &every),
            (r#""operator_name":null,"operatorName":"*""#, &every),
            (r#""createTime":1,"remark":"x","operateTime":2,"opened":true"#, &every),
        ] {
            assert_eq!(put(None, &format!(r#"{{"service":"s",{keys}}}"#)).1.endpoint, *endpoint, "{keys}");
        }
        for (keys, reason) in [
            (
                r#""operator_name":"/a","operatorName":"/b""#,
                "`operator_name` is `/a` and `operatorName` is `/b`",
            ),
            (
                r#""operator_name":null,"operatorName":"/b""#,
                "`operator_name` is `*` and `operatorName` is `/b`",
            ),
            (r#""operator_name":"/a","operator_name":"/a""#, "duplicate field"),
            (r#""operator_name":7"#, "expected a string"),
            (r#""operationName":"/a""#, "no `operator_name`, but `operationName`"),
            (r#""operator":"/a""#, "no `operator_name`, but `operator`"),
            (r#""Operator-Name":"/a""#, "no `operator_name`, but `Operator-Name`"),
            (r#""operaterName":"/a""#, "no `operator_name`, but `operaterName`"),
            (r#""OPERATION":"/a""#, "no `operator_name`, but `OPERATION`"),
            (r#""operator_nmae":"/a""#, "no `operator_name`, but `operator_nmae`"),
            (r#""endpoint":"/a""#, "no `operator_name`, but `endpoint`"),
        ] {
            let found = error(None, Some(&format!(r#"{{"service":"s",{keys}}}"#)));
            assert!(found.contains(reason), "{keys}: {found}");
        }
    }

    #[test]
    fn keys_that_mean_nothing_are_given_back() {
        let value = br#"{"service":"s","operator_name":"/a","operator":"zhang","maxThresholdHihg":5,"maxThresholdHigh":6}"#;
        let Ok(Record::Put { unknown, .. }) = read(None, Some(value)) else { panic!("no rule") };
        assert_eq!(unknown, ["maxThresholdHihg", "operator"]);
    }

    #[test]
    fn a_template_that_would_stop_the_program_is_no_rule() {
        let found =
            error(None, Some(r#"{"service":"a","alarmTemplate":"{{ service | indent(9000000000) }}"}"#));
        assert!(found.contains("alarmTemplate: ") && found.contains("indent"), "{found}");
    }

    #[test]
    fn a_star_empty_or_null_stands_for_any() {
        for value in [
            r#"{"service":"*","operatorName":"*"}"#,
            r#"{"service":"","operatorName":""}"#,
            r#"{"service":null}"#,
        ] {
            assert_eq!(put(None, value).1.endpoint, Endpoint { service: None, operation: None }, "{value}");
        }
    }

    #[test]
    fn a_null_value_removes() {
        assert_eq!(read(Some(b"r1"), None), Ok(Record::Remove("r1".into())));
        assert_eq!(read(None, None), Err(ClassicError::Nothing));
        assert_eq!(read(Some(b""), None), Err(ClassicError::Nothing));
    }

    #[test]
    fn bad_records_are_rejected_with_the_reason() {
        for (value, reason) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("null", "invalid type: null"),
            ("[]", "it is a list"),
            (r#" ["a"]"#, "it is a list"),
            ("{}", "missing field `service`"),
            (r#"{"service":7}"#, "expected a string"),
            (r#"{"service":"a","service":"b"}"#, "duplicate field"),
            (r#"{"service":"a","maxThresholdHigh":-1}"#, "milliseconds from 0"),
            (r#"{"service":"a","maxThresholdHigh":"500ms"}"#, "500ms"),
            (r#"{"service":"a","maxThresholdHigh":"NaN"}"#, "milliseconds"),
            (r#"{"service":"a","maxThresholdHigh":"inf"}"#, "milliseconds"),
            (r#"{"service":"a","maxThresholdHigh":1e308}"#, "milliseconds"),
            (r#"{"service":"a","maxThresholdHigh":true}"#, "milliseconds"),
            (r#"{"service":"a","maxThresholdHigh":[1]}"#, "milliseconds"),
            (r#"{"service":"a","alarmTemplate":"{{ x"}"#, "alarmTemplate: the message template is not valid"),
            (r#"{"service":"a"} x"#, "trailing characters"),
        ] {
            let found = error(Some(b"k"), Some(value));
            assert!(found.contains(reason), "{value}: {found}");
        }
        assert!(error(Some(&[0xff]), Some("{}")).contains("not UTF-8"));
        assert!(error(None, Some(&" ".repeat(MAX_RECORD + 1))).contains("at most"));
        assert!(read(None, Some(b"{\"service\":\"\xff\"}")).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        ) {
            let _ = read(key.as_deref(), value.as_deref());
        }

        #[test]
        fn arbitrary_values_in_a_rule_never_panic(service in ".*", template in "[${}% a-z.*|'\"()0-9]{0,60}", threshold in ".{0,8}") {
            let value = serde_json::json!({"service": service, "alarmTemplate": template, "maxThresholdHigh": threshold});
            let _ = read(None, Some(value.to_string().as_bytes()));
        }
    }
}
