//! What a rule has for each severity.

use weir_alarms::Severity;

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
