//! A batch as windows take it, and where its events go.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use weir_pdata::{Ack, Held};

use crate::group::key::{KeyHasher, KeyRows};
use crate::lane::events::Events;
use crate::operator::Operator;
use crate::window::Span;

/// One batch, ready to be added.
pub(crate) struct BatchInput<'a> {
    /// The configuration.
    pub(crate) operator: &'a Operator,
    /// The keys of its rows.
    pub(crate) rows: &'a KeyRows<'a>,
    /// The hasher of the keys.
    pub(crate) hasher: &'a KeyHasher,
    /// The columns of its rows.
    pub(crate) events: &'a Events<'a>,
    /// Its inputs.
    pub(crate) ack: &'a Ack,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// It has a window.
    InWindow,
    /// It is between two windows.
    Gap,
    /// The last of its windows, this one, is closed for good.
    Late(Span),
    /// Its windows are beyond what a timestamp in nanoseconds can hold.
    OutOfRange,
}

/// A partial result for the trunk, and the inputs that wait for it.
pub(crate) type PartialResult = (Result<RecordBatch, ArrowError>, Held);
