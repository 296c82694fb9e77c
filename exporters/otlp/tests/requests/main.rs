//! What a server gets, and what becomes of its answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod server;

use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tonic::{Code, Status};
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{Probe, check_exporter_contract, context};
use weir_component::{Context, Exporter, Settings, exporter_helper};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{
    Ack, Encoded, EventBatch, Format, MemoryPermit, Origin, Outcome, Payload, Projection, decode,
};

use server::{Answer, Server};

/// A request with these spans.
fn request(names: &[&str]) -> Vec<u8> {
    let span = |name: &&str| Span { name: (*name).to_owned(), trace_id: vec![7; 16], ..Span::default() };
    let scope = ScopeSpans { spans: names.iter().map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

/// The names of the spans of a request.
fn names(request: &[u8]) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(request).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

/// Requests as a receiver has got them.
fn received(requests: &[Vec<u8>]) -> EventBatch {
    let encoded = Encoded::concat(Format::OtlpTraces, requests.iter().map(Vec::as_slice)).unwrap();
    EventBatch {
        signal: Format::OtlpTraces.signal(),
        payload: Payload::Encoded(encoded),
        origin: Origin::default(),
        ack: Ack::none(),
        permit: MemoryPermit::default(),
    }
}

/// The same, decoded.
fn decoded(requests: &[Vec<u8>]) -> EventBatch {
    let batch = received(requests);
    let Payload::Encoded(encoded) = &batch.payload else { unreachable!() };
    let columns = decode(encoded, &Projection::everything()).columns;
    batch.with_columns(columns)
}

fn build(server: &Server, more: &str) -> (BuiltExporter, Context, tempfile::TempDir) {
    let text = format!(
        "receivers: {{r: }}\nexporters:\n  otlp: {{endpoint: \"http://127.0.0.1:{}\"{more}}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [otlp]}}}}}}\n",
        server.port
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let context = context("otlp", folder.path());
    let settings = Settings::new(&document, &topology.exporters[0]);
    let built = (weir_exporter_otlp::FACTORY.create)(settings, context.clone());
    (built.unwrap_or_else(|wrong| panic!("{wrong}")), context, folder)
}

fn exporter(server: &Server, more: &str) -> Box<dyn Exporter> {
    build(server, more).0.exporter
}

#[tokio::test]
async fn received_requests_are_forwarded_as_they_came_whatever_the_way() {
    let two = [request(&["a", "b"]), request(&["c"])];
    for (protocol, path) in [
        ("grpc", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        ("http/protobuf", "/v1/traces"),
    ] {
        for compression in ["gzip", "zstd", "none"] {
            let server = Server::start().await;
            let more =
                format!(", protocol: {protocol}, compression: {compression}, headers: {{x-team: blue}}");
            let (built, context, _folder) = build(&server, &more);
            assert!(built.exporter.takes_encoded(Format::OtlpTraces));
            built.exporter.export(&[received(&two), received(&two[..1])]).await.unwrap();
            let seen = server.seen();
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].body, [&*two[0], &*two[1], &*two[0]].concat(), "{protocol} {compression}");
            assert_eq!(seen[0].path, path);
            assert_eq!(seen[0].headers["x-team"], "blue");
            let encoding = if protocol == "grpc" { "grpc-encoding" } else { "content-encoding" };
            let named = seen[0].headers.get(encoding).map(|value| value.to_str().unwrap());
            assert_eq!(named.unwrap_or("none"), compression);
            let metrics = context.telemetry.encode();
            assert!(
                metrics.contains("weir_otlp_forwarded_requests_total{exporter=\"otlp\"} 3\n"),
                "{metrics}"
            );
        }
    }
}

#[tokio::test]
async fn columns_are_written_as_requests() {
    let server = Server::start().await;
    let two = [request(&["a", "b"]), request(&["c"])];
    exporter(&server, "").export(&[decoded(&two)]).await.unwrap();
    assert_eq!(names(&server.seen()[0].body), ["a", "b", "c"]);
    check_exporter_contract(exporter(&server, ""), vec![decoded(&two)]).await;
}

#[tokio::test]
async fn a_server_that_reads_json_gets_it() {
    let server = Server::start().await;
    exporter(&server, ", protocol: http/json, compression: none")
        .export(&[received(&[request(&["a"])])])
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].headers["content-type"], "application/json");
    let json: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["name"], &span["traceId"]), (&"a".into(), &"07".repeat(16).into()));
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_when_it_says() {
    let server = Server::start().await;
    // Details {RetryInfo {retry_delay: 1s}}.
    let details = b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
    let full = Status::with_details(Code::ResourceExhausted, "full", Bytes::from_static(details));
    server.answer([Answer::Status(full), Answer::Status(Status::unavailable("not now"))]);
    let began = Instant::now();
    let more = ", retry: {initial_interval: 10ms, max_interval: 20ms}, batch: {timeout: 10ms}";
    let (built, context, _folder) = build(&server, more);
    settles(built, context, vec![received(&[request(&["a"])])], Outcome::Done).await;
    assert_eq!(server.seen().len(), 3);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let server = Server::start().await;
    server.answer([Answer::Http(429, Some("1")), Answer::Http(503, None), Answer::Http(401, None)]);
    let began = Instant::now();
    let (built, context, _folder) = build(&server, &format!("{more}, protocol: http/protobuf"));
    settles(built, context, vec![received(&[request(&["a"])])], Outcome::Done).await;
    assert_eq!(server.seen().len(), 4);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

/// Sends batches through the helper, and checks what becomes of each.
async fn settles(built: BuiltExporter, context: Context, batches: Vec<EventBatch>, expected: Outcome) {
    let (queue, task) = exporter_helper::spawn(built, context).await.unwrap();
    let (probe, count) = (Probe::default(), batches.len());
    for batch in batches {
        queue.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
    }
    drop(queue);
    task.finish(Duration::from_secs(60)).await;
    assert_eq!(probe.count(expected), count);
}

#[tokio::test]
async fn what_the_server_refuses_is_isolated_though_it_came_undecoded() {
    let server = Server::start().await;
    server.refuse_if(|body| match names(body).iter().any(|name| name == "bad") {
        true => Some(Status::invalid_argument("no such span")),
        false => None,
    });
    let (built, context, folder) = build(&server, ", batch: {timeout: 10ms}");
    let broken = vec![0x0a, 0x05, 0x12, 0x03, 0x12, 0x01, 0xff];
    let batches = vec![received(&[request(&["a", "bad", "b"]), request(&["c"])])];
    settles(built, context, batches, Outcome::Done).await;
    let mut taken: Vec<String> = server.taken().iter().flat_map(|body| names(body)).collect();
    taken.sort();
    assert_eq!(taken, ["a", "b", "c"]);
    let letters = std::fs::read_to_string(folder.path().join("otlp.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), 1, "{letters}");
    assert!(letters.contains("no such span") && letters.contains("bad"), "{letters}");
    // What cannot be decoded is kept as it came.
    let server = Server::start().await;
    server.answer([Answer::Status(Status::invalid_argument("not protobuf"))]);
    let (built, context, folder) = build(&server, ", batch: {timeout: 10ms}");
    settles(built, context, vec![received(&[broken, request(&["c"])])], Outcome::Done).await;
    let letters = std::fs::read_to_string(folder.path().join("otlp.jsonl")).unwrap();
    assert!(letters.contains("CgUSAxIB/w=="), "{letters}");
    assert_eq!(server.taken().iter().flat_map(|body| names(body)).collect::<Vec<_>>(), ["c"]);
}

#[tokio::test]
async fn what_is_too_large_goes_in_halves() {
    let server = Server::start().await;
    server.refuse_if(|body| match names(body).len() > 2 {
        true => Some(Status::resource_exhausted("grpc: received message larger than max (9 vs. 8)")),
        false => None,
    });
    let (built, context, folder) = build(&server, ", batch: {timeout: 10ms}");
    let batches = vec![received(&[request(&["a", "b", "c", "d", "e"])])];
    settles(built, context, batches, Outcome::Done).await;
    let mut taken: Vec<String> = server.taken().iter().flat_map(|body| names(body)).collect();
    taken.sort();
    assert_eq!(taken, ["a", "b", "c", "d", "e"]);
    assert!(!folder.path().join("otlp.jsonl").exists(), "nothing was refused");
}

#[tokio::test]
async fn a_partial_success_is_counted() {
    for protocol in ["grpc", "http/protobuf"] {
        let server = Server::start().await;
        let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() };
        let response = ExportTraceServiceResponse { partial_success: Some(partial) };
        server.answer([Answer::Message(response.encode_to_vec())]);
        let (built, context, folder) = build(&server, &format!(", protocol: {protocol}"));
        let batches = vec![received(&[request(&["a", "b", "c"])])];
        settles(built, context.clone(), batches, Outcome::Done).await;
        assert_eq!(server.taken().len(), 1, "not sent again");
        let metrics = context.telemetry.encode();
        for line in [
            "weir_otlp_rejected_items_total{exporter=\"otlp\"} 2\n",
            "otelcol_exporter_sent_spans{exporter=\"otlp\"} 1\n",
            "otelcol_exporter_send_failed_spans{exporter=\"otlp\"} 2\n",
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }
        assert!(!folder.path().join("otlp.jsonl").exists(), "nobody knows which");
    }
}

/// What came undecoded counts by its spans wherever it ends.
#[tokio::test]
async fn refused_requests_count_as_the_items_in_them() {
    let server = Server::start().await;
    server.refuse_if(|_| Some(Status::invalid_argument("no spans at all")));
    let (built, context, _folder) = build(&server, ", batch: {timeout: 10ms}");
    // Spans of a wire type that none has: it can be counted, and not be decoded.
    let broken = vec![0x0a, 0x08, 0x12, 0x06, 0x12, 0x01, 0xff, 0x12, 0x01, 0xff];
    let batches = vec![received(&[request(&["a", "b", "c"])]), received(&[broken])];
    settles(built, context.clone(), batches, Outcome::Done).await;
    let metrics = context.telemetry.encode();
    let failed = "otelcol_exporter_send_failed_spans{exporter=\"otlp\"} 5\n";
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = Server::start().await;
    let exporters = [exporter(&server, ""), exporter(&server, ", protocol: http/protobuf")];
    drop(server);
    for exporter in exporters {
        let error = exporter.export(&[received(&[request(&["a"])])]).await.unwrap_err();
        let weir_component::ExportError::Retryable { reason, .. } = error else { panic!("{error}") };
        assert!(reason.contains("cannot be reached"), "{reason}");
    }
}
