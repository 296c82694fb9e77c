//! Alarms as targets see them: the fields of Weir's JSON.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_pdata::{Signal, json};

/// The fields of one alarm. Those without a value are left out; times are milliseconds. Kept as its line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Alarm {
    fields: Map<String, Value>,
    /// The same as it was written.
    line: String,
}

impl TryFrom<String> for Alarm {
    type Error = serde_json::Error;

    fn try_from(line: String) -> Result<Alarm, serde_json::Error> {
        Ok(Alarm { fields: serde_json::from_str(&line)?, line })
    }
}

impl From<Alarm> for String {
    fn from(alarm: Alarm) -> String {
        alarm.line
    }
}

impl Alarm {
    /// The alarms of some batches, in order.
    pub(crate) fn read<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<Alarm> {
        let mut lines = Vec::new();
        for batch in batches {
            json::write_rows(batch, Signal::Alarms, &mut lines);
        }
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(|line| String::from_utf8_lossy(line).into_owned().try_into().ok()).collect()
    }

    /// An alarm with these fields.
    #[cfg(test)]
    pub(crate) fn of(fields: &Value) -> Alarm {
        Alarm::try_from(fields.to_string()).unwrap()
    }

    /// The alarm as a line of JSON.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// All fields.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// A text field; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A time, in milliseconds.
    pub(crate) fn millis(&self, name: &str) -> Option<i64> {
        self.fields.get(name)?.as_i64()
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name)?.as_f64()
    }

    /// Whether it begins; else it is over.
    pub(crate) fn is_firing(&self) -> bool {
        self.text("state") != "resolved"
    }

    /// Whether it happened once, as what a pattern finds: it begins and has an end already.
    pub(crate) fn is_event(&self) -> bool {
        self.is_firing() && self.fields.contains_key("ends_at")
    }

    /// Its end at this time, in milliseconds, with this message. The time of the row stays: what comes of it
    /// later is newer.
    pub(crate) fn over(&self, ends_at: i64, message: &str) -> Alarm {
        let mut fields = self.fields.clone();
        for (name, value) in
            [("state", "resolved".into()), ("ends_at", ends_at.into()), ("message", message.into())]
        {
            fields.insert(name.to_owned(), value);
        }
        let line = Value::Object(fields.clone()).to_string();
        Alarm { fields, line }
    }

    /// When it began: else when its state changed.
    pub(crate) fn starts_at(&self) -> i64 {
        self.millis("starts_at").or_else(|| self.millis("time")).unwrap_or_default()
    }

    /// When it was over: else when its state changed.
    pub(crate) fn ends_at(&self) -> i64 {
        self.millis("ends_at").or_else(|| self.millis("time")).unwrap_or_default()
    }

    /// The texts of a map, such as `labels`, without empty ones.
    pub(crate) fn map(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.fields.get(name).and_then(Value::as_object).into_iter().flatten();
        let entries = entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        entries.filter(|(_, value)| !value.is_empty())
    }

    /// What the alarm is about: its labels; of one without labels, its service and operation.
    pub(crate) fn subject(&self) -> Vec<(&str, &str)> {
        let labels: Vec<_> = self.map("labels").collect();
        if !labels.is_empty() {
            return labels;
        }
        let own = ["service", "operation"].map(|name| (name, self.text(name)));
        own.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}
