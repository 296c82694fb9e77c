//! A listening socket and its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_component::{Context, LogLimit, ReceiverError, Status};

use crate::{Connections, Service};

/// How long nothing is accepted when the system refuses a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is listened on.
pub struct Listener<S> {
    socket: TcpListener,
    connections: Arc<Connections<S>>,
    context: Context,
    most: usize,
}

impl<S: Service> Listener<S> {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address is not to be had.
    pub async fn bind(
        endpoint: &str,
        most: usize,
        connections: Connections<S>,
        context: &Context,
    ) -> Result<Listener<S>, ReceiverError> {
        let (id, name) = (&context.id, connections.protocol.name());
        let wrong = |error: std::io::Error| ReceiverError {
            message: format!(
                "receiver {id}: cannot listen on {endpoint}: {error}; choose another `protocols.{name}.endpoint`"
            ),
            source: Some(Box::new(error)),
        };
        let socket = TcpListener::bind(endpoint).await.map_err(wrong)?;
        let address = socket.local_addr().map_err(wrong)?;
        let most = most.min(open_files().map_or(usize::MAX, |files| (files - files / 4).max(1)));
        tracing::info!(receiver = %id, protocol = name, %address, max_connections = most, "listening");
        Ok(Listener { socket, connections: Arc::new(connections), context: context.clone(), most })
    }

    /// Serves connections until `stop` is cancelled, and those that are open then until their requests are
    /// answered.
    pub async fn run(self, stop: CancellationToken) {
        let Listener { socket, connections, context, most } = self;
        let places = Arc::new(Semaphore::new(most));
        let log = LogLimit::every_ms(10_000);
        let mut open = JoinSet::new();
        loop {
            // The system keeps further connections waiting.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => {
                    let Ok(place) = place else { break };
                    tokio::select! {
                        () = stop.cancelled() => break,
                        accepted = socket.accept() => accepted.map(|accepted| (accepted, place)),
                    }
                }
                Some(ended) = open.join_next(), if !open.is_empty() => {
                    notice(ended, &context);
                    continue;
                }
            };
            match accepted {
                Ok(((stream, peer), place)) => {
                    context.health.recovered();
                    let (connections, stop) = (Arc::clone(&connections), stop.clone());
                    open.spawn(async move {
                        serve(&connections, stream, peer, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    let why = format!("connections cannot be accepted: {error}");
                    if let Some(suppressed) = log.allow(context.clock.now_ms()) {
                        let (receiver, protocol) = (&context.id, connections.protocol.name());
                        tracing::warn!(%receiver, protocol, suppressed, "{why}");
                    }
                    context.health.report(Status::RecoverableError(why));
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while let Some(ended) = open.try_join_next() {
                notice(ended, &context);
            }
        }
        drop(socket);
        while let Some(ended) = open.join_next().await {
            notice(ended, &context);
        }
    }
}

/// Says that the task of a connection has panicked.
fn notice(ended: Result<(), tokio::task::JoinError>, context: &Context) {
    if let Err(error) = ended {
        let receiver = &context.id;
        tracing::error!(%receiver, %error, "a connection ended abnormally; please report this");
    }
}

async fn serve<S: Service>(
    connections: &Connections<S>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let _open = connections.metrics.opened();
    if let Err(error) = connections.serve(stream, &stop).await {
        let protocol = connections.protocol.name();
        tracing::debug!(protocol, %peer, error, "a connection ended");
    }
}

/// How many files the process may have open: each connection is one.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
