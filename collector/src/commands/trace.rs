//! `weir trace ID`: a trace as a tree in the terminal, from the files of the `local` exporter or from
//! ClickHouse.

#[cfg(test)]
mod tests;
mod tree;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::commands::query::{self, OutputFormat, QueryArgs};
use tree::{Span, draw};

/// The arguments of `weir trace`.
#[derive(Args)]
pub(crate) struct TraceArgs {
    /// The trace's id
    id: String,
    /// The `directory` of the local exporter
    #[arg(long, value_name = "DIR", default_value = "./weir-data")]
    data: PathBuf,
    /// Ask this ClickHouse server instead: http://host:8123. The user and the password are in
    /// CLICKHOUSE_USER and CLICKHOUSE_PASSWORD
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    clickhouse: Option<String>,
    /// The database of the server's table
    #[arg(long, value_name = "NAME", default_value = "default", requires = "clickhouse")]
    database: String,
    /// The server's table of spans
    #[arg(long, value_name = "NAME", default_value = "events", requires = "clickhouse")]
    table: String,
}

/// Reads the spans of a trace, and draws them.
///
/// # Errors
/// The spans cannot be read, or there are none.
pub(crate) async fn run(args: TraceArgs, out: &mut impl Write) -> anyhow::Result<()> {
    const COLUMNS: &str =
        "span_id, parent_span_id, service, operation, kind, status, status_message, peer, duration_ns";
    let sql = match &args.clickhouse {
        Some(_) => {
            let id = args.id.replace('\\', "\\\\").replace('\'', "\\'");
            let table = args.table.replace('\\', "\\\\").replace('`', "\\`");
            format!(
                "SELECT {COLUMNS}, toUnixTimestamp64Nano(time) AS start FROM `{table}` WHERE trace_id = '{id}'"
            )
        }
        None => {
            let id = args.id.replace('\'', "''");
            format!("SELECT {COLUMNS}, CAST(time AS BIGINT) AS start FROM traces WHERE trace_id = '{id}'")
        }
    };
    let asked = QueryArgs {
        data: args.data,
        clickhouse: args.clickhouse,
        database: args.database,
        format: OutputFormat::Json,
        sql,
    };
    let mut answer = Vec::new();
    query::run(asked, &mut answer).await?;
    let mut spans = Vec::new();
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let row: Value = serde_json::from_slice(line).context("the answer is not understood")?;
        spans.push(Span::of(&row));
    }
    if spans.is_empty() {
        bail!("there are no spans of the trace `{}`", args.id);
    }
    match out.write_all(draw(&args.id, spans).as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
