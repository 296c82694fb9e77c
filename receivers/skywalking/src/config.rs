//! The settings of the receiver.

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration, Secret, check_listen};
use weir_server::{ServerTls, TlsKeys};

/// The ports of an OAP server.
const GRPC_PORT: u16 = 11_800;
const HTTP_PORT: u16 = 12_800;

/// The settings of a `skywalking` receiver, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What is listened for.
    pub(crate) protocols: Protocols,
    /// What clients must send as `Authentication`, when it is set.
    pub(crate) authentication: Option<Secret>,
    /// A larger message is refused.
    pub(crate) max_message_bytes: ByteSize,
    /// Messages that wait for the pipeline or for their delivery.
    pub(crate) queue: Queue,
    /// Lanes; by default one a core.
    pub(crate) lanes: Option<usize>,
    /// How long a client waits at most for its data to be safe.
    pub(crate) answer_timeout: Duration,
    /// How long the rest of a message or body that has begun may take.
    pub(crate) read_timeout: Duration,
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
    /// Encryption.
    #[serde(default)]
    pub(crate) tls: Option<TlsKeys>,
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
        let at = |port: u16| Some(Endpoint { endpoint: format!("localhost:{port}"), tls: None });
        Protocols { grpc: at(GRPC_PORT), http: at(HTTP_PORT) }
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
            read_timeout: Duration::from_secs(30),
            max_connections: 4096,
        }
    }
}

/// The largest `max_message_bytes` and `queue.max_bytes`: a batch of both fits in one arena.
const LARGEST: ByteSize = ByteSize::mib(512);

/// The settings, checked, with the files that they name.
pub(crate) struct Checked {
    pub(crate) config: Config,
    pub(crate) grpc_tls: Option<ServerTls>,
    pub(crate) http_tls: Option<ServerTls>,
}

/// Reads and checks the settings, and the files that they name.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<Checked, Diagnostics> {
    let mut config: Config = settings.read()?;
    let mut check = Check::new(settings);
    if config.protocols.grpc.is_none() && config.protocols.http.is_none() {
        check.wrong("protocols", "name `grpc`, `http` or both, each with an `endpoint`");
    }
    let grpc_tls = config.protocols.grpc.as_mut().and_then(|at| endpoint(&mut check, "grpc", at, GRPC_PORT));
    let http_tls = config.protocols.http.as_mut().and_then(|at| endpoint(&mut check, "http", at, HTTP_PORT));
    if config.authentication.as_ref().is_some_and(Secret::is_empty) {
        check.wrong("authentication", "must not be empty: leave it out to let everybody in");
    }
    let (message, queue) = (config.max_message_bytes, config.queue.max_bytes);
    for (key, size) in [("max_message_bytes", message), ("queue.max_bytes", queue)] {
        if size.get() == 0 || size > LARGEST {
            check.wrong(key, format!("must be more than 0 and at most {LARGEST}"));
        }
    }
    if message > queue && message <= LARGEST {
        let why = format!("a message of {message} does not fit into queue.max_bytes ({queue})");
        check.wrong("max_message_bytes", why);
    }
    if config.lanes == Some(0) {
        check.wrong("lanes", "must be at least 1");
    }
    if config.max_connections == 0 {
        check.wrong("max_connections", "must be at least 1");
    }
    for (key, value) in [("answer_timeout", config.answer_timeout), ("read_timeout", config.read_timeout)] {
        if value.get().is_zero() {
            check.wrong(key, "must be more than 0");
        }
    }
    check.finish(Checked { config, grpc_tls, http_tls })
}

fn endpoint(check: &mut Check<'_>, protocol: &str, at: &mut Endpoint, port: u16) -> Option<ServerTls> {
    at.endpoint = at.endpoint.trim().to_owned();
    if let Err(why) = check_listen(&at.endpoint, port) {
        check.wrong(&format!("protocols.{protocol}.endpoint"), why);
    }
    let read = at.tls.as_ref().map(ServerTls::read)?;
    let found = |problems: Vec<weir_server::Problem>| {
        check.all(problems.into_iter().map(|(key, why)| (format!("protocols.{protocol}.{key}"), why)));
    };
    read.map_err(found).ok()
}
