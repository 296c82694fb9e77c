//! `weir query --clickhouse`: a ClickHouse server answers, in its SQL.

use std::io::{ErrorKind, Write};

use anyhow::{Context, anyhow};
use weir_exporter_clickhouse::{Asked, ask};

use super::arguments::QueryArgs;
use super::output::OutputFormat;

/// Where the user and the password are taken from.
const USER: &str = "CLICKHOUSE_USER";
const PASSWORD: &str = "CLICKHOUSE_PASSWORD";

/// Asks the server, and writes its answer.
///
/// # Errors
/// The server cannot be reached, or refuses the query.
pub(super) async fn run(args: &QueryArgs, endpoint: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let format = match args.format {
        OutputFormat::Table => "PrettyCompactMonoBlock",
        OutputFormat::Json => "JSONEachRow",
        OutputFormat::Csv => "CSVWithNames",
    };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let user = Some(variable(USER)).filter(|user| !user.is_empty());
    let asked = Asked {
        endpoint,
        database: &args.database,
        username: user.as_deref().unwrap_or("default"),
        password: &variable(PASSWORD),
    };
    let answer = ask(&asked, &args.sql, format).await;
    let answer = answer
        .map_err(|why| anyhow!("{why}"))
        .with_context(|| format!("{endpoint} does not answer the query"))?;
    match out.write_all(&answer) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
