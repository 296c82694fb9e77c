//! The settings of the receiver.

use serde::Deserialize;
use weir_config::{ByteSize, Duration};

/// The settings of a `skywalking` receiver, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What is listened for.
    pub(crate) protocols: Protocols,
    /// What clients must send as `Authentication`, when it is set.
    pub(crate) authentication: Option<String>,
    /// A larger message is refused.
    pub(crate) max_message_bytes: ByteSize,
    /// Messages that wait for the pipeline or for their delivery.
    pub(crate) queue: Queue,
    /// Lanes; by default one a core.
    pub(crate) lanes: Option<usize>,
    /// How long a client waits at most for its data to be safe.
    pub(crate) answer_timeout: Duration,
    /// Connections of each protocol.
    pub(crate) max_connections: usize,
}

/// `protocols`: gRPC, HTTP, or both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Protocols {
    /// Agents' gRPC.
    pub(crate) grpc: Option<Endpoint>,
    /// Agents' JSON over HTTP.
    pub(crate) http: Option<Endpoint>,
}

/// Where something is listened for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) endpoint: String,
}

/// `queue`: what waits.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Queue {
    /// Bytes that may wait.
    pub(crate) max_bytes: ByteSize,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { max_bytes: ByteSize::mib(64) }
    }
}

impl Default for Protocols {
    fn default() -> Protocols {
        let at = |port: u16| Some(Endpoint { endpoint: format!("localhost:{port}") });
        Protocols { grpc: at(11_800), http: at(12_800) }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            protocols: Protocols::default(),
            authentication: None,
            max_message_bytes: ByteSize::mib(50),
            queue: Queue::default(),
            lanes: None,
            answer_timeout: Duration::from_secs(25),
            max_connections: 4096,
        }
    }
}

/// The largest `max_message_bytes` and `queue.max_bytes`: a batch of both fits in one arena.
const LARGEST: ByteSize = ByteSize::mib(512);

impl Config {
    /// What is wrong with these settings: the key within the receiver's section, and why.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: &str| problems.push((key.to_owned(), why.to_owned()));
        if self.protocols.grpc.is_none() && self.protocols.http.is_none() {
            wrong("protocols", "name `grpc`, `http` or both, each with an `endpoint`");
        }
        for (key, endpoint) in [("grpc", &self.protocols.grpc), ("http", &self.protocols.http)] {
            if let Some(Endpoint { endpoint }) = endpoint
                && endpoint.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())
            {
                let why = format!("`{endpoint}` is not an address such as 0.0.0.0:11800");
                wrong(&format!("protocols.{key}.endpoint"), &why);
            }
        }
        if self.authentication.as_ref().is_some_and(String::is_empty) {
            wrong("authentication", "must not be empty: leave it out to let everybody in");
        }
        for (key, size) in
            [("max_message_bytes", self.max_message_bytes), ("queue.max_bytes", self.queue.max_bytes)]
        {
            if size.get() == 0 || size > LARGEST {
                wrong(key, &format!("must be more than 0 and at most {LARGEST}"));
            }
        }
        if self.lanes == Some(0) {
            wrong("lanes", "must be at least 1");
        }
        if self.max_connections == 0 {
            wrong("max_connections", "must be at least 1");
        }
        if self.answer_timeout.get().is_zero() {
            wrong("answer_timeout", "must be more than 0");
        }
        problems
    }
}
