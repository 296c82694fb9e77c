//! From matches to the batch of alarms: one row each.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    StringViewArray, TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use serde_json::{Map, Value, json};
use weir_pdata::{Signal, schema};

use crate::keys::{Event, Found};
use crate::message::Message;
use crate::nfa::Taken;
use crate::operator::Operator;
use crate::rows::{NANOS, rfc3339};

/// Names of facts that no step may have.
pub(crate) const FACTS: [&str; 12] = [
    "rule",
    "severity",
    "level",
    "state",
    "measure",
    "value",
    "threshold",
    "labels",
    "time",
    "starts_at",
    "events",
    "late",
];

/// Patterns come from the configuration: the first rule set.
const EPOCH: i64 = 1;

/// What the alarms of one pattern have in common.
pub(crate) struct Template {
    /// The column `rule`.
    pub(crate) name: String,
    pub(crate) severity: &'static str,
    /// Of the last step: the column that it compares, and with what.
    pub(crate) measure: Option<String>,
    pub(crate) threshold: Option<f64>,
    pub(crate) message: Option<Message>,
    /// The names of the steps.
    pub(crate) steps: Vec<String>,
}

/// One alarm. Times are nanoseconds.
struct Alarm<'a> {
    found: &'a Found,
    labels: Vec<(&'a str, &'a str)>,
    time: i64,
    starts_at: i64,
    window_start: Option<i64>,
    window_end: Option<i64>,
    value: Option<f64>,
    message: String,
    fingerprint: String,
}

/// The alarms of these matches, in their order, with the fixed columns of the signal.
///
/// # Errors
/// When the columns do not fit the schema, which is a mistake in this module.
pub(crate) fn to_batch(found: &[Found], operator: &Operator) -> Result<RecordBatch, ArrowError> {
    let alarms: Vec<Alarm<'_>> = found.iter().filter_map(|found| Alarm::of(found, operator)).collect();
    let fields = schema::fixed(Signal::Alarms);
    let columns = fields.iter().map(|field| column(field.name(), &alarms, operator));
    RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.collect::<Result<_, _>>()?)
}

impl<'a> Alarm<'a> {
    fn of(found: &'a Found, operator: &'a Operator) -> Option<Alarm<'a>> {
        let template = &operator.alarm;
        let ((_, first), (_, last)) = (found.events.first()?, found.events.last()?);
        let key = operator.key.iter().zip(found.key.iter());
        let mut labels: Vec<(&str, &str)> =
            key.filter_map(|(name, value)| Some((&**name, value.as_deref()?))).collect();
        labels.sort_unstable();
        let measure = operator.kept.iter().position(|name| Some(name) == template.measure.as_ref());
        let value = measure.and_then(|at| last.data.values.get(at)).and_then(Value::as_f64);
        let is_window = operator.input == Signal::Windows;
        let mut alarm = Alarm {
            fingerprint: fingerprint(&template.name, template.severity, &labels),
            labels,
            time: last.time.saturating_mul(NANOS),
            starts_at: first.time.saturating_mul(NANOS),
            window_start: first.data.window_start,
            window_end: is_window.then(|| last.time.saturating_add(1).saturating_mul(NANOS)),
            value,
            message: String::new(),
            found,
        };
        alarm.message = alarm.text(operator);
        Some(alarm)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn text(&self, operator: &Operator) -> String {
        let Some(message) = &operator.alarm.message else { return self.default_text(operator) };
        let (text, problem) = message.render(&self.facts(operator));
        if let Some(problem) = problem {
            operator.metrics.template_errors.inc();
            if let Some(held_back) = operator.logs.templates.allow(operator.clock.now_ms()) {
                tracing::warn!(processor = %operator.id, held_back, "the message template fails: {problem}");
            }
        }
        text.unwrap_or_else(|| self.default_text(operator))
    }

    fn default_text(&self, operator: &Operator) -> String {
        let Template { name, severity, steps, .. } = &operator.alarm;
        let mut text = format!("{severity}: {name}:");
        for (label, value) in &self.labels {
            text.push_str(&format!(" {label}={value}"));
        }
        let took = (self.time - self.starts_at) / NANOS;
        text.push_str(&format!(" {} in {took} ms", steps.join(", ")));
        text
    }

    /// The names that templates know. What comes first wins.
    fn facts(&self, operator: &Operator) -> Value {
        let template = &operator.alarm;
        let labels: Map<String, Value> =
            self.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut facts = Map::new();
        for (name, value) in [
            ("rule", json!(template.name)),
            ("severity", json!(template.severity)),
            ("level", json!(template.severity)),
            ("state", json!("firing")),
            ("measure", json!(template.measure)),
            ("value", json!(self.value)),
            ("threshold", json!(template.threshold)),
            ("labels", Value::Object(labels.clone())),
            ("time", json!(rfc3339(self.time))),
            ("starts_at", json!(rfc3339(self.starts_at))),
            ("events", json!(self.found.events.len())),
        ] {
            facts.insert(name.to_owned(), value);
        }
        for (at, name) in template.steps.iter().enumerate() {
            let last = self.found.events.iter().rev().find(|(step, _)| *step == at);
            if let Some((_, event)) = last {
                let mut values = columns_of(event, operator);
                values.insert("time".to_owned(), json!(rfc3339(event.time.saturating_mul(NANOS))));
                facts.entry(name).or_insert(Value::Object(values));
            }
        }
        for (name, value) in labels {
            insert(&mut facts, &name, value, 8);
        }
        if let Some((_, last)) = self.found.events.last() {
            for (name, value) in operator.kept.iter().zip(&last.data.values) {
                insert(&mut facts, name, value.clone(), 8);
            }
        }
        Value::Object(facts)
    }
}

fn columns_of(event: &Taken<Event>, operator: &Operator) -> Map<String, Value> {
    let mut values = Map::new();
    for (name, value) in operator.kept.iter().zip(&event.data.values) {
        insert(&mut values, name, value.clone(), 8);
    }
    values
}

/// `a.b` is found as `a.b` in a template, up to eight parts. What is there already stays; NULL is not there.
fn insert(facts: &mut Map<String, Value>, name: &str, value: Value, depth: usize) {
    if value.is_null() {
        return;
    }
    match name.split_once('.').filter(|_| depth > 1) {
        None => drop(facts.entry(name).or_insert(value)),
        Some((first, rest)) => {
            if let Value::Object(inner) = facts.entry(first).or_insert_with(|| Value::Object(Map::new())) {
                insert(inner, rest, value, depth - 1);
            }
        }
    }
}

/// 16 hex digits: FNV-1a (64 bits) of rule, severity and labels, each with its length. The same in every run.
fn fingerprint(rule: &str, severity: &str, labels: &[(&str, &str)]) -> String {
    let parts = [rule, severity].into_iter().chain(labels.iter().flat_map(|(name, value)| [*name, *value]));
    let text: String = parts.map(|part| format!("{}:{part}", part.len())).collect();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn column(name: &str, alarms: &[Alarm<'_>], operator: &Operator) -> Result<ArrayRef, ArrowError> {
    let template = &operator.alarm;
    let texts = |of: &dyn Fn(&Alarm<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(alarms.iter().map(of).collect::<StringViewArray>())
    };
    let words = |of: &dyn Fn(&Alarm<'_>) -> Option<String>| cast(&texts(of), &schema::dictionary());
    let times = |of: &dyn Fn(&Alarm<'_>) -> Option<i64>| -> ArrayRef {
        Arc::new(alarms.iter().map(of).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
    };
    Ok(match name {
        "time" => times(&|alarm| Some(alarm.time)),
        "rule" => words(&|_| Some(template.name.clone()))?,
        "severity" => words(&|_| Some(template.severity.to_owned()))?,
        "state" => words(&|_| Some("firing".to_owned()))?,
        "service" | "operation" => words(&|alarm| alarm.label(name).map(str::to_owned))?,
        "labels" => labels(alarms)?,
        "measure" => words(&|_| template.measure.clone())?,
        "value" => Arc::new(alarms.iter().map(|alarm| alarm.value).collect::<Float64Array>()),
        "threshold" => Arc::new(alarms.iter().map(|_| template.threshold).collect::<Float64Array>()),
        "window_start" => times(&|alarm| alarm.window_start),
        "window_end" => times(&|alarm| alarm.window_end),
        "message" => texts(&|alarm| Some(alarm.message.clone())),
        "fingerprint" => texts(&|alarm| Some(alarm.fingerprint.clone())),
        "starts_at" => times(&|alarm| Some(alarm.starts_at)),
        "ends_at" => times(&|_| None),
        "rule_epoch" => Arc::new(Int64Array::from_value(EPOCH, alarms.len())),
        other => return Err(ArrowError::SchemaError(format!("alarms have no column `{other}`"))),
    })
}

fn labels(alarms: &[Alarm<'_>]) -> Result<ArrayRef, ArrowError> {
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
