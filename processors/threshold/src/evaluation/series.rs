//! A series that fires or is about to fire: its state from window to window, and across restarts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_alarms::{Alarm, Compared, Labels, Severity, fingerprint};

use crate::evaluation::alarm_state::AlarmState;
use crate::evaluation::past::Chunk;
use crate::evaluation::told::Told;
use crate::evaluation::windows::{Values, Window, WindowStream};
use crate::rule::Rule;

/// One rule and one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Series {
    /// The rule's name.
    pub(crate) name: Arc<str>,
    /// The rule as it evaluated the last window. `None` when that was before a restart.
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) stream: WindowStream,
    pub(crate) labels: Arc<[(Arc<str>, String)]>,
    pub(crate) state: AlarmState,
    pub(crate) told: Told,
    /// Its alarm for windows that stay away, while that fires.
    pub(crate) silent: Option<Silent>,
    /// Its windows have stayed away for `resolve_without_data`. What it had is kept for conditions that look
    /// back.
    pub(crate) is_over: bool,
    /// The labels of the rule when its alarm fired.
    pub(crate) own: Arc<Labels>,
    /// The end of its last window, in nanoseconds, like all times here.
    pub(crate) last_end: i64,
    /// The length of its windows; 0 when they do not say where they start.
    pub(crate) size: i64,
    pub(crate) starts_at: i64,
    /// The comparison of the firing severity.
    pub(crate) compared: Compared,
    /// What its last window had of the columns that rules ask for in the next one.
    pub(crate) values: Values,
    /// Where it stood before its last window, for when that is evaluated again.
    pub(crate) earlier: Earlier,
    /// This is not the series, but some of its past windows.
    pub(crate) past: Option<Arc<Chunk>>,
}

/// An alarm for windows that stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Silent {
    pub(crate) since: i64,
    pub(crate) severity: Severity,
    /// How long they stayed away then.
    pub(crate) after: i64,
}

/// Where a series stood before its last window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Earlier {
    #[serde(rename = "progress")]
    pub(crate) state: AlarmState,
    pub(crate) last_end: i64,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty", with = "saved_values")]
    pub(crate) values: Values,
}

impl Default for Earlier {
    fn default() -> Earlier {
        Earlier { state: AlarmState::default(), last_end: i64::MIN, values: Values::default() }
    }
}

/// A series as it is kept in a storage.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    rule: String,
    #[serde(rename = "source")]
    stream: WindowStream,
    labels: Vec<(String, String)>,
    #[serde(rename = "progress")]
    state: AlarmState,
    last_end: i64,
    size: i64,
    starts_at: i64,
    measure: Option<String>,
    threshold: Option<f64>,
    #[serde(default)]
    earlier: Earlier,
    /// Versions before 2026-12 told every change at once.
    #[serde(default)]
    told: Option<Told>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silent: Option<Silent>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_over: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty", with = "saved_values")]
    values: Values,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    past: Option<Chunk>,
}

/// Numbers as their bits: JSON would round some of them.
mod saved_values {
    use super::{Arc, Deserialize, Serialize, Values};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &Values, serializer: S) -> Result<S::Ok, S::Error> {
        let bits = values.iter().map(|(column, value)| (&**column, value.map(f64::to_bits)));
        bits.collect::<Vec<(&str, Option<u64>)>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
        let bits: Vec<(String, Option<u64>)> = Vec::deserialize(deserializer)?;
        let value = |(column, bits): (String, Option<u64>)| (Arc::from(column), bits.map(f64::from_bits));
        Ok(bits.into_iter().map(value).collect())
    }
}

impl From<Saved> for Series {
    fn from(saved: Saved) -> Series {
        let labels = |labels: Vec<(String, String)>| {
            labels.into_iter().map(|(name, value)| (name.into(), value)).collect::<Arc<Labels>>()
        };
        Series {
            name: saved.rule.into(),
            rule: None,
            stream: saved.stream,
            labels: labels(saved.labels),
            state: saved.state,
            told: saved.told.unwrap_or_else(|| Told::at(saved.state.firing(), saved.starts_at)),
            silent: saved.silent,
            is_over: saved.is_over,
            own: labels(saved.own),
            last_end: saved.last_end,
            size: saved.size,
            starts_at: saved.starts_at,
            compared: Compared { measure: saved.measure.map(Into::into), threshold: saved.threshold },
            earlier: saved.earlier,
            values: saved.values,
            past: saved.past.map(Arc::new),
        }
    }
}

impl From<Series> for Saved {
    fn from(series: Series) -> Saved {
        let labels = |labels: &Labels| {
            labels.iter().map(|(name, value)| (name.to_string(), value.clone())).collect::<Vec<_>>()
        };
        Saved {
            rule: series.name.to_string(),
            labels: labels(&series.labels),
            stream: series.stream,
            state: series.state,
            told: Some(series.told),
            silent: series.silent,
            is_over: series.is_over,
            own: labels(&series.own),
            last_end: series.last_end,
            size: series.size,
            starts_at: series.starts_at,
            measure: series.compared.measure.map(|measure| measure.to_string()),
            threshold: series.compared.threshold,
            earlier: series.earlier,
            values: series.values,
            past: series.past.map(Arc::unwrap_or_clone),
        }
    }
}

impl Series {
    /// At rest, at this window.
    pub(crate) fn new(rule: &Arc<Rule>, window: &Window) -> Series {
        Series {
            name: rule.name.clone(),
            rule: Some(rule.clone()),
            stream: window.stream(),
            labels: window.labels.as_slice().into(),
            state: AlarmState::default(),
            told: Told::default(),
            silent: None,
            is_over: false,
            own: Arc::default(),
            last_end: i64::MIN,
            size: window.start.map_or(0, |start| window.end.saturating_sub(start)),
            starts_at: window.end,
            compared: Compared::default(),
            earlier: Earlier::default(),
            values: Values::default(),
            past: None,
        }
    }

    /// Some of its past windows, to be written down.
    pub(crate) fn of_past(&self, chunk: Arc<Chunk>) -> Series {
        Series {
            name: self.name.clone(),
            rule: None,
            stream: self.stream.clone(),
            labels: self.labels.clone(),
            state: AlarmState::default(),
            told: Told::default(),
            silent: None,
            is_over: false,
            own: Arc::default(),
            last_end: chunk.last(),
            size: self.size,
            starts_at: chunk.first(),
            compared: Compared::default(),
            earlier: Earlier::default(),
            values: Values::default(),
            past: Some(chunk),
        }
    }

    /// Whether nothing of it has to be remembered at this time.
    pub(crate) fn is_rest(&self, rule: &Rule, time: i64) -> bool {
        self.state.is_rest() && self.is_rest_but_for_a_run(rule, time)
    }

    /// The same, when what leads to firing does not count any more.
    pub(crate) fn is_rest_but_for_a_run(&self, rule: &Rule, time: i64) -> bool {
        !rule.remembers_all()
            && self.silent.is_none()
            && self.state.firing().is_none()
            && self.told.is_rest(time, rule.silence)
    }

    /// The end of its alarm, at the end of its last window.
    pub(crate) fn resolved(&self, key: &str, severity: Severity, message: String) -> Alarm {
        Alarm {
            measure: self.compared.measure.clone(),
            threshold: self.compared.threshold,
            starts_at: self.starts_at,
            ..self.row(key, severity.name(), severity, self.last_end, message)
        }
    }

    /// The end of an alarm at this time. `kind` tells its fingerprint from those of other alarms of the
    /// series.
    pub(crate) fn row(&self, key: &str, kind: &str, severity: Severity, time: i64, message: String) -> Alarm {
        Alarm {
            time,
            rule: self.name.clone(),
            severity,
            firing: false,
            labels: self.shown_labels(),
            measure: None,
            value: None,
            threshold: None,
            window_start: None,
            window_end: None,
            message,
            fingerprint: fingerprint(key.bytes().chain([0xff]).chain(kind.bytes())),
            starts_at: time,
            ends_at: Some(time),
            epoch: 0,
            annotations: Vec::new(),
            runbook: self.rule.as_ref().and_then(|rule| rule.extras.runbook.clone()),
        }
    }

    /// The labels of the series, and above them those of the rule.
    fn shown_labels(&self) -> Vec<(Arc<str>, String)> {
        if self.own.is_empty() {
            return self.labels.to_vec();
        }
        let both = self.labels.iter().chain(self.own.iter()).cloned();
        both.collect::<std::collections::BTreeMap<_, _>>().into_iter().collect()
    }
}
