//! Which windows an event belongs to, by kind of window.

mod calendar_days;
mod session;
pub(crate) mod signed_duration;
mod span;
mod tumbling_sliding;

pub(crate) use session::Cells;
pub(crate) use span::{NANOS, Span, floor_ms};
pub(crate) use tumbling_sliding::{SliceAt, Slices};

/// The kind of windows of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// Fixed places in event time.
    Event(Slices),
    /// Fixed places in the time of arrival.
    Processing(Slices),
    /// From the first event of a group on, until none came for `gap`.
    Session {
        /// Milliseconds, above 0.
        gap: i64,
        /// Longer ones are cut, in milliseconds: at least twice `gap`.
        longest: i64,
    },
}
