//! Clients that send what they should not: the right status, bounded memory, and nobody else suffers.
use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_proto::skywalking::LogData;

use crate::support::{LONG, Running, frames, segment, start};

const SEGMENTS: &str = "/skywalking.v3.TraceSegmentReportService/collect";

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gRPC message that says that it is compressed.
pub fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![1];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend(bytes);
    frame
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
    for (bomb, encoding) in
        [(gzip(&vec![0; 100 << 10]), "gzip"), (zstd::encode_all(&*vec![0; 4 << 20], 3).unwrap(), "zstd")]
    {
        assert!(bomb.len() < 1000);
        let answer = call(compressed(&bomb), &[token, ("grpc-encoding", encoding)]).await;
        assert_eq!(answer, 8, "{encoding}");
    }
    assert_eq!(running.call("/skywalking.v3.Nothing/collect", &[token], Vec::new()).await.0, 12);
    assert_eq!(running.post("/v3/segments", "{}").await.0, 401);
    assert_eq!(running.take(), []);
    // An empty stream is a report of nothing.
    assert_eq!(call(Vec::new(), &[token]).await, 0);
    let metrics = running.context.telemetry.encode();
    let refused =
        r#"weir_receiver_requests_total{receiver="skywalking",transport="grpc",outcome="unauthenticated"} 2"#;
    assert!(metrics.contains(refused), "{metrics}");
    assert!(running.directory.path().exists());
    running.finish().await;
}

/// Posts a body in pieces, over HTTP/1.1. The answer's status.
async fn post_raw(running: &Running, head: &str, pieces: &[Vec<u8>]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", running.http)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in pieces {
        // The answer may come before all is sent.
        let _ = stream.write_all(piece).await;
    }
    let mut status = vec![0; 12];
    tokio::time::timeout(LONG, stream.read_exact(&mut status)).await.unwrap().unwrap();
    String::from_utf8(status).unwrap()
}

#[tokio::test]
async fn bodies_that_are_broken_large_or_deep_are_refused() {
    let running = start("max_message_bytes: 64KiB").await;
    for path in [
        "/v3/segment",
        "/v3/segments",
        "/v3/logs",
        "/v3/management/reportProperties",
        "/v3/management/keepAlive",
    ] {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let objects = "{\"spans\":".repeat(6_000);
        for bad in ["", "{", "[{]", "nonsense", "{\"service\": 1}", "[1]", "\u{0}", &deep, &objects] {
            let answer = running.post(path, bad).await;
            assert_eq!(answer.0, 400, "{path} {bad:.20}: {}", answer.1);
        }
        let large = format!("{{\"service\": \"{}\"}}", "x".repeat(64 << 10));
        assert_eq!(running.post(path, &large).await.0, 413, "{path}");
        let get = reqwest::get(format!("http://127.0.0.1:{}{path}", running.http)).await.unwrap();
        assert_eq!(get.status(), 405);
    }
    let client = reqwest::Client::new();
    let zeros = vec![b' '; 4 << 20];
    for (bytes, encoding, status) in [
        (gzip(&zeros), "gzip", 413),
        (zstd::encode_all(&*zeros, 3).unwrap(), "zstd", 413),
        (b"no gzip".to_vec(), "gzip", 400),
        (b"x".to_vec(), "br", 415),
        // Small, and right: what is unpacked counts.
        (gzip(b"[]"), "gzip", 200),
    ] {
        let url = format!("http://127.0.0.1:{}/v3/logs", running.http);
        let answer = client.post(url).header("content-encoding", encoding).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), status, "{encoding}");
    }
    let head = "POST /v3/logs HTTP/1.1\r\nhost: a\r\n";
    let announced = format!("{head}expect: 100-continue\r\ncontent-length: 4000000000\r\n\r\n");
    assert_eq!(post_raw(&running, &announced, &[]).await, "HTTP/1.1 413");
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let mut chunks = vec![chunk; 6];
    chunks.push(b"0\r\n\r\n".to_vec());
    assert_eq!(post_raw(&running, &chunked, &chunks).await, "HTTP/1.1 413");
    assert_eq!(running.take(), []);
    assert_eq!(running.metric("weir_receiver_waiting_bytes{receiver=\"skywalking\"}"), 0);
    running.finish().await;
}

#[tokio::test]
async fn a_message_that_does_not_come_whole_is_given_up() {
    let running = start("read_timeout: 300ms").await;
    let head = "POST /v3/logs HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n[";
    assert_eq!(post_raw(&running, head, &[]).await, "HTTP/1.1 408");
    for beginning in [&b"\0\0"[..], b"\0\0\0\0\x09short"] {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            TokioExecutor::new(),
            TokioIo::new(TcpStream::connect(("127.0.0.1", running.grpc)).await.unwrap()),
        )
        .await
        .unwrap();
        let connection = tokio::spawn(connection);
        let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(beginning)))]);
        let body = StreamBody::new(first.chain(stream::pending()));
        let request = Request::post(format!("http://localhost{SEGMENTS}"));
        let request = request.header("content-type", "application/grpc").body(body).unwrap();
        let answer = tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
        let headers = answer.headers().clone();
        let _ = answer.into_body().collect().await;
        assert_eq!(headers["grpc-status"], "4", "deadline exceeded");
        connection.abort();
    }
    assert_eq!(running.metric("weir_receiver_waiting_bytes{receiver=\"skywalking\"}"), 0);
    running.finish().await;
}

#[tokio::test]
async fn a_report_larger_than_the_queue_goes_through_piece_by_piece() {
    let running = start("max_message_bytes: 64KiB, queue: {max_bytes: 64KiB}, answer_timeout: 5s").await;
    let segments: Vec<_> = (0..6).map(|at| segment(&at.to_string().repeat(40 << 10))).collect();
    let (answer, got) = running.delivered(running.call(SEGMENTS, &[], frames(&segments))).await;
    assert_eq!(answer, (0, String::new()));
    let got: Vec<Vec<u8>> = got.into_iter().flat_map(|(_, _, records)| records).collect();
    assert_eq!(got, segments.iter().map(Message::encode_to_vec).collect::<Vec<_>>());
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_take_little_memory_and_leave_room_for_work() {
    let running = start("max_connections: 20000").await;
    // Both ends are in this process.
    let files = of_proc("limits", "Max open files");
    let count = (files * 2 / 5).min(10_000);
    eprintln!("{count} idle connections; the limit is {files} files");
    let before = of_proc("status", "VmRSS:") << 10;
    let mut idle = Vec::new();
    for at in 0..count {
        let port = if at % 2 == 0 { running.grpc } else { running.http };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        match at % 4 {
            1 => stream.write_all(b"POST /v3/logs HTTP/1.1\r\nhost").await.unwrap(),
            2 => stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap(),
            _ => {}
        }
        idle.push(stream);
    }
    let open = |transport: &str| {
        running.metric(&format!(
            "weir_receiver_connections{{receiver=\"skywalking\",transport=\"{transport}\"}}"
        ))
    };
    while open("grpc") + open("http") < count as u64 {
        tokio::task::yield_now().await;
    }
    let each = (of_proc("status", "VmRSS:") << 10).saturating_sub(before) / count.max(1);
    eprintln!("{each} bytes a connection, both ends together");
    assert!(each < 64 << 10, "{each} bytes a connection");
    let path = "/skywalking.v3.LogReportService/collect";
    let (answer, got) = running.delivered(running.call(path, &[], frames(&[LogData::default()]))).await;
    assert_eq!((answer.0, got.len()), (0, 1));
    let (answer, _) = running.delivered(running.post("/v3/segments", "[]")).await;
    assert_eq!(answer.0, 200);
    drop(idle);
    running.finish().await;
}

fn of_proc(file: &str, name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
