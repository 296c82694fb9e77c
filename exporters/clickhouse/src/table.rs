//! A table that the exporter writes to.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use weir_component::{Context, LogLimit};
use weir_pdata::Signal;

use crate::client::failure::Failure;
use crate::client::server::Server;
use crate::schema::columns::TableColumns;

/// How often the columns of a table that is written to are asked for again.
const REFRESH_SCHEMA: Duration = Duration::from_secs(5);

/// A table, and its columns as far as they are known.
pub(crate) struct Table {
    pub(crate) signal: Signal,
    pub(crate) name: String,
    /// Its columns, once they are known. Forgotten when the server says that they are others.
    columns: RwLock<Option<Arc<TableColumns>>>,
    /// When they were last asked for.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    /// Limits the warning that it keeps repeats.
    repeats_log: LogLimit,
    /// Limits the error that a view refuses rows.
    pub(crate) views_log: LogLimit,
    /// Limits the warning that late repeats cannot be looked for in it.
    lookup_log: LogLimit,
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

    /// Its columns. It is created when it does not exist and `create` is set. Columns that are known are
    /// asked for again from time to time, since others may have been added.
    pub(crate) async fn refresh(
        &self,
        server: &Server,
        create: bool,
        context: &Context,
    ) -> Result<Arc<TableColumns>, Failure> {
        // Of several exports one asks, the others wait for its answer.
        let mut refreshed = self.refreshed.lock().await;
        let now = Instant::now();
        if let Some(columns) = self.known() {
            if refreshed.is_some_and(|at| now.duration_since(at) < REFRESH_SCHEMA) {
                return Ok(columns);
            }
            *refreshed = Some(now);
            return Ok(match server.columns(&self.name).await {
                Ok(new) if new != *columns => {
                    let (exporter, table) = (&context.id, &self.name);
                    tracing::info!(%exporter, table, "the table has other columns now");
                    self.know(Arc::new(new))
                }
                // What is wrong with the table the insert will say.
                _ => columns,
            });
        }
        *refreshed = Some(now);
        let described = match server.columns(&self.name).await {
            Err(failure) if failure.is_missing_table() && create => {
                server.create(self.signal, &self.name).await?;
                tracing::info!(exporter = %context.id, table = self.name, "created the table");
                server.columns(&self.name).await
            }
            Err(failure) if failure.is_missing_table() => {
                let hint = "create it, or set create_schema: true";
                Err(Failure::other(format!("it does not exist: {hint}; the server says: {failure}")))
            }
            described => described,
        };
        let columns = Arc::new(described?);
        // Not being allowed to look is no reason not to insert.
        let keeping = server.keeps_repeats(&self.name).await.unwrap_or_default();
        if !keeping.is_empty()
            && let Some(suppressed) = self.repeats_log.allow(context.clock.now_ms())
        {
            let exporter = &context.id;
            for (table, why) in keeping {
                tracing::warn!(
                    %exporter, table, why, suppressed,
                    "the table keeps inserts that come twice: after a failure rows may be stored twice"
                );
            }
        }
        Ok(self.know(columns))
    }

    /// Its columns, as far as they are known.
    pub(crate) fn known(&self) -> Option<Arc<TableColumns>> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps its columns.
    fn know(&self, columns: Arc<TableColumns>) -> Arc<TableColumns> {
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&columns));
        columns
    }

    /// Forgets its columns, so that they are asked for again.
    pub(crate) fn forget(&self) {
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Says that rows that are repeated late may be there twice.
    pub(crate) fn warn_not_searchable(&self, why: &str, context: &Context) {
        if let Some(suppressed) = self.lookup_log.allow(context.clock.now_ms()) {
            tracing::warn!(
                exporter = %context.id, table = self.name, why, suppressed,
                "rows that were perhaps stored some time ago cannot be looked for in the table: when it has forgotten them they are \
                 stored twice; give it the columns `_source LowCardinality(String)` and `_offset Int64`, and the user the right to read it"
            );
        }
    }
}
