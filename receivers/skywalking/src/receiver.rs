//! The receiver: sockets, and the lanes behind them.
//!
//! At the end no connection is accepted any more, reports that are complete are delivered and answered, and
//! then the lanes drain.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_component::{Check, Context, LaneSet, LaneSpec, Receiver, ReceiverError, ReceiverHost, Settings};
use weir_config::Diagnostics;

use crate::config::{Config, Endpoint};
use crate::intake::Intake;
use crate::lane::{LaneRejects, LaneTask};
use crate::metrics::Metrics;
use crate::server::{self, Protocol};

/// Batches that wait for a lane; their bytes are bounded by `queue.max_bytes`.
const WAITING: usize = 64;

/// Reads the settings and builds the receiver.
pub(crate) fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Receiver>, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    check.all(config.problems());
    Ok(Box::new(SkyWalking { config: check.finish(config)?, context }))
}

struct SkyWalking {
    config: Config,
    context: Context,
}

#[async_trait]
impl Receiver for SkyWalking {
    fn reserve(&self) -> u64 {
        self.config.queue.max_bytes.get()
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let SkyWalking { config, context } = *self;
        let id = context.id.to_string();
        let metrics = Metrics::new(&context.telemetry, &id);
        let protocols = [(Protocol::Grpc, &config.protocols.grpc), (Protocol::Http, &config.protocols.http)];
        let mut sockets = Vec::new();
        for (protocol, endpoint) in protocols {
            if let Some(Endpoint { endpoint }) = endpoint {
                sockets.push((protocol, server::bind(protocol, endpoint, &context).await?));
            }
        }
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = config.lanes.unwrap_or_else(cores).max(1);
        // They end at one moment: none lets a window fire without what another had when it was stopped.
        let set = LaneSet::default();
        let (mut senders, mut lanes) = (Vec::new(), JoinSet::new());
        for number in 0..count {
            let (sender, deliveries) = mpsc::channel(WAITING);
            let name: Arc<str> = format!("{id}/{number}").into();
            let spec = LaneSpec {
                name: Arc::clone(&name),
                rejects: Arc::new(LaneRejects::new(context.clone(), metrics.clone())),
                ledger: None,
                set: set.clone(),
                signal: None,
            };
            let task = LaneTask { lane: host.open_lane(spec), deliveries, name, context: context.clone() };
            lanes.spawn(task.run());
            senders.push(sender);
        }
        drop(set);
        let intake = Arc::new(Intake::new(
            metrics,
            (
                config.authentication.clone(),
                config.max_message_bytes.as_usize(),
                config.answer_timeout.get(),
                config.queue.max_bytes.as_usize(),
            ),
            senders,
            stop,
        ));
        host.ready();
        let mut servers = JoinSet::new();
        for (protocol, socket) in sockets {
            servers.spawn(server::serve(protocol, socket, config.max_connections, Arc::clone(&intake)));
        }
        // The lanes end when no connection can bring anything any more.
        drop(intake);
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
