//! OTLP with real clients and servers: OpenTelemetry's SDK for Python, and the Collector.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use weir_tests::{
    Collector, Metrics, OtlpRecorder, Weir, free_port, send_with_sdk, telemetrygen, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Weir that listens on these ports, with these exporters.
fn gateway(grpc: u16, http: u16, metrics: u16, exporters: &str, names: &str) -> String {
    format!(
        "receivers:
  otlp:
    protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}
exporters: {{{exporters}}}
service:
  telemetry: {{metrics: {{address: '127.0.0.1:{metrics}'}}}}
  pipelines: {{main: {{receivers: [otlp], exporters: [{names}]}}}}
"
    )
}

async fn listens(port: u16) {
    let look = async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok());
    wait_until("a server to listen", PATIENCE, look).await.unwrap();
}

fn ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port().unwrap())
}

#[tokio::test]
async fn all_items_of_the_sdk_go_through_columns_with_every_field_once() {
    for way in ["grpc", "http"] {
        let recorder = OtlpRecorder::start().unwrap();
        let [grpc, http, metrics] = ports();
        // The file exporter reads columns, so that requests are decoded and written again.
        let exporters = format!("otlp: {{endpoint: '{}'}}, file: {{path: items.jsonl}}", recorder.grpc());
        let weir = Weir::start(&gateway(grpc, http, metrics, &exporters, "otlp, file"), &[], &[]).unwrap();
        listens(http).await;
        let address = format!("http://127.0.0.1:{}", if way == "grpc" { grpc } else { http });
        let sent = send_with_sdk(way, &address, 50).await.unwrap();
        assert!(sent.len() > 200, "{}", sent.len());
        // What was answered with success has been delivered.
        let came = recorder.items().unwrap();
        let missing: Vec<_> = sent.iter().filter(|item| !came.contains(item)).take(3).collect();
        let strange: Vec<_> = came.iter().filter(|item| !sent.contains(item)).take(3).collect();
        assert!(came == sent, "missing: {missing:#?}\nnot sent: {strange:#?}");
        let now = Metrics::scrape(&format!("127.0.0.1:{metrics}")).await.unwrap();
        assert_eq!(now.sum("weir_otlp_forwarded_requests_total", &[]), Some(0.0));
        weir.terminate(PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn two_gateways_forward_requests_undecoded_in_every_protocol() {
    for protocol in ["grpc", "http/protobuf", "http/json"] {
        let recorder = OtlpRecorder::start().unwrap();
        let ([grpc, http, metrics], [grpc2, http2, metrics2]) = (ports(), ports());
        let second = format!("otlp: {{endpoint: '{}'}}", recorder.grpc());
        let second = Weir::start(&gateway(grpc2, http2, metrics2, &second, "otlp"), &[], &[]).unwrap();
        let port = if protocol == "grpc" { grpc2 } else { http2 };
        let first =
            format!("otlp: {{endpoint: 'http://127.0.0.1:{port}', protocol: {protocol}, compression: zstd}}");
        let first = Weir::start(&gateway(grpc, http, metrics, &first, "otlp"), &[], &[]).unwrap();
        listens(http).await;
        listens(http2).await;
        let sent = send_with_sdk("grpc", &format!("http://127.0.0.1:{grpc}"), 20).await.unwrap();
        assert!(recorder.items().unwrap() == sent, "{protocol}");
        for metrics in [metrics, metrics2] {
            let now = Metrics::scrape(&format!("127.0.0.1:{metrics}")).await.unwrap();
            assert!(now.sum("weir_otlp_forwarded_requests_total", &[]) >= Some(3.0), "{protocol}");
        }
        first.terminate(PATIENCE).await.unwrap();
        second.terminate(PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_with_a_bad_item_is_a_partial_success_and_the_others_arrive_once() {
    let [grpc, http, metrics] = ports();
    let weir =
        Weir::start(&gateway(grpc, http, metrics, "file: {path: items.jsonl}", "file"), &[], &[]).unwrap();
    listens(http).await;
    // The second ends beyond what a time can be.
    let spans = ["1749088705000000000", "9300000000000000000"].map(|end| {
        format!(
            r#"{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"n","startTimeUnixNano":"1749088704000000000","endTimeUnixNano":"{end}"}}"#
        )
    });
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    let client = reqwest::Client::new();
    let request = client.post(format!("http://127.0.0.1:{http}/v1/traces"));
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &"1".into()), "{answer}");
    let folder = weir.folder();
    weir.terminate(PATIENCE).await.unwrap();
    let stored = std::fs::read_to_string(folder.path().join("items.jsonl")).unwrap();
    assert_eq!(stored.lines().count(), 1, "{stored}");
    let letters = std::fs::read_to_string(folder.path().join("dead-letter/otlp.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), 1, "{letters}");
}

/// The first gateway forwards the bytes as they came, to a recorder and to a second one, which reads them
/// into columns and writes them again to another recorder.
#[tokio::test]
async fn telemetrygen_arrives_once_with_every_field() {
    let (as_sent, through_columns) = (OtlpRecorder::start().unwrap(), OtlpRecorder::start().unwrap());
    let ([grpc, http, metrics], [grpc2, http2, metrics2]) = (ports(), ports());
    let second = format!("otlp: {{endpoint: '{}'}}, file: {{path: items.jsonl}}", through_columns.grpc());
    let second = Weir::start(&gateway(grpc2, http2, metrics2, &second, "otlp, file"), &[], &[]).unwrap();
    let first = format!(
        "otlp/raw: {{endpoint: '{}'}}, otlp/second: {{endpoint: 'http://127.0.0.1:{grpc2}'}}",
        as_sent.grpc()
    );
    let first =
        Weir::start(&gateway(grpc, http, metrics, &first, "otlp/raw, otlp/second"), &[], &[]).unwrap();
    for port in [http, http2] {
        listens(port).await;
    }
    let mut expected = 0;
    let kinds = ["Gauge", "Sum", "Histogram", "ExponentialHistogram"];
    let metrics_of = kinds.map(|kind| (vec!["metrics", "--metrics", "20", "--metric-type", kind], 20));
    let runs = [
        (
            vec![
                "traces",
                "--traces",
                "50",
                "--child-spans",
                "2",
                "--span-links",
                "2",
                "--status-code",
                "Error",
            ],
            150,
        ),
        (vec!["logs", "--logs", "50"], 50),
    ];
    for (number, (run, items)) in runs.into_iter().chain(metrics_of).enumerate() {
        for is_http in [false, true] {
            let address = format!("127.0.0.1:{}", if is_http { http } else { grpc });
            let mut arguments = run.clone();
            arguments.extend(["--otlp-insecure", "--rate", "0", "--otlp-endpoint", &address]);
            arguments.extend(["--otlp-attributes", "shop=\"Zoë\"", "--telemetry-attributes", "n=7"]);
            let path = format!("/v1/{}", run[0]);
            if is_http {
                arguments.extend(["--otlp-http", "--otlp-http-url-path", &path]);
            }
            if telemetrygen(&arguments).await.unwrap().is_none() {
                return;
            }
            expected += items;
            let came = as_sent.items().unwrap();
            assert_eq!(came.len(), expected, "run {number}: {run:?}, HTTP: {is_http}");
            // It was told that they are safe, so they are there.
            let through = through_columns.items().unwrap();
            let missing = came.iter().find(|item| !through.contains(item));
            let strange = through.iter().find(|item| !came.contains(item));
            assert!(came == through, "run {number}: {run:?}:\n{missing:#?}\n{strange:#?}");
        }
    }
    let came = as_sent.items().unwrap();
    let spans: std::collections::BTreeSet<_> = came.iter().filter(|item| item.contains("\"span\"")).collect();
    assert_eq!(spans.len(), 300, "each once");
    let now = Metrics::scrape(&format!("127.0.0.1:{metrics}")).await.unwrap();
    assert!(now.sum("weir_otlp_forwarded_requests_total", &[]) > Some(0.0), "as they came");
    first.terminate(PATIENCE).await.unwrap();
    second.terminate(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_collector_before_and_behind_changes_nothing() {
    let recorder = OtlpRecorder::start().unwrap();
    let ([grpc, http, metrics], [before, behind, _]) = (ports(), ports::<3>());
    let collector = |port: u16, to: &str| {
        Collector::start(&format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: '{to}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], exporters: [otlp_grpc]}}
    metrics: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
        ))
        .unwrap()
    };
    let Some(_before) = collector(before, &format!("127.0.0.1:{grpc}")) else { return };
    let recorder_address = recorder.grpc().trim_start_matches("http://").to_owned();
    let Some(_behind) = collector(behind, &recorder_address) else { return };
    let exporters = format!("otlp: {{endpoint: 'http://127.0.0.1:{behind}'}}, file: {{path: items.jsonl}}");
    let weir = Weir::start(&gateway(grpc, http, metrics, &exporters, "otlp, file"), &[], &[]).unwrap();
    for port in [http, before, behind] {
        listens(port).await;
    }
    let sent = send_with_sdk("grpc", &format!("http://127.0.0.1:{before}"), 20).await.unwrap();
    assert!(recorder.items().unwrap() == sent);
    weir.terminate(PATIENCE).await.unwrap();
}
