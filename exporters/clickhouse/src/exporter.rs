//! The exporter: prepares tables when they are first needed, converts, inserts.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{Context, ExportError, Exporter, LogLimit, StartError};
use weir_pdata::{Demand, EventBatch, Payload, Prepared, Signal, SignalSet};

use crate::at_fault::Refused;
use crate::block::block;
use crate::columns::TableColumns;
use crate::config::{Compression, Config};
use crate::failure::Failure;
use crate::insert_rows::{InsertRows, NothingInCommon, convert};
use crate::piece::{Piece, Room};
use crate::reading::read;
use crate::server::{Server, Views};
use crate::tables::SIGNALS;
use crate::token::token;

const MOVED: Metric = Metric {
    name: "weir_clickhouse_moved_values",
    help: "Values that do not fit their column (type, range, time before 1970 or after 2106) and are in the table's map as text.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const UNPLACED: Metric = Metric {
    name: "weir_clickhouse_unplaced_values",
    help: "Values that found no place in the table: it has neither a column nor a map for them.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

const REFUSED_BY_VIEWS: Metric = Metric {
    name: "weir_clickhouse_rows_refused_by_views",
    help: "Rows that are in the table, and missing behind it: a materialized view refused an insert that they were in.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

/// The metrics that this exporter adds.
pub(crate) const METRICS: &[Metric] = &[MOVED, UNPLACED, REFUSED_BY_VIEWS];

/// Rows from which on a batch is prepared: each has frames and words of its own for every column.
const WORTH: usize = 512;
/// The signals whose batches are.
const PREPARED: [Signal; 2] = [Signal::Traces, Signal::Logs];

/// How long the first look at the server may take.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Inserts batches into the tables of one database.
pub(crate) struct ClickHouseExporter {
    server: Arc<Server>,
    room: Room,
    tables: [Table; SIGNALS.len()],
    endpoint: String,
    create_schema: bool,
    context: Context,
    moved: prometheus_client::metrics::counter::Counter,
    unplaced: prometheus_client::metrics::counter::Counter,
    refused_by_views: prometheus_client::metrics::counter::Counter,
    log: LogLimit,
    first_look: Mutex<Option<JoinHandle<()>>>,
}

struct Table {
    signal: Signal,
    name: String,
    /// Its columns, once they are known. Forgotten when the server says that they are not these.
    columns: RwLock<Option<Arc<TableColumns>>>,
    asking: tokio::sync::Mutex<()>,
    /// Told that it keeps repeats.
    warned: LogLimit,
    /// Told that a view refuses rows.
    refused: LogLimit,
}

impl Table {
    fn known(&self) -> Option<Arc<TableColumns>> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self) {
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A batch as a part of a block.
struct Ready {
    /// The columns of the table that it was made for.
    columns: Arc<TableColumns>,
    rows: Arc<InsertRows>,
}

impl ClickHouseExporter {
    pub fn new(config: Config, context: Context) -> ClickHouseExporter {
        let names = &config.tables;
        let tables = SIGNALS.map(|signal| Table {
            signal,
            name: match signal {
                Signal::Traces | Signal::Metrics => names.traces.clone(),
                Signal::Logs => names.logs.clone(),
                Signal::Windows => names.windows.clone(),
                Signal::Alarms => names.alarms.clone(),
            },
            columns: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
            warned: LogLimit::every_ms(600_000),
            refused: LogLimit::every_ms(10_000),
        });
        let id = context.id.to_string();
        ClickHouseExporter {
            room: Room::new(config.compression == Compression::Lz4),
            server: Arc::new(Server::new(&config)),
            tables,
            endpoint: config.endpoint,
            create_schema: config.create_schema,
            moved: context.telemetry.counter(&MOVED, &[&id]),
            unplaced: context.telemetry.counter(&UNPLACED, &[&id]),
            refused_by_views: context.telemetry.counter(&REFUSED_BY_VIEWS, &[&id]),
            context,
            log: LogLimit::every_ms(10_000),
            first_look: Mutex::new(None),
        }
    }

    /// The columns of a table; creates it first where that is wanted and needed.
    async fn columns(&self, table: &Table) -> Result<Arc<TableColumns>, Failure> {
        // Of several exports one asks, the others wait for its answer.
        let _asking = table.asking.lock().await;
        if let Some(columns) = table.known() {
            return Ok(columns);
        }
        let described = match self.server.columns(&table.name).await {
            Err(failure) if failure.is_missing_table() && self.create_schema => {
                self.server.create(table.signal, &table.name).await?;
                tracing::info!(exporter = %self.context.id, table = table.name, "created the table");
                self.server.columns(&table.name).await
            }
            Err(failure) if failure.is_missing_table() => {
                let hint = "create it, or set create_schema: true";
                Err(Failure::other(format!("it does not exist: {hint}; the server says: {failure}")))
            }
            described => described,
        };
        let columns = Arc::new(described?);
        // Not being allowed to look is no reason not to insert.
        let keeping = self.server.keeps_repeats(&table.name).await.unwrap_or_default();
        if !keeping.is_empty()
            && let Some(more) = table.warned.allow(self.context.clock.now_ms())
        {
            let exporter = &self.context.id;
            for (table, why) in keeping {
                tracing::warn!(
                    %exporter, table, why, more,
                    "the table keeps inserts that come twice: after a failure rows may be stored twice"
                );
            }
        }
        *table.columns.write().unwrap_or_else(PoisonError::into_inner) = Some(columns.clone());
        Ok(columns)
    }

    async fn insert(&self, table: &Table, batches: &[EventBatch]) -> Result<(), ExportError> {
        let mut looked_again = false;
        let mut by_view: Option<Failure> = None;
        loop {
            let columns = self.columns(table).await.map_err(|failure| failure.of_preparation(&table.name))?;
            let rows = self.rows(table, batches, &columns)?;
            let pieces: Vec<&Piece> = rows.iter().map(|rows| &rows.piece).collect();
            let body = self.room.with(|scratch| block(&pieces, scratch));
            let token = token(&table.name, batches, &body);
            let views = if by_view.is_some() { Views::DoWithout } else { Views::Fail };
            let Err(failure) = self.server.insert(&table.name, &token, &body, views).await else {
                self.account(table, &rows);
                if let Some(failure) = by_view {
                    self.refused_by_view(table, batches, &token, &failure);
                }
                return Ok(());
            };
            if failure.view().is_some() && by_view.is_none() {
                // The table has the rows. The same insert again, which it leaves out, gives them to the views that take them.
                by_view = Some(failure);
                continue;
            }
            if failure.asks_for_columns() {
                table.forget();
                if !looked_again {
                    looked_again = true;
                    continue;
                }
            }
            let compressed = self.room.compresses();
            let refused = Refused {
                signal: table.signal,
                table: &table.name,
                columns: &columns,
                body: &body,
                compressed,
            };
            let alone = rows.iter().map(|rows| rows.piece.rows).sum::<usize>() == 1;
            let at_fault = if alone { Vec::new() } else { refused.rows(&self.server, &failure).await };
            return Err(failure.of_insert(&table.name, at_fault));
        }
    }

    /// Counts rows that a view goes without, and says so.
    fn refused_by_view(&self, table: &Table, batches: &[EventBatch], token: &str, failure: &Failure) {
        self.refused_by_views.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        if let Some(more) = table.refused.allow(self.context.clock.now_ms()) {
            let (exporter, table, view) = (&self.context.id, &table.name, failure.view());
            tracing::error!(
                %exporter, table, view, token, %failure, more,
                "a materialized view refuses rows that the table has taken: the view goes without all rows of this insert. \
                 Mend the view, and insert into its target what is missing, from the table"
            );
        }
    }

    /// The rows of one insert: those that were prepared for these columns, and together those between them that were not.
    fn rows(
        &self,
        table: &Table,
        batches: &[EventBatch],
        columns: &Arc<TableColumns>,
    ) -> Result<Vec<Arc<InsertRows>>, ExportError> {
        let (mut all, mut others) = (Vec::new(), Vec::new());
        for batch in batches {
            let ready = match &batch.payload {
                Payload::Prepared(prepared) => prepared.content::<Ready>(),
                _ => None,
            };
            if let Some(ready) = ready.filter(|ready| ready.columns == *columns) {
                all.extend(self.together(table, &others, columns)?);
                others.clear();
                all.push(Arc::clone(&ready.rows));
            } else {
                others.push(self.restore(batch).map_err(ExportError::permanent)?);
            }
        }
        all.extend(self.together(table, &others, columns)?);
        Ok(all)
    }

    /// The rows of batches with columns, if they have any.
    fn together(
        &self,
        table: &Table,
        batches: &[EventBatch],
        columns: &TableColumns,
    ) -> Result<Option<Arc<InsertRows>>, ExportError> {
        let mut rows = Vec::with_capacity(batches.len());
        for batch in batches {
            rows.push(batch.as_columns().ok_or_else(|| ExportError::permanent("the batch is not decoded"))?);
        }
        rows.retain(|rows| rows.num_rows() > 0);
        if rows.is_empty() {
            return Ok(None);
        }
        let converted = self.room.with(|scratch| convert(table.signal, &rows, columns, scratch));
        let failed = |error: NothingInCommon| Failure::other(error.to_string()).of_preparation(&table.name);
        Ok(Some(Arc::new(converted.map_err(failed)?)))
    }

    /// The table of a signal.
    fn table(&self, signal: Signal) -> Option<&Table> {
        self.tables.iter().find(|table| table.signal == signal)
    }

    /// Counts what was put elsewhere, and says so.
    fn account(&self, table: &Table, rows: &[Arc<InsertRows>]) {
        let moved: u64 = rows.iter().map(|rows| rows.moved).sum();
        let unplaced: u64 = rows.iter().map(|rows| rows.unplaced).sum();
        self.moved.inc_by(moved);
        self.unplaced.inc_by(unplaced);
        if moved + unplaced == 0 {
            return;
        }
        if let Some(more) = self.log.allow(self.context.clock.now_ms()) {
            let exporter = self.context.id.to_string();
            let table = &table.name;
            if unplaced > 0 {
                tracing::warn!(
                    exporter,
                    table,
                    unplaced,
                    moved,
                    more,
                    "values found no place in the table: add columns, or a map `attributes` (`labels` for windows and alarms)"
                );
            } else {
                tracing::warn!(
                    exporter,
                    table,
                    moved,
                    more,
                    "values did not fit their columns and are in the table's map as text"
                );
            }
        }
    }
}

#[async_trait]
impl Exporter for ClickHouseExporter {
    fn signals(&self) -> SignalSet {
        SignalSet::of(&SIGNALS)
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    /// Part of a block, when the batch is large enough and the table is known.
    fn prepare(&self, batch: EventBatch) -> EventBatch {
        let table = self.table(batch.signal).filter(|table| PREPARED.contains(&table.signal));
        let (Some(rows), Some(columns)) = (batch.as_columns(), table.and_then(Table::known)) else {
            return batch;
        };
        if rows.num_rows() < WORTH {
            return batch;
        }
        match self.room.with(|scratch| convert(batch.signal, &[rows], &columns, scratch)) {
            Ok(rows) => {
                let (count, bytes) = (batch.len(), rows.piece.memory());
                batch.prepared(Prepared::new(Ready { columns, rows: Arc::new(rows) }, count, bytes))
            }
            // The export says so.
            Err(NothingInCommon) => batch,
        }
    }

    fn restore(&self, batch: &EventBatch) -> Result<EventBatch, String> {
        let Payload::Prepared(prepared) = &batch.payload else { return Ok(batch.clone()) };
        let ready = prepared.content::<Ready>().ok_or("another exporter has prepared it")?;
        let body = self.room.with(|scratch| block(&[&ready.rows.piece], scratch));
        let rows = read(&body, self.room.compresses()).map_err(|error| error.to_string())?;
        Ok(batch.clone().with_columns(rows))
    }

    /// The server leaves out an insert whose token it knows.
    fn is_idempotent(&self) -> bool {
        true
    }

    /// Looks whether the server is there, in the background: if not, the log says so before the first batch comes.
    async fn start(&self) -> Result<(), StartError> {
        let server = self.server.clone();
        let (exporter, endpoint) = (self.context.id.to_string(), self.endpoint.clone());
        let look = tokio::spawn(async move {
            let reason = match tokio::time::timeout(FIRST_LOOK, server.check()).await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => format!("no answer within {FIRST_LOOK:?}"),
            };
            tracing::warn!(
                exporter,
                endpoint,
                reason,
                "ClickHouse cannot be used yet: events wait and are tried again"
            );
        });
        *self.first_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        Ok(())
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let Some(first) = batches.iter().find(|batch| !batch.is_empty()) else { return Ok(()) };
        match self.table(first.signal) {
            Some(table) => self.insert(table, batches).await,
            None => Err(ExportError::permanent(format!("{} have no table", first.signal))),
        }
    }

    async fn stop(&self) {
        if let Some(look) = self.first_look.lock().unwrap_or_else(PoisonError::into_inner).take() {
            look.abort();
        }
    }
}
