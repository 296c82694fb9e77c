//! The keys of a `pattern` section, and what they must fulfil.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use weir_alarms::{Compared, Message, Severity};
use weir_component::event_clocks::EventClocks;
use weir_component::{Check, Context, EventTimeKeys, Settings, ShardWatermarks};
use weir_config::{Diagnostics, Duration};
use weir_pdata::Signal;
use weir_pdata::expr::Expr;
use weir_pdata::late::LatePolicy;

use crate::alarm::is_fact;
use crate::keys::Limits;
use crate::metrics::Metrics;
use crate::nfa::{Contiguity, Sequence, Skip, Step};
use crate::operator::{AlarmTemplate, Logs, Operator};
use crate::rows::WINDOW_END;

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
    late: LatePolicy,
    #[serde(default = "EventTimeKeys::default_out_of_orderness")]
    out_of_orderness: Duration,
    #[serde(default = "EventTimeKeys::default_idle_timeout")]
    idle_timeout: Duration,
    #[serde(default = "EventTimeKeys::default_max_future")]
    max_future: Duration,
    /// As `out_of_orderness`, when it is not written.
    #[serde(default)]
    max_ahead: Option<Duration>,
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

fn default_input() -> Signal {
    Signal::Windows
}

fn default_key() -> Vec<String> {
    vec!["service".to_owned(), "operation".to_owned()]
}

fn default_severity() -> Severity {
    Severity::High
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
    let mut check = Check::new(settings);
    if config.operator.is_some() && config.input != Signal::Windows {
        check.wrong("operator", "only windows have an operator; use `where` to select others");
    }
    let time = time(&mut check, config.input, config.time.as_deref());
    key(&mut check, &config.key);
    let condition = config.condition.as_deref().and_then(|text| check.condition("where", text));
    let (steps, conditions) = steps(&mut check, &config.sequence);
    for (key, expressions) in [("where", condition.as_slice()), ("sequence", &conditions)] {
        let names = expressions.iter().flat_map(Expr::names).map(String::as_str);
        check.columns(key, names, &[config.input]);
    }
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
    let keys = EventTimeKeys {
        out_of_orderness: config.out_of_orderness,
        idle_timeout: config.idle_timeout,
        max_future: config.max_future,
        max_ahead: config.max_ahead,
    };
    let event_time = keys.check(&mut check);
    let step_names: Vec<String> = config.sequence.iter().map(|step| step.name.clone()).collect();
    let compared = conditions.last().map(Compared::of).filter(|compared| compared.threshold.is_some());
    let kept = kept_columns(&conditions, &message, &step_names, &config.key);
    let skip = match config.skip {
        SkipConfig::NoSkip => Skip::Nothing,
        SkipConfig::PastLastEvent => Skip::PastLastEvent,
    };
    let metrics = Metrics::new(&context);
    let id: Arc<str> = Arc::from(context.id.to_string());
    let operator = Operator {
        clocks: EventClocks::new(id.clone(), event_time.bounds, metrics.clocks.clone(), context.health),
        id,
        input: config.input,
        only: config.operator,
        time,
        key: config.key.iter().map(|name| Arc::from(name.as_str())).collect(),
        condition,
        conditions,
        sequence: Arc::new(Sequence { steps, within, skip }),
        kept,
        alarm: AlarmTemplate {
            name: name.into(),
            severity: config.severity,
            compared: compared.unwrap_or_default(),
            message,
            steps: step_names,
        },
        late: config.late,
        out_of_orderness: event_time.out_of_orderness,
        idle_timeout: event_time.idle_timeout,
        limits,
        watermarks: ShardWatermarks::default(),
        metrics,
        clock: context.clock,
        logs: Logs::default(),
    };
    check.finish(operator)
}

fn time(check: &mut Check<'_>, input: Signal, named: Option<&str>) -> String {
    let default = match input {
        Signal::Windows => WINDOW_END,
        Signal::Traces => "end_time",
        Signal::Logs | Signal::Metrics | Signal::Alarms => "time",
    };
    let Some(named) = named else { return default.to_owned() };
    if input == Signal::Windows {
        check.wrong("time", "the time of a window is the last millisecond before its `window_end`");
    } else {
        check.time_column("time", named, input);
    }
    named.to_owned()
}

fn key(check: &mut Check<'_>, names: &[String]) {
    for (at, name) in names.iter().enumerate() {
        if name.is_empty() {
            check.wrong(&format!("key[{at}]"), "the name of a column or attribute is missing");
        } else if names[..at].contains(name) {
            check.wrong(&format!("key[{at}]"), format!("`{name}` is named twice"));
        }
    }
}

fn steps(check: &mut Check<'_>, written: &[StepConfig]) -> (Vec<Step>, Vec<Expr>) {
    if written.is_empty() {
        check.wrong("sequence", "write at least one step");
    } else if written.len() > MAX_STEPS {
        check.wrong("sequence", format!("a sequence has at most {MAX_STEPS} steps"));
    }
    let mut names = BTreeSet::new();
    let mut events = 0_u64;
    let mut steps = Vec::new();
    let mut conditions = Vec::new();
    for (at, step) in written.iter().enumerate().take(MAX_STEPS) {
        let path = format!("sequence[{at}]");
        name(check, &path, &step.name, !names.insert(step.name.as_str()));
        let Some((kind, join, text)) = step_condition(check, &path, at, step) else { continue };
        let (min, max) = times(check, &path, step);
        events = events.saturating_add(u64::from(max));
        let inner = if step.consecutive { Contiguity::Strict } else { Contiguity::Relaxed };
        steps.push(Step { join, inner, min, max });
        conditions.extend(check.condition(&format!("{path}.{kind}"), text));
    }
    if events > MAX_EVENTS {
        let message = format!("a match would have up to {events} events; at most {MAX_EVENTS} are possible");
        check.wrong("sequence", message);
    }
    (steps, conditions)
}

fn name(check: &mut Check<'_>, path: &str, name: &str, twice: bool) {
    let key = format!("{path}.name");
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        check.wrong(&key, format!("`{name}` is no name for a step; use letters, digits and `_`"));
    } else if is_fact(name) {
        check.wrong(&key, format!("`{name}` means something else in messages; choose another name"));
    } else if twice {
        check.wrong(&key, format!("another step has the name `{name}`; names must differ"));
    }
}

/// How a step follows the one before, and its condition.
fn step_condition<'c>(
    check: &mut Check<'_>,
    path: &str,
    at: usize,
    step: &'c StepConfig,
) -> Option<(&'static str, Contiguity, &'c str)> {
    let kinds = [
        ("first", Contiguity::Relaxed, &step.first),
        ("next", Contiguity::Strict, &step.next),
        ("followed_by", Contiguity::Relaxed, &step.followed_by),
        ("followed_by_any", Contiguity::Any, &step.followed_by_any),
    ];
    let given = kinds.map(|(kind, join, text)| text.as_deref().map(|text| (kind, join, text)));
    let mut given = given.into_iter().flatten();
    let (one, another) = (given.next(), given.next());
    match one {
        Some((kind, ..)) if another.is_some() => {
            check.wrong(&format!("{path}.{kind}"), "a step has one condition; remove the others");
        }
        Some(("first", ..)) if at > 0 => {
            let message = "only the first step is `first`; use `next`, `followed_by` or `followed_by_any`";
            check.wrong(&format!("{path}.first"), message);
        }
        Some((kind, ..)) if at == 0 && kind != "first" => {
            check.wrong(&format!("{path}.{kind}"), "the first step follows nothing: write `first`");
        }
        None if at == 0 => check.wrong(path, "the condition is missing: write `first`"),
        None => {
            let message = "the condition is missing: write `next`, `followed_by` or `followed_by_any`";
            check.wrong(path, message);
        }
        Some(_) => return one,
    }
    None
}

fn times(check: &mut Check<'_>, path: &str, step: &StepConfig) -> (u32, u32) {
    let (min, max) = match step.times {
        Times::Exactly(times) => (times, times),
        Times::Range(Range { min, max }) => (min, max),
    };
    if min == 0 {
        check.wrong(
            &format!("{path}.times"),
            "must be at least 1; a step that may be missing is not possible",
        );
    } else if min > max {
        check.wrong(&format!("{path}.times"), format!("min {min} is more than max {max}"));
    } else if step.consecutive && max == 1 {
        check.wrong(&format!("{path}.consecutive"), "means nothing for one event; set `times`");
    }
    (min, max)
}

/// The columns to keep of events: those that conditions compare and messages name. The key is kept anyway.
fn kept_columns(conditions: &[Expr], message: &Message, steps: &[String], key: &[String]) -> Vec<String> {
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
        let kept = kept_columns(&conditions, &message.unwrap(), &["hit".to_owned()], &["service".to_owned()]);
        assert_eq!(kept, ["avg", "count", "http.route"]);
    }
}
