//! A batch on its way into windows, and what becomes of its events.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use weir_pdata::{Ack, Held};

use crate::group::key::{KeyHasher, KeyRows};
use crate::lane::events::Events;
use crate::operator::Operator;
use crate::window::Span;

/// One batch, ready to be added.
pub struct Input<'a> {
    /// The configuration.
    pub operator: &'a Operator,
    /// The keys of its rows.
    pub rows: &'a KeyRows<'a>,
    /// What the keys are hashed with.
    pub hasher: &'a KeyHasher,
    /// The columns of its rows.
    pub events: &'a Events<'a>,
    /// Its inputs.
    pub ack: &'a Ack,
}

/// What becomes of an event at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a window.
    Taken,
    /// It is between two windows.
    Gap,
    /// The last of its windows, this one, is closed for good.
    Late(Span),
    /// It is beyond the calendar.
    Beyond,
}

/// A partial result that leaves for the trunk, and the inputs that wait for it.
pub type Leaving = (Result<RecordBatch, ArrowError>, Held);
