//! The `service` section without its pipelines: settings of the program itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::byte_size::ByteSize;
use crate::duration::Duration;
use crate::memory_limit::MemoryLimit;

/// Settings of the program itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceConfig {
    /// `service.telemetry`.
    pub telemetry: Telemetry,
    /// `service.shutdown_timeout`: how long a graceful stop may take. Default 30 s.
    pub shutdown_timeout: Duration,
    /// `service.dead_letter`: where undecodable input and rejected rows go.
    pub dead_letter: DeadLetter,
    /// `service.memory`: how much of it events may take.
    pub memory: Memory,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            telemetry: Telemetry::default(),
            shutdown_timeout: Duration::from_secs(30),
            dead_letter: DeadLetter::default(),
            memory: Memory::default(),
        }
    }
}

/// What the program tells about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Prometheus metrics.
    pub metrics: MetricSettings,
    /// The program's log.
    pub logs: LogSettings,
}

/// Prometheus metrics of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricSettings {
    /// `host:port` to listen on; null or empty text is off. Default `127.0.0.1:8888`.
    #[serde(deserialize_with = "listen_address")]
    pub address: Option<String>,
}

/// An address that a server can be told to listen on, checked before anything starts.
fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let address = Option::<String>::deserialize(deserializer)?;
    match address.as_deref().map(str::trim).filter(|address| !address.is_empty()).map(check_listen) {
        Some(Err(why)) => Err(D::Error::custom(why)),
        _ => Ok(address),
    }
}

/// `host:port`, `1.2.3.4:port` or `[::1]:port`; else what would be right.
fn check_listen(address: &str) -> Result<(), String> {
    let wrong = |right: &str| Err(format!("`{address}` is no address to listen on; {right}"));
    let right =
        "write `host:port`, such as `127.0.0.1:8888`, or `0.0.0.0:8888` to be reached from other machines";
    if let Some((_, rest)) = address.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return wrong(&format!(
            "it has a scheme: write `{}`",
            if host.contains(':') { host } else { "127.0.0.1:8888" }
        ));
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        return wrong(&format!("an IPv6 address needs brackets and a port: write `[{address}]:8888`"));
    }
    if address.bytes().all(|byte| byte.is_ascii_digit()) {
        return match address.parse::<u16>() {
            Ok(_) => wrong(&format!(
                "it is only a port: write `127.0.0.1:{address}`, or `0.0.0.0:{address}` to be reached from other machines"
            )),
            Err(_) => wrong(right),
        };
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong(&format!("it has no port: write `{address}:8888`"));
    };
    if port.parse::<u16>().is_err() || port.starts_with('+') {
        return wrong("its port is not a number up to 65535");
    }
    if host.is_empty() {
        return wrong(&format!(
            "it has no host: write `0.0.0.0{address}` to be reached from other machines, or `127.0.0.1{address}`"
        ));
    }
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    // Of digits and dots only an address is made: `127.0.0.256` is no name.
    let numbers = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_ipv6 || (is_name && (!numbers || host.parse::<Ipv4Addr>().is_ok())) { Ok(()) } else { wrong(right) }
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self { address: Some("127.0.0.1:8888".to_owned()) }
    }
}

impl MetricSettings {
    /// The address to listen on; `None` when metrics are off.
    #[must_use]
    pub fn listen(&self) -> Option<&str> {
        self.address.as_deref().map(str::trim).filter(|address| !address.is_empty())
    }
}

/// The program's log, written to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Least important level shown. Default `info`.
    pub level: LogLevel,
    /// Form of a line. Default `auto`.
    pub format: LogFormat,
}

/// Level of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only errors.
    Error,
    /// Also warnings.
    Warn,
    /// Also what happens normally.
    #[default]
    Info,
    /// Also details.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name in lower case, as `tracing` filters read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `human` on a terminal, else `json`.
    #[default]
    Auto,
    /// Readable lines.
    Human,
    /// One JSON object a line.
    Json,
}

/// How much memory events may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// The most. Default 60 % of the limit of the cgroup, or of the machine's memory.
    pub limit: MemoryLimit,
}

/// Where undecodable input and rejected rows go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetter {
    /// Directory, made when first needed. Default `dead-letter`.
    pub directory: String,
    /// Most bytes kept there. Default 1 GiB.
    pub max_bytes: ByteSize,
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self { directory: "dead-letter".to_owned(), max_bytes: ByteSize::gib(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_has_a_host_and_a_port() {
        for good in [
            "127.0.0.1:8888",
            "0.0.0.0:0",
            "localhost:8888",
            "[::1]:8888",
            "gw-1.example.org:1",
            "my_host:65535",
        ] {
            assert_eq!(check_listen(good), Ok(()), "{good}");
        }
        for (bad, right) in [
            ("8888", "write `127.0.0.1:8888`, or `0.0.0.0:8888`"),
            (":8888", "write `0.0.0.0:8888`"),
            ("localhost", "write `localhost:8888`"),
            ("http://localhost:8888/metrics", "write `localhost:8888`"),
            ("::1", "write `[::1]:8888`"),
            ("::1:8888", "needs brackets"),
            ("localhost:metrics", "not a number up to 65535"),
            ("localhost:65536", "not a number up to 65535"),
            ("localhost:", "not a number up to 65535"),
            ("127.0.0.256:8888", "write `host:port`"),
            ("1.2.3:8888", "write `host:port`"),
            ("local host:8888", "write `host:port`"),
            ("localhost/metrics:8888", "write `host:port`"),
            ("99999", "write `host:port`"),
        ] {
            let why = check_listen(bad).unwrap_err();
            assert!(why.contains(right) && why.contains(bad), "{bad}: {why}");
        }
    }
}
