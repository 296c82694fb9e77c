//! The arguments of `weir query`.

use std::path::PathBuf;

use clap::Args;

use super::output::OutputFormat;

/// The arguments of `weir query`.
#[derive(Args, Clone, Debug)]
pub struct QueryArgs {
    /// The `directory` of the local exporter
    #[arg(long, value_name = "DIR", default_value = "./weir-data")]
    pub data: PathBuf,
    /// Ask this ClickHouse server instead, in its SQL: http://host:8123. The user and the password are in
    /// CLICKHOUSE_USER and CLICKHOUSE_PASSWORD
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub clickhouse: Option<String>,
    /// The database of the server's tables
    #[arg(long, value_name = "NAME", default_value = "default", requires = "clickhouse")]
    pub database: String,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    /// SQL over the tables traces, logs, metrics, windows, alarms
    #[arg(value_name = "SQL")]
    pub sql: String,
}
