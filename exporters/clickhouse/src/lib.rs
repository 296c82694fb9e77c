//! The `clickhouse` exporter: traces, logs, metrics, windows and alarms into ClickHouse tables, in the
//! `Native` format over HTTP.
//!
//! Guaranteed:
//! * No value is dropped silently. A value without a column, or one that does not fit its column, goes into
//!   the table's map as text. Without a map it is counted and logged.
//! * A repeated export has the same deduplication token. So a lost answer does not double rows in tables that
//!   deduplicate, such as those that the exporter creates.
//! * A server that cannot be reached, is overloaded or lacks the tables costs no rows: the export is
//!   repeated.
//! * Rows with an identity (a range of a Kafka partition, a window) have the same token after a restart, too.
//!   Other rows are then in other batches with other tokens.

mod ask;
mod bad_rows;
mod client;
mod config;
mod convert;
mod disk_guard;
mod dynamic;
mod exporter;
mod lookup;
mod metrics;
mod native;
mod preparation;
mod schema;
mod table;

use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Check, Context, Settings};
use weir_config::Diagnostics;

use crate::config::Config;

pub use ask::{Asked, ask};

/// The factory of the `clickhouse` exporter.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info {
        kind: "clickhouse",
        summary: "Traces, logs, metrics, windows and alarms in ClickHouse tables, each row once",
        metrics: metrics::METRICS,
    },
    create,
};

/// The statements that create what an exporter with these settings needs: the database, the tables and the
/// views. The exporter itself runs them when they are first needed, with `create_schema: true`.
///
/// # Errors
/// Every wrong key and value, with its place.
pub fn statements(settings: Settings<'_>) -> Result<Vec<String>, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    check.all(config.problems());
    check.finish(config.statements())
}

fn create(settings: Settings<'_>, context: Context) -> Result<BuiltExporter, Diagnostics> {
    let config: Config = settings.read()?;
    let helper = config.helper();
    let mut check = Check::new(settings);
    check.helper(&helper);
    check.all(config.problems());
    let connection = config.connection().map_err(|problems| check.all(problems)).ok();
    let connection = check.finish_some(connection)?;
    let exporter = Box::new(exporter::ClickHouseExporter::new(config, &connection, context));
    Ok(BuiltExporter { exporter, helper })
}
