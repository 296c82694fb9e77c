//! How bad it is.

use serde::{Deserialize, Serialize};

/// One of three severities; a greater one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Low,
    Mid,
    High,
}

impl Severity {
    /// From the worst down: the first that holds wins.
    pub(crate) const FROM_HIGH: [Severity; 3] = [Severity::High, Severity::Mid, Severity::Low];

    /// The name in configuration and in the `severity` column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Mid => "mid",
            Severity::High => "high",
        }
    }
}

/// One thing for each severity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PerSeverity<T> {
    pub(crate) high: T,
    pub(crate) mid: T,
    pub(crate) low: T,
}

impl<T> PerSeverity<T> {
    pub(crate) fn get(&self, severity: Severity) -> &T {
        match severity {
            Severity::High => &self.high,
            Severity::Mid => &self.mid,
            Severity::Low => &self.low,
        }
    }
}
