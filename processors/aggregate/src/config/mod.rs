//! The keys of an `aggregate` section, and what they must fulfil.

mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use weir_component::event_clocks::EventClocks;
use weir_component::{Alignment, Check, Context, EventTimeKeys, Settings, ShardWatermarks, Watermark};
use weir_config::{Diagnostics, Duration};
use weir_pdata::expr::{Expr, Measure};
use weir_pdata::late::LatePolicy;
use weir_pdata::{Signal, schema};

use crate::config::window::WindowConfig;
use crate::fingerprint::Meaning;
use crate::metrics::Metrics;
use crate::operator::{Logs, Operator};
use crate::output_schema::is_reserved;
use crate::window::Windows;

/// An `aggregate` section as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    window: WindowConfig,
    #[serde(default)]
    time: Option<String>,
    #[serde(default = "EventTimeKeys::default_out_of_orderness")]
    out_of_orderness: Duration,
    #[serde(default = "EventTimeKeys::default_idle_timeout")]
    idle_timeout: Duration,
    #[serde(default)]
    allowed_lateness: Duration,
    #[serde(default)]
    late: LatePolicy,
    #[serde(default)]
    max_drift: Drift,
    #[serde(default = "EventTimeKeys::default_max_future")]
    max_future: Duration,
    /// As `out_of_orderness`, when it is not written.
    #[serde(default)]
    max_ahead: Option<Duration>,
    #[serde(default, rename = "where")]
    condition: Option<String>,
    #[serde(default)]
    weight: Option<String>,
    #[serde(default)]
    success: Option<String>,
    #[serde(default = "default_group_by")]
    group_by: Vec<String>,
    #[serde(default)]
    measures: BTreeMap<String, String>,
    #[serde(default = "default_signals")]
    signals: Vec<Signal>,
    #[serde(default = "default_max_groups")]
    max_groups: u32,
    #[serde(default)]
    emit_from: Option<String>,
}

/// How far a lane may be ahead of the slowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Drift {
    /// As far as it likes.
    #[default]
    Off,
    AtMost(Duration),
}

impl<'de> Deserialize<'de> for Drift {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Drift, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Drift;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off` or a duration such as `1m`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Drift, E> {
                if text == "off" {
                    return Ok(Drift::Off);
                }
                let length = text.parse::<Duration>();
                length.map(Drift::AtMost).map_err(|error| E::custom(format_args!("{error}, or `off`")))
            }

            // YAML 1.1 reads `off` as false. It means the same with any reader.
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Drift, E> {
                if on { Err(E::invalid_type(de::Unexpected::Bool(on), &self)) } else { Ok(Drift::Off) }
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// The time column when `time` is not written.
const DEFAULT_TIME: &str = "end_time";

fn default_group_by() -> Vec<String> {
    vec!["service".to_owned(), "operation".to_owned()]
}

fn default_signals() -> Vec<Signal> {
    vec![Signal::Traces]
}

fn default_max_groups() -> u32 {
    100_000
}

/// Reads and checks a section.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub(crate) fn read(settings: Settings<'_>, context: Context) -> Result<Operator, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    let window = config.window.check(&mut check, config.allowed_lateness);
    let keys = EventTimeKeys {
        out_of_orderness: config.out_of_orderness,
        idle_timeout: config.idle_timeout,
        max_future: config.max_future,
        max_ahead: config.max_ahead,
    };
    let event_time = keys.check(&mut check);
    let max_groups = check.count("max_groups", config.max_groups);
    let max_drift = max_drift(&mut check, config.max_drift, &window);
    let allowed_lateness = check.millis("allowed_lateness", config.allowed_lateness);
    lateness(&mut check, &config, &window);
    let signals = signals(&mut check, &config.signals);
    // Windows of the time of arrival need no time column; one that is named must be there.
    if config.time.is_some() || !matches!(window, Windows::Processing(_)) {
        let column = config.time.as_deref().unwrap_or(DEFAULT_TIME);
        for signal in &signals {
            check.time_column("time", column, *signal);
        }
    }
    let emit_from = emit_from(&mut check, &config, &window);
    group_by(&mut check, &config.group_by);
    let condition = config.condition.as_deref().and_then(|text| check.condition("where", text));
    if let Some(condition) = &condition {
        check.columns("where", condition.names().iter().map(String::as_str), &signals);
    }
    let weight = config.weight.as_deref().and_then(|text| {
        let weight = Expr::parse(text).map_err(|error| check.bad_expression("weight", &error)).ok()?;
        check.columns("weight", weight.names().iter().map(String::as_str), &signals);
        Some(weight)
    });
    let success = config.success.as_deref().and_then(|text| check.condition("success", text));
    if let Some(success) = &success {
        check.columns("success", success.names().iter().map(String::as_str), &signals);
    }
    if config.group_by != default_group_by() {
        for (at, name) in config.group_by.iter().enumerate().filter(|(_, name)| !is_reserved(name)) {
            check.columns(&format!("group_by[{at}]"), [name.as_str()], &signals);
        }
    }
    let measures = measures(&mut check, &config.measures, &config.group_by);
    for (name, measure) in &measures {
        if measure.points && !signals.contains(&Signal::Metrics) {
            let message = "`histogram` is the points of metrics: add `metrics` to `signals`; \
                           an attribute of that name is written \"histogram\" in double quotes";
            check.wrong(&format!("measures.\"{name}\""), message);
        }
        let names = measure.names();
        check.columns(&format!("measures.\"{name}\""), names.iter().map(String::as_str), &signals);
    }
    let metrics = Metrics::new(&context);
    let time = config.time.unwrap_or_else(|| DEFAULT_TIME.to_owned());
    let meaning = Meaning {
        window: &window,
        time: &time,
        condition: config.condition.as_deref(),
        weight: config.weight.as_deref(),
        success: config.success.as_deref(),
        group_by: &config.group_by,
        measures: &config.measures,
        signals: &signals,
    };
    let id: Arc<str> = Arc::from(context.id.to_string());
    let operator = Operator {
        fingerprint: meaning.fingerprint(),
        id: id.clone(),
        window,
        time,
        out_of_orderness: event_time.out_of_orderness,
        idle_timeout: event_time.idle_timeout,
        clocks: EventClocks::new(id, event_time.bounds, metrics.clocks.clone(), context.health),
        allowed_lateness,
        late: config.late,
        watermarks: ShardWatermarks::default(),
        condition,
        weight,
        success,
        group_by: config.group_by,
        measures,
        signals,
        max_groups,
        emit_from,
        alignment: max_drift.map(|drift| Arc::new(Alignment::new(drift, metrics.held.clone()))),
        metrics,
        clock: context.clock,
        logs: Logs::default(),
    };
    check.finish(operator)
}

/// Milliseconds; `None` is off.
fn max_drift(check: &mut Check<'_>, drift: Drift, window: &Windows) -> Option<i64> {
    let Drift::AtMost(drift) = drift else { return None };
    if let Windows::Processing(_) = window {
        check.wrong("max_drift", "windows of the time of arrival do not drift apart; leave it off");
    }
    if drift.is_zero() {
        check.wrong("max_drift", "must be more than 0s, or off");
    }
    Some(check.millis("max_drift", drift))
}

/// The watermark at which every window is over that is not to be emitted: those that end before the time.
/// The one that ends at it is whole when reading begins one window earlier.
fn emit_from(check: &mut Check<'_>, config: &Config, window: &Windows) -> Option<Watermark> {
    let text = config.emit_from.as_deref()?;
    if !matches!(window, Windows::Event(_)) {
        check.wrong(
            "emit_from",
            "only tumbling and sliding windows of event time have an end that is known before",
        );
    }
    if !config.allowed_lateness.is_zero() {
        check.wrong("emit_from", "does not go with `allowed_lateness`: windows before it could fire again");
    }
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => Some(Watermark(time.timestamp_millis().saturating_sub(2))),
        Err(error) => {
            let example = "write a time such as 2026-11-01T00:00:00Z";
            check.wrong("emit_from", format!("`{text}` is not an RFC 3339 time ({error}): {example}"));
            None
        }
    }
}

/// Refuses keys that do not go together with the kind of window.
fn lateness(check: &mut Check<'_>, config: &Config, window: &Windows) {
    match window {
        Windows::Event(_) | Windows::Session { .. } => {}
        Windows::Processing(_) => {
            if !config.allowed_lateness.is_zero() {
                check.wrong("allowed_lateness", "nothing is late for windows of the time of arrival");
            }
            if config.late == LatePolicy::Output {
                check.wrong("late", "nothing is late for windows of the time of arrival");
            }
        }
    }
}

fn signals(check: &mut Check<'_>, named: &[Signal]) -> Vec<Signal> {
    if named.is_empty() {
        check.wrong("signals", "name at least one of traces, logs and metrics");
    }
    for (at, signal) in named.iter().enumerate() {
        let key = format!("signals[{at}]");
        if matches!(signal, Signal::Windows | Signal::Alarms) {
            check.wrong(&key, format!("`{signal}` cannot be aggregated; use traces, logs or metrics"));
        } else if named[..at].contains(signal) {
            check.wrong(&key, format!("`{signal}` is named twice"));
        }
    }
    named.to_vec()
}

fn group_by(check: &mut Check<'_>, names: &[String]) {
    for (at, name) in names.iter().enumerate() {
        let key = format!("group_by[{at}]");
        if name.is_empty() {
            check.wrong(&key, "the name of a column or attribute is missing");
        } else if is_reserved(name) {
            let message = format!(
                "results already have a column `{name}`; to group by an attribute of that name write `attr.{name}`"
            );
            check.wrong(&key, message);
        } else if names[..at].contains(name) {
            check.wrong(&key, format!("`{name}` is named twice"));
        } else if is_nested(name) {
            check.wrong(&key, format!("`{name}` is a list of attributes, not a value; name one of its keys"));
        }
    }
}

fn measures(
    check: &mut Check<'_>,
    texts: &BTreeMap<String, String>,
    group_by: &[String],
) -> Vec<(String, Measure)> {
    let mut measures = Vec::new();
    for (name, text) in texts {
        let key = format!("measures.\"{name}\"");
        if name.is_empty() {
            check.wrong("measures", "a measure needs a name");
        } else if is_reserved(name) || group_by.contains(name) {
            check.wrong(&key, format!("results already have a column `{name}`; choose another name"));
        }
        match Measure::parse(text) {
            Ok(measure) => measures.push((name.clone(), measure)),
            Err(error) => check.bad_expression(&key, &error),
        }
    }
    measures
}

fn is_nested(name: &str) -> bool {
    let signals = [Signal::Traces, Signal::Logs, Signal::Metrics];
    let types = signals.into_iter().filter_map(|signal| schema::fixed(signal).find(name));
    types.map(|(_, field)| field.data_type()).any(|data_type| match data_type {
        DataType::Dictionary(_, values) => values.is_nested(),
        other => other.is_nested(),
    })
}
