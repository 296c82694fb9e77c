//! What the telemetry address serves: the Collector's metrics in its form, and `/debug/pipelines`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_tests::{Weir, free_port, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);
/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

/// 200 spans, one in four of which is a health check; each tenth is 3 s behind.
fn spans() -> String {
    let span = |n: i64| {
        let end = START + n * 100 - if n % 10 == 9 { 3_000 } else { 0 };
        let operation = if n % 4 == 0 { "/health" } else { "/pay" };
        format!(
            "{{\"signal\": \"traces\", \"time\": {end}, \"end_time\": {end}, \"duration_ns\": 5, \"service\": \"pay\", \
             \"operation\": \"{operation}\", \"kind\": \"server\", \"status\": \"ok\"}}\n"
        )
    };
    (0..200).map(span).collect()
}

async fn get(port: u16, path: &str) -> Result<String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await?;
    Ok(answer.error_for_status()?.text().await?)
}

#[tokio::test]
async fn the_traffic_is_shown_as_the_collector_shows_it_and_by_edges() -> Result<()> {
    let port = free_port()?;
    let folder = std::sync::Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("spans.jsonl"), spans())?;
    let config = format!(
        "receivers: {{file: {{path: spans.jsonl, max_batch_rows: 50}}}}
processors:
  filter: {{traces: {{drop: [\"operation = '/health'\"]}}}}
  aggregate: {{window: {{tumbling: 1s}}, group_by: [service], out_of_orderness: 5s}}
exporters:
  file: {{path: out.jsonl}}
service:
  telemetry: {{metrics: {{address: \"127.0.0.1:{port}\"}}}}
  pipelines: {{main: {{receivers: [file], processors: [filter, aggregate], exporters: [file]}}}}
"
    );
    let weir = Weir::start_in(folder, &config, &[], &[])?;
    // The windows of the end of the file come last: 20 s of spans, less what is behind.
    let text = wait_until("everything to be exported", TIMEOUT, async || {
        let Ok(text) = get(port, "/metrics").await else { return Ok(None) };
        let windows = text.lines().any(|line| {
            line.starts_with("weir_pipeline_derived_rows_total{pipeline=\"main\",signal=\"windows\"}")
        });
        let sent = text.lines().any(|line| line == "otelcol_exporter_sent_spans{exporter=\"file\"} 150");
        Ok((windows && sent).then_some(text))
    });
    let text = text.await?;
    for line in [
        "# TYPE otelcol_receiver_accepted_spans unknown",
        "otelcol_receiver_accepted_spans{receiver=\"file\",transport=\"file\"} 200",
        "otelcol_processor_incoming_items{processor=\"filter\",otel_signal=\"traces\"} 200",
        "otelcol_processor_outgoing_items{processor=\"filter\",otel_signal=\"traces\"} 150",
        "otelcol_processor_incoming_items{processor=\"aggregate\",otel_signal=\"traces\"} 150",
        "otelcol_exporter_send_failed_spans{exporter=\"file\"} 0",
        // Each tenth is 2.9 s behind the one before it.
        "weir_receiver_event_disorder_seconds_count{receiver=\"file\",signal=\"traces\"} 200",
        "weir_receiver_event_disorder_seconds_bucket{le=\"1.024\",receiver=\"file\",signal=\"traces\"} 180",
        "weir_receiver_event_disorder_seconds_bucket{le=\"4.096\",receiver=\"file\",signal=\"traces\"} 200",
        "weir_receiver_advised_out_of_orderness_ms{receiver=\"file\",signal=\"traces\"} 3072",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let of = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).with_context(|| format!("{name} in\n{text}"))?;
        Ok::<f64, anyhow::Error>(line.rsplit(' ').next().unwrap_or_default().parse()?)
    };
    assert!(of("otelcol_exporter_queue_capacity{exporter=\"file\"}")? > 0.0);
    assert!(of("otelcol_process_memory_rss ")? > 1e6);
    assert!(of("otelcol_process_uptime ")? > 0.0 && of("otelcol_process_cpu_seconds ")? >= 0.0);
    let info = text.lines().find(|line| line.starts_with("target_info{")).unwrap();
    assert!(info.contains("service_name=\"weir\"") && info.contains("service_instance_id=\""), "{info}");
    assert!(
        !text.contains("_total_total")
            && !text.lines().any(|line| line.starts_with("otelcol_") && line.contains("_total"))
    );

    let shown: Value = serde_json::from_str(&get(port, "/debug/pipelines").await?)?;
    let edge = |from: &str, to: &str, signal: &str| {
        let edges = shown["pipelines"][0]["edges"].as_array().unwrap();
        let edge =
            edges.iter().find(|edge| edge["from"] == from && edge["to"] == to && edge["signal"] == signal);
        edge.map(|edge| (edge["rows"].as_u64().unwrap(), edge["batches"].as_u64().unwrap()))
    };
    assert_eq!(edge("receiver:file", "processor:filter", "traces"), Some((200, 4)));
    assert_eq!(edge("processor:filter", "processor:aggregate", "traces"), Some((150, 4)));
    assert_eq!(edge("processor:aggregate", "exporter:file", "traces"), Some((150, 4)));
    assert!(edge("processor:aggregate", "processor:aggregate", "windows").is_some(), "{shown}");
    assert!(edge("processor:aggregate", "exporter:file", "windows").is_some(), "{shown}");
    let traces = &shown["receivers"][0]["signals"][0];
    assert_eq!((&traces["signal"], &traces["events"]), (&"traces".into(), &200.into()));
    assert_eq!(traces["advised_out_of_orderness_ms"], 3_072);
    assert_eq!(traces["disorder_ms"]["max"], 2_900);
    let people = get(port, "/debug/pipelines?format=text").await?;
    for line in [
        "pipeline main",
        "-> processor:aggregate: traces 150 rows, 4 batches",
        "receiver file: traces 200 events; ",
        "out_of_orderness: 3072ms would have kept 99.9 %",
    ] {
        assert!(people.contains(line), "{line} in\n{people}");
    }
    let wrong = reqwest::get(format!("http://127.0.0.1:{port}/debug/pipelines?format=txt")).await?;
    assert_eq!(wrong.status(), 400);
    assert_eq!(wrong.text().await?, "unknown format \"txt\": format=json or format=text\n");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
