//! The requests that the exporter makes of a server.

use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clickhouse::Client;
use hyper::Request;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use weir_http::{Connection, Connector};
use weir_pdata::Signal;

use crate::client::answer::{BodyChunks, add_field, read};
use crate::client::failure::{Failure, chain};
use crate::client::version::ServerInfo;
use crate::config::{Compression, Config};
use crate::native::block::Body;
use crate::schema::columns::TableColumns;
use crate::schema::created_views::{Statement, View};
use crate::schema::ddl::create_table;
use crate::schema::quoting::{literal, quoted};
use crate::schema::retention::Retention;
use crate::schema::views::{TableInfo, Target};

/// A ClickHouse server, and the database that the tables are in.
pub(crate) struct Server {
    client: Client,
    /// For inserts.
    http: HyperClient<HttpsConnector<Connector>, BodyChunks>,
    /// Of inserts, with their settings.
    url: String,
    user: Option<HeaderValue>,
    password: Option<HeaderValue>,
    /// Its version and settings. Forgotten when it cannot be reached, since another server may take its
    /// place.
    info: RwLock<Option<Arc<ServerInfo>>>,
    async_insert: bool,
    /// Names of the user's settings.
    settings: Vec<String>,
    database: String,
}

/// One column of a table.
#[derive(Debug, Deserialize)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) r#type: String,
    #[serde(default)]
    pub(crate) default_type: String,
    #[serde(default)]
    pub(crate) default_expression: String,
    #[serde(default)]
    pub(crate) comment: String,
}

/// The treatment of rows that the materialized views behind a table refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Views {
    /// The insert fails.
    Fail,
    /// They go without the rows of this insert; the table and other views take them.
    DoWithout,
}

/// How an insert is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InsertMode {
    pub(crate) views: Views,
    /// Whether the server may put it into its queue, and write it together with others.
    pub(crate) queued: bool,
    /// Its rows leave before this, or not at all.
    pub(crate) until: Option<Instant>,
}

impl Server {
    /// The server of this configuration. Connects with the first request.
    pub(crate) fn new(config: &Config, connection: &Connection) -> Server {
        let compression = match config.compression {
            Compression::Lz4 => clickhouse::Compression::Lz4,
            Compression::None => clickhouse::Compression::None,
        };
        let mut builder = HyperClient::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE);
        let connector = HttpsConnector::from((Connector::new(connection), connection.tls.clone().into()));
        let mut client = Client::with_http_client(builder.build(connector.clone()))
            .with_url(&config.endpoint)
            .with_product_info("weir", env!("CARGO_PKG_VERSION"))
            .with_compression(compression);
        if !config.username.is_empty() {
            client = client.with_user(&config.username);
        }
        if !config.password.is_empty() {
            client = client.with_password(config.password.expose());
        }
        // Bodies are compressed here.
        let mut url = config.endpoint.clone();
        let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        url += if has_path { "?" } else { "/?" };
        let settings = [
            ("database", config.database.as_str()),
            ("decompress", if config.compression == Compression::Lz4 { "1" } else { "0" }),
        ];
        let more = config.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        settings.into_iter().chain(more).for_each(|(name, value)| add_field(&mut url, name, value));
        let http = builder.build(connector);
        // What no header may have is an error of the configuration.
        let header = |text: &str| HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
        let sensitive = |mut value: HeaderValue| {
            value.set_sensitive(true);
            value
        };
        Server {
            client,
            http,
            url,
            user: header(&config.username),
            password: header(config.password.expose()).map(sensitive),
            info: RwLock::default(),
            async_insert: config.async_insert,
            settings: config.settings.keys().cloned().collect(),
            database: config.database.clone(),
        }
    }

    /// The server's version and settings. They are asked for again after a failure that may mean another
    /// server.
    pub(crate) async fn info(&self) -> Result<Arc<ServerInfo>, Failure> {
        if let Some(info) = self.info.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(info);
        }
        let ours = SETTINGS.iter().map(|(name, _)| *name);
        let sql = ServerInfo::question(ours.chain(self.settings.iter().map(String::as_str)));
        let answer = self.client.query_raw(&sql).fetch_bytes("JSONEachRow")?.collect().await?;
        let info = ServerInfo::parse(&answer).map_err(|error| {
            Failure::other(format!("the answer to {sql} is not understood: {error}; is it ClickHouse?"))
        })?;
        let info = Arc::new(info);
        *self.info.write().unwrap_or_else(PoisonError::into_inner) = Some(info.clone());
        Ok(info)
    }

    /// Why this server cannot do what is configured.
    pub(crate) fn refusal(&self, info: &ServerInfo) -> Option<String> {
        info.refusal(self.async_insert, &self.settings)
    }

    /// Whether inserts go through the server's queue of asynchronous inserts.
    pub(crate) fn queues(&self) -> bool {
        self.async_insert
    }

    /// The columns of a table.
    pub(crate) async fn columns(&self, table: &str) -> Result<TableColumns, Failure> {
        let sql = format!("DESCRIBE TABLE {}.{}", quoted(&self.database), quoted(table));
        let lines = self.client.query_raw(&sql).fetch_bytes("JSONEachRow")?.collect().await?;
        TableColumns::parse(&lines)
            .map_err(|error| Failure::other(format!("the answer to {sql} is not understood: {error}")))
    }

    /// A table's columns, as the server writes them.
    pub(crate) async fn described(&self, table: &str) -> Result<Vec<Described>, Failure> {
        let sql = format!("DESCRIBE TABLE {}.{}", quoted(&self.database), quoted(table));
        let lines = self.client.query_raw(&sql).fetch_bytes("JSONEachRow")?.collect().await?;
        let described = serde_json::Deserializer::from_slice(&lines).into_iter::<Described>();
        described
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::other(format!("the answer to {sql} is not understood: {error}")))
    }

    /// The expressions of a table's constraints.
    pub(crate) async fn constraints(&self, table: &str) -> Result<Vec<String>, Failure> {
        let known = self.table_info(&self.database, table).await?;
        Ok(known.map(|known| known.constraints()).unwrap_or_default())
    }

    /// Whether a table with these columns would take the rows. They are not stored.
    pub(crate) async fn try_rows(&self, structure: &str, body: &Body) -> Result<(), Failure> {
        let info = self.info().await?;
        let target = format!("FUNCTION null({})", literal(structure));
        let mode = InsertMode { views: Views::Fail, queued: false, until: None };
        let mut url = self.insert_url(&info, &target, body, mode);
        // Thousands of them would bury what is of interest there.
        add_field(&mut url, "log_queries", "0");
        self.post(url, body, None).await
    }

    /// The answer to a question about rows of a table, as `JSONCompactEachRow`.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Bytes, Failure> {
        Ok(self.client.query_raw(sql).fetch_bytes("JSONCompactEachRow")?.collect().await?)
    }

    /// The answer to a statement, in this format. The server refuses one that does more than read.
    pub(crate) async fn ask_in(&self, sql: &str, format: &str) -> Result<Bytes, Failure> {
        // 2 instead of 1: a statement may have settings of its own.
        let client = self.client.clone().with_database(&self.database).with_setting("readonly", "2");
        Ok(client.query_raw(sql).fetch_bytes(format)?.collect().await?)
    }

    /// A table of the database, in SQL.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.database), quoted(name))
    }

    /// The database of the tables.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The rows of a statement.
    pub(crate) async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, Failure> {
        let client = self.client.clone().with_setting("output_format_json_quote_64bit_integers", "0");
        let lines = client.query_raw(sql).fetch_bytes("JSONEachRow")?.collect().await?;
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<T>();
        rows.collect::<Result<_, _>>()
            .map_err(|error| Failure::other(format!("the answer to {sql} is not understood: {error}")))
    }

    /// Inserts rows that are written as `VALUES`. When the server knows the token already, it keeps the rows
    /// it has; without a token, when the rows are the same.
    pub(crate) async fn insert_values(
        &self,
        table: &str,
        columns: &str,
        rows: &[String],
        token: &str,
    ) -> Result<(), Failure> {
        let sql = format!("INSERT INTO {} ({columns}) VALUES {}", self.table(table), rows.join(", "));
        let client = self.client.clone().with_setting("max_query_size", (sql.len() + 1).to_string());
        let client =
            client.with_setting("async_insert", "0").with_setting("insert_deduplication_token", token);
        Ok(client.query_raw(&sql).execute().await?)
    }

    /// Deletes a partition of a table. One that is not there is none.
    pub(crate) async fn drop_partition(&self, table: &str, id: &str) -> Result<(), Failure> {
        self.run(&format!("ALTER TABLE {} DROP PARTITION ID {}", self.table(table), literal(id))).await
    }

    /// Runs a statement that creates or alters something.
    pub(crate) async fn create_with(&self, sql: &str) -> Result<(), Failure> {
        match self.run(sql).await {
            Err(failure) if failure.is_missing_database() => {
                self.run(&format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&self.database))).await?;
                self.run(sql).await
            }
            done => done,
        }
    }

    /// The numbers of a statement that selects one number, in its order.
    pub(crate) async fn row_numbers(&self, sql: &str) -> Result<Vec<usize>, Failure> {
        #[derive(Deserialize)]
        struct Row {
            weir_row: usize,
        }
        // One thread, so that the rows are numbered as they come.
        let client = self.client.clone().with_setting("max_threads", "1");
        let client = client.with_setting("max_query_size", (sql.len() + 1).to_string());
        let lines = client.query_raw(sql).fetch_bytes("JSONEachRow")?.collect().await?;
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<Row>();
        rows.map(|row| row.map(|Row { weir_row }| weir_row))
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::other(format!("row numbers are not understood: {error}")))
    }

    /// Why the table, or a view behind it, may count an insert twice that comes twice: each with its name.
    pub(crate) async fn keeps_repeats(&self, table: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut found = Vec::new();
        let mut todo = vec![(self.database.clone(), table.to_owned(), table.to_owned())];
        // Views may have views behind them. The bound ends a circle.
        for _ in 0..MOST_VIEWS {
            let Some((database, name, shown)) = todo.pop() else { break };
            let Some(known) = self.table_info(&database, &name).await? else { continue };
            found.extend(known.engine.keeps_repeats().map(|why| (shown, why)));
            for (database, view) in known.views() {
                let Some(view_is) = self.table_info(database, view).await? else { continue };
                let shown = format!("{database}.{view}");
                match view_is.target() {
                    Some(Target::Table(database, name)) => {
                        todo.push((
                            database.clone(),
                            name.clone(),
                            format!("{database}.{name}, of the view {shown}"),
                        ));
                    }
                    Some(Target::Own(engine, engine_full)) => {
                        let own = crate::schema::deduplication::Engine { engine, engine_full };
                        found.extend(own.keeps_repeats().map(|why| (format!("the view {shown}"), why)));
                    }
                    None => {}
                }
            }
        }
        Ok(found)
    }

    /// The engine of a table. `None`: it does not exist, or the user may not see it.
    pub(crate) async fn engine(&self, table: &str) -> Result<Option<String>, Failure> {
        let known = self.table_info(&self.database, table).await?;
        Ok(known.map(|known| known.engine.engine))
    }

    /// A table or view in `system.tables`. `None`: it does not exist, or the user may not see it.
    async fn table_info(&self, database: &str, name: &str) -> Result<Option<TableInfo>, Failure> {
        let sql = format!(
            "SELECT engine, engine_full, create_table_query, dependencies_database, dependencies_table \
             FROM system.tables WHERE database = {} AND name = {}",
            literal(database),
            literal(name)
        );
        let lines = self.client.query_raw(&sql).fetch_bytes("JSONEachRow")?.collect().await?;
        if lines.trim_ascii().is_empty() {
            return Ok(None);
        }
        let known = serde_json::from_slice(&lines);
        known
            .map(Some)
            .map_err(|error| Failure::other(format!("the answer to {sql} is not understood: {error}")))
    }

    /// Creates the table of a signal where it does not exist, and its database when the server does not know
    /// that. (Whoever may create tables may not always create databases, not even one that is there.)
    pub(crate) async fn create(
        &self,
        signal: Signal,
        table: &str,
        retention: &Retention,
    ) -> Result<(), Failure> {
        self.create_with(&create_table(signal, &self.database, table, retention)).await
    }

    /// Creates a view of this table where it does not exist. Says whether it did. (Whoever may not create
    /// views may still insert where there are some.)
    pub(crate) async fn create_view(
        &self,
        view: View,
        table: &str,
        retention: &Retention,
    ) -> Result<bool, Failure> {
        let mut created = false;
        for Statement { name, sql } in view.statements(&self.database, table, retention.longest()) {
            match self.columns(&name).await {
                Err(failure) if failure.is_missing_table() => {
                    self.run(&sql).await?;
                    created = true;
                }
                there => drop(there?),
            }
        }
        Ok(created)
    }

    /// Inserts rows. When the server knows the token already, it keeps the rows it has.
    pub(crate) async fn insert(
        &self,
        table: &str,
        token: &str,
        body: &Body,
        mode: InsertMode,
    ) -> Result<(), Failure> {
        let info = self.info().await?;
        if let Some(why) = self.refusal(&info) {
            self.forget();
            return Err(Failure::other(why));
        }
        let inserted = self.insert_with(&info, table, token, body, mode).await;
        if inserted.as_ref().is_err_and(Failure::is_of_the_server) {
            self.forget();
        }
        inserted
    }

    fn forget(&self) {
        *self.info.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn insert_with(
        &self,
        info: &ServerInfo,
        table: &str,
        token: &str,
        body: &Body,
        mode: InsertMode,
    ) -> Result<(), Failure> {
        let mut url = self.insert_url(info, &quoted(table).to_string(), body, mode);
        add_field(&mut url, "insert_deduplication_token", token);
        self.post(url, body, mode.until).await
    }

    /// The URL of an insert: its statement and its settings.
    fn insert_url(&self, info: &ServerInfo, target: &str, body: &Body, mode: InsertMode) -> String {
        // The columns are named: else the server would drop those that it does not know without a word.
        let mut sql = format!("INSERT INTO {target} ");
        for (at, column) in body.columns.iter().enumerate() {
            // Writing to a String does not fail.
            let _ = write!(sql, "{}{}", if at == 0 { "(" } else { ", " }, quoted(column));
        }
        sql += ") FORMAT Native";
        let mut url = self.url.clone();
        add_field(&mut url, "query", &sql);
        // Servers' defaults differ from version to version: what matters is said with every insert.
        let given = |name: &str| self.settings.iter().any(|given| given == name);
        for (name, value) in SETTINGS.iter().filter(|(name, _)| info.knows(name) && !given(name)) {
            let value = if *name == "async_insert" && mode.queued { "1" } else { value };
            add_field(&mut url, name, value);
        }
        if mode.views == Views::DoWithout {
            add_field(&mut url, "materialized_views_ignore_errors", "1");
        }
        url
    }

    async fn post(&self, url: String, body: &Body, until: Option<Instant>) -> Result<(), Failure> {
        let mut request = Request::post(url).header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")));
        for (name, value) in [("X-ClickHouse-User", &self.user), ("X-ClickHouse-Key", &self.password)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(BodyChunks::new(body.chunks.clone(), until));
        let request = request.map_err(|error| Failure::other(format!("no request can be made: {error}")))?;
        let answer = self.http.request(request).await.map_err(|error| Failure::other(chain(&error)))?;
        let outcome = read(answer).await.map_err(|error| Failure::other(chain(&error)))?;
        Ok(outcome?)
    }

    async fn run(&self, sql: &str) -> Result<(), Failure> {
        // Servers before 24 would make a column for each element of an array of named tuples.
        Ok(self.client.query_raw(sql).with_setting("flatten_nested", "0").execute().await?)
    }
}

/// Tables and views behind a table that are looked at.
const MOST_VIEWS: usize = 64;

/// The settings of every insert, of which a server is sent those that it knows.
const SETTINGS: [(&str, &str); 6] = [
    ("async_insert", "0"),
    ("wait_for_async_insert", "1"),
    ("async_insert_deduplicate", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // The server reads a block with one thread. Others, made for each insert, would wait.
    ("max_threads", "1"),
];

/// How long an idle connection is kept: less than the three seconds after which servers close it by default.
const IDLE: Duration = Duration::from_secs(2);
