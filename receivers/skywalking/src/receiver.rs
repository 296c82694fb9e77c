//! The receiver: sockets, and the lanes behind them.
//!
//! At the end no connection is accepted any more, reports that are complete are delivered and answered, and
//! then the lanes drain.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_component::collector_names::AnsweredItems;
use weir_component::{Context, LaneSet, LaneSpec, Receiver, ReceiverError, ReceiverHost, RecordCounters};
use weir_server::{
    Bounds, Connections, Digests, Lifetime, Listener, Protocol, ResponseBody, Rooms, ServerMetrics, Service,
    waiting_bytes,
};

use crate::config::{Checked, Endpoint};
use crate::intake::Intake;
use crate::lane::{LaneRejects, LaneTask};
use crate::{grpc, http};

/// Batches that wait for a lane; their bytes are bounded by `queue.max_bytes`.
const WAITING: usize = 64;

/// How long a connection of HTTP may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// After how long without a sign of an agent it is asked for one, and how long it has to give it.
const PING: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(20));
/// Calls at a time on one connection.
const STREAMS: u32 = 1_000;

/// Receives what SkyWalking agents send.
pub(crate) struct SkyWalking {
    settings: Checked,
    context: Context,
}

impl SkyWalking {
    /// A receiver with checked settings.
    pub(crate) fn new(settings: Checked, context: Context) -> SkyWalking {
        SkyWalking { settings, context }
    }
}

#[async_trait]
impl Receiver for SkyWalking {
    /// It knows of each report over which transport it came, and whether it was taken.
    fn transport(&self) -> Option<&'static str> {
        None
    }

    fn reserve(&self) -> u64 {
        self.settings.config.queue.max_bytes.get()
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let SkyWalking { settings: Checked { config, grpc_tls, http_tls }, context } = *self;
        let id = context.id.to_string();
        let counters = RecordCounters::new(&context.telemetry, &id);
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = config.lanes.unwrap_or_else(cores).max(1);
        let (senders, deliveries): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(WAITING)).unzip();
        let waiting = waiting_bytes(&context.telemetry, &id);
        let bounds = Bounds {
            rooms: Rooms::new(config.queue.max_bytes.get(), config.answer_timeout.get(), waiting),
            max_message: config.max_message_bytes.as_usize(),
            read_timeout: config.read_timeout.get(),
            stop: stop.clone(),
        };
        let intake = |protocol: Protocol| Intake {
            items: Arc::new(AnsweredItems::new(&context.telemetry, &id, protocol.name())),
            rejects: LaneRejects::new(context.clone(), counters.clone()),
            authentication: config.authentication.as_ref().map(|token| Digests::new([token.expose()])),
            answer_timeout: config.answer_timeout.get(),
            bounds: bounds.clone(),
            lanes: senders.clone(),
        };
        let protocols = [
            (Protocol::Grpc, &config.protocols.grpc, grpc_tls, Some(PING)),
            (Protocol::Http, &config.protocols.http, http_tls, None),
        ];
        let mut listeners = Vec::new();
        for (protocol, at, tls, ping) in protocols {
            let Some(Endpoint { endpoint, .. }) = at else { continue };
            let metrics = Arc::new(ServerMetrics::new(&context.telemetry, &id, protocol.name()));
            let intake = Arc::new(intake(protocol));
            let service = Arc::new(Reports { protocol, intake, metrics: Arc::clone(&metrics) });
            let idle = (protocol == Protocol::Http).then_some(HEAD);
            let connections = Connections {
                protocol,
                service,
                metrics,
                tls,
                cors: None,
                lifetime: Lifetime { idle, age: None, ping },
                max_concurrent_streams: STREAMS,
            };
            listeners.push(Listener::bind(endpoint, config.max_connections, connections, &context).await?);
        }
        // They end at one moment: none lets a window fire without what another had when it was stopped.
        let set = LaneSet::default();
        let mut lanes = JoinSet::new();
        for (number, deliveries) in deliveries.into_iter().enumerate() {
            let name: Arc<str> = format!("{id}/{number}").into();
            let spec = LaneSpec {
                name: Arc::clone(&name),
                rejects: Arc::new(LaneRejects::new(context.clone(), counters.clone())),
                ledger: None,
                set: set.clone(),
                signal: None,
            };
            let (lane, context) = (host.open_lane(spec), context.clone());
            let task = LaneTask { lane, deliveries, name, context, counters: counters.clone() };
            lanes.spawn(task.run());
        }
        drop(set);
        host.ready();
        let mut servers = JoinSet::new();
        for listener in listeners {
            servers.spawn(listener.run(stop.clone()));
        }
        // The lanes end when no connection can bring anything any more.
        drop(senders);
        let abnormal = |error: tokio::task::JoinError| ReceiverError {
            message: format!("receiver `{id}`: receiving ended abnormally; please report this"),
            source: Some(Box::new(error)),
        };
        let mut ended = Vec::new();
        loop {
            tokio::select! {
                Some(server) = servers.join_next() => server.map_err(abnormal)?,
                lane = lanes.join_next() => match lane {
                    // Kept until all have ended.
                    Some(lane) => ended.push(lane.map_err(abnormal)?),
                    None => return Ok(()),
                },
            }
        }
    }
}

/// Answers the reports of one protocol.
struct Reports {
    protocol: Protocol,
    intake: Arc<Intake>,
    metrics: Arc<ServerMetrics>,
}

impl Service for Reports {
    async fn answer(
        self: Arc<Self>,
        connection: usize,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        match self.protocol {
            Protocol::Grpc => grpc::answer(&self.intake, &self.metrics, connection, request).await,
            Protocol::Http => http::answer(&self.intake, &self.metrics, connection, request).await,
        }
    }
}
