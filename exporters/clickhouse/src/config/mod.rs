//! The settings of the exporter.

mod create_schema;
mod disk_guard;
mod dynamic_columns;

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_component::exporter_helper::{
    BatchConfig, BatchKeys, HelperConfig, QueueConfig, QueueKeys, RetryKeys,
};
use weir_config::{ByteSize, Duration, Secret, Tls};
use weir_http::{Connection, Proxy};
use weir_pdata::Signal;

use crate::dynamic::statements as dynamic;
use crate::schema::created_views::View;
use crate::schema::ddl::create_table;
use crate::schema::quoting::quoted;
use crate::schema::retention::{Class, Retention};

pub(crate) use create_schema::CreateSchema;
pub(crate) use disk_guard::DiskGuardKeys;
pub(crate) use dynamic_columns::DynamicColumns;

/// More rows than this would be cut into several blocks by the server.
const MAX_ROWS: usize = 1_000_000;
/// 36500 days.
const MAX_TTL_SECONDS: u64 = 36_500 * 86_400;

/// The section `clickhouse`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The server's HTTP address, `http://…` or `https://…`.
    pub(crate) endpoint: String,
    /// The database of the tables.
    pub(crate) database: String,
    /// The user.
    pub(crate) username: String,
    /// The user's password.
    pub(crate) password: Secret,
    /// Whom to trust, and how to be known.
    pub(crate) tls: Option<Tls>,
    /// Through whom requests go.
    pub(crate) proxy: Option<Proxy>,
    /// Whether databases, tables and views that do not exist are created.
    pub(crate) create_schema: CreateSchema,
    /// The views that are created beside the tables.
    pub(crate) views: Vec<View>,
    /// The names of the tables.
    pub(crate) tables: Tables,
    /// Columns that are created for keys. Absent: none are, and keys are not counted.
    pub(crate) dynamic_columns: Option<DynamicColumns>,
    /// How bodies are compressed.
    pub(crate) compression: Compression,
    /// Further settings of every insert.
    pub(crate) settings: BTreeMap<String, String>,
    /// Rows older than this are deleted by the server, in tables that the exporter creates. `0s`: never.
    pub(crate) ttl: Duration,
    /// Rows that are kept for another time than `ttl`.
    pub(crate) retention: RetentionClasses,
    /// What is done when the server's disks are almost full. Absent: nothing.
    pub(crate) disk_guard: Option<DiskGuardKeys>,
    /// Inserts into one table that start in a second, at most; 0: no limit. What waits longer goes in
    /// together.
    pub(crate) max_inserts_per_second: u32,
    /// Whether the server merges small inserts before it writes them. It answers when they are written.
    pub(crate) async_insert: bool,
    /// Waiting batches.
    pub(crate) queue: QueueKeys,
    /// The size of an insert.
    pub(crate) batch: BatchKeys,
    /// Retries after a failed insert.
    pub(crate) retry: RetryKeys,
    /// How long one insert may take.
    pub(crate) timeout: Option<Duration>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            endpoint: "http://localhost:8123".to_owned(),
            database: "default".to_owned(),
            username: "default".to_owned(),
            password: Secret::default(),
            tls: None,
            proxy: None,
            create_schema: CreateSchema::Create,
            views: View::DEFAULT.to_vec(),
            tables: Tables::default(),
            dynamic_columns: None,
            compression: Compression::Lz4,
            settings: BTreeMap::new(),
            ttl: Duration::ZERO,
            retention: RetentionClasses::default(),
            disk_guard: None,
            max_inserts_per_second: 20,
            async_insert: false,
            queue: QueueKeys::default(),
            batch: BatchKeys::default(),
            retry: RetryKeys::default(),
            timeout: None,
        }
    }
}

/// `tables`: the names of the tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tables {
    /// One row per span.
    pub(crate) traces: String,
    /// One row per log record.
    pub(crate) logs: String,
    /// One row per data point.
    pub(crate) metrics: String,
    /// One row per operator, key and window.
    pub(crate) windows: String,
    /// One row per change of an alarm.
    pub(crate) alarms: String,
}

impl Default for Tables {
    fn default() -> Tables {
        Tables {
            traces: "events".to_owned(),
            logs: "logs".to_owned(),
            metrics: "metrics".to_owned(),
            windows: "window_results".to_owned(),
            alarms: "alarms".to_owned(),
        }
    }
}

/// `retention`: classes of rows, by signal. The first whose condition holds counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionClasses {
    /// Of spans.
    pub(crate) traces: Vec<Class>,
    /// Of log records.
    pub(crate) logs: Vec<Class>,
    /// Of data points.
    pub(crate) metrics: Vec<Class>,
}

/// `compression`: how bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// LZ4 frames.
    Lz4,
    /// As they are.
    None,
}

/// Settings and URL fields that the exporter sets itself: they carry its guarantees.
pub(crate) const RESERVED: [&str; 15] = [
    "async_insert",
    "async_insert_deduplicate",
    "wait_for_async_insert",
    "insert_deduplicate",
    "insert_deduplication_token",
    "deduplicate_blocks_in_dependent_materialized_views",
    "query",
    "database",
    "default_format",
    "decompress",
    "compress",
    "user",
    "password",
    "query_id",
    "session_id",
];

impl Config {
    /// The settings of the queue in front of the exporter.
    #[must_use]
    pub(crate) fn helper(&self) -> HelperConfig {
        let defaults = HelperConfig {
            queue: QueueConfig { concurrency: 2, ..QueueConfig::default() },
            batch: BatchConfig {
                max_rows: 30_000,
                max_bytes: ByteSize::mib(16),
                timeout: Duration::from_secs(1),
            },
            max_per_second: self.max_inserts_per_second,
            ..HelperConfig::default()
        };
        defaults.with(self.queue.clone(), self.batch, self.retry, self.timeout)
    }

    /// The name of the table of a signal.
    pub(crate) fn table(&self, signal: Signal) -> &str {
        match signal {
            Signal::Traces => &self.tables.traces,
            Signal::Logs => &self.tables.logs,
            Signal::Metrics => &self.tables.metrics,
            Signal::Windows => &self.tables.windows,
            Signal::Alarms => &self.tables.alarms,
        }
    }

    /// How long rows of a signal are kept. A window or alarm that comes again has to meet the former one in
    /// its partition, so these have no classes.
    pub(crate) fn retention(&self, signal: Signal) -> Retention {
        let classes = match signal {
            Signal::Traces => self.retention.traces.clone(),
            Signal::Logs => self.retention.logs.clone(),
            Signal::Metrics => self.retention.metrics.clone(),
            Signal::Windows | Signal::Alarms => Vec::new(),
        };
        Retention { ttl_seconds: self.ttl.get().as_secs(), classes }
    }

    /// The statements that create everything: the database, the tables, the views.
    pub(crate) fn statements(&self) -> Vec<String> {
        let mut all = vec![format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&self.database))];
        all.extend(
            Signal::ALL.map(|signal| {
                create_table(signal, &self.database, self.table(signal), &self.retention(signal))
            }),
        );
        for view in &self.views {
            let signal = view.signal();
            let ttl = self.retention(signal).longest();
            let statements = view.statements(&self.database, self.table(signal), ttl);
            all.extend(statements.into_iter().map(|statement| statement.sql));
        }
        if self.dynamic_columns.is_some() {
            all.extend(dynamic::tables(&self.database).map(|statement| statement.sql));
        }
        all
    }

    /// How the server is reached, or what is wrong with it.
    pub(crate) fn connection(&self) -> Result<Connection, Vec<(String, String)>> {
        Connection::new(&self.endpoint, self.tls.as_ref(), self.proxy.as_ref())
    }

    /// The faults: the key within the section, and why.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, why: String| problems.push((key.to_owned(), why));
        if let Err(why) = check_endpoint(&self.endpoint) {
            problem("endpoint", why.to_owned());
        }
        if self.helper().batch.max_rows > MAX_ROWS {
            problem(
                "batch.max_rows",
                format!("must be at most {MAX_ROWS}: the server would cut the insert into several blocks"),
            );
        }
        for (key, value) in [("username", self.username.as_str()), ("password", self.password.expose())] {
            if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
                problem(
                    key,
                    "the value has characters that no header may have, such as a line break".to_owned(),
                );
            }
        }
        let classes = [
            ("traces", &self.retention.traces),
            ("logs", &self.retention.logs),
            ("metrics", &self.retention.metrics),
        ];
        let classes = classes.into_iter().flat_map(|(signal, classes)| {
            classes.iter().enumerate().map(move |(at, class)| (format!("retention.{signal}[{at}]"), class))
        });
        let mut ttls = vec![("ttl".to_owned(), self.ttl)];
        for (key, class) in classes {
            if let Some(why) = class.problem() {
                problem(&format!("{key}.where"), why);
            }
            ttls.push((format!("{key}.ttl"), class.ttl));
        }
        for (key, ttl) in ttls {
            if !ttl.is_zero() && !(1..=MAX_TTL_SECONDS).contains(&ttl.get().as_secs()) {
                problem(&key, "must be between 1s and 36500d, or 0s to keep rows for ever".to_owned());
            }
        }
        if let Some(guard) = &self.disk_guard {
            let shortest = [Signal::Traces, Signal::Logs, Signal::Metrics]
                .map(|signal| self.retention(signal).shortest());
            let may_end = shortest.iter().any(|seconds| *seconds > 0);
            for (key, why) in guard.problems(may_end) {
                problem(&key, why);
            }
        }
        if self.database.is_empty() {
            problem("database", "must not be empty".to_owned());
        }
        let tables = &self.tables;
        let named = [
            ("tables.traces", &tables.traces),
            ("tables.logs", &tables.logs),
            ("tables.metrics", &tables.metrics),
            ("tables.windows", &tables.windows),
            ("tables.alarms", &tables.alarms),
        ];
        for (at, (key, name)) in named.iter().enumerate() {
            if name.is_empty() {
                problem(key, "must not be empty".to_owned());
            } else if let Some((other, _)) = named[..at].iter().find(|(_, earlier)| earlier == name) {
                problem(
                    key,
                    format!("`{name}` is the table of `{other}` already: each signal needs its own"),
                );
            }
        }
        if self.dynamic_columns.is_some() {
            for own in
                [format!("{}_all", tables.traces), dynamic::KEYS.to_owned(), dynamic::NEW_KEY.to_owned()]
            {
                if let Some((key, _)) = named.iter().find(|(_, name)| **name == own) {
                    problem(
                        key,
                        format!("`{own}` belongs to `dynamic_columns`: give the table another name"),
                    );
                }
            }
        }
        if let Some(dynamic) = &self.dynamic_columns {
            for (key, why) in dynamic.problems(self.create_schema) {
                problem(&key, why);
            }
        }
        for (at, view) in self.views.iter().enumerate() {
            let key = format!("views[{at}]");
            let name = view.name(self.table(view.signal()));
            if self.views[..at].contains(view) {
                problem(&key, format!("`{name}` is in the list already"));
            } else if named.iter().any(|(_, table)| **table == name) {
                problem(&key, format!("`{name}` is the name of a table: give the table another one"));
            }
        }
        for name in self.settings.keys() {
            let key = format!("settings.{name}");
            if RESERVED.contains(&name.as_str()) {
                problem(&key, format!("`{name}` is set by the exporter itself: its guarantees depend on it"));
            } else if name.is_empty()
                || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                problem(&key, "the name of a ClickHouse setting has letters, digits and `_` only".to_owned());
            }
        }
        problems
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    let rest = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"))
        .ok_or("must begin with http:// or https://, such as `http://localhost:8123`")?;
    if rest.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("must not have white space");
    }
    if rest.contains(['?', '#']) {
        return Err("must not have `?` or `#`: ClickHouse settings go below `settings`");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must not hold a user or password: use `username` and `password`");
    }
    if authority.is_empty() || authority.contains(char::is_whitespace) {
        return Err("names no host");
    }
    // The last `:` begins the port, unless it is inside an IPv6 address.
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map(|(_, port)| port);
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("the port is not a number up to 65535");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for good in ["http://a", "https://a:8443", "http://[::1]:8123", "http://a:8123/click"] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        for bad in [
            "a:8123",
            "http://a:8123/click\n",
            "http://",
            "http://a:99999",
            "http://u:p@a",
            "http://a/?x=1",
            "tcp://a",
        ] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_defaults_have_no_problems() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn what_becomes_a_header_has_no_line_break_and_is_never_shown() {
        let config = Config { username: "weir\r".into(), password: "s3cret\n".into(), ..Config::default() };
        let problems = config.problems();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["username", "password"]);
        assert!(!format!("{problems:?}").contains("s3cret"));
        assert_eq!(Config { password: "s p:a\tc~e".into(), ..Config::default() }.problems(), []);
        assert_eq!(Config { password: "pässword".into(), ..Config::default() }.problems().len(), 1);
    }

    #[test]
    fn settings_that_carry_a_guarantee_are_refused() {
        let config = Config {
            settings: BTreeMap::from([
                ("insert_deduplicate".into(), "0".into()),
                ("max_threads".into(), "1".into()),
            ]),
            ..Config::default()
        };
        let problems = config.problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].0, "settings.insert_deduplicate");
    }
}
