//! The real ClickHouse engine behind its HTTP interface, able to fail on demand; and a real ClickHouse
//! server.

use crate::server::Server;
use crate::wait::unique;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::sync::OnceLock;

/// A ClickHouse server on a free port, user `default` without a password.
#[derive(Debug)]
pub struct ClickHouse {
    _server: Server,
    url: String,
    /// Where it takes orders; a real server takes none.
    control: Option<String>,
    shared: bool,
}

/// The server's counts since its start.
#[derive(Clone, Debug)]
pub struct Stats {
    /// HTTP requests, pings not counted.
    pub requests: u64,
    /// Queries that were not inserts.
    pub queries: u64,
    /// Inserts that took effect; one dropped by its deduplication token counts too.
    pub inserts: u64,
    /// Bytes of their bodies as sent.
    pub insert_bytes: u64,
    /// Error answers, those made by faults included.
    pub errors: u64,
    /// Requests hit by a fault.
    pub faults: u64,
    /// User and system CPU time of engine and front.
    pub cpu_seconds: f64,
    /// Largest resident size so far.
    pub max_rss_bytes: u64,
}

impl ClickHouse {
    /// The server that all tests of this binary share.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<ClickHouse, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::launch(true).map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// A server of one's own, which can be made to fail.
    pub fn start() -> Result<Self> {
        Self::launch(false)
    }

    /// A server with the engine of the oldest version that Weir is tried with, 23.10. It answers one query at
    /// a time, and slowly.
    pub fn start_oldest() -> Result<Self> {
        Self::launch_with("venv-clickhouse-23.10", false)
    }

    /// A real server, of version 24.8. It has what the engine alone does not have, above all the queue of
    /// asynchronous inserts, and cannot be made to fail.
    pub fn start_real() -> Result<Self> {
        let (server, announced) = Server::start_with("venv-clickhouse-24.8", "clickhouse_server.py", &[])?;
        Ok(Self { _server: server, url: announced.text("url")?, control: None, shared: false })
    }

    fn launch(shared: bool) -> Result<Self> {
        Self::launch_with("venv", shared)
    }

    fn launch_with(environment: &str, shared: bool) -> Result<Self> {
        let (server, announced) = Server::start_with(environment, "clickhouse_front.py", &[])?;
        let (url, control) = (announced.text("url")?, Some(announced.text("control")?));
        Ok(Self { _server: server, url, control, shared })
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a database for one test; returns its name.
    pub async fn database(&self) -> Result<String> {
        let name = unique("test");
        self.query(&format!("CREATE DATABASE {name}")).await?;
        Ok(name)
    }

    /// Runs SQL; returns the rows, an object each, 64-bit integers as numbers. A statement without rows gives
    /// none.
    pub async fn query(&self, sql: &str) -> Result<Vec<Value>> {
        let settings = [("default_format", "JSONEachRow"), ("output_format_json_quote_64bit_integers", "0")];
        let text = self.send(&settings, sql.as_bytes().to_vec()).await?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Runs SQL that gives one number, such as a count.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let rows = self.query(sql).await?;
        let cell = rows.first().and_then(Value::as_object).and_then(|row| row.values().next());
        cell.and_then(Value::as_u64).with_context(|| format!("{sql}: not one number: {rows:?}"))
    }

    /// Inserts a body; `statement` is `INSERT INTO … FORMAT …`, `settings` go into the URL.
    pub async fn insert(&self, statement: &str, settings: &[(&str, &str)], body: Vec<u8>) -> Result<()> {
        let mut fields = vec![("query", statement)];
        fields.extend_from_slice(settings);
        self.send(&fields, body).await.map(drop)
    }

    /// Makes requests fail until `{"mode": "ok"}`: an order of `tests/support/faults.py`, such as
    /// `json!({"mode": "http500", "code": 252, "times": 2, "match": "INSERT"})`.
    pub async fn fault(&self, order: Value) -> Result<()> {
        if self.shared {
            bail!("the shared server serves other tests: use ClickHouse::start for one to break");
        }
        let address = format!("{}/_control", self.control()?);
        let answer = client()?.post(address).body(order.to_string()).send().await?;
        let accepted = answer.status().is_success();
        let text = answer.text().await?;
        if accepted { Ok(()) } else { bail!("the front refused {order}: {text}") }
    }

    /// The counts so far.
    pub async fn stats(&self) -> Result<Stats> {
        let text = client()?.get(format!("{}/_stats", self.control()?)).send().await?.text().await?;
        let counts: Value = serde_json::from_str(&text)?;
        let count = |name: &str| counts[name].as_u64().with_context(|| format!("no {name} in {counts}"));
        Ok(Stats {
            requests: count("requests")?,
            queries: count("queries")?,
            inserts: count("inserts")?,
            insert_bytes: count("insert_bytes")?,
            errors: count("errors")?,
            faults: count("faults")?,
            cpu_seconds: counts["cpu_seconds"].as_f64().context("no cpu_seconds")?,
            max_rss_bytes: count("max_rss_bytes")?,
        })
    }

    fn control(&self) -> Result<&str> {
        self.control
            .as_deref()
            .context("a real server takes no orders: use ClickHouse::start for one that does")
    }

    async fn send(&self, fields: &[(&str, &str)], body: Vec<u8>) -> Result<String> {
        let mut url = reqwest::Url::parse(&self.url)?;
        url.query_pairs_mut().extend_pairs(fields);
        let answer = client()?.post(url).body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if status.is_success() { Ok(text) } else { bail!("ClickHouse answered {status}: {}", text.trim()) }
    }
}

/// A client that keeps no connection: each test has its own runtime, and a kept connection would die with
/// one.
pub(crate) fn client() -> Result<reqwest::Client> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let made = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build()?;
    Ok(CLIENT.get_or_init(|| made).clone())
}
