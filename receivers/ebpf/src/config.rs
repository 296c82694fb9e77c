//! The settings of the receiver.

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration};

use crate::filter::{Filter, Patterns};

/// The settings of an `ebpf` receiver, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Figures of connections.
    pub(crate) tcp: TcpConfig,
    /// Requests of HTTP/1.
    pub(crate) http: HttpConfig,
    /// What is looked at.
    pub(crate) filter: FilterConfig,
    /// The ring between kernel and receiver; a power of two.
    pub(crate) ring: ByteSize,
    /// How often the ring is emptied.
    pub(crate) poll_interval: Duration,
    /// Connections that are known at a time.
    pub(crate) max_connections: u32,
    /// Processes that are known at a time.
    pub(crate) max_processes: u32,
}

/// `tcp`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TcpConfig {
    pub(crate) enabled: bool,
    /// How often figures are told.
    pub(crate) interval: Duration,
    /// Whether each connection has points of its own.
    pub(crate) each_connection: bool,
    /// Peers that are told apart between two reports.
    pub(crate) max_peers: u32,
}

/// `http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpConfig {
    pub(crate) enabled: bool,
    /// Bytes that are copied of the beginning of each read or write.
    pub(crate) capture: ByteSize,
    /// Headers of requests that become attributes.
    pub(crate) allow_headers: Vec<String>,
    /// Templates of paths.
    pub(crate) templates: Vec<String>,
    /// Templates that are made up at most.
    pub(crate) max_templates: u32,
    /// Whether rows have the whole path, too.
    pub(crate) full_paths: bool,
    /// Beyond so many rows a second, only one in some is kept. 0: all are.
    pub(crate) max_rows_per_second: u32,
}

/// `filter`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FilterConfig {
    /// By the name of the program.
    pub(crate) processes: Choice,
    /// By the id of the container.
    pub(crate) containers: Choice,
    /// By the path of a request, without its query.
    pub(crate) paths: Choice,
    /// Either end of a connection has one of these; empty is all.
    pub(crate) ports: Vec<u16>,
}

/// What is looked at, and what of that is not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Choice {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            tcp: TcpConfig::default(),
            http: HttpConfig::default(),
            filter: FilterConfig::default(),
            ring: ByteSize::mib(8),
            poll_interval: Duration::from_millis(5),
            max_connections: 65_536,
            max_processes: 16_384,
        }
    }
}

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        TcpConfig {
            enabled: true,
            interval: Duration::from_secs(10),
            each_connection: false,
            max_peers: 10_000,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            enabled: true,
            capture: ByteSize::kib(4),
            allow_headers: Vec::new(),
            templates: Vec::new(),
            max_templates: 1_000,
            full_paths: false,
            max_rows_per_second: 50_000,
        }
    }
}

/// The largest `http.capture`: what one event has room for.
const MOST_CAPTURED: u64 = 16_383;

/// Reads and checks the settings.
pub(crate) fn read(settings: Settings<'_>) -> Result<Config, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    check.all(config.problems());
    check.finish(config)
}

impl Config {
    /// What is wrong with these settings: the key within the receiver's section, and why.
    fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: String| problems.push((key.to_owned(), why));
        if !self.tcp.enabled && !self.http.enabled {
            wrong("", "`tcp` and `http` are both switched off: nothing is left to do".to_owned());
        }
        let ring = self.ring.get();
        if !ring.is_power_of_two() || !(64 << 10..=1 << 30).contains(&ring) {
            wrong("ring", "must be a power of two from 64KiB to 1GiB".to_owned());
        }
        let poll = self.poll_interval.as_millis();
        if !(1..=1_000).contains(&poll) {
            wrong("poll_interval", "must be from 1ms to 1s".to_owned());
        }
        if self.tcp.interval.as_millis() < 1_000 {
            wrong("tcp.interval", "must be at least 1s".to_owned());
        }
        for (key, count) in [
            ("max_connections", self.max_connections),
            ("max_processes", self.max_processes),
            ("tcp.max_peers", self.tcp.max_peers),
            ("http.max_templates", self.http.max_templates),
        ] {
            if !(1..=10_000_000).contains(&count) {
                wrong(key, "must be from 1 to 10000000".to_owned());
            }
        }
        let capture = self.http.capture.get();
        if !(256..=MOST_CAPTURED).contains(&capture) {
            wrong("http.capture", format!("must be from 256 to {MOST_CAPTURED} bytes"));
        }
        for (at, name) in self.http.allow_headers.iter().enumerate() {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                wrong(&format!("http.allow_headers[{at}]"), format!("`{name}` is not the name of a header"));
            }
        }
        for (at, template) in self.http.templates.iter().enumerate() {
            if !template.starts_with('/') {
                let why = format!("`{template}` is not a template such as /orders/{{order}}/items");
                wrong(&format!("http.templates[{at}]"), why);
            }
        }
        if self.filter.ports.len() > 256 {
            wrong("filter.ports", "must be at most 256".to_owned());
        }
        problems
    }

    /// The names of headers that become attributes, in lower case.
    pub(crate) fn allowed_headers(&self) -> Vec<Box<str>> {
        self.http.allow_headers.iter().map(|name| name.to_ascii_lowercase().into_boxed_str()).collect()
    }

    pub(crate) fn filter(&self) -> Filter {
        let patterns = |choice: &Choice| Patterns::new(choice.include.clone(), choice.exclude.clone());
        let FilterConfig { processes, containers, paths, .. } = &self.filter;
        Filter { processes: patterns(processes), containers: patterns(containers), paths: patterns(paths) }
    }
}
