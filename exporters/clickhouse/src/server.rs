//! The requests that the exporter makes of a server.

use std::fmt::Write;
use std::time::Duration;

use clickhouse::Client;
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use weir_pdata::Signal;

use crate::block::Body;
use crate::columns::TableColumns;
use crate::config::{Compression, Config};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::tables::{create_table, literal, quoted};

/// A ClickHouse server, and the database that the tables are in.
pub(crate) struct Server {
    client: Client,
    /// With the settings of inserts.
    inserts: Client,
    database: String,
    ttl_seconds: u64,
}

impl Server {
    /// The server of this configuration. Connects with the first request.
    pub fn new(config: &Config) -> Server {
        let compression = match config.compression {
            Compression::Lz4 => clickhouse::Compression::Lz4,
            Compression::None => clickhouse::Compression::None,
        };
        let http = HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector());
        let mut client = Client::with_http_client(http)
            .with_url(&config.endpoint)
            .with_product_info("weir", env!("CARGO_PKG_VERSION"))
            .with_compression(compression);
        if !config.username.is_empty() {
            client = client.with_user(&config.username);
        }
        if !config.password.is_empty() {
            client = client.with_password(config.password.expose());
        }
        // Servers' defaults differ from version to version: what matters is said with every insert.
        // Bodies are compressed here.
        let compressed = config.compression == Compression::Lz4;
        let mut inserts = client
            .clone()
            .with_compression(clickhouse::Compression::None)
            .with_setting("decompress", if compressed { "1" } else { "0" })
            .with_database(&config.database)
            .with_setting("async_insert", if config.async_insert { "1" } else { "0" })
            .with_setting("wait_for_async_insert", "1")
            .with_setting("async_insert_deduplicate", "1")
            .with_setting("insert_deduplicate", "1")
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            // The server reads a block with one thread. Others, made for each insert, would wait.
            .with_setting("max_threads", "1");
        for (name, value) in &config.settings {
            inserts = inserts.with_setting(name, value);
        }
        let ttl_seconds = config.ttl.get().as_secs();
        Server { client, inserts, database: config.database.clone(), ttl_seconds }
    }

    /// Whether the server answers queries.
    pub async fn check(&self) -> Result<(), Failure> {
        self.run("SELECT 1").await
    }

    /// The columns of a table.
    pub async fn columns(&self, table: &str) -> Result<TableColumns, Failure> {
        let sql = format!("DESCRIBE TABLE {}.{}", quoted(&self.database), quoted(table));
        let lines = self.client.query_raw(&sql).fetch_bytes("JSONEachRow")?.collect().await?;
        TableColumns::parse(&lines)
            .map_err(|error| Failure::other(format!("the answer to {sql} is not understood: {error}")))
    }

    /// Why the table may keep an insert that comes twice; `None` when it does not.
    pub async fn keeps_repeats(&self, table: &str) -> Result<Option<String>, Failure> {
        let sql = format!(
            "SELECT engine, engine_full FROM system.tables WHERE database = {} AND name = {}",
            literal(&self.database),
            literal(table)
        );
        let lines = self.client.query_raw(&sql).fetch_bytes("JSONEachRow")?.collect().await?;
        let found: Engine = serde_json::from_slice(&lines)
            .map_err(|error| Failure::other(format!("the answer to {sql} is not understood: {error}")))?;
        Ok(found.keeps_repeats())
    }

    /// Creates the database and the table of a signal where they do not exist.
    pub async fn create(&self, signal: Signal, table: &str) -> Result<(), Failure> {
        if self.database != "default" {
            self.run(&format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&self.database))).await?;
        }
        match create_table(signal, &self.database, table, self.ttl_seconds) {
            Some(sql) => self.run(&sql).await,
            None => Ok(()),
        }
    }

    /// Inserts rows. When the server knows the token already, it keeps the rows it has.
    pub async fn insert(&self, table: &str, token: &str, body: Body) -> Result<(), Failure> {
        // The columns are named: else the server would drop those that it does not know without a word.
        let mut sql = format!("INSERT INTO {} ", quoted(table));
        for (at, column) in body.columns.iter().enumerate() {
            // Writing to a String does not fail.
            let _ = write!(sql, "{}{}", if at == 0 { "(" } else { ", " }, quoted(column));
        }
        sql += ") FORMAT Native";
        let mut insert =
            self.inserts.insert_formatted_with(sql).with_setting("insert_deduplication_token", token);
        for part in body.parts {
            insert.send(part).await?;
        }
        Ok(insert.end().await?)
    }

    async fn run(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.query_raw(sql).execute().await?)
    }
}

/// How long a connection is idle before the system asks whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long an idle connection is kept: less than the three seconds after which servers close it by default.
const IDLE: Duration = Duration::from_secs(2);

/// Connections that send at once. By default the last bytes of an insert wait until the server has confirmed those before, which
/// it does after 40 ms.
fn connector() -> HttpsConnector<HttpConnector> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.enforce_http(false);
    HttpsConnector::new_with_connector(connector)
}
