//! The kinds of event that a batch can carry.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// The kind of one row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Signal {
    /// One row per span.
    Traces = 0,
    /// One row per log record.
    Logs = 1,
    /// One row per metric data point.
    Metrics = 2,
    /// One row per operator, key and closed window.
    Windows = 3,
    /// One row per change of an alarm's state.
    Alarms = 4,
}

impl Signal {
    /// Every signal, in the order of their numbers.
    pub const ALL: [Signal; 5] =
        [Signal::Traces, Signal::Logs, Signal::Metrics, Signal::Windows, Signal::Alarms];

    /// The name used in configuration, JSON lines, file paths and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
            Signal::Windows => "windows",
            Signal::Alarms => "alarms",
        }
    }

    /// The signal with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SignalSet(u8);

impl SignalSet {
    /// No signal.
    pub const NONE: SignalSet = SignalSet(0);
    /// Every signal.
    pub const ALL: SignalSet = SignalSet(0b1_1111);

    /// The set of exactly these signals.
    #[must_use]
    pub const fn of(signals: &[Signal]) -> SignalSet {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= 1 << signals[i] as u8;
            i += 1;
        }
        SignalSet(bits)
    }

    /// The signals that are in either set.
    #[must_use]
    pub const fn or(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    /// Whether the set has this signal.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & (1 << signal as u8) != 0
    }
}

/// A list of names, as in `signals: [windows, alarms]`.
impl<'de> Deserialize<'de> for SignalSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SignalSet, D::Error> {
        Ok(SignalSet::of(&Vec::<Signal>::deserialize(deserializer)?))
    }
}
