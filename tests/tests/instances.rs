//! Properties that agents report of their instance: spans of it have them, also after a crash.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::{Weir, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Gateway {
    weir: Weir,
    http: u16,
}

impl Gateway {
    async fn start(folder: &Arc<tempfile::TempDir>, instances: &str) -> Result<Gateway> {
        let (http, grpc) = (free_port()?, free_port()?);
        let config = format!(
            "extensions: {{storage: {{directory: state}}}}
receivers:
  skywalking: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}, grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}
processors: {{enrich: {{instances: {instances}}}}}
exporters: {{file: {{path: out.jsonl}}}}
service:
  extensions: [storage]
  telemetry: {{metrics: {{address: ''}}}}
  pipelines: {{main: {{receivers: [skywalking], processors: [enrich], exporters: [file]}}}}
"
        );
        let weir = Weir::start_in(Arc::clone(folder), &config, &[], &[])?;
        let look = async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", http)).await.ok());
        wait_until("the receiver to listen", PATIENCE, look).await?;
        Ok(Gateway { weir, http })
    }

    /// Sends what an agent sends, and waits until it is delivered.
    async fn post(&self, path: &str, body: Value) -> Result<()> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let answer =
            reqwest::Client::builder().no_proxy().build()?.post(url).body(body.to_string()).send().await?;
        ensure!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await?);
        Ok(())
    }

    /// The attributes of the span of a new segment.
    async fn span(&self, segment: &str, instance: &str) -> Result<Value> {
        let span = json!({"spanId": 0, "parentSpanId": -1, "startTime": 1_749_088_705_000_i64, "endTime": 1_749_088_705_070_i64,
                          "operationName": "/pay", "spanType": "Entry", "tags": [{"key": "http.method", "value": "GET"}]});
        self.post("/v3/segment", json!({"traceId": segment, "traceSegmentId": segment, "service": "shop", "serviceInstance": instance, "spans": [span]}))
            .await?;
        let text = std::fs::read_to_string(self.weir.folder().path().join("out.jsonl"))?;
        let mut rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(rows.rfind(|row| row["segment_id"] == segment).unwrap_or_default()["attributes"].clone())
    }

    async fn report(&self, instance: &str, host: &str) -> Result<()> {
        let properties = [
            ("hostname", host),
            ("language", "java"),
            ("ipv4", "10.0.0.1"),
            ("ipv4", "10.0.0.2"),
            ("Process No.", "7"),
        ];
        let properties: Value =
            properties.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        self.post(
            "/v3/management/reportProperties",
            json!({"service": "shop", "serviceInstance": instance, "properties": properties}),
        )
        .await
    }
}

fn described() -> Value {
    json!({"http.method": "GET", "host.name": "h1", "host.ip": "10.0.0.1,10.0.0.2", "process.pid": "7", "telemetry.sdk.language": "java"})
}

#[tokio::test]
async fn spans_have_the_properties_of_their_instance_also_after_a_crash() -> Result<()> {
    let folder = Arc::new(tempfile::tempdir()?);
    let gateway = Gateway::start(&folder, "{storage: storage}").await?;
    let bare = json!({"http.method": "GET"});
    assert_eq!(gateway.span("before", "a").await?, bare);
    gateway.report("a", "h1").await?;
    assert_eq!(gateway.span("after", "a").await?, described());
    assert_eq!(gateway.span("other", "b").await?, bare);
    // It is on disk soon after.
    let state = folder.path().join("state");
    let kept = async || {
        let found = std::process::Command::new("grep").arg("-rql").arg("10.0.0.2").arg(&state).status()?;
        Ok(found.success().then_some(()))
    };
    wait_until("the properties to be kept", PATIENCE, kept).await?;
    gateway.weir.kill()?;
    let gateway = Gateway::start(&folder, "{storage: storage}").await?;
    assert_eq!(gateway.span("again", "a").await?, described());
    gateway.weir.terminate(PATIENCE).await?;
    // Without a storage they are known when they are reported again.
    let gateway = Gateway::start(&folder, "{}").await?;
    assert_eq!(gateway.span("forgotten", "a").await?, bare);
    gateway.report("a", "h1").await?;
    assert_eq!(gateway.span("known", "a").await?, described());
    gateway.weir.terminate(PATIENCE).await?;
    Ok(())
}
