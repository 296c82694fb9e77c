//! The figures as data points.

/// The upper bounds of the buckets of times, in seconds.
pub(crate) const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Times that were counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Times {
    pub(crate) counts: [u64; SECONDS.len() + 1],
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Times {
    /// Counts a time of so many nanoseconds.
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        let seconds = nanoseconds as f64 / 1e9;
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.counts[bucket] += 1;
        self.min = if self.count == 0 { seconds } else { self.min.min(seconds) };
        self.max = self.max.max(seconds);
        self.count += 1;
        self.sum += seconds;
    }
}

/// The value of a data point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PointKind {
    /// What was added since the point before.
    Sum(u64),
    /// What is there now.
    Gauge(u64),
    Times(Box<Times>),
}

/// A data point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) kind: PointKind,
    /// `error.type`, of failures.
    pub(crate) error: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let mut times = Times::default();
        for nanoseconds in [100_000, 100_001, 40_000_000_000] {
            times.add(nanoseconds);
        }
        assert_eq!(
            (times.counts[0], times.counts[1], times.counts[SECONDS.len()], times.count),
            (1, 1, 1, 3)
        );
        assert_eq!((times.min, times.max), (0.0001, 40.0));
    }
}
