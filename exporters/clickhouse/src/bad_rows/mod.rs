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
    pub signal: Signal,
    pub table: &'a str,
    pub columns: &'a TableColumns,
    pub body: &'a Body,
    /// Whether its frames are compressed.
    pub compressed: bool,
    /// How long rows may be tried.
    pub budget: Duration,
}
