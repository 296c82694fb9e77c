//! The classic form of rules: one JSON object for an endpoint.
//!
//! `{"service": "pay", "operatorName": "/pay", "maxThresholdHigh": 2000, "avgThresholdLow": "300", "alarmTemplate": "…"}`
//!
//! * `operatorName` is the window's `operation`. `*`, empty, null or (for `operatorName`) missing stands for any.
//! * Thresholds are milliseconds, as numbers or as texts; null, empty or missing is no threshold. A severity
//!   holds when the mean is above its `avg` threshold or the longest above its `max` threshold.
//! * Keys that are not listed here are ignored: other programs read the same topic.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use weir_alarms::{Message, MessageError};

use crate::per_severity::PerSeverity;
use crate::progress::Patience;
use crate::rule::{Classic, Kind, Rule};

/// Longest record that is looked at, in bytes.
pub(crate) const MAX_RECORD: usize = 16 * 1024;

/// Which windows a classic rule is for; `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) service: Option<Arc<str>>,
    pub(crate) operation: Option<Arc<str>>,
}

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
}

/// What a record of the rules' topic says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// This is the rule now.
    Put(Arc<Rule>),
    /// The rule of this name is no more.
    Remove(Arc<str>),
}

/// Reads a record. The rule's name is the record's key, else `service/operatorName`.
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
    // Serde would take a list's elements for the fields in their order.
    if value.trim_ascii_start().starts_with(b"[") {
        return Err(ClassicError::Json("it is a list; a rule is an object".to_owned()));
    }
    let json: Json = serde_json::from_slice(value).map_err(|error| ClassicError::Json(error.to_string()))?;
    let endpoint = Endpoint { service: some(json.service), operation: some(json.operation) };
    let name = key.map_or_else(|| endpoint.name(), Into::into);
    let message = json.template.filter(|text| !text.trim().is_empty());
    let message = message.map(|text| Message::parse(&text)).transpose()?.unwrap_or_default();
    let avg_ns = PerSeverity { high: json.avg_high.0, mid: json.avg_mid.0, low: json.avg_low.0 };
    let max_ns = PerSeverity { high: json.max_high.0, mid: json.max_mid.0, low: json.max_low.0 };
    let kind = Kind::Classic(Classic { endpoint, avg_ns, max_ns });
    let rule = Rule { name, kind, patience: Patience::default(), min_count: 0, message };
    Ok(Record::Put(Arc::new(rule)))
}

impl Endpoint {
    fn name(&self) -> Arc<str> {
        let part = |part: &Option<Arc<str>>| part.as_deref().unwrap_or("*").to_owned();
        format!("{}/{}", part(&self.service), part(&self.operation)).into()
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
    #[serde(rename = "operatorName", default)]
    operation: Option<String>,
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
        let Record::Put(rule) = read(key.map(str::as_bytes), Some(value.as_bytes())).unwrap() else {
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
    fn without_key_the_endpoint_is_the_name() {
        assert_eq!(&*put(None, r#"{"service":"pay","operatorName":"/pay"}"#).0.name, "pay//pay");
        assert_eq!(&*put(None, r#"{"service":"pay"}"#).0.name, "pay/*");
        assert_eq!(&*put(Some(""), r#"{"service":"*","operatorName":""}"#).0.name, "*/*");
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
