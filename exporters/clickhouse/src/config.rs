//! The settings of the exporter.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use weir_component::exporter_helper::{
    BatchConfig, BatchKeys, HelperConfig, QueueConfig, QueueKeys, RetryKeys,
};
use weir_config::{ByteSize, Duration, Secret, Tls};
use weir_http::{Connection, Proxy};
use weir_pdata::Signal;

use crate::dynamic::key_type::KeyType;
use crate::dynamic::statements as dynamic;
use crate::schema::created_views::View;
use crate::schema::ddl::{create_table, quoted};

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

/// `dynamic_columns`: columns for the keys of spans.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DynamicColumns {
    /// How many keys get a column, at most. 0: keys are counted only.
    pub(crate) max_created_columns: usize,
    /// How often keys are written down, and columns are created. A key gets one after this time, at the
    /// earliest.
    pub(crate) interval: Duration,
    /// The keys that may get a column: names, with `*` for any text.
    pub(crate) allow: Vec<String>,
    /// The keys that get none.
    pub(crate) deny: Vec<String>,
    /// The types of keys. Without one it is that of all values that were seen.
    pub(crate) types: BTreeMap<String, KeyType>,
}

impl Default for DynamicColumns {
    fn default() -> DynamicColumns {
        DynamicColumns {
            max_created_columns: 64,
            interval: Duration::from_secs(30),
            allow: vec!["*".to_owned()],
            deny: Vec::new(),
            types: BTreeMap::new(),
        }
    }
}

impl DynamicColumns {
    /// Whether a key may get a column.
    pub(crate) fn allows(&self, key: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, key));
        among(&self.allow) && !among(&self.deny)
    }
}

/// Whether a text is a pattern, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or((None, rest), |(middle, last)| (Some(middle), last));
    let Some(mut text) = text.strip_suffix(last) else { return false };
    // The first place of each part leaves the most for those behind it.
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

/// The most columns that can be asked for: each costs every insert.
const MOST_CREATED: usize = 1_000;

/// `create_schema`: what is done about tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateSchema {
    /// `true`: those that do not exist are created.
    Create,
    /// `false`: nothing.
    Leave,
    /// `check`: nothing, and tables that are not as expected are refused.
    Check,
}

impl<'de> Deserialize<'de> for CreateSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CreateSchema, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = CreateSchema;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`true`, `false` or `check`")
            }

            fn visit_bool<E: Error>(self, create: bool) -> Result<CreateSchema, E> {
                Ok(if create { CreateSchema::Create } else { CreateSchema::Leave })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CreateSchema, E> {
                match text {
                    "true" => Ok(CreateSchema::Create),
                    "false" => Ok(CreateSchema::Leave),
                    "check" => Ok(CreateSchema::Check),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Written)
    }
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

    /// The statements that create everything: the database, the tables, the views.
    pub(crate) fn statements(&self) -> Vec<String> {
        let ttl = self.ttl.get().as_secs();
        let mut all = vec![format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&self.database))];
        all.extend(Signal::ALL.map(|signal| create_table(signal, &self.database, self.table(signal), ttl)));
        for view in &self.views {
            let statements = view.statements(&self.database, self.table(view.signal()), ttl);
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
        let ttl = self.ttl.get().as_secs();
        if !self.ttl.is_zero() && !(1..=MAX_TTL_SECONDS).contains(&ttl) {
            problem("ttl", "must be between 1s and 36500d, or 0s to keep rows for ever".to_owned());
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
            if dynamic.max_created_columns > MOST_CREATED {
                problem(
                    "dynamic_columns.max_created_columns",
                    format!("must be at most {MOST_CREATED}: every column costs every insert"),
                );
            }
            if dynamic.interval < Duration::from_secs(1) {
                problem("dynamic_columns.interval", "must be at least 1s".to_owned());
            }
            if self.create_schema != CreateSchema::Create && dynamic.max_created_columns > 0 {
                problem(
                    "dynamic_columns",
                    "columns are created with `create_schema: true` only; `max_created_columns: 0` counts keys without it".to_owned(),
                );
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
    fn keys_are_allowed_and_denied_by_patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("http.*", "http.method", true),
            ("http.*", "https", false),
            ("*.id", "customer.id", true),
            ("*.id", "id", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*b", "ab", true),
            ("ab*ba", "aba", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        let config = DynamicColumns { deny: vec!["*.body".into()], ..DynamicColumns::default() };
        assert!(config.allows("http.method") && !config.allows("http.body"));
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
