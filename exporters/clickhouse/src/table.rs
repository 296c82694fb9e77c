//! A table that the exporter writes to.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use weir_component::LogLimit;
use weir_pdata::Signal;

use crate::schema::columns::TableColumns;

/// A table, and its columns as far as they are known.
pub(crate) struct Table {
    pub(crate) signal: Signal,
    pub(crate) name: String,
    /// Its columns, once they are known. Forgotten when the server says that they are others.
    columns: RwLock<Option<Arc<TableColumns>>>,
    /// When they were last asked for.
    pub(crate) refreshed: tokio::sync::Mutex<Option<Instant>>,
    /// Limits the warning that it keeps repeats.
    pub(crate) repeats_log: LogLimit,
    /// Limits the error that a view refuses rows.
    pub(crate) views_log: LogLimit,
    /// Limits the warning that late repeats cannot be looked for in it.
    pub(crate) lookup_log: LogLimit,
}

impl Table {
    /// A table of which nothing is known yet.
    pub(crate) fn new(signal: Signal, name: &str) -> Table {
        Table {
            signal,
            name: name.to_owned(),
            columns: RwLock::default(),
            refreshed: tokio::sync::Mutex::default(),
            repeats_log: LogLimit::every_ms(600_000),
            views_log: LogLimit::every_ms(10_000),
            lookup_log: LogLimit::every_ms(600_000),
        }
    }

    /// Its columns, as far as they are known.
    pub(crate) fn known(&self) -> Option<Arc<TableColumns>> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps its columns.
    pub(crate) fn know(&self, columns: Arc<TableColumns>) -> Arc<TableColumns> {
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&columns));
        columns
    }

    /// Forgets its columns, so that they are asked for again.
    pub(crate) fn forget(&self) {
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
