//! The real SkyWalking Python agent over gRPC: each span and log comes out once, and the agent is content.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::{Weir, free_port, run_script, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);
const SEGMENTS: usize = 25;

fn rows(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_the_python_agent_sends_comes_out_once_and_it_does_not_complain() -> Result<()> {
    let (grpc, http, folder) = (free_port()?, free_port()?, tempfile::tempdir()?);
    let file = folder.path().join("rows.jsonl");
    // Windows that are open for long: no agent waits for them.
    let config = format!(
        "receivers:
  skywalking:
    protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}
    authentication: s3cret
processors:
  aggregate: {{window: {{tumbling: 1h}}}}
exporters:
  file: {{path: \"{}\"}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking], processors: [aggregate], exporters: [file]}}
",
        file.display()
    );
    let mut weir = Weir::start(&config, &[], &[])?;
    weir.wait_for_log("listening", TIMEOUT).await?;
    let options = json!({"backend": format!("127.0.0.1:{grpc}"), "token": "s3cret", "service": "py::grpc", "segments": SEGMENTS});
    let said =
        tokio::task::spawn_blocking(move || run_script("grpc_agent.py", options.to_string())).await??;
    let said: Value = serde_json::from_str(said.lines().last().context("the agent said nothing")?)?;
    assert_eq!(said["complaints"], json!([]));
    let of = |signal: &str| -> Result<Vec<Value>> {
        Ok(rows(&file)?.into_iter().filter(|row| row["signal"] == signal).collect())
    };
    wait_until("every span", TIMEOUT, async || Ok((of("traces")?.len() >= 2 * SEGMENTS).then_some(())))
        .await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));

    let traces = of("traces")?;
    assert_eq!(traces.len(), 2 * SEGMENTS);
    let mut entries: Vec<&Value> = traces.iter().filter(|span| span["kind"] == "server").collect();
    entries.sort_by_key(|span| {
        span["attributes"]["number"].as_str().and_then(|text| text.parse::<usize>().ok())
    });
    assert_eq!(entries.len(), SEGMENTS);
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry["operation"], format!("/order/{number}"));
        assert_eq!((&entry["service"], &entry["service_instance"]), (&json!("py::grpc"), &json!("grpc-1")));
        assert_eq!((&entry["component"], &entry["layer"]), (&json!("Flask"), &json!("http")));
        let children = traces.iter().filter(|span| span["parent_span_id"] == entry["span_id"]);
        let peers: Vec<&Value> = children.map(|span| &span["peer"]).collect();
        assert_eq!(peers, ["stock:80"]);
    }
    let logs = of("logs")?;
    // The agent puts the time, the thread and the level before the text.
    let texts = logs.iter().filter_map(|log| log["body"].as_str()?.rsplit_once(" - "));
    let mut texts: Vec<String> = texts.map(|(_, text)| text.to_owned()).collect();
    let mut expected: Vec<String> = (0..SEGMENTS).map(|number| format!("order {number} für Zoë")).collect();
    texts.sort_unstable();
    expected.sort_unstable();
    assert_eq!(texts, expected);
    let in_spans = logs.iter().filter(|log| {
        let segment = &log["segment_id"];
        !segment.is_null() && entries.iter().any(|entry| entry["segment_id"] == *segment)
    });
    assert_eq!(in_spans.count(), SEGMENTS);
    let named = |name: &str| logs.iter().filter(|log| log["event_name"] == name).count();
    assert!(named("instance_properties") >= 1 && named("instance_ping") >= 1, "{logs:?}");
    assert!(!of("metrics")?.is_empty(), "the agent reports meters of its process");
    Ok(())
}
