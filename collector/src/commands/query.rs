//! `weir query`: SQL over the Parquet files of the `local` exporter, or over tables of a ClickHouse server.
//!
//! Tables: `traces` (also `events`), `logs`, `metrics`, `windows` (also `window_results`), `alarms`. A table
//! has the fixed columns of its signal and every column of any of its files; a file without a column reads as
//! NULL there. Dotted names need no quotes. Names keep their case. Queries only read.
//!
//! The SQL is that of DataFusion, with one addition: sums, averages and other aggregates of numbers read text
//! as numbers. So `/` of two integers divides integers here, and in expressions it does not.

mod arguments;
mod measures;
mod names;
mod output;
mod server;
mod tables;
#[cfg(test)]
mod tests;

use std::io::Write;

use anyhow::{Context, anyhow, bail};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::parser::ParserError;

pub use arguments::QueryArgs;
pub use output::OutputFormat;
use tables::Tables;

/// Runs the query and writes its result to `out`. A reader that goes away (`| head`) is not an error.
///
/// # Errors
/// No such directory, a file that cannot be read, SQL that is wrong (with the nearest table or column).
pub async fn run(args: QueryArgs, out: &mut impl Write) -> anyhow::Result<()> {
    if let Some(endpoint) = &args.clickhouse {
        return server::run(&args, endpoint, out).await;
    }
    if !args.data.is_dir() {
        bail!(
            "there is no directory {}: pass `--data` with the `directory` of a local exporter, or run `weir quickstart` first",
            args.data.display()
        );
    }
    let tables = Tables::find(&args.data, &args.sql)?;
    let mut config = SessionConfig::new().with_information_schema(true).with_collect_statistics(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.execution.listing_table_ignore_subdirectory = false;
    let context = SessionContext::new_with_config(config);
    tables.register(&context)?;
    context.register_udf(measures::function());
    let sql = measures::read_text(&names::quote_dotted(&args.sql, &tables));
    let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(&sql, reading).await.map_err(|error| explain(&error, &tables))?;
    let stream = frame.execute_stream().await.map_err(|error| explain(&error, &tables))?;
    let written = output::write(stream, args.format, out).await;
    written
        .map_err(|error| match error.downcast_ref::<DataFusionError>() {
            Some(error) => explain(error, &tables),
            None => error,
        })
        .context("the query failed")
}

/// The error in words that say what would be right.
fn explain(error: &DataFusionError, tables: &Tables) -> anyhow::Error {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => {
            if let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() {
                let known: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                // Of a dotted name the planner takes the first part for a table.
                let name = field.flat_name();
                let near = [&name, &field.name];
                let near =
                    near.into_iter().find_map(|name| weir_config::nearest(name, known.iter().copied()));
                let hint = match near {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None if known.len() <= 20 => format!("; there are {}", known.join(", ")),
                    None => "; `DESCRIBE traces` (or another table) lists the columns".to_owned(),
                };
                return anyhow!("there is no column `{name}`{hint}");
            }
            anyhow!("{}", reworded(&error.find_root().strip_backtrace()))
        }
        DataFusionError::Plan(message) => match missing_table(message) {
            Some(name) => {
                let known: Vec<&str> = tables.names().collect();
                let near = weir_config::nearest(name, known.iter().copied());
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                anyhow!("there is no table `{name}`{hint}\nthe tables are {}", known.join(", "))
            }
            None if message.contains("not supported: ") => {
                anyhow!("{message}\n`weir query` only reads: begin with SELECT, or DESCRIBE a table")
            }
            None => anyhow!("{}", reworded(message)),
        },
        DataFusionError::SQL(error, _) => {
            let message = match error.as_ref() {
                ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
                ParserError::RecursionLimitExceeded => "it is nested too deep",
            };
            anyhow!("the SQL is not understood: {message}")
        }
        other => anyhow!("{}", reworded(&other.strip_backtrace())),
    }
}

/// The engine's message without what is for its own people: signatures, and pleas to report a bug.
fn reworded(message: &str) -> String {
    let function = message.split_once("Function '").and_then(|(_, rest)| rest.split_once('\''));
    if let Some((name, rest)) = function
        && rest.contains("failed to match any signature")
    {
        return format!(
            "`{name}` does not take values of this type: cast them, as in `{name}(cast(x AS double))`; \
             `DESCRIBE traces` (or another table) lists the types of its columns"
        );
    }
    let ours = message.split("This issue was likely caused by a bug").next().unwrap_or_default();
    let ours = ours.split("\nbacktrace:").next().unwrap_or_default().trim();
    ours.trim_start_matches("Internal error: ").replace("DataFusion", "the SQL engine")
}

/// `foo` of `table 'datafusion.public.foo' not found`.
fn missing_table(message: &str) -> Option<&str> {
    let name = message.strip_prefix("table '")?.split_once("' not found")?.0;
    Some(name.strip_prefix("datafusion.public.").unwrap_or(name))
}
