//! The listening sockets and their connections.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_component::{Context, ReceiverError};

use crate::intake::Intake;
use crate::{grpc, http};

/// Which protocol is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// How long nothing is accepted when the system refuses a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is told to end may take.
const GRACE: Duration = Duration::from_secs(30);
/// After how long without a sign of the client it is asked for one, and how long it has to give it.
const PING: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(20));
/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);

impl Protocol {
    /// As metrics and settings name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
        }
    }
}

/// Begins to listen.
///
/// # Errors
/// The address is not to be had.
pub(crate) async fn bind(
    protocol: Protocol,
    endpoint: &str,
    context: &Context,
) -> Result<TcpListener, ReceiverError> {
    let (receiver, name) = (&context.id, protocol.name());
    let wrong = |error: std::io::Error| ReceiverError {
        message: format!(
            "receiver `{receiver}`: cannot listen on {endpoint}: {error}; choose another `protocols.{name}.endpoint`"
        ),
        source: Some(Box::new(error)),
    };
    let socket = TcpListener::bind(endpoint).await.map_err(wrong)?;
    let address = socket.local_addr().map_err(wrong)?;
    tracing::info!(%receiver, protocol = name, %address, "listening for SkyWalking agents");
    Ok(socket)
}

/// Serves connections until the receiver stops, and those that are open then until their reports are
/// answered.
pub(crate) async fn serve(protocol: Protocol, socket: TcpListener, most: usize, intake: Arc<Intake>) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let places = Arc::new(Semaphore::new(most));
    let mut open = JoinSet::new();
    loop {
        // The system keeps further connections waiting.
        let accepted = tokio::select! {
            biased;
            () = intake.stop.cancelled() => break,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (socket.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, _)), Ok(place)) => {
                let (intake, number) = (Arc::clone(&intake), NUMBER.fetch_add(1, Ordering::Relaxed));
                open.spawn(async move {
                    let gauge = intake.metrics.connections(protocol.name());
                    gauge.inc();
                    connection(protocol, stream, number, &intake).await;
                    gauge.dec();
                    drop(place);
                });
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
        while open.try_join_next().is_some() {}
    }
    drop(socket);
    while open.join_next().await.is_some() {}
}

async fn connection(protocol: Protocol, stream: TcpStream, number: usize, intake: &Arc<Intake>) {
    // Small answers should not wait for larger ones.
    let _ = stream.set_nodelay(true);
    let own = Arc::clone(intake);
    let service = service_fn(move |request: Request<Incoming>| {
        let intake = Arc::clone(&own);
        async move {
            Ok::<_, Infallible>(match protocol {
                Protocol::Grpc => grpc::answer(&intake, number, request).await,
                Protocol::Http => http::answer(&intake, number, request).await,
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .initial_stream_window_size(512 << 10)
        .initial_connection_window_size(1 << 20)
        .max_concurrent_streams(1_000)
        .max_header_list_size(16 << 10);
    if protocol == Protocol::Grpc {
        builder = builder.http2_only();
    }
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = intake.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, served).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(protocol = protocol.name(), %error, "a connection ended");
    }
}
