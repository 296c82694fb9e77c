//! The `clickhouse` exporter: traces, logs, windows and alarms into ClickHouse tables, in the `Native` format over HTTP.
//!
//! Guaranteed:
//! * No value is dropped silently. What has no column, or does not fit its column, goes into the table's map as
//!   text; what finds no map either is counted and logged.
//! * The same export tried again carries the same deduplication token, so a lost answer does not double rows in
//!   tables that deduplicate (the ones it creates do).
//! * A server that cannot be reached, is overloaded or lacks the tables never costs rows: the export is tried again.
//! * What has an identity (a range of a Kafka partition, a window) has the same token after a restart too. Other batches are
//!   then cut anew and get other tokens.

mod bad_rows;
mod client;
mod config;
mod convert;
mod exporter;
mod lookup;
mod metrics;
mod native;
mod schema;
mod table;

use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Check, Context, Settings};
use weir_config::Diagnostics;

pub use config::{Compression, Config, Tables};

/// The factory of the `clickhouse` exporter.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info {
        kind: "clickhouse",
        summary: "Traces, logs, windows and alarms in ClickHouse tables, each row once",
        metrics: metrics::METRICS,
    },
    create,
};

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
