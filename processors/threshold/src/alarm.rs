//! Alarms, and the batch that they leave in.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch,
    StringBuilder, StringViewArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Int32Type, Schema};
use arrow::error::ArrowError;
use weir_pdata::{Signal, schema};

use crate::rule::Labels;
use crate::severity::Severity;

/// One change of an alarm's state. Times are nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) time: i64,
    pub(crate) rule: Arc<str>,
    pub(crate) severity: Severity,
    pub(crate) firing: bool,
    pub(crate) labels: Vec<(Arc<str>, String)>,
    pub(crate) measure: Option<Arc<str>>,
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) window_start: Option<i64>,
    pub(crate) window_end: Option<i64>,
    pub(crate) message: String,
    pub(crate) fingerprint: String,
    pub(crate) starts_at: i64,
    pub(crate) ends_at: Option<i64>,
    pub(crate) epoch: i64,
}

impl Alarm {
    /// The name of its state, in the `state` column.
    pub(crate) fn state(&self) -> &'static str {
        if self.firing { "firing" } else { "resolved" }
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str())
    }
}

/// What tells series apart: rule, operator and labels, each part with its length so that no two series look the same.
pub(crate) fn series_key(rule: &str, operator: &str, labels: &Labels) -> String {
    let mut key = String::new();
    let labels = labels.iter().flat_map(|(name, value)| [&**name, value.as_str()]);
    for part in [rule, operator].into_iter().chain(labels) {
        key.push_str(&part.len().to_string());
        key.push(':');
        key.push_str(part);
    }
    key
}

/// 16 hex digits: FNV-1a (64 bits) of the series and the severity. The same in every run and on every machine.
pub(crate) fn fingerprint(series_key: &str, severity: Severity) -> String {
    let bytes = series_key.bytes().chain([0xff]).chain(severity.name().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The alarms as a batch with the fixed columns of the signal.
///
/// # Errors
/// When the columns do not fit the schema, which is a mistake in this module.
pub(crate) fn to_batch(alarms: &[Alarm]) -> Result<RecordBatch, ArrowError> {
    let fields = schema::fixed(Signal::Alarms);
    let columns = fields.iter().map(|field| column(field.name(), alarms)).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns)
}

fn column(name: &str, alarms: &[Alarm]) -> Result<ArrayRef, ArrowError> {
    Ok(match name {
        "time" => times(alarms, |alarm| Some(alarm.time)),
        "rule" => dictionary(alarms, |alarm| Some(&alarm.rule))?,
        "severity" => dictionary(alarms, |alarm| Some(alarm.severity.name()))?,
        "state" => dictionary(alarms, |alarm| Some(alarm.state()))?,
        "service" => dictionary(alarms, |alarm| alarm.label("service"))?,
        "operation" => dictionary(alarms, |alarm| alarm.label("operation"))?,
        "labels" => labels(alarms)?,
        "measure" => dictionary(alarms, |alarm| alarm.measure.as_deref())?,
        "value" => numbers(alarms, |alarm| alarm.value),
        "threshold" => numbers(alarms, |alarm| alarm.threshold),
        "window_start" => times(alarms, |alarm| alarm.window_start),
        "window_end" => times(alarms, |alarm| alarm.window_end),
        "message" => {
            Arc::new(alarms.iter().map(|alarm| Some(alarm.message.as_str())).collect::<StringViewArray>())
        }
        "fingerprint" => {
            Arc::new(alarms.iter().map(|alarm| Some(alarm.fingerprint.as_str())).collect::<StringViewArray>())
        }
        "starts_at" => times(alarms, |alarm| Some(alarm.starts_at)),
        "ends_at" => times(alarms, |alarm| alarm.ends_at),
        "rule_epoch" => Arc::new(alarms.iter().map(|alarm| Some(alarm.epoch)).collect::<Int64Array>()),
        other => return Err(ArrowError::SchemaError(format!("alarms have no column `{other}`"))),
    })
}

fn times(alarms: &[Alarm], of: impl Fn(&Alarm) -> Option<i64>) -> ArrayRef {
    Arc::new(alarms.iter().map(of).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn numbers(alarms: &[Alarm], of: impl Fn(&Alarm) -> Option<f64>) -> ArrayRef {
    Arc::new(alarms.iter().map(of).collect::<Float64Array>())
}

/// Neighbours with the same text share an entry.
fn dictionary<'a>(
    alarms: &'a [Alarm],
    of: impl Fn(&'a Alarm) -> Option<&'a str>,
) -> Result<ArrayRef, ArrowError> {
    let mut values: Vec<&str> = Vec::new();
    let mut keys: Vec<Option<i32>> = Vec::with_capacity(alarms.len());
    for alarm in alarms {
        let Some(text) = of(alarm) else {
            keys.push(None);
            continue;
        };
        if values.last() != Some(&text) {
            values.push(text);
        }
        let key = i32::try_from(values.len() - 1).map_err(|_| ArrowError::DictionaryKeyOverflowError)?;
        keys.push(Some(key));
    }
    let values = Arc::new(StringViewArray::from_iter_values(values));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), values)?))
}

fn labels(alarms: &[Alarm]) -> Result<ArrayRef, ArrowError> {
    let names =
        MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for alarm in alarms {
        for (name, value) in &alarm.labels {
            maps.keys().append_value(name);
            maps.values().append_value(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_stable_and_tell_series_and_severities_apart() {
        let labels: Vec<(Arc<str>, String)> = vec![("service".into(), "pay".to_owned())];
        let key = series_key("slow", "aggregate", &labels);
        assert_eq!(fingerprint(&key, Severity::High), fingerprint(&key.clone(), Severity::High));
        assert_ne!(fingerprint(&key, Severity::High), fingerprint(&key, Severity::Mid));
        assert_ne!(series_key("a", "bc", &[]), series_key("ab", "c", &[]));
        // FNV-1a of nothing but the separator and `low`: the constant is part of the contract.
        assert_eq!(fingerprint("", Severity::Low), "c0a517627ee056f4");
    }

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
        };
        let batch = to_batch(&[alarm.clone(), Alarm { labels: Vec::new(), ..alarm }]).unwrap();
        assert_eq!(batch.schema().fields(), schema::fixed(Signal::Alarms));
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(to_batch(&[]).unwrap().num_rows(), 0);
    }
}
