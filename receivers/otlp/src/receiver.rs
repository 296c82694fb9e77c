//! Running: the sockets, the lanes behind them, and their end.
//!
//! At the end no connection is accepted any more. Requests that are complete are delivered and answered; the
//! others are told to come again. Then the lanes drain.

use std::sync::Arc;

use async_trait::async_trait;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use weir_component::collector_names::AnsweredItems;
use weir_component::{Context, LaneSet, LaneSpec, Receiver, ReceiverError, ReceiverHost};
use weir_config::ByteSize;
use weir_server::{Bounds, Connections, Lifetime, Listener, Protocol, Rooms, ServerMetrics, waiting_bytes};

use crate::config::{self, Checked, CorsKeys, Guard};
use crate::lanes::{LaneRejects, LaneTask, Mailbox, Mailboxes};
use crate::metrics::LaneMetrics;
use crate::server::Desk;

/// Receives OTLP.
pub(crate) struct OtlpReceiver {
    settings: Checked,
    context: Context,
}

impl OtlpReceiver {
    /// A receiver with checked settings.
    pub(crate) fn new(settings: Checked, context: Context) -> OtlpReceiver {
        OtlpReceiver { settings, context }
    }

    /// Begins to listen. Nothing is answered yet.
    async fn bind(
        &mut self,
        mailboxes: &Mailboxes,
        stop: &CancellationToken,
    ) -> Result<Vec<Listener<Desk>>, ReceiverError> {
        let config = &self.settings.config;
        let (telemetry, id) = (&self.context.telemetry, self.context.id.to_string());
        let rooms =
            Rooms::new(config.queue.max_bytes.get(), config.max_wait.get(), waiting_bytes(telemetry, &id));
        let desk = |protocol: Protocol, message: ByteSize, guard: &mut Guard| {
            Arc::new(Desk {
                protocol,
                mailboxes: mailboxes.clone(),
                bounds: Bounds {
                    rooms: rooms.clone(),
                    max_message: message.as_usize(),
                    read_timeout: config.read_timeout.get(),
                    stop: stop.clone(),
                },
                max_wait: config.max_wait.get(),
                answer_timeout: config.answer_timeout.get(),
                auth: guard.auth.take(),
                metrics: Arc::new(ServerMetrics::new(telemetry, &id, protocol.name())),
                items: AnsweredItems::new(telemetry, &id, protocol.name()),
            })
        };
        let mut listeners = Vec::new();
        if let Some(keys) = &config.protocols.grpc {
            let parameters = keys.keepalive.server_parameters;
            let positive =
                |duration: weir_config::Duration| Some(duration.get()).filter(|duration| !duration.is_zero());
            let message = ByteSize::mib(keys.max_recv_msg_size_mib);
            let service = desk(Protocol::Grpc, message, &mut self.settings.grpc);
            let connections = Connections {
                protocol: Protocol::Grpc,
                metrics: Arc::clone(&service.metrics),
                service,
                tls: self.settings.grpc.tls.take(),
                cors: None,
                lifetime: Lifetime {
                    idle: positive(parameters.max_connection_idle),
                    age: positive(parameters.max_connection_age)
                        .map(|age| (age, parameters.max_connection_age_grace.get())),
                    ping: Some((parameters.time.get(), parameters.timeout.get())),
                },
                max_concurrent_streams: keys.max_concurrent_streams,
            };
            let most = keys.max_connections;
            listeners.push(Listener::bind(&keys.endpoint, most, connections, &self.context).await?);
        }
        if let Some(keys) = &config.protocols.http {
            let service = desk(Protocol::Http, keys.max_request_body_size, &mut self.settings.http);
            let connections = Connections {
                protocol: Protocol::Http,
                metrics: Arc::clone(&service.metrics),
                service,
                tls: self.settings.http.tls.take(),
                cors: keys.cors.as_ref().map(cors),
                lifetime: Lifetime { idle: Some(keys.idle_timeout.get()), age: None, ping: None },
                max_concurrent_streams: 100,
            };
            let most = keys.max_connections;
            listeners.push(Listener::bind(&keys.endpoint, most, connections, &self.context).await?);
        }
        Ok(listeners)
    }

    fn lanes(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.settings.config.lanes.unwrap_or_else(cores)
    }

    fn open(&self, mailboxes: Vec<Mailbox>, host: &ReceiverHost, stop: &CancellationToken) -> Vec<LaneTask> {
        // They end at one moment: none lets a window fire without what another had when it was stopped.
        let set = LaneSet::default();
        let id = self.context.id.to_string();
        let metrics = LaneMetrics::new(&self.context.telemetry, &id);
        let open = |(index, mailbox)| {
            let name: Arc<str> = format!("{id}/{index}").into();
            let rejects = Arc::new(LaneRejects::new(self.context.clone(), metrics.clone()));
            let spec = LaneSpec {
                name: Arc::clone(&name),
                rejects: rejects.clone(),
                ledger: None,
                set: set.clone(),
                signal: None,
            };
            LaneTask {
                lane: host.open_lane(spec),
                mailbox,
                rejects,
                name,
                when: self.settings.config.answer,
                metrics: metrics.clone(),
                stop: stop.clone(),
            }
        };
        mailboxes.into_iter().enumerate().map(open).collect()
    }
}

#[async_trait]
impl Receiver for OtlpReceiver {
    async fn run(
        mut self: Box<Self>,
        host: ReceiverHost,
        stop: CancellationToken,
    ) -> Result<(), ReceiverError> {
        let (mailboxes, readers) = Mailboxes::new(self.lanes());
        let listeners = self.bind(&mailboxes, &stop).await?;
        let mut lanes = JoinSet::new();
        for lane in self.open(readers, &host, &stop) {
            lanes.spawn(lane.run());
        }
        host.ready();
        let mut servers = JoinSet::new();
        for listener in listeners {
            servers.spawn(listener.run(stop.clone()));
        }
        // The lanes end when no connection can offer a request any more.
        drop(mailboxes);
        let mut ended = Vec::new();
        loop {
            tokio::select! {
                Some(server) = servers.join_next() => server.map_err(|error| abnormal(&self.context, error))?,
                lane = lanes.join_next() => match lane {
                    // Kept until all have ended.
                    Some(lane) => ended.push(lane.map_err(|error| abnormal(&self.context, error))?),
                    None => return Ok(()),
                },
            }
        }
    }

    /// It knows of each request over which transport it came, and how it was answered.
    fn transport(&self) -> Option<&'static str> {
        None
    }

    fn reserve(&self) -> u64 {
        self.settings.config.queue.max_bytes.get()
    }
}

fn abnormal(context: &Context, error: tokio::task::JoinError) -> ReceiverError {
    ReceiverError {
        message: format!("receiver {}: receiving ended abnormally; please report this", context.id),
        source: Some(Box::new(error)),
    }
}

fn cors(keys: &CorsKeys) -> CorsLayer {
    let patterns = keys.allowed_origins.clone();
    let is_allowed = move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| config::origins(&patterns, origin))
    };
    let mut names = vec![CONTENT_TYPE, CONTENT_ENCODING];
    names.extend(keys.allowed_headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()));
    let headers = if keys.allowed_headers.iter().any(|name| name == "*") {
        AllowHeaders::mirror_request()
    } else {
        AllowHeaders::list(names)
    };
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::POST])
        .allow_headers(headers);
    match keys.max_age {
        Some(age) => layer.max_age(age.get()),
        None => layer,
    }
}
