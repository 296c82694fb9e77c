//! A table that the exporter writes to.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use weir_component::{Context, LogLimit, Outgoing};
use weir_pdata::Signal;

use crate::client::dedup_token::key_of_try;
use crate::client::failure::Failure;
use crate::client::server::Server;
use crate::config::CreateSchema;
use crate::schema::columns::TableColumns;
use crate::schema::created_views::View;
use crate::schema::difference::{differences, of_retention};
use crate::schema::retention::Retention;

/// How often the columns of a table that is written to are asked for again.
const REFRESH_SCHEMA: Duration = Duration::from_secs(5);

/// The most tries that are remembered: more than inserts run at a time.
const MOST_TRIES: usize = 64;

/// A table, and its columns as far as they are known.
pub(crate) struct Table {
    pub(crate) signal: Signal,
    pub(crate) name: String,
    /// The views that are created with it.
    views: Vec<View>,
    /// How long its rows are kept, if it is created.
    retention: Retention,
    /// Whether rows were inserted.
    pub(crate) is_used: Arc<AtomicBool>,
    /// Its columns, once they are known. Forgotten when the server says that they are others.
    columns: RwLock<Option<Arc<TableColumns>>>,
    /// When they were last asked for.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    /// The columns that inserts were tried with whose answer is not known.
    tries: Mutex<VecDeque<(u64, Arc<TableColumns>)>>,
    /// Limits the warning that it keeps repeats.
    repeats_log: LogLimit,
    /// Limits the warnings that it is not as it would be created.
    differences_log: LogLimit,
    /// Limits the warning that views are missing.
    missing_views_log: LogLimit,
    /// Limits the error that a view refuses rows.
    pub(crate) views_log: LogLimit,
    /// Limits the warning that late repeats cannot be looked for in it.
    lookup_log: LogLimit,
}

impl Table {
    /// A table of which nothing is known yet.
    pub(crate) fn new(signal: Signal, name: &str, views: Vec<View>, retention: Retention) -> Table {
        Table {
            signal,
            name: name.to_owned(),
            views,
            retention,
            is_used: Arc::default(),
            columns: RwLock::default(),
            refreshed: tokio::sync::Mutex::default(),
            tries: Mutex::default(),
            repeats_log: LogLimit::every_ms(600_000),
            differences_log: LogLimit::every_ms(600_000),
            missing_views_log: LogLimit::every_ms(600_000),
            views_log: LogLimit::every_ms(10_000),
            lookup_log: LogLimit::every_ms(600_000),
        }
    }

    /// Its columns. It is created when it does not exist and `create` says so, and so are its views. Columns
    /// that are known are asked for again from time to time, since others may have been added.
    pub(crate) async fn refresh(
        &self,
        server: &Server,
        create: CreateSchema,
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
            Err(failure) if failure.is_missing_table() && create == CreateSchema::Create => {
                server.create(self.signal, &self.name, &self.retention).await?;
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
        if create != CreateSchema::Leave {
            self.compare(server, create, context).await?;
        }
        if create == CreateSchema::Create {
            self.create_views(server, context).await?;
        }
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

    /// How it differs from the table that would be created: a line for each column. None where it does not
    /// exist.
    pub(crate) async fn differences(&self, server: &Server) -> Result<Vec<String>, Failure> {
        let described = match server.described(&self.name).await {
            Err(failure) if failure.is_missing_table() => return Ok(Vec::new()),
            described => described?,
        };
        let table = server.table(&self.name);
        let columns = differences(self.signal, &table, &described);
        let all =
            columns.iter().map(ToString::to_string).chain(of_retention(&self.retention, &table, &described));
        Ok(all.map(|difference| format!("{table}: {difference}")).collect())
    }

    /// Reports how it differs from the table that would be created; an error when that was asked for.
    async fn compare(&self, server: &Server, create: CreateSchema, context: &Context) -> Result<(), Failure> {
        let found = self.differences(server).await?;
        if create == CreateSchema::Check && !found.is_empty() {
            return Err(Failure::other(format!("it is not as expected:\n{}", found.join("\n"))));
        }
        if !found.is_empty()
            && let Some(suppressed) = self.differences_log.allow(context.clock.now_ms())
        {
            let (exporter, table, differences) = (&context.id, &self.name, found.join("; "));
            tracing::warn!(
                %exporter, table, differences, suppressed,
                "the table is not as it would be created: values without a column go into its maps"
            );
        }
        Ok(())
    }

    /// Creates its views where they do not exist. One that inserts fill has to be there before the first; the
    /// others may be missing.
    async fn create_views(&self, server: &Server, context: &Context) -> Result<(), Failure> {
        let exporter = &context.id;
        let mut missing = Vec::new();
        for view in &self.views {
            let created = server.create_view(*view, &self.name, &self.retention).await;
            let name = view.name(&self.name);
            match created {
                Ok(false) => {}
                Ok(true) => tracing::info!(%exporter, view = name, "created the view"),
                Err(failure) if view.is_materialized() => {
                    return Err(Failure::other(format!("its view `{name}` cannot be created: {failure}")));
                }
                Err(failure) => missing.push(format!("{name}: {failure}")),
            }
        }
        if !missing.is_empty()
            && let Some(suppressed) = self.missing_views_log.allow(context.clock.now_ms())
        {
            let views = missing.join("; ");
            tracing::warn!(
                %exporter, views, suppressed,
                "views cannot be created: inserts go on without them. Leave them out of `views`, or create them yourself \
                 (`weir clickhouse ddl` prints the statements)"
            );
        }
        Ok(())
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

    /// Keeps the columns that these batches were tried with.
    pub(crate) fn keep_try(&self, batches: &[Outgoing], columns: &Arc<TableColumns>) {
        let key = key_of_try(batches);
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.iter().any(|(tried, _)| *tried == key) {
            return;
        }
        if tries.len() >= MOST_TRIES {
            tries.pop_front();
        }
        tries.push_back((key, Arc::clone(columns)));
    }

    /// The columns that these batches were tried with, when the outcome is not known.
    pub(crate) fn columns_of_try(&self, batches: &[Outgoing]) -> Option<Arc<TableColumns>> {
        let tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.is_empty() {
            return None;
        }
        let key = key_of_try(batches);
        tries.iter().find(|(tried, _)| *tried == key).map(|(_, columns)| Arc::clone(columns))
    }

    /// Forgets them: the outcome is known, or they are not those of the table.
    pub(crate) fn end_try(&self, batches: &[Outgoing]) {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if !tries.is_empty() {
            let key = key_of_try(batches);
            tries.retain(|(tried, _)| *tried != key);
        }
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
