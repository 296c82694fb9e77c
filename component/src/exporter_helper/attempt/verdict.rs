//! The outcome of an export.

use super::isolation::Refusal;

/// The result of an attempt.
pub(super) enum Verdict {
    /// All is taken but for so many items.
    Taken(u64),
    /// The data was rejected, or there was too much of it.
    Rejected(Refusal),
    /// The rows have waited too long for a failing destination, which may have taken them nevertheless.
    GivenUp(String),
}
