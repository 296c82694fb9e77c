//! A running receiver, and agents that call it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_component::testkit::{self, RecordingLanes};
use weir_component::{Context, Lanes, ReceiverError, ReceiverHost, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Format, Payload, SharedProjection, Signal};
use weir_proto::skywalking::SegmentObject;

pub const LONG: Duration = Duration::from_secs(20);

pub struct Running {
    pub grpc: u16,
    pub http: u16,
    pub lanes: RecordingLanes,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), ReceiverError>>,
    pub context: Context,
    pub directory: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub async fn start(more: &str) -> Running {
    start_with("", more).await
}

/// Starts a receiver whose protocols both have `keys` (`, key: value`).
pub async fn start_with(keys: &str, more: &str) -> Running {
    let lanes = RecordingLanes::default();
    start_on(std::sync::Arc::new(lanes.clone()), lanes, keys, more).await
}

/// Starts a receiver that sends down `below`.
pub async fn start_on(
    below: std::sync::Arc<dyn Lanes>,
    lanes: RecordingLanes,
    keys: &str,
    more: &str,
) -> Running {
    let (grpc, http, directory) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let text = format!(
        "receivers:\n  skywalking: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"{keys}}}, http: {{endpoint: \"127.0.0.1:{http}\"{keys}}}}}, lanes: 1, {more}}}\n\
         exporters: {{nop: {{}}}}\nservice: {{pipelines: {{main: {{receivers: [skywalking], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = testkit::context("skywalking", directory.path());
    let settings = Settings::new(&document, &topology.receivers[0]);
    let receiver = (weir_receiver_skywalking::FACTORY.create)(settings, context.clone()).unwrap();
    let host =
        ReceiverHost { context: context.clone(), projection: SharedProjection::default(), lanes: below };
    let stop = CancellationToken::new();
    let task = tokio::spawn(receiver.run(host, stop.clone()));
    let connects = async { while TcpStream::connect(("127.0.0.1", http)).await.is_err() {} };
    tokio::time::timeout(LONG, connects).await.unwrap();
    Running { grpc, http, lanes, stop, task, context, directory }
}

impl Running {
    /// Calls a method with this body. The status, and its message.
    pub async fn call(&self, path: &str, headers: &[(&'static str, &str)], body: Vec<u8>) -> (i32, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.grpc)).await.unwrap();
        call_on(stream, path, headers, body).await
    }

    pub fn metric(&self, name: &str) -> u64 {
        let text = self.context.telemetry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).trim().parse().unwrap()
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let answer = reqwest::Client::new().post(url).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Takes what the lane has got, which is delivered with that: format, signal and records of each batch.
    pub fn take(&self) -> Vec<(Format, Signal, Vec<Vec<u8>>)> {
        let each = self.lanes.take_batches().into_iter().map(|batch| {
            let Payload::Encoded(encoded) = &batch.payload else { panic!("wire bytes") };
            let record = |range: &std::ops::Range<u32>| {
                encoded.arena[range.start as usize..range.end as usize].to_vec()
            };
            (encoded.format, batch.signal, encoded.records.iter().map(record).collect())
        });
        each.collect()
    }

    /// What a call is answered when the pipeline delivers all that comes, and what has come.
    pub async fn delivered<T>(
        &self,
        call: impl Future<Output = T>,
    ) -> (T, Vec<(Format, Signal, Vec<Vec<u8>>)>) {
        let mut call = std::pin::pin!(call);
        let mut all = Vec::new();
        loop {
            tokio::select! {
                answer = &mut call => {
                    all.extend(self.take());
                    return (answer, all);
                }
                () = tokio::time::sleep(Duration::from_millis(5)) => all.extend(self.take()),
            }
        }
    }

    pub async fn finish(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
        self.lanes.check_contract();
    }
}

/// A call whose messages come bit by bit. It is broken off when this is dropped.
pub struct OpenCall {
    body: Option<mpsc::UnboundedSender<Bytes>>,
    answer: JoinHandle<(i32, String)>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl OpenCall {
    pub fn send(&self, bytes: impl Into<Bytes>) {
        self.body.as_ref().unwrap().send(bytes.into()).unwrap();
    }

    /// Sends it, if the call is still open.
    pub fn try_send(&self, bytes: impl Into<Bytes>) -> bool {
        self.body.as_ref().is_some_and(|body| body.send(bytes.into()).is_ok())
    }

    /// Says that nothing more comes, and waits for the answer.
    pub async fn end(mut self) -> (i32, String) {
        self.body = None;
        self.answer().await
    }

    /// Waits for the answer to what is still open.
    pub async fn answer(&mut self) -> (i32, String) {
        tokio::time::timeout(LONG, &mut self.answer).await.expect("no answer").unwrap()
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.answer.abort();
        self.connection.abort();
    }
}

impl Running {
    /// Begins to call a method.
    pub async fn open(&self, path: &str, headers: &[(&'static str, &str)]) -> OpenCall {
        let stream = TcpStream::connect(("127.0.0.1", self.grpc)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (body, pieces) = mpsc::unbounded_channel::<Bytes>();
        let pieces = stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
        let body_of = StreamBody::new(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))).boxed());
        let request = request(path, headers).body(body_of).unwrap();
        let answer = tokio::spawn(async move { status(sender.send_request(request).await.unwrap()).await });
        OpenCall { body: Some(body), answer, connection }
    }

    /// The bytes of requests that wait.
    pub fn waiting(&self) -> u64 {
        self.metric("weir_receiver_waiting_bytes{receiver=\"skywalking\"}")
    }

    /// Waits until this holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Running) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let text = || self.context.telemetry.encode();
        tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("not so: {what}\n{}", text()));
    }

    /// Waits until the lane has this many records, and takes them. They are delivered with that.
    pub async fn records(&self, count: usize) -> Vec<Vec<u8>> {
        let in_lanes = |lanes: &[weir_component::testkit::RecordedLane]| {
            let batches = lanes.iter().flat_map(weir_component::testkit::RecordedLane::batches);
            batches.map(weir_pdata::EventBatch::len).sum::<usize>() >= count
        };
        self.lanes.wait_until(LONG, in_lanes).await;
        self.take().into_iter().flat_map(|(_, _, records)| records).collect()
    }
}

/// Sends a request without a body over this stream, whatever its type.
pub async fn response_on(
    stream: TcpStream,
    path: &str,
    headers: &[(&str, &str)],
) -> Response<hyper::body::Incoming> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://localhost{path}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap()
}

/// Calls a method over this stream.
pub async fn call_on(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> (i32, String) {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = request(path, headers).body(Full::new(Bytes::from(body))).unwrap();
    let answer = status(sender.send_request(request).await.unwrap()).await;
    connection.abort();
    answer
}

fn request(path: &str, headers: &[(&'static str, &str)]) -> hyper::http::request::Builder {
    let request = Request::post(format!("http://localhost{path}")).header("content-type", "application/grpc");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

/// The status of a call, and its message.
async fn status(response: Response<hyper::body::Incoming>) -> (i32, String) {
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let of = |name: &str| {
        let from = |map: &HeaderMap| map.get(name).map(|value| value.to_str().unwrap().to_owned());
        from(&trailers).or_else(|| from(&headers)).unwrap_or_default()
    };
    if of("grpc-status") == "0" {
        assert_eq!(&*body.to_bytes(), [0; 5], "an empty `Commands`");
    }
    (of("grpc-status").parse().unwrap_or(-1), of("grpc-message"))
}

pub fn frames<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let bytes = message.encode_to_vec();
        out.push(0);
        out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        out.extend(bytes);
    }
    out
}

pub fn segment(id: &str) -> SegmentObject {
    SegmentObject { trace_segment_id: id.to_owned(), service: "s".to_owned(), ..SegmentObject::default() }
}
