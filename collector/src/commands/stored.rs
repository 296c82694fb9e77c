//! What is stored: in the files of the `local` exporter, or in ClickHouse.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;

use crate::commands::query::{self, OutputFormat, QueryArgs};

/// The arguments that say where.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stored {
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
}

impl Stored {
    /// Whether a server answers, in its SQL.
    pub(crate) fn is_clickhouse(&self) -> bool {
        self.clickhouse.is_some()
    }

    /// The rows of a statement.
    ///
    /// # Errors
    /// There is no such folder or server, or it refuses the statement.
    pub(crate) async fn rows<T: DeserializeOwned>(&self, mut sql: String) -> anyhow::Result<Vec<T>> {
        if self.is_clickhouse() {
            // As the user's profile has it, a server may write whole numbers of 64 bits as texts.
            sql.push_str(" SETTINGS output_format_json_quote_64bit_integers = 0");
        }
        let asked = QueryArgs {
            data: self.data.clone(),
            clickhouse: self.clickhouse.clone(),
            database: self.database.clone(),
            format: OutputFormat::Json,
            sql,
        };
        let mut answer = Vec::new();
        query::run(asked, &mut answer).await?;
        let rows = serde_json::Deserializer::from_slice(&answer).into_iter::<T>();
        rows.collect::<Result<_, _>>().context("the answer is not understood")
    }
}

/// A table's name in the SQL of ClickHouse.
pub(crate) fn quoted(table: &str) -> String {
    format!("`{}`", table.replace('\\', "\\\\").replace('`', "\\`"))
}

impl Display for Stored {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.clickhouse {
            Some(url) => write!(f, "{url} {}", self.database),
            None => write!(f, "{}", self.data.display()),
        }
    }
}
