//! What READMEs show of components that talk to others is run as it stands there, with other ports; and
//! `examples/otlp.yaml` with a ClickHouse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{ClickHouse, Kafka, OtlpRecorder, Weir, free_port, recorded, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
const NO_METRICS: &str = "  telemetry: {metrics: {address: ''}}\n";

/// Block `number` of YAML in a README, with these texts replaced.
fn block(readme: &str, number: usize, replaced: &[(&str, &str)]) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(readme);
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").nth(number).unwrap().split("\n```").next().unwrap().to_owned() + "\n";
    replaced.iter().fold(block, |block, (old, new)| {
        assert!(block.contains(old), "{readme} no longer has {old}:\n{block}");
        block.replace(old, new)
    })
}

async fn listens(port: u16) {
    let look = async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok());
    wait_until("a server to listen", PATIENCE, look).await.unwrap();
}

async fn post(port: u16, path: &str, token: Option<(&str, &str)>, body: Value) {
    let mut request = reqwest::Client::new().post(format!("http://127.0.0.1:{port}{path}"));
    request = request.header("content-type", "application/json").body(body.to_string());
    if let Some((name, value)) = token {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
}

/// A span, with a time that windows take.
fn traces(name: &str) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": name,
        "kind": 2, "startTimeUnixNano": (now - 1_000_000).to_string(), "endTimeUnixNano": now.to_string()});
    json!({"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeSpans": [{"spans": [span]}]}]})
}

#[tokio::test]
async fn otlp_is_written_as_json_lines_and_read_again() {
    let [grpc, http] = [free_port().unwrap(), free_port().unwrap()];
    let receiver = block(
        "receivers/otlp/README.md",
        1,
        &[("0.0.0.0:4317", &format!("127.0.0.1:{grpc}")), ("0.0.0.0:4318", &format!("127.0.0.1:{http}"))],
    );
    let exporter = block("exporters/file/README.md", 2, &[]);
    let service =
        format!("service:\n{NO_METRICS}  pipelines: {{main: {{receivers: [otlp], exporters: [file]}}}}\n");
    let weir = Weir::start(&format!("{receiver}{exporter}{service}"), &[], &[]).unwrap();
    listens(http).await;
    listens(grpc).await;
    post(http, "/v1/traces", None, traces("pay")).await;
    let folder = weir.folder();
    assert_eq!(weir.terminate(PATIENCE).await.unwrap().code, Some(0));
    let written = std::fs::read_to_string(folder.path().join("out/otlp.jsonl")).unwrap();
    assert!(written.lines().count() == 1 && written.contains("\"name\":\"pay\""), "{written}");

    for name in ["yesterday.jsonl", "today.jsonl"] {
        std::fs::write(folder.path().join(name), &written).unwrap();
    }
    let receiver = block("receivers/file/README.md", 1, &[]);
    let config = format!(
        "{receiver}exporters: {{file: {{path: rows.jsonl}}}}\nservice:\n{NO_METRICS}  pipelines: {{main: {{receivers: [file], exporters: [file]}}}}\n"
    );
    let weir = Weir::start_in(folder.clone(), &config, &["--exit-on-end"], &[]).unwrap();
    assert_eq!(weir.wait(PATIENCE).await.unwrap().code, Some(0));
    let rows = std::fs::read_to_string(folder.path().join("rows.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named: Vec<_> = rows.iter().map(|row| (&row["signal"], &row["operation"], &row["service"])).collect();
    assert_eq!(named, [(&json!("traces"), &json!("pay"), &json!("shop")); 2]);
}

#[tokio::test]
async fn the_otlp_exporter_sends_to_the_server_that_it_is_told() {
    let recorder = OtlpRecorder::start().unwrap();
    let [grpc, http] = [free_port().unwrap(), free_port().unwrap()];
    let exporter =
        block("exporters/otlp/README.md", 1, &[("https://collector.bank.example:4317", recorder.grpc())]);
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
{exporter}service:\n{NO_METRICS}  pipelines: {{main: {{receivers: [otlp], exporters: [otlp]}}}}\n"
    );
    let weir = Weir::start(&config, &[], &[("OTLP_TOKEN", "s3cret")]).unwrap();
    listens(http).await;
    post(http, "/v1/traces", None, traces("pay")).await;
    assert_eq!(recorder.items().unwrap().len(), 1);
    weir.terminate(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn skywalking_agents_send_with_their_token() {
    let [grpc, http] = [free_port().unwrap(), free_port().unwrap()];
    let receiver = block(
        "receivers/skywalking/README.md",
        1,
        &[("0.0.0.0:11800", &format!("127.0.0.1:{grpc}")), ("0.0.0.0:12800", &format!("127.0.0.1:{http}"))],
    );
    let config = format!(
        "{receiver}exporters: {{file: {{path: rows.jsonl}}}}\nservice:\n{NO_METRICS}  pipelines: {{main: {{receivers: [skywalking], exporters: [file]}}}}\n"
    );
    let weir = Weir::start(&config, &[], &[("SKYWALKING_TOKEN", "s3cret")]).unwrap();
    listens(http).await;
    listens(grpc).await;
    let span =
        json!({"spanId": 0, "parentSpanId": -1, "startTime": 1, "endTime": 2, "operationName": "/pay"});
    let segment = json!([{"traceId": "t", "traceSegmentId": "s", "service": "shop", "spans": [span]}]);
    post(http, "/v3/segments", Some(("authentication", "s3cret")), segment).await;
    let folder = weir.folder();
    assert_eq!(weir.terminate(PATIENCE).await.unwrap().code, Some(0));
    let rows = std::fs::read_to_string(folder.path().join("rows.jsonl")).unwrap();
    assert!(rows.lines().count() == 1 && rows.contains("\"operation\":\"/pay\""), "{rows}");
}

#[tokio::test]
async fn all_topics_of_the_agents_are_read_from_kafka() {
    // A broker of its own: the topics have the agents' names.
    let kafka = Kafka::start().unwrap();
    let mut sent = Vec::new();
    for name in ["segments", "metrics", "meters", "logs", "managements"] {
        let topic = format!("skywalking-{name}");
        kafka.create_topic(&topic, 1, &[]).await.unwrap();
        let records = recorded(&topic).unwrap().into_iter();
        sent.extend(records.map(|record| weir_tests::Record { partition: 0, ..record }));
    }
    kafka.produce_all(&sent).await.unwrap();
    let receiver = block(
        "receivers/skywalking_kafka/README.md",
        1,
        &[("\"kafka-1:9092\", \"kafka-2:9092\"", &format!("'{}'", kafka.bootstrap()))],
    );
    let config = format!(
        "{receiver}    initial_offset: earliest\nexporters: {{file: {{path: rows.jsonl}}}}\nservice:\n{NO_METRICS}  pipelines: {{main: {{receivers: [skywalking_kafka], exporters: [file]}}}}\n"
    );
    let weir = Weir::start(&config, &[], &[]).unwrap();
    let file = weir.folder().path().join("rows.jsonl");
    let of = |signal: &str| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().filter(|line| line.contains(&format!("\"signal\":\"{signal}\""))).count()
    };
    // 30 logs and 9 managements; the other records have several rows each.
    let all = async || Ok((of("traces") >= 90 && of("logs") == 39 && of("metrics") > 40).then_some(()));
    wait_until("every topic", PATIENCE, all).await.unwrap();
    assert_eq!(weir.terminate(PATIENCE).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn the_otlp_example_fills_clickhouse() {
    let clickhouse = ClickHouse::start().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/otlp.yaml");
    let example = std::fs::read_to_string(example).unwrap();
    let [grpc, http, health] = std::array::from_fn(|_| free_port().unwrap());
    let [grpc_at, http_at, health_at] = [grpc, http, health].map(|port| format!("127.0.0.1:{port}"));
    let variables = [
        ("OTLP_GRPC", &*grpc_at),
        ("OTLP_HTTP", &*http_at),
        ("HEALTH", &*health_at),
        ("CLICKHOUSE", clickhouse.url()),
    ];
    let metrics = format!("127.0.0.1:{}", free_port().unwrap());
    let set = format!("service.telemetry.metrics.address={metrics}");
    let weir = Weir::start(&example, &["--set", &set], &variables).unwrap();
    listens(http).await;
    listens(grpc).await;
    post(http, "/v1/traces", None, traces("pay")).await;
    let log = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "1749088704000000000", "body": {"stringValue": "x"}}]}]}]});
    post(http, "/v1/logs", None, log).await;
    let point = json!({"timeUnixNano": "1749088704000000000", "asDouble": 1.5});
    let metric = json!({"name": "cpu", "gauge": {"dataPoints": [point]}});
    let metric = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    post(http, "/v1/metrics", None, metric).await;
    for table in ["events", "logs", "metrics"] {
        let count = clickhouse.number(&format!("SELECT count() AS n FROM weir.{table}")).await.unwrap();
        assert_eq!(count, 1, "{table}: success is answered when it is stored");
    }
    assert_eq!(weir.terminate(PATIENCE).await.unwrap().code, Some(0));
}
