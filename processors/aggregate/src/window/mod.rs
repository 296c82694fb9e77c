//! Which windows an event belongs to, by kind of window.

mod calendar_days;
pub mod signed_duration;
mod tumbling_sliding;

pub use tumbling_sliding::{Assigned, Cells, NANOS, Slices, Span, Windows, floor_ms};
