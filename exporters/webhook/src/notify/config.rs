//! The key `notify`: which alarms a target is told of, when, and together with which others.

use serde::Deserialize;
use weir_config::Duration;

use super::matcher::{Matcher, label};
use crate::alarm::Alarm;

/// `notify`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NotifyKeys {
    /// Which alarms.
    #[serde(rename = "match")]
    matcher: Matcher,
    /// The labels whose values alarms of a message share.
    group_by: Vec<String>,
    /// How long the first alarm of a group waits for others.
    group_wait: Duration,
    /// The shortest time between two messages about a group.
    group_interval: Duration,
    /// When people are told again of what still fires. `0s`: never.
    repeat_interval: Duration,
    /// Alarms that are older when they come wait for what ends them. `0s`: none are too old.
    max_age: Duration,
    /// An alarm of which nothing was heard for so long is over. `0s`: none.
    resolve_timeout: Duration,
    /// Which alarms hide which.
    inhibit: Vec<Inhibition>,
    /// Files with maintenance windows and silences.
    mute: Vec<String>,
}

impl Default for NotifyKeys {
    fn default() -> NotifyKeys {
        NotifyKeys {
            matcher: Matcher::default(),
            group_by: Vec::new(),
            group_wait: Duration::from_secs(5),
            group_interval: Duration::from_secs(60),
            repeat_interval: Duration::from_secs(4 * 3600),
            max_age: Duration::from_secs(15 * 60),
            resolve_timeout: Duration::from_secs(7 * 24 * 3600),
            inhibit: Vec::new(),
            mute: Vec::new(),
        }
    }
}

/// `inhibit`: alarms that hide others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inhibition {
    /// The alarms that hide.
    pub(crate) source: Matcher,
    /// The alarms that are hidden.
    pub(crate) target: Matcher,
    /// Labels of which both have the same values.
    #[serde(default)]
    pub(crate) equal: Vec<String>,
}

impl Inhibition {
    /// The values of `equal`.
    pub(crate) fn values(&self, alarm: &Alarm) -> Vec<String> {
        self.equal.iter().map(|name| label(alarm, name).to_owned()).collect()
    }
}

/// The settings of a notifier, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) matcher: Matcher,
    pub(crate) group_by: Vec<String>,
    pub(crate) group_wait_ms: i64,
    pub(crate) group_interval_ms: i64,
    pub(crate) repeat_interval_ms: i64,
    pub(crate) max_age_ms: i64,
    pub(crate) resolve_timeout_ms: i64,
    pub(crate) inhibit: Vec<Inhibition>,
    pub(crate) mute: Vec<String>,
    /// Alarms in a message, at most.
    pub(crate) max_rows: usize,
    /// Messages that wait become one.
    pub(crate) digests: bool,
    /// A message tells of all alarms of its group that fire, as Alertmanager's do.
    pub(crate) tells_all: bool,
    /// Whether the end of alarms is told.
    pub(crate) send_resolved: bool,
}

impl NotifyKeys {
    /// The faults: the key within `notify`, and why.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (number, rule) in self.inhibit.iter().enumerate() {
            if rule.source.is_empty() {
                let why = "must not be empty: every alarm would hide others".to_owned();
                problems.push((format!("inhibit[{number}].source"), why));
            }
        }
        if self.group_by.iter().any(|name| name == "...") && self.group_by.len() > 1 {
            problems.push(("group_by".to_owned(), "`...` stands for all labels, and alone".to_owned()));
        }
        problems
    }

    /// The settings for a target.
    pub(crate) fn settings(
        &self,
        max_rows: usize,
        digests: bool,
        tells_all: bool,
        send_resolved: bool,
    ) -> Settings {
        Settings {
            matcher: self.matcher.clone(),
            group_by: self.group_by.clone(),
            group_wait_ms: self.group_wait.as_millis(),
            group_interval_ms: self.group_interval.as_millis(),
            repeat_interval_ms: self.repeat_interval.as_millis(),
            max_age_ms: self.max_age.as_millis(),
            resolve_timeout_ms: self.resolve_timeout.as_millis(),
            inhibit: self.inhibit.clone(),
            mute: self.mute.clone(),
            max_rows,
            digests,
            tells_all,
            send_resolved,
        }
    }
}
