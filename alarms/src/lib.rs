//! Shared parts of processors that raise alarms: the rows, what they compare, and their text.
//!
//! * [`Alarm`] is a row, and [`to_batch`] the batch of rows; [`Severity`] says how bad it is.
//! * [`Compared`] reads `measure` and `threshold` out of a condition.
//! * [`series_key`] and [`fingerprint()`] tell alarms apart, the same in every run.
//! * [`Message`] is the template of the text; [`Alarm::template_context`] and [`template_context`] are the
//!   names that it knows.
//!
//! Guaranteed: a template means the same in every processor, and none of them can keep an alarm from going
//! out.
//!
//! Not here: when an alarm is raised, and which further names its template knows.

mod alarm;
mod compared;
mod fingerprint;
mod message;
mod severity;
mod template;
pub mod template_context;

pub use alarm::{Alarm, Labels, to_batch};
pub use compared::Compared;
pub use fingerprint::{fingerprint, series_key};
pub use message::{Message, MessageError, Rendered};
pub use severity::Severity;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
