//! Any bytes at every endpoint: each is answered, with a status that the README names.
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use weir_proto::skywalking::{InstancePingPkg, LogData, MeterData, SegmentCollection};

use crate::support::{frames, segment, start};

const PATHS: [&str; 6] = [
    "/v3/segment",
    "/v3/segments",
    "/v3/logs",
    "/v3/management/reportProperties",
    "/v3/management/keepAlive",
    "/v3/other",
];
const METHODS: [&str; 6] = [
    "/skywalking.v3.TraceSegmentReportService/collect",
    "/TraceSegmentReportService/collectInSync",
    "/skywalking.v3.MeterReportService/collect",
    "/skywalking.v3.LogReportService/collect",
    "/skywalking.v3.ManagementService/keepAlive",
    "/skywalking.v3.Other/collect",
];

#[test]
fn fuzz_skywalking_endpoints() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let running = runtime.block_on(start("max_message_bytes: 32KiB"));
    let (mut sender, connection) = runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", running.grpc)).await.unwrap();
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap()
    });
    runtime.spawn(connection);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    // The first byte says where it goes.
    let bodies = [
        frames(&[segment("a"), segment("b")]),
        frames(&[SegmentCollection { segments: vec![segment("c")] }]),
        frames(&[MeterData::default(), MeterData::default()]),
        frames(&[LogData::default()]),
        frames(&[InstancePingPkg::default()]),
        br#"[{"traceSegmentId":"a","spans":[{"spanId":1,"refs":[{}]}]}]"#.to_vec(),
        br#"{"service":"s","properties":[{"key":"language","value":"lua"}]}"#.to_vec(),
    ];
    let first = |at: usize| if at < 5 { at } else { 8 + at - 5 };
    let seeds = bodies.into_iter().enumerate().map(|(at, mut body)| {
        body.insert(0, u8::try_from(first(at)).unwrap());
        body
    });
    let seeds: Vec<Vec<u8>> = seeds.collect();
    weir_fuzz::fuzz("skywalking_endpoints", &seeds, &["{\"a\":", "[[[[", "null"], |bytes| {
        let (first, rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
        let (to, body) = (usize::from(first & 7) % 6, Bytes::copy_from_slice(rest));
        if first & 8 != 0 {
            let url = format!("http://127.0.0.1:{}{}", running.http, PATHS[to]);
            let posting = async { client.post(url).body(body).send().await.unwrap().status().as_u16() };
            let (status, _) = runtime.block_on(running.delivered(posting));
            assert!([200, 400, 404, 413].contains(&status), "{}: {status}", PATHS[to]);
            return;
        }
        let mut request = Request::post(format!("http://localhost{}", METHODS[to]));
        request = request.header("content-type", "application/grpc");
        if first & 16 != 0 {
            request = request.header("grpc-encoding", "gzip");
        }
        let calling = async {
            let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
            let headers = response.headers().clone();
            let body = response.into_body().collect().await.unwrap();
            let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
            status.or(headers.get("grpc-status")).unwrap().to_str().unwrap().to_owned()
        };
        let (status, _) = runtime.block_on(running.delivered(calling));
        assert!(["0", "3", "8", "12"].contains(&&*status), "{}: {status}", METHODS[to]);
    });
    assert_eq!(running.metric("weir_receiver_waiting_bytes{receiver=\"skywalking\"}"), 0);
    runtime.block_on(running.finish());
}
