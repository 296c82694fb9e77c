//! Rows that cannot be exported before the program ends are reported, and kept.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::{ClickHouse, Entry, Kafka, Weir, free_port, storing, unique};

const TIMEOUT: Duration = Duration::from_secs(60);

/// So many lines for the `file` receiver, and a folder with them.
fn input(lines: usize) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let line = |n: usize| {
        let time = 1_749_088_705_000_u64 + n as u64;
        json!({"signal": "traces", "time": time, "end_time": time + 5, "service": "pay", "operation": "/pay", "kind": "server",
               "trace_id": format!("t{n}"), "span_id": format!("s{n}")})
        .to_string()
    };
    let text = (0..lines).map(|n| line(n) + "\n").collect::<String>();
    std::fs::write(folder.path().join("in.jsonl"), text)?;
    Ok(folder)
}

fn letters(weir: &std::path::Path, component: &str) -> usize {
    let path = weir.join(format!("dead-letter/{component}.jsonl"));
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn rows_of_a_file_that_no_destination_took_are_an_error_and_in_the_dead_letters() -> Result<()> {
    let folder = input(100)?;
    let config = format!(
        "receivers: {{file: {{path: \"{}\"}}}}
processors: {{aggregate: {{group_by: [service], window: {{tumbling: 1s}}}}}}
exporters: {{clickhouse: {{endpoint: \"http://127.0.0.1:{}\"}}}}
service:
  shutdown_timeout: 2s
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines: {{main: {{receivers: [file], processors: [aggregate], exporters: [clickhouse]}}}}
",
        folder.path().join("in.jsonl").display(),
        free_port()?
    );
    let weir = Weir::start(&config, &["--exit-on-end"], &[])?;
    let place = weir.folder();
    let outcome = weir.wait(TIMEOUT).await?;
    ensure!(outcome.code == Some(1), "{outcome:?}");
    // 100 spans within one window of one service.
    ensure!(outcome.stderr.contains("101 rows of `clickhouse`"), "{}", outcome.stderr);
    ensure!(outcome.stderr.contains("ERROR"), "{}", outcome.stderr);
    ensure!(letters(place.path(), "clickhouse") == 101, "{}", letters(place.path(), "clickhouse"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_kafka_that_were_not_exported_are_an_error_and_read_again() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::start()?);
    let (topic, database) = (unique("unfinished"), clickhouse.database().await?);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await?;
    let entry = |n: i64| Entry {
        id: format!("segment-{n}"),
        service: "pay".to_owned(),
        operation: "/pay".to_owned(),
        end_ms: 1_700_000_000_000 + n,
        duration_ms: 5,
        failed: false,
    };
    kafka.produce_all(&(0..50).map(|n| entry(n).record(&topic, 0)).collect::<Vec<_>>()).await?;
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    let config =
        storing((kafka, &topic), (&clickhouse, &database), "drain_timeout: 1s", "retry: {max_interval: 1s}")
            + "  shutdown_timeout: 2s\n";
    let mut weir = Weir::start(&config, &[], &[])?;
    weir.wait_for_log("retrying", TIMEOUT).await?;
    let place = weir.folder();
    let outcome = weir.terminate(TIMEOUT).await?;
    ensure!(outcome.code == Some(1), "{outcome:?}");
    ensure!(
        outcome.stderr.contains("50 rows of `clickhouse` (their input is read again"),
        "{}",
        outcome.stderr
    );
    ensure!(letters(place.path(), "clickhouse") == 0, "Kafka has them");
    clickhouse.fault(json!({"mode": "ok"})).await?;
    let weir = Weir::start(&config, &[], &[])?;
    let count = format!("SELECT count() AS n FROM {database}.events");
    weir_tests::wait_until("every row", TIMEOUT, async || {
        Ok((clickhouse.number(&count).await.unwrap_or(0) == 50).then_some(()))
    })
    .await?;
    ensure!(weir.terminate(TIMEOUT).await?.code == Some(0));
    Ok(())
}
