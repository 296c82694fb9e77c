//! Incidents: phases in which one operation of one service is slow and fails more often.

use serde::Deserialize;
use weir_config::Duration;

/// A phase that comes again and again, counted in event time from the start of the run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Incident {
    /// The service; the first one when not given.
    pub service: Option<String>,
    /// The operation, as in the operation names of that service; its first one when not given.
    pub operation: Option<String>,
    /// When the first phase begins.
    pub after: Duration,
    /// From the beginning of a phase to the beginning of the next.
    pub every: Duration,
    /// How long a phase lasts. Less than `every`.
    pub lasting: Duration,
    /// Durations are multiplied by this.
    pub latency_factor: f64,
    /// The share of segments that fail, when higher than the usual one.
    pub error_rate: f64,
}

impl Default for Incident {
    fn default() -> Incident {
        Incident {
            service: None,
            operation: None,
            after: Duration::from_secs(5),
            every: Duration::from_secs(60),
            lasting: Duration::from_secs(20),
            latency_factor: 20.0,
            error_rate: 0.3,
        }
    }
}

impl Incident {
    /// Whether a phase is on `elapsed_ms` after the start of the run.
    pub(crate) fn is_on(&self, elapsed_ms: i64) -> bool {
        let since_first = elapsed_ms.saturating_sub(self.after.as_millis());
        since_first >= 0 && since_first % self.every.as_millis().max(1) < self.lasting.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_begin_after_the_first_and_come_again() {
        let incident = Incident {
            after: Duration::from_secs(5),
            every: Duration::from_secs(24),
            lasting: Duration::from_secs(8),
            ..Incident::default()
        };
        let on: Vec<i64> = (0..60).filter(|second| incident.is_on(second * 1000)).collect();
        let expected: Vec<i64> = (5..13).chain(29..37).chain(53..60).collect();
        assert_eq!(on, expected);
        assert!(!incident.is_on(4_999) && incident.is_on(12_999));
    }

    #[test]
    fn a_run_of_a_minute_sees_the_usual_phase_begin_and_end() {
        let usual = Incident::default();
        assert!(!usual.is_on(0) && usual.is_on(5_000) && usual.is_on(24_999) && !usual.is_on(25_000));
        assert!(!usual.is_on(60_000), "what began in a run of a minute also ended in it");
    }
}
