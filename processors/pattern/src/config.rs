//! The keys of a `pattern` section, and what they must fulfil.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arrow::datatypes::DataType;
use serde::Deserialize;
use weir_alarms::{Compared, Message, Severity};
use weir_component::{Context, Settings};
use weir_config::{Diagnostic, Diagnostics, Duration};
use weir_pdata::expr::{Expr, ExprError};
use weir_pdata::{Signal, schema};

use crate::alarm::{Template, is_fact};
use crate::keys::Limits;
use crate::metrics::Metrics;
use crate::nfa::{Contiguity, Sequence, Skip, Step};
use crate::operator::{Logs, Operator};
use crate::rows::WINDOW_END;

/// The longest duration: 400 days in milliseconds.
const LONGEST: i64 = 400 * 86_400_000;
/// Most steps: their truth is kept in 64 bits.
const MAX_STEPS: usize = 64;
/// Most events of one match.
const MAX_EVENTS: u64 = 1000;
/// Partial matches per key when `within` bounds them too.
const MAX_PARTIALS: u32 = 1000;

/// A `pattern` section as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "default_input")]
    input: Signal,
    operator: Option<String>,
    time: Option<String>,
    #[serde(default = "default_key")]
    key: Vec<String>,
    #[serde(rename = "where")]
    condition: Option<String>,
    sequence: Vec<StepConfig>,
    within: Option<Duration>,
    #[serde(default)]
    skip: SkipConfig,
    #[serde(default = "default_severity")]
    severity: Severity,
    name: Option<String>,
    message: Option<String>,
    #[serde(default)]
    late: Late,
    #[serde(default = "default_out_of_orderness")]
    out_of_orderness: Duration,
    #[serde(default = "default_idle_timeout")]
    idle_timeout: Duration,
    #[serde(default = "default_max_future")]
    max_future: Duration,
    max_partial_matches: Option<u32>,
    #[serde(default = "default_max_keys")]
    max_keys: u32,
    #[serde(default = "default_max_buffered_events")]
    max_buffered_events: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepConfig {
    name: String,
    first: Option<String>,
    next: Option<String>,
    followed_by: Option<String>,
    followed_by_any: Option<String>,
    #[serde(default)]
    times: Times,
    #[serde(default)]
    consecutive: bool,
}

/// `2`, or `{min: 2, max: 5}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number such as `2`, or `{min: 2, max: 5}`")]
enum Times {
    Exactly(u32),
    Range(Range),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    min: u32,
    max: u32,
}

impl Default for Times {
    fn default() -> Times {
        Times::Exactly(1)
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SkipConfig {
    #[default]
    NoSkip,
    PastLastEvent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Late {
    #[default]
    Drop,
    Output,
}

fn default_input() -> Signal {
    Signal::Windows
}

fn default_key() -> Vec<String> {
    vec!["service".to_owned(), "operation".to_owned()]
}

fn default_severity() -> Severity {
    Severity::High
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

fn default_max_keys() -> u32 {
    100_000
}

fn default_max_buffered_events() -> u32 {
    1_000_000
}

/// Reads and checks a section.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub(crate) fn read(settings: Settings<'_>, context: Context) -> Result<Operator, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check { settings, found: Diagnostics::new() };
    if config.operator.is_some() && config.input != Signal::Windows {
        check.wrong("operator", "only windows have an operator; use `where` to select others");
    }
    let time = check.time(config.input, config.time.as_deref());
    check.key(&config.key);
    let condition = config.condition.as_deref().and_then(|text| check.condition("where", text));
    let (steps, conditions) = check.steps(&config.sequence);
    let within = config.within.map(|within| check.millis("within", within));
    if within == Some(0) {
        check.wrong("within", "must be more than 0s");
    }
    let partials = config.max_partial_matches.or(within.map(|_| MAX_PARTIALS)).unwrap_or_else(|| {
        let message = "without `within` partial matches never end: set `within`, or say with `max_partial_matches` how many a key may have";
        check.wrong("", message);
        1
    });
    let limits = Limits {
        keys: check.count("max_keys", config.max_keys),
        buffered: check.count("max_buffered_events", config.max_buffered_events),
        partials: check.count("max_partial_matches", partials),
    };
    let name = config.name.unwrap_or_else(|| context.id.to_string());
    if name.is_empty() {
        check.wrong("name", "must not be empty");
    }
    let message = config.message.as_deref().map_or(Ok(Message::default()), Message::parse);
    let message = message.unwrap_or_else(|error| {
        check.wrong("message", error.to_string());
        Message::default()
    });
    let out_of_orderness = check.millis("out_of_orderness", config.out_of_orderness);
    let max_future = check.millis("max_future", config.max_future);
    if config.idle_timeout.is_zero() {
        check.wrong("idle_timeout", "must be more than 0s");
    }
    let step_names: Vec<String> = config.sequence.iter().map(|step| step.name.clone()).collect();
    let compared = conditions.last().map(Compared::of).filter(|compared| compared.threshold.is_some());
    let kept = kept(&conditions, &message, &step_names, &config.key);
    let skip = match config.skip {
        SkipConfig::NoSkip => Skip::Nothing,
        SkipConfig::PastLastEvent => Skip::PastLastEvent,
    };
    let operator = Operator {
        id: Arc::from(context.id.to_string()),
        input: config.input,
        only: config.operator,
        time,
        key: config.key.iter().map(|name| Arc::from(name.as_str())).collect(),
        condition,
        conditions,
        sequence: Arc::new(Sequence { steps, within, skip }),
        kept,
        alarm: Template {
            name: name.into(),
            severity: config.severity,
            compared: compared.unwrap_or_default(),
            message,
            steps: step_names,
        },
        late_output: config.late == Late::Output,
        out_of_orderness,
        idle_timeout: config.idle_timeout.get(),
        max_future,
        limits,
        reached: AtomicI64::new(i64::MIN),
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

    fn condition(&mut self, key: &str, text: &str) -> Option<Expr> {
        Expr::parse_condition(text).map_err(|error| self.bad_expression(key, &error)).ok()
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

    fn count(&mut self, key: &str, count: u32) -> usize {
        if count == 0 {
            self.wrong(key, "must be at least 1");
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn time(&mut self, input: Signal, named: Option<&str>) -> String {
        let default = match input {
            Signal::Windows => WINDOW_END,
            Signal::Traces => "end_time",
            Signal::Logs | Signal::Metrics | Signal::Alarms => "time",
        };
        let Some(named) = named else { return default.to_owned() };
        if input == Signal::Windows {
            self.wrong("time", "the time of a window is the last millisecond before its `window_end`");
        }
        let columns = schema::fixed(input);
        let times: Vec<&str> = columns
            .iter()
            .filter(|field| matches!(field.data_type(), DataType::Timestamp(..)))
            .map(|field| field.name().as_str())
            .collect();
        if input != Signal::Windows && !times.contains(&named) {
            let message = format!("{input} have no time column `{named}`; they have {}", times.join(", "));
            self.wrong("time", message);
        }
        named.to_owned()
    }

    fn key(&mut self, names: &[String]) {
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() {
                self.wrong(&format!("key[{at}]"), "the name of a column or attribute is missing");
            } else if names[..at].contains(name) {
                self.wrong(&format!("key[{at}]"), format!("`{name}` is named twice"));
            }
        }
    }

    fn steps(&mut self, written: &[StepConfig]) -> (Vec<Step>, Vec<Expr>) {
        if written.is_empty() {
            self.wrong("sequence", "write at least one step");
        } else if written.len() > MAX_STEPS {
            self.wrong("sequence", format!("a sequence has at most {MAX_STEPS} steps"));
        }
        let mut names = BTreeSet::new();
        let mut events = 0_u64;
        let mut steps = Vec::new();
        let mut conditions = Vec::new();
        for (at, step) in written.iter().enumerate().take(MAX_STEPS) {
            let path = format!("sequence[{at}]");
            self.name(&path, &step.name, !names.insert(step.name.as_str()));
            let Some((kind, join, text)) = self.way(&path, at, step) else { continue };
            let (min, max) = self.times(&path, step);
            events = events.saturating_add(u64::from(max));
            let inner = if step.consecutive { Contiguity::Strict } else { Contiguity::Relaxed };
            steps.push(Step { join, inner, min, max });
            conditions.extend(self.condition(&format!("{path}.{kind}"), text));
        }
        if events > MAX_EVENTS {
            let message =
                format!("a match would have up to {events} events; at most {MAX_EVENTS} are possible");
            self.wrong("sequence", message);
        }
        (steps, conditions)
    }

    fn name(&mut self, path: &str, name: &str, twice: bool) {
        let key = format!("{path}.name");
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            self.wrong(&key, format!("`{name}` is no name for a step; use letters, digits and `_`"));
        } else if is_fact(name) {
            self.wrong(&key, format!("`{name}` means something else in messages; choose another name"));
        } else if twice {
            self.wrong(&key, format!("another step has the name `{name}`; names must differ"));
        }
    }

    /// How a step follows the one before, and its condition.
    fn way<'c>(
        &mut self,
        path: &str,
        at: usize,
        step: &'c StepConfig,
    ) -> Option<(&'static str, Contiguity, &'c str)> {
        let ways = [
            ("first", Contiguity::Relaxed, &step.first),
            ("next", Contiguity::Strict, &step.next),
            ("followed_by", Contiguity::Relaxed, &step.followed_by),
            ("followed_by_any", Contiguity::Any, &step.followed_by_any),
        ];
        let given = ways.map(|(kind, join, text)| text.as_deref().map(|text| (kind, join, text)));
        let mut given = given.into_iter().flatten();
        let (one, another) = (given.next(), given.next());
        match one {
            Some((kind, ..)) if another.is_some() => {
                self.wrong(&format!("{path}.{kind}"), "a step has one condition; remove the others");
            }
            Some(("first", ..)) if at > 0 => {
                let message =
                    "only the first step is `first`; use `next`, `followed_by` or `followed_by_any`";
                self.wrong(&format!("{path}.first"), message);
            }
            Some((kind, ..)) if at == 0 && kind != "first" => {
                self.wrong(&format!("{path}.{kind}"), "the first step follows nothing: write `first`");
            }
            None if at == 0 => self.wrong(path, "the condition is missing: write `first`"),
            None => {
                let message = "the condition is missing: write `next`, `followed_by` or `followed_by_any`";
                self.wrong(path, message);
            }
            Some(_) => return one,
        }
        None
    }

    fn times(&mut self, path: &str, step: &StepConfig) -> (u32, u32) {
        let (min, max) = match step.times {
            Times::Exactly(times) => (times, times),
            Times::Range(Range { min, max }) => (min, max),
        };
        if min == 0 {
            self.wrong(
                &format!("{path}.times"),
                "must be at least 1; a step that may be missing is not possible",
            );
        } else if min > max {
            self.wrong(&format!("{path}.times"), format!("min {min} is more than max {max}"));
        } else if step.consecutive && max == 1 {
            self.wrong(&format!("{path}.consecutive"), "means nothing for one event; set `times`");
        }
        (min, max)
    }
}

/// The columns to keep of events: those that conditions compare and messages name. The key is kept anyway.
fn kept(conditions: &[Expr], message: &Message, steps: &[String], key: &[String]) -> Vec<String> {
    let mut names: BTreeSet<String> =
        conditions.iter().flat_map(|condition| condition.names().iter().cloned()).collect();
    for name in message.names() {
        match name.split_once('.') {
            Some((step, column)) if steps.iter().any(|known| known == step) => {
                names.insert(column.to_owned())
            }
            Some(("labels", _)) => false,
            _ => names.insert(name),
        };
    }
    names.retain(|name| !key.contains(name) && !steps.contains(name) && !is_fact(name));
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_conditions_and_messages_name_is_kept_but_not_the_key() {
        let conditions = [Expr::parse_condition("count > 1 AND service <> ''").unwrap()];
        let message =
            Message::parse("{{ service }} {{ hit.avg }} {{ http.route }} {{ value }} {{ labels.x }}");
        let kept = kept(&conditions, &message.unwrap(), &["hit".to_owned()], &["service".to_owned()]);
        assert_eq!(kept, ["avg", "count", "http.route"]);
    }
}
