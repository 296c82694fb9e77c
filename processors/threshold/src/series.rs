//! A series that fires or is about to: what is remembered of it from window to window, and across restarts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, fingerprint};
use crate::compared::Compared;
use crate::progress::Progress;
use crate::rule::Rule;
use crate::severity::Severity;
use crate::windows::Window;

/// Whose windows are judged one after the other: those of an operator, of all lanes of a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) operator: Arc<str>,
    pub(crate) shard: u32,
}

/// One rule and one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    /// The rule's name.
    pub(crate) name: Arc<str>,
    /// The rule as it judged the last window. `None` when that was before a restart.
    #[serde(skip)]
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) source: Source,
    pub(crate) labels: Arc<[(Arc<str>, String)]>,
    pub(crate) progress: Progress,
    /// The end of its last window, in nanoseconds, like all times here.
    pub(crate) last_end: i64,
    /// The length of its windows; 0 when they do not say where they start.
    pub(crate) size: i64,
    pub(crate) starts_at: i64,
    /// What the firing severity compares.
    pub(crate) compared: Compared,
}

impl Series {
    /// At rest, at this window.
    pub(crate) fn new(rule: &Arc<Rule>, window: &Window) -> Series {
        Series {
            name: rule.name.clone(),
            rule: Some(rule.clone()),
            source: window.source(),
            labels: window.labels.as_slice().into(),
            progress: Progress::default(),
            last_end: i64::MIN,
            size: window.start.map_or(0, |start| window.end.saturating_sub(start)),
            starts_at: window.end,
            compared: Compared::default(),
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
            fingerprint: fingerprint(key, severity),
            starts_at: self.starts_at,
            ends_at: Some(self.last_end),
            epoch: 0,
        }
    }
}
