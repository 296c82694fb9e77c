//! Clients that send what they should not: the right status, bounded memory, and nobody else suffers.
use std::io::Write;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::support::{BOTH, LOGS, METRICS, TRACES, logs, spans, start};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let receiving = start(BOTH).await;
    let whole = spans(3, 10);
    for bad in [&whole[..whole.len() - 1], &whole[..5], b"<html></html>", b"\xff\xff\xff\xff"] {
        for method in [TRACES, LOGS, METRICS] {
            let status = receiving.grpc(method, bad.to_vec()).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
        for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
            let (status, body) = receiving.post(path, bad.to_vec()).await;
            assert_eq!(status, 400);
            assert!(String::from_utf8_lossy(&body).contains("the request cannot be read"));
        }
    }
    let refused = "weir_receiver_requests_total{receiver=\"otlp\",transport=\"http\",outcome=\"malformed\"}";
    assert_eq!(receiving.metric(refused), 12);
    assert_eq!(receiving.pipelines.take().len(), 0);
    assert_eq!(receiving.metric("weir_receiver_waiting_bytes{receiver=\"otlp\"}"), 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_sent_and_unpacked() {
    let settings = BOTH
        .replace("{GRPC}'", "{GRPC}', max_recv_msg_size_mib: 1")
        .replace("{HTTP}'", "{HTTP}', max_request_body_size: 1MiB");
    let receiving = start(&settings).await;
    let large = spans(1, 2 << 20);
    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let status = receiving.grpc_with(TRACES, large.clone(), |_| {}, compression).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.details().is_empty(), "it does not come again");
    }
    let bombs = [
        (large.clone(), None),
        (gzip(&large), Some("gzip")),
        (gzip(&vec![0; 256 << 20]), Some("gzip")),
        (zstd::encode_all(&*vec![0; 256 << 20], 3).unwrap(), Some("zstd")),
    ];
    for (bomb, encoding) in bombs {
        let mut headers = vec![PROTOBUF];
        headers.extend(encoding.map(|encoding| ("content-encoding", encoding)));
        assert_eq!(receiving.post_with("/v1/traces", bomb, &headers).await.0, 413, "{encoding:?}");
    }
    // Without a length, bit by bit.
    let mut stream = TcpStream::connect(("127.0.0.1", receiving.http)).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0; 65_536], b"\r\n"].concat();
    for _ in 0..17 {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn what_is_not_spoken_here_is_said_so() {
    let receiving = start(BOTH).await;
    let post = |path, headers| receiving.post_with(path, spans(1, 1), headers);
    assert_eq!(post("/v1/nothing", &[PROTOBUF]).await.0, 404);
    assert_eq!(post("/v1/traces", &[]).await.0, 415);
    assert_eq!(post("/v1/traces", &[("content-type", "text/plain")]).await.0, 415);
    assert_eq!(post("/v1/traces", &[PROTOBUF, ("content-encoding", "br")]).await.0, 415);
    assert_eq!(post("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")]).await.0, 400);
    let got = reqwest::get(receiving.url("/v1/traces")).await.unwrap();
    assert_eq!((got.status().as_u16(), &got.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let status = receiving.grpc("/some.Service/Export", Vec::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let encoding = |request: &mut tonic::Request<bytes::Bytes>| {
        request.metadata_mut().insert("grpc-encoding", "snappy".parse().unwrap());
    };
    let status = receiving.grpc_with(TRACES, spans(1, 1), encoding, None).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(receiving.pipelines.take().len(), 0);
}

#[tokio::test]
async fn a_request_of_another_protocol_is_counted() {
    let receiving = start(BOTH).await;
    let mut stream = TcpStream::connect(("127.0.0.1", receiving.grpc)).await.unwrap();
    // HTTP/2, its settings, and a `POST` to `/` without a content type.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x83\x86\x84\x01\x01a").await.unwrap();
    let counted =
        "weir_receiver_requests_total{receiver=\"otlp\",transport=\"grpc\",outcome=\"unsupported\"}";
    let waiting = async {
        while receiving.metric(counted) < 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it is not counted");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let settings = BOTH.replace("lanes: 1", "lanes: 1, read_timeout: 500ms");
    let receiving = start(&settings).await;
    let mut stream = TcpStream::connect(("127.0.0.1", receiving.http)).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1000\r\n\r\nabc";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(receiving.metric("weir_receiver_waiting_bytes{receiver=\"otlp\"}"), 0);
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let settings = BOTH.replace("{HTTP}'", "{HTTP}', idle_timeout: 500ms");
    let receiving = start(&settings).await;
    for beginning in ["", "PO", "POST /v1/traces HTTP/1.1\r\nhost: a\r\n", "PRI * HT"] {
        let mut stream = TcpStream::connect(("127.0.0.1", receiving.http)).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let began = Instant::now();
        if beginning.is_empty() {
            continue; // it takes nothing, and has a minute
        }
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
            .await
            .unwrap_or_else(|_| panic!("{beginning:?} is still open after {:?}", began.elapsed()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_take_little_memory_and_leave_room_for_work() {
    let settings = BOTH
        .replace("{GRPC}'", "{GRPC}', max_connections: 20000")
        .replace("{HTTP}'", "{HTTP}', max_connections: 20000");
    let receiving = start(&settings).await;
    let acknowledging = receiving.pipelines.acknowledge();
    // Both ends are in this process.
    let files: usize = limit("Max open files");
    let count = (files * 2 / 5).min(10_000);
    eprintln!("{count} idle connections; the limit is {files} files");
    let before = resident();
    let mut idle = Vec::new();
    for at in 0..count {
        let port = if at % 2 == 0 { receiving.grpc } else { receiving.http };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if at % 4 == 1 {
            stream.write_all(b"POST /v1/traces HTTP/1.1\r\nhost").await.unwrap();
        }
        if at % 4 == 2 {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        }
        idle.push(stream);
    }
    let open = |transport: &str| {
        receiving.metric(&format!("weir_receiver_connections{{receiver=\"otlp\",transport=\"{transport}\"}}"))
    };
    while open("grpc") + open("http") < count as u64 {
        tokio::task::yield_now().await;
    }
    let each = resident().saturating_sub(before) / count.max(1);
    eprintln!("{each} bytes a connection, both ends together");
    assert!(each < 64 << 10, "{each} bytes a connection");
    receiving.grpc(TRACES, spans(1, 1)).await.unwrap();
    assert_eq!(receiving.post("/v1/logs", logs()).await.0, 200);
    drop(idle);
    acknowledging.abort();
    receiving.end().await;
}

fn limit(name: &str) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}
