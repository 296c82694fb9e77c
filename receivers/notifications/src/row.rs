//! A notification as a log.

use serde_json::{Value, json};
use weir_component::notifications::Notification;

/// The row, as in Weir's JSON lines.
pub(crate) fn row(notification: &Notification) -> Value {
    let Notification { time_ms, target, outcome, reason, attempts, delay_ms, alarm } = notification;
    let [rule, severity, state, service, operation, fingerprint] = alarm;
    let (severity_number, severity_text) = match *outcome {
        "failed" => (17, "ERROR"),
        _ => (9, "INFO"),
    };
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    json!({
        "signal": "logs", "time": time_ms, "observed_time": time_ms,
        "severity_number": severity_number, "severity_text": severity_text,
        "event_name": "weir.notification", "service": "weir",
        "body": format!("{outcome} to {target}: {state} {rule} {service} {operation}{why}"),
        "attributes": {
            "notification.target": target, "notification.outcome": outcome, "notification.reason": reason,
            "notification.attempts": attempts.to_string(), "notification.delay_ms": delay_ms.to_string(),
            "alarm.rule": rule, "alarm.severity": severity, "alarm.state": state, "alarm.service": service,
            "alarm.operation": operation, "alarm.fingerprint": fingerprint
        }
    })
}
