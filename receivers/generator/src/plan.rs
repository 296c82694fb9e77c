//! The content of each segment: a pure function of the settings and its number.
//!
//! With `S` services, the segments `kS … kS + S - 1` are one trace: the first service calls the second, and
//! so on. All segments of a trace are of the same operation number, and are delayed by the same disorder.
//! Their durations are drawn independently: a callee may take longer than its caller.

use crate::incident::Incident;
use crate::random::{Draws, LogNormal};

/// The longest duration of a segment.
const LONGEST_MS: f64 = 86_400_000.0;
/// Distinct values of `customer.id`.
const CUSTOMERS: u64 = 1_000_000;
/// Keeps the draws of segments apart from those of traces.
const OF_SEGMENTS: u64 = 0x5e67_4d65_6e74_5eed;

/// Decides what segments are.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The seed of everything.
    pub seed: u64,
    /// How many services.
    pub services: usize,
    /// How many operations each has.
    pub operations: usize,
    /// How many variants of each operation.
    pub variants: usize,
    /// The start of the run: incidents count from here.
    pub start_ms: i64,
    /// Durations of segments, in milliseconds.
    pub latency: LogNormal,
    /// The share of segments that fail.
    pub error_rate: f64,
    /// The longest delay of event times.
    pub disorder_ms: u64,
    /// Service, operation and phases.
    pub incidents: Vec<(usize, usize, Incident)>,
}

/// The plan of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Its number.
    pub number: u64,
    /// The number of the first segment of its trace.
    pub root: u64,
    /// Index of its service.
    pub service: usize,
    /// Index of its operation.
    pub operation: usize,
    /// Which variant of the operation.
    pub variant: usize,
    /// Whether it fails.
    pub error: bool,
    /// When its entry span starts.
    pub start_ms: i64,
    /// How long its entry span takes.
    pub duration_ms: i64,
    /// The value of `customer.id`: 8 digits.
    pub customer: u64,
}

impl Plan {
    /// The segment with this number, whose event time before disorder is `time_ms`.
    pub(crate) fn segment(&self, number: u64, time_ms: i64) -> Planned {
        let services = self.services.max(1) as u64;
        let trace = number / services;
        let service = index(number % services);
        let mut of_trace = Draws::new(self.seed, trace);
        let operation = index(of_trace.below(self.operations as u64));
        let variant = index(of_trace.below(self.variants as u64));
        let delay = of_trace.below(self.disorder_ms.saturating_add(1));
        let customer = 10_000_000 + of_trace.below(CUSTOMERS);
        let (factor, error_rate) = self.incident(service, operation, time_ms.saturating_sub(self.start_ms));
        let mut own = Draws::new(self.seed ^ OF_SEGMENTS, number);
        let error = own.share() < error_rate;
        let duration = (self.latency.draw(&mut own) * factor).round().clamp(0.0, LONGEST_MS);
        let duration_ms = duration as i64;
        let end_ms = time_ms.saturating_sub(i64::try_from(delay).unwrap_or(i64::MAX));
        Planned {
            number,
            root: trace * services,
            service,
            operation,
            variant,
            error,
            start_ms: end_ms.saturating_sub(duration_ms),
            duration_ms,
            customer,
        }
    }

    /// The factor of durations and the share of errors.
    fn incident(&self, service: usize, operation: usize, elapsed_ms: i64) -> (f64, f64) {
        let here = self
            .incidents
            .iter()
            .filter(|(of, at, incident)| (*of, *at) == (service, operation) && incident.is_on(elapsed_ms));
        here.fold((1.0, self.error_rate), |(factor, error_rate), (_, _, incident)| {
            (factor * incident.latency_factor, error_rate.max(incident.error_rate))
        })
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use weir_config::Duration;

    use super::*;

    fn plan() -> Plan {
        Plan {
            seed: 7,
            services: 4,
            operations: 3,
            variants: 2,
            start_ms: 0,
            latency: LogNormal::new(20.0, 400.0),
            error_rate: 0.01,
            disorder_ms: 1_000,
            incidents: Vec::new(),
        }
    }

    fn share(planned: &[Planned], of: impl Fn(&&Planned) -> bool) -> f64 {
        planned.iter().filter(of).count() as f64 / planned.len() as f64
    }

    #[test]
    fn a_segment_is_the_same_whenever_it_is_made() {
        let plan = plan();
        let later = plan.segment(1_000, 50);
        assert_eq!(plan.segment(1_000, 50), later);
        assert_ne!(Plan { seed: 8, ..plan.clone() }.segment(1_000, 50), later);
    }

    #[test]
    fn a_trace_goes_through_every_service_in_turn() {
        let plan = plan();
        for number in 0..400 {
            let (one, root) = (plan.segment(number, 0), plan.segment(number - number % 4, 0));
            assert_eq!(one.service, (number % 4) as usize);
            assert_eq!((one.root, one.operation, one.variant), (root.number, root.operation, root.variant));
            assert_eq!(one.customer, root.customer);
        }
    }

    #[test]
    fn segments_end_within_the_disorder_before_their_time_and_use_all_of_it() {
        let delays: Vec<i64> = (0..4_000)
            .map(|number| plan().segment(number, 10_000))
            .map(|planned| 10_000 - planned.start_ms - planned.duration_ms)
            .collect();
        assert!(delays.iter().all(|delay| (0..=1_000).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 50) && delays.iter().any(|delay| *delay > 950));
    }

    #[test]
    fn errors_come_at_their_rate_and_operations_evenly() {
        let all: Vec<_> = (0..40_000).map(|number| plan().segment(number, 0)).collect();
        assert!((0.008..0.012).contains(&share(&all, |planned| planned.error)));
        for operation in 0..3 {
            let found = share(&all, |planned| planned.operation == operation);
            assert!((0.31..0.36).contains(&found), "{found}");
        }
    }

    #[test]
    fn an_incident_makes_its_operation_slow_and_failing_while_it_lasts() {
        let incident = Incident {
            after: Duration::from_secs(1),
            lasting: Duration::from_secs(1),
            ..Incident::default()
        };
        let plan = Plan { incidents: vec![(0, 1, incident)], ..plan() };
        let all: Vec<_> =
            (0..12_000).map(|number| (plan.segment(number, 500), plan.segment(number, 1_500))).collect();
        let (mut before, mut during) = (Vec::new(), Vec::new());
        for (calm, storm) in all {
            if (calm.service, calm.operation) == (0, 1) {
                assert!((storm.duration_ms - calm.duration_ms * 20).abs() <= 10, "rounded after the factor");
                before.push(calm);
                during.push(storm);
            } else {
                assert_eq!((calm.duration_ms, calm.error), (storm.duration_ms, storm.error));
            }
        }
        assert!(share(&before, |planned| planned.error) < 0.03);
        assert!((0.25..0.35).contains(&share(&during, |planned| planned.error)));
    }
}
