//! Connections over real sockets: how they end, and what is counted of those that end otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_component::Context;
use weir_component::testkit::context;
use weir_server::{Connections, Lifetime, Listener, Outcome, Protocol, ResponseBody, ServerMetrics, Service};

/// Answers at once; the path `/panic` with a panic, and `/wait` when it is told to.
struct Paths {
    metrics: Arc<ServerMetrics>,
    waits: CancellationToken,
}

impl Service for Paths {
    async fn answer(self: Arc<Self>, _: usize, request: Request<Incoming>) -> Response<ResponseBody> {
        let begun = self.metrics.begin();
        match request.uri().path() {
            "/panic" => panic!("of the test"),
            "/wait" => self.waits.cancelled().await,
            _ => {}
        }
        begun.answered(Outcome::Taken);
        Response::new(ResponseBody::default())
    }
}

struct Running {
    port: u16,
    context: Context,
    stop: CancellationToken,
    waits: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(lifetime: Lifetime) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let context = context("test", directory.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let metrics = Arc::new(ServerMetrics::new(&context.telemetry, "test", "http"));
    let waits = CancellationToken::new();
    let connections = Connections {
        protocol: Protocol::Http,
        service: Arc::new(Paths { metrics: Arc::clone(&metrics), waits: waits.clone() }),
        metrics,
        tls: None,
        cors: None,
        lifetime,
        max_concurrent_streams: 100,
    };
    let listener = Listener::bind(&format!("127.0.0.1:{port}"), 100, connections, &context).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(listener.run(stop.clone()));
    Running { port, context, stop, waits, task }
}

const FOR_EVER: Lifetime = Lifetime { idle: None, age: None, ping: None };

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    fn has(&self, line: &str) -> bool {
        self.context.telemetry.encode().lines().any(|found| found == line)
    }

    async fn until(&self, line: &str) {
        let waiting = async {
            while !self.has(line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let text = || self.context.telemetry.encode();
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("no {line} in\n{}", text()));
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A `POST` without a body as number `stream` of a connection of HTTP/2.
fn post(stream: u32, path: &str) -> Vec<u8> {
    let mut head = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.as_bytes());
    head.extend(b"\x01\x01a");
    // The length, HEADERS, END_HEADERS and END_STREAM.
    let mut frame = vec![0, 0, u8::try_from(head.len()).unwrap(), 1, 5];
    frame.extend(stream.to_be_bytes());
    frame.extend(head);
    frame
}

/// Sends one request after the other and looks at no answer, until nobody takes them.
fn keep_busy(mut client: TcpStream, first: u32) -> JoinHandle<()> {
    tokio::spawn(async move {
        for stream in (first..).step_by(2) {
            if client.write_all(&post(stream, "/")).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_on_does_not_keep_the_end_from_coming() {
    let running = start(FOR_EVER).await;
    let mut client = running.connect().await;
    client.write_all(PREFACE).await.unwrap();
    let busy = keep_busy(client, 1);
    running
        .until("weir_receiver_requests_total{receiver=\"test\",transport=\"http\",outcome=\"ok\"} 3")
        .await;
    running.stop.cancel();
    let stopped = Instant::now();
    tokio::time::timeout(Duration::from_secs(15), running.task).await.expect("it goes on").unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(8), "{:?}", stopped.elapsed());
    busy.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_before_the_end_is_answered_whatever_its_client_sends_after_it() {
    let running = start(FOR_EVER).await;
    let mut client = running.connect().await;
    client.write_all(PREFACE).await.unwrap();
    client.write_all(&post(1, "/wait")).await.unwrap();
    client.write_all(&post(3, "/")).await.unwrap();
    running
        .until("weir_receiver_requests_total{receiver=\"test\",transport=\"http\",outcome=\"ok\"} 1")
        .await;
    running.stop.cancel();
    let busy = keep_busy(client, 5);
    // Longer than an idle connection gets.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!running.task.is_finished(), "a request is not answered");
    running.waits.cancel();
    let answered = Instant::now();
    tokio::time::timeout(Duration::from_secs(15), running.task).await.expect("it goes on").unwrap();
    assert!(answered.elapsed() < Duration::from_secs(8), "{:?}", answered.elapsed());
    let text = running.context.telemetry.encode();
    assert!(text.contains("weir_receiver_unanswered_requests_total{receiver=\"test\",transport=\"http\"} 0"));
    busy.abort();
}

#[tokio::test]
async fn a_panic_is_counted_and_leaves_nothing_behind() {
    let running = start(FOR_EVER).await;
    for _ in 0..2 {
        let mut client = running.connect().await;
        client.write_all(b"POST /panic HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "there is no answer");
    }
    running.until("weir_receiver_connections{receiver=\"test\",transport=\"http\"} 0").await;
    assert!(
        running.has("weir_receiver_requests_total{receiver=\"test\",transport=\"http\",outcome=\"panic\"} 2")
    );
    assert!(running.has("weir_receiver_unanswered_requests_total{receiver=\"test\",transport=\"http\"} 0"));
    let mut client = running.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    running.stop.cancel();
    running.task.await.unwrap();
}
