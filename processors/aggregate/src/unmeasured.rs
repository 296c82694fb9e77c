//! Why a histogram point is in no measure, or in none of some.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmeasured {
    /// The point is cumulative, or does not say that it is not.
    Cumulative,
    /// Its counts do not fit its buckets or do not add up to `count`, or it has too many buckets, or one that
    /// no float is in.
    Malformed,
    /// Its scale is out of [`SCALES`](crate::state::buckets::SCALES).
    Scale,
    /// Its zero threshold is out of [`ZERO_THRESHOLDS`](crate::state::buckets::ZERO_THRESHOLDS).
    ZeroThreshold,
    /// It has other buckets than the points before it. It is in all measures but quantiles.
    Mixed,
}

impl Unmeasured {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Unmeasured; 5] = [
        Unmeasured::Cumulative,
        Unmeasured::Malformed,
        Unmeasured::Scale,
        Unmeasured::ZeroThreshold,
        Unmeasured::Mixed,
    ];

    /// The label of the metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unmeasured::Cumulative => "cumulative",
            Unmeasured::Malformed => "malformed",
            Unmeasured::Scale => "scale",
            Unmeasured::ZeroThreshold => "zero_threshold",
            Unmeasured::Mixed => "mixed",
        }
    }
}

/// How many points there are of each reason, by its number.
pub(crate) type UnmeasuredCounts = [u64; Unmeasured::ALL.len()];
