//! Alarms, and the batch that they leave in.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    StringViewArray, TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use weir_pdata::{Signal, schema};

use crate::Severity;

/// The subject of alarms: names and values, in the order of the names. NULL is left out.
pub type Labels = [(Arc<str>, String)];

/// One change of an alarm's state: a row. Times are nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// When its state changed, in event time.
    pub time: i64,
    /// Who raises it.
    pub rule: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// It begins; else it is over.
    pub firing: bool,
    /// Its subject, like [`Labels`].
    pub labels: Vec<(Arc<str>, String)>,
    /// The column that is compared.
    pub measure: Option<Arc<str>>,
    /// Of the measure, in its unit.
    pub value: Option<f64>,
    /// The number that the measure is compared with, in its unit.
    pub threshold: Option<f64>,
    /// Start of the window, or of the first one.
    pub window_start: Option<i64>,
    /// End of the window, or of the last one.
    pub window_end: Option<i64>,
    /// The text.
    pub message: String,
    /// See [`crate::fingerprint()`].
    pub fingerprint: String,
    /// When it began.
    pub starts_at: i64,
    /// When it was over.
    pub ends_at: Option<i64>,
    /// Which set of rules it comes from, from 1.
    pub epoch: i64,
    /// Further texts of the rule, rendered: names and texts.
    pub annotations: Vec<(Arc<str>, String)>,
    /// Where to read how to go about it.
    pub runbook: Option<Arc<str>>,
}

impl Alarm {
    /// The name of its state, in the `state` column.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.firing { "firing" } else { "resolved" }
    }

    /// How texts without a template begin: `high: slow: service=pay`, or `resolved: slow: service=pay`.
    #[must_use]
    pub fn opening(&self) -> String {
        let what = if self.firing { self.severity.name() } else { "resolved" };
        let mut text = format!("{what}: {}:", self.rule);
        for (name, value) in &self.labels {
            text.push_str(&format!(" {name}={value}"));
        }
        text
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str())
    }
}

/// The alarms as a batch with the fixed columns of the signal.
///
/// # Errors
/// When the columns do not fit the schema, which is a mistake in this module.
pub fn to_batch(alarms: &[Alarm]) -> Result<RecordBatch, ArrowError> {
    let fields = schema::fixed(Signal::Alarms);
    let columns = fields.iter().map(|field| column(field.name(), alarms)).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns)
}

fn column(name: &str, alarms: &[Alarm]) -> Result<ArrayRef, ArrowError> {
    Ok(match name {
        "time" => times(alarms, |alarm| Some(alarm.time)),
        "rule" => words(alarms, |alarm| Some(&alarm.rule))?,
        "severity" => words(alarms, |alarm| Some(alarm.severity.name()))?,
        "state" => words(alarms, |alarm| Some(alarm.state()))?,
        "service" => words(alarms, |alarm| alarm.label("service"))?,
        "operation" => words(alarms, |alarm| alarm.label("operation"))?,
        "labels" => maps(alarms, |alarm| Some(alarm.labels.as_slice()))?,
        "measure" => words(alarms, |alarm| alarm.measure.as_deref())?,
        "value" => numbers(alarms, |alarm| alarm.value),
        "threshold" => numbers(alarms, |alarm| alarm.threshold),
        "window_start" => times(alarms, |alarm| alarm.window_start),
        "window_end" => times(alarms, |alarm| alarm.window_end),
        "message" => texts(alarms, |alarm| Some(&alarm.message)),
        "fingerprint" => texts(alarms, |alarm| Some(&alarm.fingerprint)),
        "starts_at" => times(alarms, |alarm| Some(alarm.starts_at)),
        "ends_at" => times(alarms, |alarm| alarm.ends_at),
        "rule_epoch" => Arc::new(alarms.iter().map(|alarm| Some(alarm.epoch)).collect::<Int64Array>()),
        "annotations" => {
            maps(alarms, |alarm| (!alarm.annotations.is_empty()).then_some(alarm.annotations.as_slice()))?
        }
        "runbook" => texts(alarms, |alarm| alarm.runbook.as_deref()),
        other => return Err(ArrowError::SchemaError(format!("alarms have no column `{other}`"))),
    })
}

fn times(alarms: &[Alarm], of: impl Fn(&Alarm) -> Option<i64>) -> ArrayRef {
    Arc::new(alarms.iter().map(of).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn numbers(alarms: &[Alarm], of: impl Fn(&Alarm) -> Option<f64>) -> ArrayRef {
    Arc::new(alarms.iter().map(of).collect::<Float64Array>())
}

fn texts<'a>(alarms: &'a [Alarm], of: impl Fn(&'a Alarm) -> Option<&'a str>) -> ArrayRef {
    Arc::new(alarms.iter().map(of).collect::<StringViewArray>())
}

/// Texts of which many are the same.
fn words<'a>(alarms: &'a [Alarm], of: impl Fn(&'a Alarm) -> Option<&'a str>) -> Result<ArrayRef, ArrowError> {
    cast(&texts(alarms, of), &schema::dictionary())
}

/// NULL where there is none.
fn maps<'a>(
    alarms: &'a [Alarm],
    of: impl Fn(&'a Alarm) -> Option<&'a [(Arc<str>, String)]>,
) -> Result<ArrayRef, ArrowError> {
    let names =
        MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for alarm in alarms {
        let map = of(alarm);
        for (name, value) in map.unwrap_or_default() {
            maps.keys().append_value(name);
            maps.values().append_value(value);
        }
        maps.append(map.is_some())?;
    }
    Ok(Arc::new(maps.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_fixed_columns() {
        let alarm = Alarm {
            time: 1,
            rule: "slow".into(),
            severity: Severity::Mid,
            firing: true,
            labels: vec![("service".into(), "pay".to_owned())],
            measure: None,
            value: Some(1.5),
            threshold: None,
            window_start: None,
            window_end: Some(1),
            message: "slow".to_owned(),
            fingerprint: "00".to_owned(),
            starts_at: 1,
            ends_at: None,
            epoch: 1,
            annotations: vec![("impact".into(), "no payments".to_owned())],
            runbook: Some("https://runbooks/slow".into()),
        };
        let batch = to_batch(&[alarm.clone(), Alarm { labels: Vec::new(), ..alarm }]).unwrap();
        assert_eq!(batch.schema().fields(), schema::fixed(Signal::Alarms));
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(to_batch(&[]).unwrap().num_rows(), 0);
    }
}
