//! Why a line is refused.

use thiserror::Error;

use crate::DecodeError;
use crate::otlp::JsonError;

/// Why a line is not an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// The line is not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// The line is JSON, but not an object.
    #[error("expected an object, found {0}")]
    NotAnObject(&'static str),
    /// There is no such signal.
    #[error("`signal` is {0}: expected one of \"traces\", \"logs\", \"metrics\", \"windows\", \"alarms\"")]
    Signal(String),
    /// The object has neither a signal nor a field of a segment or a request.
    #[error(
        "neither an event (it has no `signal`) nor a SkyWalking segment nor an OTLP request (it has none of \
         their fields)"
    )]
    NotAnEvent,
    /// The OTLP request is none.
    #[error(transparent)]
    Request(#[from] JsonError),
    /// Some items of the OTLP request cannot be used.
    #[error("{items} of its items cannot be used, the first: {reason}")]
    Items {
        /// How many.
        items: usize,
        /// Why the first one cannot.
        reason: DecodeError,
    },
    /// A field has the wrong type, is unknown, or comes twice.
    #[error("`{name}`: {problem}")]
    Field {
        /// The field.
        name: String,
        /// The fault.
        problem: String,
    },
    /// The segment or the request that the line holds cannot be decoded.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// The columns do not fit together.
    #[error("cannot be made a column: {0}")]
    Columns(String),
}
