//! The exporter: prepares tables when they are first needed, converts, inserts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tokio::task::JoinHandle;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{Context, ExportError, Exporter, LogLimit, StartError};
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::columns::TableColumns;
use crate::config::Config;
use crate::failure::Failure;
use crate::insert_rows::{InsertRows, convert};
use crate::server::Server;
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

/// The metrics that this exporter adds.
pub(crate) const METRICS: &[Metric] = &[MOVED, UNPLACED];

/// How long the first look at the server may take.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Inserts batches into the tables of one database.
pub(crate) struct ClickHouseExporter {
    server: Arc<Server>,
    tables: [Table; SIGNALS.len()],
    endpoint: String,
    create_schema: bool,
    context: Context,
    moved: prometheus_client::metrics::counter::Counter,
    unplaced: prometheus_client::metrics::counter::Counter,
    log: LogLimit,
    first_look: Mutex<Option<JoinHandle<()>>>,
}

struct Table {
    signal: Signal,
    name: String,
    /// Its columns, once they are known. Forgotten when the server says that they are not these.
    columns: tokio::sync::Mutex<Option<Arc<TableColumns>>>,
    /// Told that it keeps repeats.
    warned: LogLimit,
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
            columns: tokio::sync::Mutex::new(None),
            warned: LogLimit::every_ms(600_000),
        });
        let id = context.id.to_string();
        ClickHouseExporter {
            server: Arc::new(Server::new(&config)),
            tables,
            endpoint: config.endpoint,
            create_schema: config.create_schema,
            moved: context.telemetry.counter(&MOVED, &[&id]),
            unplaced: context.telemetry.counter(&UNPLACED, &[&id]),
            context,
            log: LogLimit::every_ms(10_000),
            first_look: Mutex::new(None),
        }
    }

    /// The columns of a table; creates it first where that is wanted and needed.
    async fn columns(&self, table: &Table) -> Result<Arc<TableColumns>, Failure> {
        // Held while asking: of several exports one asks, the others wait for its answer.
        let mut known = table.columns.lock().await;
        if let Some(columns) = &*known {
            return Ok(columns.clone());
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
        if let Ok(Some(why)) = self.server.keeps_repeats(&table.name).await
            && let Some(more) = table.warned.allow(self.context.clock.now_ms())
        {
            let exporter = &self.context.id;
            tracing::warn!(
                %exporter, table = table.name, why, more,
                "the table keeps inserts that come twice: after a failure rows may be stored twice"
            );
        }
        *known = Some(columns.clone());
        Ok(columns)
    }

    async fn insert(
        &self,
        table: &Table,
        batches: &[EventBatch],
        rows: &[&RecordBatch],
    ) -> Result<(), ExportError> {
        let mut looked_again = false;
        loop {
            let columns = self.columns(table).await.map_err(|failure| failure.of_preparation(&table.name))?;
            let InsertRows { body, moved, unplaced } =
                convert(table.signal, rows, &columns, self.server.compresses())
                    .map_err(|error| Failure::other(error.to_string()).of_preparation(&table.name))?;
            let token = token(&table.name, batches, &body);
            let Err(failure) = self.server.insert(&table.name, &token, body).await else {
                self.account(table, moved, unplaced);
                return Ok(());
            };
            if failure.is_missing_column() || failure.is_missing_table() {
                *table.columns.lock().await = None;
                if !looked_again {
                    looked_again = true;
                    continue;
                }
            }
            return Err(failure.of_insert(&table.name));
        }
    }

    /// Counts what was put elsewhere, and says so.
    fn account(&self, table: &Table, moved: u64, unplaced: u64) {
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
        let mut rows = Vec::with_capacity(batches.len());
        for batch in batches {
            match batch.as_columns() {
                Some(columns) if columns.num_rows() > 0 => rows.push(columns),
                Some(_) => {}
                None => return Err(ExportError::permanent("the batch is not decoded")),
            }
        }
        let (Some(first), false) = (batches.first(), rows.is_empty()) else { return Ok(()) };
        match self.tables.iter().find(|table| table.signal == first.signal) {
            Some(table) => self.insert(table, batches, &rows).await,
            None => Err(ExportError::permanent(format!("{} have no table", first.signal))),
        }
    }

    async fn stop(&self) {
        if let Some(look) = self.first_look.lock().unwrap_or_else(PoisonError::into_inner).take() {
            look.abort();
        }
    }
}
