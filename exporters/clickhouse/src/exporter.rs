//! The exporter: prepares tables when they are first needed, converts, inserts.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampNanosecondType;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_component::{Context, ExportError, Exporter, LogLimit, Outgoing, StartError};
use weir_http::Connection;
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::bad_rows::Refused;
use crate::client::dedup_token::token;
use crate::client::failure::Failure;
use crate::client::server::{InsertMode, Server, Views};
use crate::config::{Compression, Config, CreateSchema};
use crate::convert::InsertRows;
use crate::convert::provenance::LOCATED;
use crate::disk_guard::{DiskGuard, Guarded};
use crate::dynamic::census::Census;
use crate::dynamic::task::{ColumnTask, run_id};
use crate::lookup::question;
use crate::metrics::{ColumnMetrics, Metrics};
use crate::native::block::{Body, block};
use crate::native::decode::read;
use crate::native::encoded_rows::EncodedRows;
use crate::native::scratch::ScratchPool;
use crate::preparation::{convert_batches, insert_rows, prepare, restore};
use crate::schema::columns::TableColumns;
use crate::table::Table;

/// Smaller batches are not prepared, since each has its own frames and dictionaries for every column.
const MIN_PREPARED_ROWS: usize = 512;
/// The signals whose batches are prepared.
const PREPARED: [Signal; 3] = LOCATED;

/// Windows and alarms that are older than this many milliseconds may have been stored longer ago than a table
/// remembers. They are stored after their end.
const FORGOTTEN_AFTER_MS: i64 = 120_000;

/// How long the start waits for the server.
const START_WAIT: Duration = Duration::from_secs(2);
/// The search for bad rows takes at most the `timeout` of an export divided by this. The next round finds the
/// rest.
const BUDGET: u32 = 4;
/// Up to this many rows, inserting halves is faster than a search.
const MAX_ROWS_TRIED_FIRST: usize = 4;
/// How long the background task waits for the server after the start.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// Inserts batches into the tables of one database.
pub(crate) struct ClickHouseExporter {
    server: Arc<Server>,
    scratch_pool: ScratchPool,
    tables: [Table; Signal::ALL.len()],
    endpoint: String,
    create_schema: CreateSchema,
    /// Keys without a column, where columns are created for them.
    census: Option<Arc<Census>>,
    /// What creates them, until it is started.
    column_task: Mutex<Option<ColumnTask>>,
    /// What looks at the server's disks, until it is started.
    disk_guard: Mutex<Option<DiskGuard>>,
    /// Tasks that run beside inserts, and how they are stopped.
    tasks: Mutex<Vec<(watch::Sender<bool>, JoinHandle<()>)>>,
    /// How long the search for bad rows may take.
    budget: Duration,
    context: Context,
    metrics: Metrics,
    log: LogLimit,
    first_contact: Mutex<Option<JoinHandle<()>>>,
}

/// The rows of an insert that are not in its table.
enum Unstored {
    All,
    /// This block.
    Some(Body),
    Nothing,
}

impl ClickHouseExporter {
    pub(crate) fn new(config: Config, connection: &Connection, context: Context) -> ClickHouseExporter {
        let tables = Signal::ALL.map(|signal| {
            let views = config.views.iter().copied().filter(|view| view.signal() == signal).collect();
            Table::new(signal, config.table(signal), views, config.retention(signal))
        });
        let budget = config.helper().timeout.get() / BUDGET;
        let server = Arc::new(Server::new(&config, connection));
        let column_task = config.dynamic_columns.clone().map(|dynamic| {
            let metrics = ColumnMetrics::new(&context);
            ColumnTask {
                server: Arc::clone(&server),
                census: Arc::new(Census::new(metrics.uncounted.clone())),
                config: dynamic,
                create: config.create_schema,
                table: config.tables.traces.clone(),
                conditions: config.retention.traces.iter().map(|class| class.r#where.clone()).collect(),
                metrics,
                run: run_id(&context),
                context: context.clone(),
            }
        });
        let disk_guard = config.disk_guard.map(|keys| {
            let guarded =
                tables.iter().filter(|table| LOCATED.contains(&table.signal)).map(|table| Guarded {
                    name: table.name.clone(),
                    retention: config.retention(table.signal),
                    is_used: Arc::clone(&table.is_used),
                });
            DiskGuard::new(Arc::clone(&server), keys, guarded.collect(), context.clone())
        });
        ClickHouseExporter {
            budget,
            scratch_pool: ScratchPool::new(config.compression == Compression::Lz4),
            server,
            census: column_task.as_ref().map(|task| Arc::clone(&task.census)),
            column_task: Mutex::new(column_task),
            disk_guard: Mutex::new(disk_guard),
            tasks: Mutex::default(),
            tables,
            endpoint: config.endpoint,
            create_schema: config.create_schema,
            metrics: Metrics::new(&context),
            context,
            log: LogLimit::every_ms(10_000),
            first_contact: Mutex::new(None),
        }
    }

    async fn insert(&self, table: &Table, batches: &[Outgoing]) -> Result<(), ExportError> {
        let mut schema_refreshed = false;
        let mut by_view: Option<Failure> = None;
        // Of an insert that was made in part.
        let mut left: Option<Body> = None;
        let mut queued = self.server.queues();
        loop {
            // A repeat has the columns of the first try, so that it has the same rows, and the same token.
            let columns = match table.columns_of_try(batches) {
                Some(columns) => columns,
                None => table
                    .refresh(&self.server, self.create_schema, &self.context)
                    .await
                    .map_err(|failure| failure.of_preparation(&table.name))?,
            };
            let rows = insert_rows(table, batches, &columns, &self.scratch_pool, self.census.as_deref())?;
            let encoded: Vec<&EncodedRows> = rows.iter().map(|rows| &rows.encoded).collect();
            let mut body = self.scratch_pool.with(|scratch| block(&encoded, scratch));
            // What a view has refused is in the table now, and goes again as it went.
            if by_view.is_none() && self.may_be_forgotten(batches) {
                left = match self.unstored(table, batches, &columns, &body).await? {
                    Unstored::All => None,
                    Unstored::Some(part) => Some(part),
                    Unstored::Nothing => {
                        table.end_try(batches);
                        return Ok(());
                    }
                };
            }
            let in_part = left.is_some();
            body = left.take().unwrap_or(body);
            let token = token(&table.name, batches, &body);
            let views = if by_view.is_some() { Views::DoWithout } else { Views::Fail };
            let until = batches.iter().filter_map(|batch| batch.origin.owned_until).min();
            let mode = InsertMode { views, queued, until };
            // Before it is made: when its time is over, nobody learns of the outcome.
            table.keep_try(batches, &columns);
            let Err(failure) = self.server.insert(&table.name, &token, &body, mode).await else {
                table.is_used.store(true, Ordering::Relaxed);
                self.count_moved(table, &rows);
                table.end_try(batches);
                if let Some(failure) = by_view {
                    self.refused_by_view(table, batches, &token, &failure);
                }
                return Ok(());
            };
            if failure.view().is_some() && by_view.is_none() {
                left = in_part.then_some(body);
                // The table has the rows. The same insert again, which it leaves out, gives them to the views
                // that take them.
                by_view = Some(failure);
                continue;
            }
            if queued && failure.is_of_rows() {
                // The server has refused what it had put together, and the rows at fault may be of another
                // insert. So this one alone.
                left = in_part.then_some(body);
                queued = false;
                continue;
            }
            if failure.asks_for_columns() {
                table.end_try(batches);
                table.forget();
                if !(schema_refreshed || in_part && by_view.is_some()) {
                    schema_refreshed = true;
                    continue;
                }
            }
            if failure.is_of_rows() {
                table.end_try(batches);
            }
            let compressed = self.scratch_pool.compresses();
            let refused = Refused {
                signal: table.signal,
                table: &table.name,
                columns: &columns,
                body: &body,
                compressed,
                budget: self.budget,
            };
            let few = rows.iter().map(|rows| rows.encoded.count).sum::<usize>() <= MAX_ROWS_TRIED_FIRST;
            // Numbers of rows of a part would be of others.
            let bad_rows =
                if few || in_part { Vec::new() } else { refused.bad_rows(&self.server, &failure).await };
            return Err(failure.of_insert(&table.name, bad_rows));
        }
    }

    /// Counts rows that a view goes without, and says so.
    fn refused_by_view(&self, table: &Table, batches: &[Outgoing], token: &str, failure: &Failure) {
        self.metrics.refused_by_views.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        if let Some(suppressed) = table.views_log.allow(self.context.clock.now_ms()) {
            let (exporter, table, view) = (&self.context.id, &table.name, failure.view());
            tracing::error!(
                %exporter, table, view, token, %failure, suppressed,
                "a materialized view refuses rows that the table has taken: the view goes without all rows of this insert. \
                 Mend the view, and insert the missing rows into its target, from the table"
            );
        }
    }

    /// Whether these may have been stored longer ago than the table remembers.
    fn may_be_forgotten(&self, batches: &[Outgoing]) -> bool {
        let Some(first) = batches.first().filter(|batch| batch.origin.identity.is_some()) else {
            return false;
        };
        let ended = match first.signal {
            Signal::Windows => "window_end",
            Signal::Alarms => "time",
            Signal::Traces | Signal::Logs | Signal::Metrics => {
                return batches.iter().any(|batch| batch.origin.repeated);
            }
        };
        let old = self.context.clock.now_ms().saturating_sub(FORGOTTEN_AFTER_MS).saturating_mul(1_000_000);
        let begun = |batch: &Outgoing| {
            let ends =
                batch.as_columns()?.column_by_name(ended)?.as_primitive_opt::<TimestampNanosecondType>()?;
            arrow::compute::min(ends)
        };
        batches.iter().any(|batch| batch.origin.repeated || begun(batch).is_none_or(|time| time < old))
    }

    /// The rows of an insert that are not in the table.
    async fn unstored(
        &self,
        table: &Table,
        batches: &[Outgoing],
        columns: &TableColumns,
        body: &Body,
    ) -> Result<Unstored, ExportError> {
        let failed = |failure: Failure| failure.of_preparation(&table.name);
        let broken = |error: String| {
            failed(Failure::other(format!(
                "its answer about rows of an earlier try is not understood: {error}"
            )))
        };
        let rows = read(body, self.scratch_pool.compresses()).map_err(|error| broken(error.to_string()))?;
        let full_name = self.server.table(&table.name);
        let Some(question) = question(&full_name, columns, batches, &rows) else {
            table.warn_not_searchable("it has no columns to find them by", &self.context);
            return Ok(Unstored::All);
        };
        let answer = match self.server.ask(&question.sql).await {
            Ok(answer) => answer,
            Err(failure) if failure.is_forbidden() => {
                table.warn_not_searchable(&failure.to_string(), &self.context);
                return Ok(Unstored::All);
            }
            Err(failure) => return Err(failed(failure)),
        };
        let missing = question.missing(&answer).map_err(|error| broken(error.to_string()))?;
        let there = rows.num_rows().saturating_sub(missing.true_count());
        if there == 0 {
            return Ok(Unstored::All);
        }
        self.metrics.found.inc_by(there as u64);
        tracing::info!(
            exporter = %self.context.id, table = table.name, there, rows = rows.num_rows(),
            "rows of an insert that may have been made before are in the table already"
        );
        if missing.true_count() == 0 {
            return Ok(Unstored::Nothing);
        }
        // Of each batch its own rows: they are in the insert in the order of the batches.
        let (mut left, mut begin) = (Vec::with_capacity(batches.len()), 0);
        for batch in batches {
            let batch = restore(batch, &self.scratch_pool).map_err(ExportError::permanent)?;
            let of_batch = missing.slice(begin, batch.len());
            begin += batch.len();
            let Some(columns) = batch.as_columns() else { continue };
            let rows = filter_record_batch(columns, &of_batch).map_err(|error| broken(error.to_string()))?;
            left.push(batch.with_columns(rows));
        }
        Ok(match convert_batches(table, &left, columns, &self.scratch_pool, None)? {
            Some(rows) => Unstored::Some(self.scratch_pool.with(|scratch| block(&[&rows.encoded], scratch))),
            None => Unstored::Nothing,
        })
    }

    /// The table of a signal.
    /// Starts a task that runs beside inserts, until the exporter stops.
    fn spawn<T: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce(watch::Receiver<bool>) -> T) {
        let (stop, stopped) = watch::channel(false);
        let work = tokio::spawn(task(stopped));
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((stop, work));
    }

    fn table(&self, signal: Signal) -> Option<&Table> {
        self.tables.iter().find(|table| table.signal == signal)
    }

    /// Counts what was put elsewhere, and says so.
    fn count_moved(&self, table: &Table, rows: &[Arc<InsertRows>]) {
        let moved: u64 = rows.iter().map(|rows| rows.moved).sum();
        let unplaced: u64 = rows.iter().map(|rows| rows.unplaced).sum();
        self.metrics.moved.inc_by(moved);
        self.metrics.unplaced.inc_by(unplaced);
        if moved + unplaced == 0 {
            return;
        }
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let exporter = self.context.id.to_string();
            let table = &table.name;
            if unplaced > 0 {
                tracing::warn!(
                    exporter,
                    table,
                    unplaced,
                    moved,
                    suppressed,
                    "values found no place in the table: add columns, or a map `attributes` (`labels` for windows and alarms)"
                );
            } else {
                tracing::warn!(
                    exporter,
                    table,
                    moved,
                    suppressed,
                    "values did not fit their columns and are in the table's map as text"
                );
            }
        }
    }
}

#[async_trait]
impl Exporter for ClickHouseExporter {
    fn signals(&self) -> SignalSet {
        SignalSet::of(&Signal::ALL)
    }

    fn demand(&self) -> Demand {
        Demand { positions: true, id_parts: true, ..Demand::everything() }
    }

    /// Part of a block, when the batch is large enough and the table is known.
    fn prepare(&self, batch: EventBatch) -> Outgoing {
        let table = self.table(batch.signal).filter(|table| PREPARED.contains(&table.signal));
        let Some(columns) = table.and_then(Table::known).filter(|_| batch.len() >= MIN_PREPARED_ROWS) else {
            return batch.into();
        };
        prepare(batch, columns, &self.scratch_pool, self.census.as_deref())
    }

    fn restore(&self, batch: &Outgoing) -> Result<EventBatch, String> {
        restore(batch, &self.scratch_pool)
    }

    /// The server leaves out an insert whose token it knows.
    fn is_idempotent(&self) -> bool {
        true
    }

    /// Asks the server what it is. When it does not answer, goes on asking in the background: if it is not
    /// there, the log says so before the first batch comes.
    async fn start(&self) -> Result<(), StartError> {
        if let Some(task) = self.column_task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.spawn(|stop| task.run(stop));
        }
        if let Some(guard) = self.disk_guard.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.spawn(|stop| guard.run(stop));
        }
        let server = self.server.clone();
        if let Ok(Ok(info)) = tokio::time::timeout(START_WAIT, server.info()).await {
            let refused = |why| StartError(format!("{}: {why}", self.endpoint));
            if let Some(why) = server.refusal(&info) {
                return Err(refused(why));
            }
            if self.create_schema == CreateSchema::Check {
                let mut all = Vec::new();
                for table in &self.tables {
                    all.extend(table.differences(&server).await.unwrap_or_default());
                }
                if !all.is_empty() {
                    return Err(refused(format!("tables are not as expected:\n{}", all.join("\n"))));
                }
            }
            return Ok(());
        }
        let (exporter, endpoint) = (self.context.id.to_string(), self.endpoint.clone());
        let look = tokio::spawn(async move {
            let reason = match tokio::time::timeout(FIRST_CONTACT, server.info()).await {
                Ok(Ok(info)) => match server.refusal(&info) {
                    Some(why) => why,
                    None => return,
                },
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => format!("no answer within {FIRST_CONTACT:?}"),
            };
            tracing::warn!(
                exporter,
                endpoint,
                reason,
                "ClickHouse cannot be used yet: events wait and are tried again"
            );
        });
        *self.first_contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        Ok(())
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let batches: Vec<Outgoing> = batches.iter().cloned().map(Outgoing::from).collect();
        self.export_outgoing(&batches).await
    }

    async fn export_outgoing(&self, batches: &[Outgoing]) -> Result<(), ExportError> {
        let Some(first) = batches.iter().find(|batch| !batch.is_empty()) else { return Ok(()) };
        match self.table(first.signal) {
            Some(table) => self.insert(table, batches).await,
            None => Err(ExportError::permanent(format!("{} have no table", first.signal))),
        }
    }

    async fn stop(&self) {
        if let Some(look) = self.first_contact.lock().unwrap_or_else(PoisonError::into_inner).take() {
            look.abort();
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for (stop, _) in &tasks {
            stop.send_replace(true);
        }
        for (_, work) in tasks {
            // It ends within a bounded time, and does not panic.
            let _ = work.await;
        }
    }
}
