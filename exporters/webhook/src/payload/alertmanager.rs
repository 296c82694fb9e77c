//! Alertmanager, both ways: alerts for its API, and the payload that it sends to webhooks.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use weir_pdata::Fnv;

use super::text::Wording;
use crate::alarm::Alarm;

/// What happened once fires there for this long, which is Alertmanager's own `resolve_timeout`.
const EVENT_MS: i64 = 5 * 60_000;

/// Alerts for `POST /api/v2/alerts`. One that fires ends by itself after `expires_ms`, unless it is sent
/// again; what happened once ends soon, because nothing else ends it.
pub(crate) fn alerts(wording: &Wording, alarms: &[Alarm], now_ms: i64, expires_ms: i64) -> Value {
    let alert = |alarm: &Alarm| {
        let ends_at = match (alarm.is_firing(), alarm.is_event()) {
            (true, true) => now_ms.saturating_add(expires_ms.min(EVENT_MS)),
            (true, false) => now_ms.saturating_add(expires_ms),
            (false, _) => alarm.ends_at(),
        };
        let mut alert = json!({
            "labels": labels(alarm),
            "annotations": annotations(alarm),
            "startsAt": rfc3339(alarm.starts_at()),
            "endsAt": rfc3339(ends_at.max(alarm.starts_at())),
        });
        if let Some(link) = wording.link(alarm) {
            alert["generatorURL"] = link.into();
        }
        alert
    };
    alarms.iter().map(alert).collect()
}

/// The payload, version 4, that Alertmanager sends to its webhook receivers.
pub(crate) fn webhook(
    wording: &Wording,
    receiver: &str,
    group: &BTreeMap<String, String>,
    alarms: &[Alarm],
) -> Value {
    let all: Vec<_> = alarms.iter().map(|alarm| (labels(alarm), annotations(alarm))).collect();
    let alerts: Vec<Value> = alarms
        .iter()
        .zip(&all)
        .map(|(alarm, (labels, annotations))| {
            let ends_at =
                if alarm.is_firing() { "0001-01-01T00:00:00Z".to_owned() } else { rfc3339(alarm.ends_at()) };
            json!({
                "status": alarm.text("state"),
                "labels": labels,
                "annotations": annotations,
                "startsAt": rfc3339(alarm.starts_at()),
                "endsAt": ends_at,
                "generatorURL": wording.link(alarm).unwrap_or_default(),
                "fingerprint": format!("{:016x}", fingerprint(labels)),
            })
        })
        .collect();
    let group_key: Vec<String> = group.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{{}}}", group_key.join(", ")),
        "truncatedAlerts": 0,
        "status": if alarms.iter().any(Alarm::is_firing) { "firing" } else { "resolved" },
        "receiver": receiver,
        "groupLabels": group,
        "commonLabels": common(all.iter().map(|(labels, _)| labels)),
        "commonAnnotations": common(all.iter().map(|(_, annotations)| annotations)),
        "externalURL": "",
        "alerts": alerts,
    })
}

/// The labels that identify an alert.
pub(crate) fn labels(alarm: &Alarm) -> BTreeMap<String, String> {
    let own = [("service", alarm.text("service")), ("operation", alarm.text("operation"))];
    let mut labels: BTreeMap<String, String> = own
        .into_iter()
        .chain(alarm.map("labels"))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (label_name(name), value.to_owned()))
        .collect();
    labels.insert("alertname".to_owned(), alarm.text("rule").to_owned());
    labels.insert("severity".to_owned(), alarm.text("severity").to_owned());
    // Alarms that differ in nothing else are not one: of two operators, or of no data and a limit.
    labels.insert("alarm_fingerprint".to_owned(), alarm.text("fingerprint").to_owned());
    labels
}

fn annotations(alarm: &Alarm) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        alarm.map("annotations").map(|(name, value)| (label_name(name), value.to_owned())).collect();
    let text = |name: &str| Some(alarm.text(name).to_owned()).filter(|text| !text.is_empty());
    let number = |name: &str| {
        let value = weir_alarms::template_context::number(alarm.number(name));
        Some(value.to_string()).filter(|_| !value.is_null())
    };
    let own = [
        ("summary", text("message")),
        ("measure", text("measure")),
        ("value", number("value")),
        ("threshold", number("threshold")),
        ("runbook_url", text("runbook")),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            all.entry(name.to_owned()).or_insert(value);
        }
    }
    all
}

/// What all of them have.
fn common<'a>(mut all: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeMap<&'a str, &'a str> {
    let Some(first) = all.next() else { return BTreeMap::new() };
    let mut common: BTreeMap<&str, &str> =
        first.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for other in all {
        common.retain(|name, value| other.get(*name).is_some_and(|own| own == value));
    }
    common
}

/// Names have letters, digits and `_`, in every version.
fn label_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Prometheus' fingerprint of labels: FNV-1a with 64 bits over `name 0xff value 0xff`, by name.
fn fingerprint(labels: &BTreeMap<String, String>) -> u64 {
    let add = |hash: Fnv, (name, value): (&String, &String)| {
        hash.and(name.bytes()).and([0xff]).and(value.bytes()).and([0xff])
    };
    labels.iter().fold(Fnv::default(), add).get()
}

fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_names_have_letters_digits_and_underscores() {
        assert_eq!(["http.route", "9a", "a_b"].map(label_name), ["http_route", "_9a", "a_b"]);
    }
}
