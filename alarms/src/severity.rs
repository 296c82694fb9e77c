//! How bad it is.

use serde::{Deserialize, Serialize};

/// One of three severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The worst.
    High,
    /// Between the two.
    Mid,
    /// The least bad.
    Low,
}

impl Severity {
    /// From the worst down.
    pub const FROM_HIGH: [Severity; 3] = [Severity::High, Severity::Mid, Severity::Low];

    /// Whether it is further up than the other.
    #[must_use]
    pub const fn is_worse_than(self, other: Severity) -> bool {
        (self as u8) < other as u8
    }

    /// The name in configuration and in the `severity` column.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Severity::High => "high",
            Severity::Mid => "mid",
            Severity::Low => "low",
        }
    }
}
