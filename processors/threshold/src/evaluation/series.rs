//! A series that fires or is about to fire: its state from window to window, and across restarts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_alarms::{Alarm, Compared, Severity, fingerprint};

use crate::evaluation::alarm_state::AlarmState;
use crate::evaluation::windows::{Window, WindowStream};
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
    /// The end of its last window, in nanoseconds, like all times here.
    pub(crate) last_end: i64,
    /// The length of its windows; 0 when they do not say where they start.
    pub(crate) size: i64,
    pub(crate) starts_at: i64,
    /// The comparison of the firing severity.
    pub(crate) compared: Compared,
    /// Where it stood before its last window, for when that is evaluated again.
    pub(crate) earlier: Earlier,
}

/// Where a series stood before its last window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Earlier {
    #[serde(rename = "progress")]
    pub(crate) state: AlarmState,
    pub(crate) last_end: i64,
}

impl Default for Earlier {
    fn default() -> Earlier {
        Earlier { state: AlarmState::default(), last_end: i64::MIN }
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
}

impl From<Saved> for Series {
    fn from(saved: Saved) -> Series {
        let Saved { rule, stream, labels, state, last_end, size, starts_at, measure, threshold, earlier } =
            saved;
        Series {
            name: rule.into(),
            rule: None,
            stream,
            labels: labels.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            state,
            last_end,
            size,
            starts_at,
            compared: Compared { measure: measure.map(Into::into), threshold },
            earlier,
        }
    }
}

impl From<Series> for Saved {
    fn from(series: Series) -> Saved {
        let Series { name, stream, labels, state, last_end, size, starts_at, compared, earlier, .. } = series;
        Saved {
            rule: name.to_string(),
            stream,
            labels: labels.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            state,
            last_end,
            size,
            starts_at,
            measure: compared.measure.map(|measure| measure.to_string()),
            threshold: compared.threshold,
            earlier,
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
            last_end: i64::MIN,
            size: window.start.map_or(0, |start| window.end.saturating_sub(start)),
            starts_at: window.end,
            compared: Compared::default(),
            earlier: Earlier::default(),
        }
    }

    /// The end of its alarm, at the end of its last window.
    pub(crate) fn resolved(&self, key: &str, severity: Severity, message: String) -> Alarm {
        Alarm {
            time: self.last_end,
            rule: self.name.clone(),
            severity,
            firing: false,
            labels: self.labels.to_vec(),
            measure: self.compared.measure.clone(),
            value: None,
            threshold: self.compared.threshold,
            window_start: None,
            window_end: None,
            message,
            fingerprint: fingerprint(key.bytes().chain([0xff]).chain(severity.name().bytes())),
            starts_at: self.starts_at,
            ends_at: Some(self.last_end),
            epoch: 0,
        }
    }
}
