//! The settings of `otlp`. The key-by-key list is in the README.

mod cors;

use serde::{Deserialize, Deserializer};
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration, check_listen};
use weir_server::{Auth, AuthKeys, Problem, ServerTls, TlsKeys};

pub(crate) use cors::{CorsKeys, origins};

/// The Collector's ports.
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;

/// A decoder refuses larger ones: what it builds from them might be beyond the 2 GiB that columns can
/// address.
const LARGEST_REQUEST: ByteSize = ByteSize::mib(85);

/// What is listened on, and how requests are answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtlpConfig {
    /// The protocols.
    #[serde(default)]
    pub(crate) protocols: Protocols,
    /// When a request is answered.
    #[serde(default)]
    pub(crate) answer: AnswerWhen,
    /// Lanes; `None`: as many as there are cores.
    pub(crate) lanes: Option<usize>,
    /// How long a request waits for room before it is refused.
    #[serde(default = "five_seconds")]
    pub(crate) max_wait: Duration,
    /// How long a request that is on its way waits for its delivery.
    #[serde(default = "one_minute")]
    pub(crate) answer_timeout: Duration,
    /// How long the body of a request may take.
    #[serde(default = "half_a_minute")]
    pub(crate) read_timeout: Duration,
    /// Requests that wait for a lane.
    #[serde(default)]
    pub(crate) queue: QueueKeys,
}

/// `protocols`: what is listened on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Protocols {
    /// OTLP/gRPC.
    #[serde(deserialize_with = "named")]
    pub(crate) grpc: Option<GrpcKeys>,
    /// OTLP/HTTP.
    #[serde(deserialize_with = "named")]
    pub(crate) http: Option<HttpKeys>,
}

/// A protocol that is named without settings (`grpc:`) has the defaults, as in the Collector.
fn named<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Some(Option::<T>::deserialize(deserializer)?.unwrap_or_default()))
}

/// When a request is answered with success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnswerWhen {
    /// Its data is exported, in a queue on disk, or in the dead letters.
    #[default]
    Delivered,
    /// Its data is in the exporters' queues.
    Received,
}

/// `queue`: requests that no lane has taken yet.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueKeys {
    /// Their bytes, also of those that are still being received.
    pub(crate) max_bytes: ByteSize,
}

impl Default for QueueKeys {
    fn default() -> QueueKeys {
        QueueKeys { max_bytes: ByteSize::mib(64) }
    }
}

/// `protocols.grpc`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GrpcKeys {
    /// `host:port`.
    pub(crate) endpoint: String,
    /// The largest message, in MiB.
    pub(crate) max_recv_msg_size_mib: u64,
    /// Requests at a time on one connection.
    pub(crate) max_concurrent_streams: u32,
    /// Connections at a time.
    pub(crate) max_connections: usize,
    /// How long connections live.
    pub(crate) keepalive: Keepalive,
    /// Encryption.
    pub(crate) tls: Option<TlsKeys>,
    /// Who may send.
    pub(crate) auth: Option<AuthKeys>,
}

impl Default for GrpcKeys {
    fn default() -> GrpcKeys {
        GrpcKeys {
            endpoint: format!("localhost:{GRPC_PORT}"),
            max_recv_msg_size_mib: 20,
            max_concurrent_streams: 100,
            max_connections: 8192,
            keepalive: Keepalive::default(),
            tls: None,
            auth: None,
        }
    }
}

/// `protocols.grpc.keepalive`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keepalive {
    /// As the Collector's.
    pub(crate) server_parameters: ServerParameters,
}

/// `protocols.grpc.keepalive.server_parameters`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerParameters {
    /// A connection without a request for this long is closed. `0s`: never.
    pub(crate) max_connection_idle: Duration,
    /// A connection that is older takes no more requests. `0s`: it may be of any age.
    pub(crate) max_connection_age: Duration,
    /// How long the requests of such a connection may still take.
    pub(crate) max_connection_age_grace: Duration,
    /// After this long without a sign of the client it is asked for one.
    pub(crate) time: Duration,
    /// How long its answer may take.
    pub(crate) timeout: Duration,
}

impl Default for ServerParameters {
    fn default() -> ServerParameters {
        ServerParameters {
            max_connection_idle: Duration::ZERO,
            max_connection_age: Duration::ZERO,
            max_connection_age_grace: Duration::from_secs(30),
            time: Duration::from_secs(2 * 60 * 60),
            timeout: Duration::from_secs(20),
        }
    }
}

/// `protocols.http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpKeys {
    /// `host:port`.
    pub(crate) endpoint: String,
    /// The largest body, as sent and decompressed.
    pub(crate) max_request_body_size: ByteSize,
    /// Connections at a time.
    pub(crate) max_connections: usize,
    /// A connection without a whole request head for this long is closed.
    pub(crate) idle_timeout: Duration,
    /// Which pages may send from a browser.
    pub(crate) cors: Option<CorsKeys>,
    /// Encryption.
    pub(crate) tls: Option<TlsKeys>,
    /// Who may send.
    pub(crate) auth: Option<AuthKeys>,
}

impl Default for HttpKeys {
    fn default() -> HttpKeys {
        HttpKeys {
            endpoint: format!("localhost:{HTTP_PORT}"),
            max_request_body_size: ByteSize::mib(20),
            max_connections: 8192,
            idle_timeout: one_minute(),
            cors: None,
            tls: None,
            auth: None,
        }
    }
}

/// The settings, checked, with the files that they name.
pub(crate) struct Checked {
    pub(crate) config: OtlpConfig,
    pub(crate) grpc: Guard,
    pub(crate) http: Guard,
}

/// What stands before a protocol.
#[derive(Default)]
pub(crate) struct Guard {
    pub(crate) tls: Option<ServerTls>,
    pub(crate) auth: Option<Auth>,
}

const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

const fn one_minute() -> Duration {
    Duration::from_secs(60)
}

/// Reads and checks the settings, and the files that they name.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<Checked, Diagnostics> {
    let mut config: OtlpConfig = settings.read()?;
    let mut check = Check::new(settings);
    let (mut grpc, mut http) = (Guard::default(), Guard::default());
    if config.protocols.grpc.is_none() && config.protocols.http.is_none() {
        check
            .wrong("protocols", "names no protocol: write `protocols: {grpc: {}, http: {}}`, or one of them");
    }
    if let Some(keys) = &mut config.protocols.grpc {
        let at = "protocols.grpc";
        listen(&mut check, at, &mut keys.endpoint, GRPC_PORT);
        let size = ByteSize::mib(keys.max_recv_msg_size_mib);
        if size.get() == 0 || size > LARGEST_REQUEST {
            let most = LARGEST_REQUEST.get() >> 20;
            check.wrong(&format!("{at}.max_recv_msg_size_mib"), format!("must be between 1 and {most}"));
        }
        if keys.max_concurrent_streams == 0 {
            check.wrong(&format!("{at}.max_concurrent_streams"), "must be at least 1");
        }
        let ServerParameters { time, timeout, .. } = keys.keepalive.server_parameters;
        for (name, value) in [("time", time), ("timeout", timeout)] {
            positive(&mut check, &format!("{at}.keepalive.server_parameters.{name}"), value);
        }
        connections(&mut check, at, keys.max_connections);
        fits(&mut check, &format!("{at}.max_recv_msg_size_mib"), size, config.queue.max_bytes);
        grpc = guard(&mut check, at, keys.tls.as_ref(), keys.auth.as_ref());
    }
    if let Some(keys) = &mut config.protocols.http {
        let at = "protocols.http";
        listen(&mut check, at, &mut keys.endpoint, HTTP_PORT);
        let (size, key) = (keys.max_request_body_size, format!("{at}.max_request_body_size"));
        if size.get() == 0 || size > LARGEST_REQUEST {
            check.wrong(&key, format!("must be between 1B and {LARGEST_REQUEST}"));
        }
        fits(&mut check, &key, size, config.queue.max_bytes);
        positive(&mut check, &format!("{at}.idle_timeout"), keys.idle_timeout);
        connections(&mut check, at, keys.max_connections);
        if let Some(cors) = &keys.cors {
            check.all(cors.problems(&format!("{at}.cors")));
        }
        http = guard(&mut check, at, keys.tls.as_ref(), keys.auth.as_ref());
    }
    if config.lanes.is_some_and(|lanes| !(1..=1024).contains(&lanes)) {
        check.wrong("lanes", "must be between 1 and 1024");
    }
    for (key, value) in [
        ("max_wait", config.max_wait),
        ("answer_timeout", config.answer_timeout),
        ("read_timeout", config.read_timeout),
    ] {
        positive(&mut check, key, value);
    }
    if config.queue.max_bytes > ByteSize::mib(1 << 20) {
        check.wrong("queue.max_bytes", "must be at most 1TiB");
    }
    check.finish(Checked { config, grpc, http })
}

fn listen(check: &mut Check<'_>, at: &str, endpoint: &mut String, port: u16) {
    *endpoint = endpoint.trim().to_owned();
    if let Err(why) = check_listen(endpoint, port) {
        check.wrong(&format!("{at}.endpoint"), why);
    }
}

fn positive(check: &mut Check<'_>, key: &str, value: Duration) {
    if value == Duration::ZERO {
        check.wrong(key, "must be more than 0s");
    }
}

fn connections(check: &mut Check<'_>, at: &str, most: usize) {
    if !(1..=1_000_000).contains(&most) {
        check.wrong(&format!("{at}.max_connections"), "must be between 1 and 1000000");
    }
}

/// A request that the queue has no room for could never be taken.
fn fits(check: &mut Check<'_>, key: &str, size: ByteSize, queue: ByteSize) {
    if size > queue && size <= LARGEST_REQUEST {
        check.wrong(key, format!("a request of {size} does not fit into queue.max_bytes ({queue})"));
    }
}

fn guard(check: &mut Check<'_>, at: &str, tls: Option<&TlsKeys>, auth: Option<&AuthKeys>) -> Guard {
    let found = |check: &mut Check<'_>, problems: Vec<Problem>| {
        check.all(problems.into_iter().map(|(key, why)| (format!("{at}.{key}"), why)));
    };
    let tls = tls.and_then(|keys| ServerTls::read(keys).map_err(|wrong| found(check, wrong)).ok());
    let auth = auth.and_then(|keys| Auth::read(keys).map_err(|wrong| found(check, wrong)).ok());
    Guard { tls, auth }
}
