//! One connection: from its first byte to its end.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service as _};
use tower_http::cors::CorsLayer;

use crate::{Protocol, ResponseBody, ServerMetrics, ServerTls};

/// How long a connection may take to its first request, and to agree on keys.
const FIRST_REQUEST: Duration = Duration::from_secs(60);
/// How long a connection that is told to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// What a client may send before it is read, on one request and on one connection.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The largest head of a request.
const HEAD: u32 = 16 << 10;

/// Answers the requests of one protocol.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. `connection`: the number of the connection that it came on.
    fn answer(
        self: Arc<Self>,
        connection: usize,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// How the connections of one protocol are served.
#[derive(Debug)]
pub struct Connections<S> {
    /// What is spoken.
    pub protocol: Protocol,
    /// What answers.
    pub service: Arc<S>,
    /// What counts them.
    pub metrics: Arc<ServerMetrics>,
    /// Encryption.
    pub tls: Option<ServerTls>,
    /// Which pages may send from a browser.
    pub cors: Option<CorsLayer>,
    /// How long they live.
    pub lifetime: Lifetime,
    /// Requests at a time on one connection of HTTP/2.
    pub max_concurrent_streams: u32,
}

/// How long connections live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Without a request. `None`: for ever.
    pub idle: Option<Duration>,
    /// At all, and how long its requests may then still take. `None`: for ever.
    pub age: Option<(Duration, Duration)>,
    /// After this long without a sign of the client it is asked for one, and has that long to give it.
    pub ping: Option<(Duration, Duration)>,
}

/// What is going on on a connection.
#[derive(Default)]
struct Activity {
    /// Requests that are being answered. Those that begin when Weir ends already do not count.
    open: AtomicUsize,
    /// Requests that have begun.
    begun: AtomicUsize,
    changed: Notify,
}

/// A request that is being answered. `None`: it does not count.
struct Active(Option<Arc<Activity>>);

impl Active {
    fn new(activity: &Arc<Activity>, stop: &CancellationToken) -> Active {
        if stop.is_cancelled() {
            return Active(None);
        }
        activity.open.fetch_add(1, Ordering::AcqRel);
        activity.begun.fetch_add(1, Ordering::AcqRel);
        activity.changed.notify_one();
        Active(Some(Arc::clone(activity)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let Some(activity) = &self.0 else { return };
        activity.open.fetch_sub(1, Ordering::AcqRel);
        activity.changed.notify_one();
    }
}

impl<S: Service> Connections<S> {
    /// Serves a connection to its end. When `stop` is cancelled it ends as soon as the requests that it has
    /// then are answered, and a client gets a few seconds to read the answers, whatever else it sends.
    ///
    /// # Errors
    /// Why it ended otherwise.
    pub(crate) async fn serve(&self, stream: TcpStream, stop: &CancellationToken) -> Result<(), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        // A connection on which nothing comes takes no memory for what might come.
        let first = async {
            stream.readable().await.map_err(|error| error.to_string())?;
            let Some(tls) = &self.tls else { return Ok::<_, String>(Stream::Plain(stream)) };
            let ssl = Ssl::new(tls.acceptor().context()).map_err(|error| error.to_string())?;
            let mut stream = SslStream::new(ssl, stream).map_err(|error| error.to_string())?;
            Pin::new(&mut stream).accept().await.map_err(|error| error.to_string())?;
            Ok(Stream::Encrypted(stream))
        };
        let stream = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            stream = tokio::time::timeout(FIRST_REQUEST, first) => {
                stream.map_err(|_| "nothing came on it".to_owned())??
            }
        };
        match stream {
            Stream::Plain(stream) => self.serve_on(stream, stop).await,
            Stream::Encrypted(stream) => self.serve_on(stream, stop).await,
        }
    }

    async fn serve_on<T>(&self, stream: T, stop: &CancellationToken) -> Result<(), String>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::default());
        let (service, seen, ends) = (Arc::clone(&self.service), Arc::clone(&activity), stop.clone());
        let answer = tower::service_fn(move |request: Request<Incoming>| {
            let (service, active) = (Arc::clone(&service), Active::new(&seen, &ends));
            async move {
                let response = service.answer(number, request).await;
                drop(active);
                Ok::<_, Infallible>(response)
            }
        });
        let cors = self.cors.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (mut answer, cors) = (answer.clone(), cors.clone());
            let answering: Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>> =
                match cors {
                    Some(cors) => Box::pin(async move { cors.layer(answer).call(request).await }),
                    None => Box::pin(async move { answer.call(request).await }),
                };
            answering
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let opened = Instant::now();
        let (mut idle_since, mut begun) = (opened, 0);
        let (mut ends_by, mut is_stopping) = (None::<Instant>, false);
        loop {
            let is_idle = activity.open.load(Ordering::Acquire) == 0;
            if begun != activity.begun.load(Ordering::Acquire) || !is_idle {
                (idle_since, begun) = (Instant::now(), activity.begun.load(Ordering::Acquire));
            }
            if is_stopping && is_idle {
                // Once: whatever comes does not make it later.
                let end = Instant::now() + GRACE;
                ends_by = Some(ends_by.map_or(end, |before| before.min(end)));
            }
            let first = || self.lifetime.idle.map_or(FIRST_REQUEST, |idle| idle.min(FIRST_REQUEST));
            let idle = if begun == 0 { Some(first()) } else { self.lifetime.idle };
            let idle = idle.filter(|_| is_idle).map(|idle| idle_since + idle);
            let age = self.lifetime.age.map(|(age, _)| opened + age);
            let due = match ends_by {
                Some(end) => Some(end),
                // Its requests are answered: the receiver waits for their lanes.
                None if is_stopping => None,
                None => idle.into_iter().chain(age).min(),
            };
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
                () = stop.cancelled(), if !is_stopping => {
                    connection.as_mut().graceful_shutdown();
                    is_stopping = true;
                }
                () = activity.changed.notified() => {}
                () = until(due) => {
                    if ends_by.is_some() {
                        return Err("it did not end when it was told to".to_owned());
                    }
                    connection.as_mut().graceful_shutdown();
                    let longer = self.lifetime.age.map_or(GRACE, |(_, grace)| grace);
                    let grace = if is_idle { GRACE } else { longer };
                    ends_by = Some(Instant::now() + grace);
                }
            }
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.lifetime.idle)
            .max_buf_size(64 << 10);
        let mut http2 = builder.http2();
        http2
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_header_list_size(HEAD);
        if let Some((after, within)) = self.lifetime.ping {
            http2.keep_alive_interval(after).keep_alive_timeout(within);
        }
        if self.protocol == Protocol::Grpc { builder.http2_only() } else { builder }
    }
}

enum Stream {
    Plain(TcpStream),
    Encrypted(SslStream<TcpStream>),
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
