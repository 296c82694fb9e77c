//! The `service` section without its pipelines: settings of the program itself.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::values::byte_size::ByteSize;
use crate::values::duration::Duration;
use crate::values::listen::check_listen;
use crate::values::memory_limit::MemoryLimit;

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

/// Metrics and logs of the program itself.
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

/// An address that a server can listen on, checked before anything starts.
fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let address = Option::<String>::deserialize(deserializer)?;
    let check = |address| check_listen(address, 8888);
    match address.as_deref().map(str::trim).filter(|address| !address.is_empty()).map(check) {
        Some(Err(why)) => Err(D::Error::custom(why)),
        _ => Ok(address),
    }
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
