//! `weir trace ID`: a trace as a tree in the terminal, from the files of the `local` exporter or from
//! ClickHouse.

#[cfg(test)]
mod tests;
mod tree;

use std::io::{ErrorKind, Write};

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use crate::commands::stored::{Stored, quoted};
use tree::{Span, draw};

/// The arguments of `weir trace`.
#[derive(Args)]
pub(crate) struct TraceArgs {
    /// The trace's id
    id: String,
    #[command(flatten)]
    stored: Stored,
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
    let sql = if args.stored.is_clickhouse() {
        let id = args.id.replace('\\', "\\\\").replace('\'', "\\'");
        let table = quoted(&args.table);
        format!("SELECT {COLUMNS}, toUnixTimestamp64Nano(time) AS start FROM {table} WHERE trace_id = '{id}'")
    } else {
        let id = args.id.replace('\'', "''");
        format!("SELECT {COLUMNS}, CAST(time AS BIGINT) AS start FROM traces WHERE trace_id = '{id}'")
    };
    let rows: Vec<Value> = args.stored.rows(sql).await?;
    let spans: Vec<Span> = rows.iter().map(Span::of).collect();
    if spans.is_empty() {
        bail!("there are no spans of the trace `{}`", args.id);
    }
    match out.write_all(draw(&args.id, spans).as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
