//! The difference between the alarms that fire and those that are expected, for people.

use std::collections::BTreeMap;

use weir_alarms::Alarm;

use super::keys::{Case, Expected};

/// One line for each alarm that is missing or too much, and for each text that differs.
pub(super) fn differences(case: &Case, firing: &[&Alarm]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left: Vec<(BTreeMap<&str, &str>, &Alarm)> =
        firing.iter().map(|alarm| (labels(alarm), *alarm)).collect();
    for expected in &case.expected {
        let wanted: BTreeMap<&str, &str> =
            expected.exp_labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        match left.iter().position(|(labels, _)| *labels == wanted) {
            Some(at) => texts(expected, left.remove(at).1, &mut lines),
            None => lines.push(format!("- {}", shown(&wanted))),
        }
    }
    lines.extend(left.iter().map(|(labels, _)| format!("+ {}", shown(labels))));
    lines
}

fn labels(alarm: &Alarm) -> BTreeMap<&str, &str> {
    let own = alarm.labels.iter().map(|(name, text)| (&**name, text.as_str()));
    own.chain([("severity", alarm.severity.name())]).collect()
}

fn texts(expected: &Expected, alarm: &Alarm, lines: &mut Vec<String>) {
    let labels = shown(&labels(alarm));
    let mut differ = |name: &str, wanted: Option<&str>, is: Option<&str>| {
        if wanted != is {
            let text =
                |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
            lines.push(format!("  {labels}\n    - {name}: {}\n    + {name}: {}", text(wanted), text(is)));
        }
    };
    if let Some(message) = &expected.exp_message {
        differ("message", Some(message), Some(&alarm.message));
    }
    if let Some(wanted) = &expected.exp_annotations {
        let is: BTreeMap<&str, &str> =
            alarm.annotations.iter().map(|(name, text)| (&**name, text.as_str())).collect();
        for (name, text) in wanted {
            differ(name, Some(text), is.get(name.as_str()).copied());
        }
        for (name, text) in is.iter().filter(|(name, _)| !wanted.contains_key(**name)) {
            differ(name, None, Some(text));
        }
    }
}

fn shown(labels: &BTreeMap<&str, &str>) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}={text:?}")).collect();
    format!("{{{}}}", labels.join(", "))
}
