//! SkyWalking's `AlarmMessage`s: the body of its webhook hook.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::alarm::Alarm;

/// The messages of these alarms, which have `recoveryTime` when they are over. Fields without a value are
/// left out, as SkyWalking does.
pub(crate) fn messages<'a>(alarms: impl Iterator<Item = &'a Alarm>) -> Value {
    alarms.map(message).collect()
}

fn message(alarm: &Alarm) -> Value {
    let service = alarm.text("service");
    let label = |name: &str| alarm.map("labels").find(|(known, _)| *known == name).map(|(_, value)| value);
    let instance = label("instance").or_else(|| label("service_instance"));
    let operation = alarm.text("operation");
    let encoded = |text: &str| STANDARD.encode(text);
    // What SkyWalking's ids of normal services are.
    let service_id = format!("{}.1", encoded(service));
    let (scope_id, scope, name, id) = if !operation.is_empty() {
        let id = format!("{service_id}_{}", encoded(operation));
        (3, "ENDPOINT", format!("{operation} in {service}"), id)
    } else if let Some(instance) = instance {
        let id = format!("{service_id}_{}", encoded(instance));
        (2, "SERVICE_INSTANCE", format!("{instance} of {service}"), id)
    } else {
        (1, "SERVICE", service.to_owned(), service_id)
    };
    let tag = |(key, value): (&str, &str)| json!({"key": key, "value": value});
    let own = [("level", alarm.text("severity"))];
    let tags: Vec<Value> = own.into_iter().chain(alarm.map("labels")).map(tag).collect();
    let mut message = Map::from_iter([
        ("scopeId".to_owned(), scope_id.into()),
        ("scope".to_owned(), scope.into()),
        ("name".to_owned(), name.into()),
        ("id0".to_owned(), id.into()),
        ("id1".to_owned(), "".into()),
        ("ruleName".to_owned(), alarm.text("rule").into()),
        ("alarmMessage".to_owned(), alarm.text("message").into()),
        ("tags".to_owned(), tags.into()),
        ("startTime".to_owned(), alarm.starts_at().into()),
        ("uuid".to_owned(), alarm.text("fingerprint").into()),
    ]);
    if !alarm.is_firing() {
        message.insert("recoveryTime".to_owned(), alarm.ends_at().into());
    }
    Value::Object(message)
}
