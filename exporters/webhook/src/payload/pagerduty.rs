//! PagerDuty's Events API v2.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::text::{Wording, cut, title};
use crate::alarm::Alarm;

/// The longest summary, in characters; a byte is at most one.
const SUMMARY: usize = 1024;

/// The event of one alarm. `dedup_key` is the fingerprint, so the resolved alarm ends what the firing one
/// began.
pub(crate) fn event(wording: &Wording, routing_key: &str, alarm: &Alarm) -> Value {
    if !alarm.is_firing() {
        return json!({
            "routing_key": routing_key,
            "event_action": "resolve",
            "dedup_key": alarm.text("fingerprint"),
        });
    }
    let severity = match alarm.text("severity") {
        "high" => "critical",
        "mid" => "error",
        _ => "warning",
    };
    let summary = match alarm.text("message") {
        "" => title(alarm),
        message => message.replace('\n', " "),
    };
    let source = match alarm.text("service") {
        "" => alarm.subject().first().map_or("weir", |(_, value)| *value),
        service => service,
    };
    let began = DateTime::from_timestamp_millis(alarm.starts_at()).unwrap_or_default();
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": alarm.text("fingerprint"),
        "client": "Weir",
        "payload": {
            "summary": cut(summary, SUMMARY),
            "source": source,
            "severity": severity,
            "timestamp": began.to_rfc3339_opts(SecondsFormat::Millis, true),
            "class": alarm.text("rule"),
            "custom_details": alarm.fields(),
        },
    });
    let operation = alarm.text("operation");
    if !operation.is_empty() {
        event["payload"]["component"] = operation.into();
    }
    if let Some(link) = wording.link(alarm) {
        event["links"] = json!([{"href": link, "text": "where to look"}]);
    }
    event
}
