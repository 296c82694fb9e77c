//! Reports: what becomes of them, and when they are answered.
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_pdata::{Format, Payload, Signal};
use weir_proto::skywalking::{InstancePingPkg, LogData, MeterData, MeterDataCollection, SegmentCollection};

use crate::support::{LONG, frames, segment, start};

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
    let items = |outcome: &str| {
        running.metric(&format!(
            "otelcol_receiver_{outcome}_log_records{{receiver=\"skywalking\",transport=\"grpc\"}}"
        ))
    };
    assert_eq!((items("accepted"), items("refused")), (0, 1));
    let answer = running.call(path, &[], frames(&[LogData::default()])).await;
    assert!(answer.0 == 14 && answer.1.contains("answer_timeout"), "{answer:?}");
    assert_eq!((items("accepted"), items("refused")), (0, 1), "not known yet");
    // The lane says how many rows it has made of them.
    let batches = running.lanes.take_batches();
    let Payload::Encoded(encoded) = &batches[0].payload else { panic!("wire bytes") };
    encoded.learn_items(3);
    drop(batches);
    assert_eq!((items("accepted"), items("refused")), (3, 1));
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

#[tokio::test]
async fn a_request_that_the_end_interrupts_is_answered_though_its_body_still_comes() {
    let running = start("").await;
    let mut stream = TcpStream::connect(("127.0.0.1", running.http)).await.unwrap();
    let (pieces, piece) = (16, vec![b' '; 32 << 10]);
    let length = pieces * piece.len();
    let head = format!("POST /v3/segments HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&piece).await.unwrap();
    running.until("it comes", |running| running.waiting() > 1024).await;
    running.stop.cancel();
    for at in 1..pieces {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let sent = stream.write_all(&piece).await;
        assert!(sent.is_ok(), "piece {at} of {pieces}: {sent:?}");
    }
    let mut status = vec![0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(String::from_utf8(status).unwrap(), "HTTP/1.1 503");
    drop(stream);
    running.finish().await;
}
