//! The keys of an `aggregate` section, and what they must fulfil.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use weir_component::{Context, Settings};
use weir_config::{Diagnostic, Diagnostics, Duration};
use weir_pdata::expr::{Expr, ExprError, Measure};
use weir_pdata::{Signal, schema};

use crate::metrics::Metrics;
use crate::operator::{Logs, Operator};
use crate::results::{DEFAULT_MEASURES, RESERVED};
use crate::window::Tumbling;

/// The longest window, and the longest out-of-orderness and look into the future: 400 days in milliseconds.
const LONGEST: i64 = 400 * 86_400_000;

/// An `aggregate` section as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    window: WindowConfig,
    #[serde(default = "default_time")]
    time: String,
    #[serde(default = "default_out_of_orderness")]
    out_of_orderness: Duration,
    #[serde(default = "default_idle_timeout")]
    idle_timeout: Duration,
    #[serde(default = "default_max_future")]
    max_future: Duration,
    #[serde(default, rename = "where")]
    condition: Option<String>,
    #[serde(default = "default_group_by")]
    group_by: Vec<String>,
    #[serde(default)]
    measures: BTreeMap<String, String>,
    #[serde(default = "default_signals")]
    signals: Vec<Signal>,
    #[serde(default = "default_max_groups")]
    max_groups: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowConfig {
    tumbling: Duration,
    #[serde(default)]
    offset: Signed,
}

/// A duration that may be negative: `-8h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signed {
    negative: bool,
    length: Duration,
}

fn default_time() -> String {
    "end_time".to_owned()
}

fn default_out_of_orderness() -> Duration {
    Duration::from_secs(10)
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_max_future() -> Duration {
    Duration::from_secs(3600)
}

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
pub fn read(settings: Settings<'_>, context: Context) -> Result<Operator, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check { settings, found: Diagnostics::new() };
    let window = check.window(&config.window);
    let out_of_orderness = check.millis("out_of_orderness", config.out_of_orderness);
    let max_future = check.millis("max_future", config.max_future);
    if config.idle_timeout.is_zero() {
        check.wrong("idle_timeout", "must be more than 0s");
    }
    if config.max_groups == 0 {
        check.wrong("max_groups", "must be at least 1");
    }
    let signals = check.signals(&config.signals);
    check.time(&config.time, &signals);
    check.group_by(&config.group_by);
    let condition = config.condition.as_deref().and_then(|text| match Expr::parse_condition(text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            check.bad_expression("where", &error);
            None
        }
    });
    let measures = check.measures(&config.measures, &config.group_by);
    let operator = Operator {
        id: Arc::from(context.id.to_string()),
        window,
        time: config.time,
        out_of_orderness,
        idle_timeout: config.idle_timeout.get(),
        max_future,
        condition,
        group_by: config.group_by,
        measures,
        signals,
        max_groups: usize::try_from(config.max_groups).unwrap_or(usize::MAX),
        metrics: Metrics::new(&context),
        clock: context.clock,
        logs: Logs::default(),
    };
    check.found.into_result(operator)
}

struct Check<'a> {
    settings: Settings<'a>,
    found: Diagnostics,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, message: impl Into<String>) {
        self.found.push(self.settings.error_at(key, message));
    }

    /// The first line says what is wrong; the others show the place in the expression.
    fn bad_expression(&mut self, key: &str, error: &ExprError) {
        let text = error.to_string();
        let mut lines = text.lines();
        let first = self.settings.error_at(key, lines.next().unwrap_or_default());
        self.found.push(lines.fold(first, Diagnostic::with_help));
    }

    /// Whole milliseconds up to [`LONGEST`].
    fn millis(&mut self, key: &str, duration: Duration) -> i64 {
        let millis = duration.as_millis();
        if millis > LONGEST {
            self.wrong(key, "must not be more than 400d");
        } else if !duration.get().subsec_nanos().is_multiple_of(1_000_000) {
            self.wrong(key, format!("`{duration}` is not a whole number of milliseconds; event times are"));
        }
        millis.min(LONGEST)
    }

    fn window(&mut self, config: &WindowConfig) -> Tumbling {
        let size = self.millis("window.tumbling", config.tumbling);
        if config.tumbling.is_zero() {
            self.wrong("window.tumbling", "must be more than 0s");
        }
        let offset = self.millis("window.offset", config.offset.length);
        if offset >= size && !config.tumbling.is_zero() {
            let message =
                format!("must be less than the window's length, {}, in both directions", config.tumbling);
            self.wrong("window.offset", message);
        }
        Tumbling::new(size.max(1), if config.offset.negative { -offset } else { offset })
    }

    fn signals(&mut self, named: &[Signal]) -> Vec<Signal> {
        if named.is_empty() {
            self.wrong("signals", "name at least one of traces, logs and metrics");
        }
        for (at, signal) in named.iter().enumerate() {
            let key = format!("signals[{at}]");
            if matches!(signal, Signal::Windows | Signal::Alarms) {
                self.wrong(&key, format!("`{signal}` cannot be aggregated; use traces, logs or metrics"));
            } else if named[..at].contains(signal) {
                self.wrong(&key, format!("`{signal}` is named twice"));
            }
        }
        named.to_vec()
    }

    fn time(&mut self, column: &str, signals: &[Signal]) {
        for signal in signals {
            let columns = schema::fixed(*signal);
            let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
            if columns.find(column).is_some_and(|(_, field)| is_time(field.data_type())) {
                continue;
            }
            let times: Vec<&str> = columns
                .iter()
                .filter(|field| is_time(field.data_type()))
                .map(|field| field.name().as_str())
                .collect();
            let message = format!("{signal} have no time column `{column}`; they have {}", times.join(", "));
            self.wrong("time", message);
        }
    }

    fn group_by(&mut self, names: &[String]) {
        for (at, name) in names.iter().enumerate() {
            let key = format!("group_by[{at}]");
            if name.is_empty() {
                self.wrong(&key, "the name of a column or attribute is missing");
            } else if is_taken(name) {
                let message = format!(
                    "results already have a column `{name}`; to group by an attribute of that name write `attr.{name}`"
                );
                self.wrong(&key, message);
            } else if names[..at].contains(name) {
                self.wrong(&key, format!("`{name}` is named twice"));
            } else if is_nested(name) {
                self.wrong(
                    &key,
                    format!("`{name}` is a list of attributes, not a value; name one of its keys"),
                );
            }
        }
    }

    fn measures(&mut self, texts: &BTreeMap<String, String>, group_by: &[String]) -> Vec<(String, Measure)> {
        let mut measures = Vec::new();
        for (name, text) in texts {
            let key = format!("measures.\"{name}\"");
            if name.is_empty() {
                self.wrong("measures", "a measure needs a name");
            } else if is_taken(name) || group_by.contains(name) {
                self.wrong(&key, format!("results already have a column `{name}`; choose another name"));
            }
            match Measure::parse(text) {
                Ok(measure) => measures.push((name.clone(), measure)),
                Err(error) => self.bad_expression(&key, &error),
            }
        }
        measures
    }
}

/// Whether results have this column whatever the configuration.
fn is_taken(name: &str) -> bool {
    schema::is_fixed(Signal::Windows, name) || DEFAULT_MEASURES.contains(&name) || RESERVED.contains(&name)
}

fn is_nested(name: &str) -> bool {
    let signals = [Signal::Traces, Signal::Logs, Signal::Metrics];
    let types = signals.into_iter().filter_map(|signal| schema::fixed(signal).find(name));
    types.map(|(_, field)| field.data_type()).any(|data_type| match data_type {
        DataType::Dictionary(_, values) => values.is_nested(),
        other => other.is_nested(),
    })
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Signed, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Signed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `7s` or `-8h`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Signed, E> {
                let text = text.trim();
                let (negative, length) =
                    text.strip_prefix('-').map_or((false, text), |length| (true, length));
                Ok(Signed { negative, length: length.parse().map_err(E::custom)? })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Signed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Signed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Signed, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}
