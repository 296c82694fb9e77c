//! Telling the rows apart that a server refuses.

pub(crate) mod lenient;
mod probe;
mod search;

use std::time::Duration;

use weir_pdata::Signal;

use crate::native::block::Body;
use crate::schema::columns::TableColumns;

/// An insert that was refused.
pub(crate) struct Refused<'a> {
    pub(crate) signal: Signal,
    pub(crate) table: &'a str,
    pub(crate) columns: &'a TableColumns,
    pub(crate) body: &'a Body,
    /// Whether its frames are compressed.
    pub(crate) compressed: bool,
    /// How long rows may be tried.
    pub(crate) budget: Duration,
}
