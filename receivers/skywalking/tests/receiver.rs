//! The receiver over real sockets: what clients send and how they are answered.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::header::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_component::testkit::{self, RecordingLanes};
use weir_component::{Context, ReceiverError, ReceiverHost, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Format, Payload, SharedProjection, Signal};
use weir_proto::skywalking::{
    InstancePingPkg, LogData, MeterData, MeterDataCollection, SegmentCollection, SegmentObject,
};

const LONG: Duration = Duration::from_secs(20);

struct Running {
    grpc: u16,
    http: u16,
    lanes: RecordingLanes,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ReceiverError>>,
    context: Context,
    directory: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start(more: &str) -> Running {
    let (grpc, http, directory) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let text = format!(
        "receivers:\n  skywalking: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}, lanes: 1, {more}}}\n\
         exporters: {{nop: {{}}}}\nservice: {{pipelines: {{main: {{receivers: [skywalking], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = testkit::context("skywalking", directory.path());
    let settings = Settings::new(&document, &topology.receivers[0]);
    let receiver = (weir_receiver_skywalking::FACTORY.create)(settings, context.clone()).unwrap();
    let lanes = RecordingLanes::default();
    let host = ReceiverHost {
        context: context.clone(),
        projection: SharedProjection::default(),
        lanes: std::sync::Arc::new(lanes.clone()),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(receiver.run(host, stop.clone()));
    let connects = async { while TcpStream::connect(("127.0.0.1", http)).await.is_err() {} };
    tokio::time::timeout(LONG, connects).await.unwrap();
    Running { grpc, http, lanes, stop, task, context, directory }
}

impl Running {
    /// Calls a method with this body. The status, and its message.
    async fn call(&self, path: &str, headers: &[(&'static str, &str)], body: Vec<u8>) -> (i32, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.grpc)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request =
            Request::post(format!("http://localhost{path}")).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
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
        connection.abort();
        (of("grpc-status").parse().unwrap_or(-1), of("grpc-message"))
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let answer = reqwest::Client::new().post(url).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Takes what the lane has got, which is delivered with that: format, signal and records of each batch.
    fn take(&self) -> Vec<(Format, Signal, Vec<Vec<u8>>)> {
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
    async fn delivered<T>(&self, call: impl Future<Output = T>) -> (T, Vec<(Format, Signal, Vec<Vec<u8>>)>) {
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

    async fn finish(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
        self.lanes.check_contract();
    }
}

fn frames<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let bytes = message.encode_to_vec();
        out.push(0);
        out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        out.extend(bytes);
    }
    out
}

fn segment(id: &str) -> SegmentObject {
    SegmentObject { trace_segment_id: id.to_owned(), service: "s".to_owned(), ..SegmentObject::default() }
}

#[tokio::test]
async fn each_method_has_its_messages_with_and_without_the_package() {
    let running = start("").await;
    let segments = [segment("a"), segment("b")];
    let bytes: Vec<Vec<u8>> = segments.iter().map(Message::encode_to_vec).collect();
    for service in ["skywalking.v3.TraceSegmentReportService", "TraceSegmentReportService"] {
        let (answer, got) =
            running.delivered(running.call(&format!("/{service}/collect"), &[], frames(&segments))).await;
        assert_eq!(answer, (0, String::new()));
        assert_eq!(got, [(Format::SkyWalkingSegment, Signal::Traces, bytes.clone())]);
    }
    let all = SegmentCollection { segments: segments.to_vec() };
    let path = "/skywalking.v3.TraceSegmentReportService/collectInSync";
    let (answer, got) = running.delivered(running.call(path, &[], frames(&[all]))).await;
    assert_eq!((answer.0, &got[0].2), (0, &bytes));

    let meters = [
        MeterData { service: "s".to_owned(), timestamp: 1, ..MeterData::default() },
        MeterData { timestamp: 2, ..MeterData::default() },
    ];
    let path = "/skywalking.v3.MeterReportService/collect";
    let (answer, got) = running.delivered(running.call(path, &[], frames(&meters))).await;
    let collection = MeterDataCollection { meter_data: meters.to_vec() };
    assert_eq!(
        (answer.0, got),
        (0, vec![(Format::SkyWalkingMeters, Signal::Metrics, vec![collection.encode_to_vec()])])
    );
    let path = "/skywalking.v3.MeterReportService/collectBatch";
    let (_, got) =
        running.delivered(running.call(path, &[], frames(std::slice::from_ref(&collection)))).await;
    assert_eq!(got[0].2, [collection.encode_to_vec()]);

    let ping = InstancePingPkg { service: "s".to_owned(), ..InstancePingPkg::default() };
    let path = "/ManagementService/keepAlive";
    let (answer, got) = running.delivered(running.call(path, &[], frames(&[ping]))).await;
    assert_eq!((answer.0, got[0].0, got[0].1), (0, Format::SkyWalkingPing, Signal::Logs));

    for question in [
        "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations",
        "/skywalking.v3.ProfileTask/getProfileTaskCommands",
        "/skywalking.v10.AsyncProfilerTask/getAsyncProfilerTaskCommands",
    ] {
        assert_eq!(running.call(question, &[], frames(&[LogData::default()])).await.0, 0, "{question}");
    }
    assert_eq!(running.take(), []);
    running.finish().await;
}

#[tokio::test]
async fn the_answer_waits_until_the_data_is_safe_and_says_when_it_is_not() {
    let running = start("answer_timeout: 2s").await;
    let path = "/skywalking.v3.LogReportService/collect";
    let mut call = Box::pin(running.call(path, &[], frames(&[LogData::default()])));
    let waiting = async {
        tokio::select! {
            answer = &mut call => panic!("answered before it is delivered: {answer:?}"),
            () = running.lanes.wait_until(LONG, |lanes| lanes[0].batches().count() == 1) => {}
        }
    };
    waiting.await;
    let batches = running.lanes.take_batches();
    batches[0].ack.fail();
    drop(batches);
    assert_eq!(call.as_mut().await.0, 14, "unavailable");
    drop(call);
    let answer = running.call(path, &[], frames(&[LogData::default()])).await;
    assert!(answer.0 == 14 && answer.1.contains("answer_timeout"), "{answer:?}");
    drop(running.take());
    running.finish().await;
}

#[tokio::test]
async fn json_over_http_is_the_same() {
    let running = start("").await;
    let body = r#"[{"traceSegmentId":"a","service":"s"},{"traceSegmentId":"b","service":"s"}]"#;
    let expected: Vec<Vec<u8>> = [segment("a"), segment("b")].iter().map(Message::encode_to_vec).collect();
    let (answer, got) = running.delivered(running.post("/v3/segments", body)).await;
    assert_eq!((answer, &got[0].2), ((200, "{}".to_owned()), &expected));
    for (path, body, format) in [
        ("/v3/segment", r#"{"traceSegmentId":"a"}"#, Format::SkyWalkingSegment),
        ("/v3/logs", r#"[{"service":"s","body":{"text":{"text":"x"}}}]"#, Format::SkyWalkingLog),
        (
            "/v3/management/reportProperties",
            r#"{"service":"s","properties":[{"key":"language","value":"lua"}]}"#,
            Format::SkyWalkingInstance,
        ),
        ("/v3/management/keepAlive", r#"{"service":"s","serviceInstance":"i"}"#, Format::SkyWalkingPing),
    ] {
        let (answer, got) = running.delivered(running.post(path, body)).await;
        assert_eq!((answer.0, got[0].0), (200, format), "{path}");
    }
    let wrong = running.post("/v3/segments", r#"{"spans": 1}"#).await;
    assert!(wrong.0 == 400 && wrong.1.contains("`spans`: expected an array"), "{wrong:?}");
    assert_eq!(running.post("/v3/segments", "nonsense").await.0, 400);
    assert_eq!(running.post("/v4", "{}").await.0, 404);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(running.post("/v3/logs", &deep).await.0, 400);
    running.finish().await;
}

#[tokio::test]
async fn malformed_calls_have_their_status_and_take_nothing() {
    let running = start("max_message_bytes: 1KiB, authentication: secret").await;
    let path = "/skywalking.v3.TraceSegmentReportService/collect";
    let token = ("authentication", "secret");
    let call =
        async |body: Vec<u8>, headers: &[(&'static str, &str)]| running.call(path, headers, body).await.0;
    assert_eq!(call(frames(&[segment("a")]), &[]).await, 16, "unauthenticated");
    assert_eq!(call(frames(&[segment("a")]), &[("authentication", "secreT")]).await, 16);
    assert_eq!(call(b"\0\0\0\0\x09short".to_vec(), &[token]).await, 3, "it ends within a message");
    assert_eq!(call(b"\0\0".to_vec(), &[token]).await, 3, "it ends within a prefix");
    assert_eq!(call(b"\x01\0\0\0\x01x".to_vec(), &[token]).await, 3, "compressed, and nothing says how");
    assert_eq!(call(b"\x07\0\0\0\x01x".to_vec(), &[token]).await, 3, "an unknown flag");
    assert_eq!(call(b"\x01\0\0\0\x01x".to_vec(), &[token, ("grpc-encoding", "gzip")]).await, 3, "no gzip");
    assert_eq!(call(b"\0\xff\xff\xff\xff".to_vec(), &[token]).await, 8, "4 GiB are announced");
    assert_eq!(call(Vec::new(), &[token, ("grpc-encoding", "br")]).await, 12);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![0; 100 << 10]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1000);
    let mut body = vec![1];
    body.extend(u32::try_from(bomb.len()).unwrap().to_be_bytes());
    body.extend(&bomb);
    assert_eq!(call(body, &[token, ("grpc-encoding", "gzip")]).await, 8, "100 KiB of zeros");
    assert_eq!(running.call("/skywalking.v3.Nothing/collect", &[token], Vec::new()).await.0, 12);
    assert_eq!(running.post("/v3/segments", "{}").await.0, 401);
    assert_eq!(running.take(), []);
    // An empty stream is a report of nothing.
    assert_eq!(call(Vec::new(), &[token]).await, 0);
    let metrics = running.context.telemetry.encode();
    let refused = r#"weir_skywalking_refused_reports_total{receiver="skywalking",protocol="grpc",status="unauthenticated"} 2"#;
    assert!(metrics.contains(refused), "{metrics}");
    assert!(running.directory.path().exists());
    running.finish().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_keeps_nobody_and_reports_end_in_an_orderly_way() {
    let running = start("").await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(("127.0.0.1", running.grpc)).await.unwrap());
    }
    let path = "/skywalking.v3.LogReportService/collect";
    let (answer, got) = running.delivered(running.call(path, &[], frames(&[LogData::default()]))).await;
    assert_eq!((answer.0, got.len()), (0, 1));
    drop(idle);
    running.finish().await;
}

#[tokio::test]
async fn a_call_that_the_end_interrupts_is_no_success_and_what_it_brought_is_delivered() {
    let running = start("").await;
    let stream = TcpStream::connect(("127.0.0.1", running.grpc)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    // The agent does not say that this is all.
    let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(frames(&[segment("1")]))))]);
    let body = StreamBody::new(first.chain(stream::pending()));
    let request = Request::post("http://localhost/skywalking.v3.TraceSegmentReportService/collect");
    let request = request.header("content-type", "application/grpc").body(body).unwrap();
    let (answer, came) =
        running
            .delivered(async {
                let answer = tokio::spawn(sender.send_request(request));
                let read =
                    async || {
                        running.context.telemetry.encode().lines().any(|line| {
                            line.starts_with("weir_receiver_records_total") && line.ends_with(" 1")
                        })
                    };
                while !read().await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                running.stop.cancel();
                answer.await.unwrap().unwrap()
            })
            .await;
    let headers = answer.headers().clone();
    let body = answer.into_body().collect().await.unwrap();
    let status =
        body.trailers().and_then(|trailers| trailers.get("grpc-status")).or(headers.get("grpc-status"));
    assert_eq!(status.unwrap(), "14", "it may send more, which nobody reads: {headers:?}");
    assert_eq!(came.len(), 1);
    connection.abort();
    running.finish().await;
}
