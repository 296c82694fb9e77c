//! `weir top` over files and over ClickHouse: the same lines of the same spans.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::{ClickHouse, Weir};

const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn services_are_shown_by_requests_errors_and_latency() -> Result<()> {
    services_are_shown_in(ClickHouse::shared()?).await
}

#[tokio::test]
async fn services_of_a_real_server_are_shown() -> Result<()> {
    services_are_shown_in(&ClickHouse::start_real()?).await
}

async fn services_are_shown_in(clickhouse: &ClickHouse) -> Result<()> {
    let database = clickhouse.database().await?;
    let folder = Arc::new(tempfile::tempdir()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let mut lines = String::new();
    let mut add = |count: u64, service: &str, kind: &str, status: &str, duration_ms: u64, age_ms: u64| {
        for n in 0..count {
            let time = now - age_ms - n;
            let span = json!({"signal": "traces", "time": time, "service": service, "kind": kind, "status": status,
                              "span_id": format!("{service}{kind}{status}{n}"), "duration_ns": duration_ms * 1_000_000});
            lines += &format!("{span}\n");
        }
    };
    // The newest is 10 s old.
    add(90, "cart", "server", "ok", 20, 10_000);
    add(30, "cart", "server", "error", 20, 20_000);
    add(120, "cart", "client", "error", 900, 20_000);
    add(60, "pay", "consumer", "ok", 1_500, 30_000);
    add(12, "batch", "internal", "ok", 5, 30_000);
    // Before the window of a minute, and from the future.
    add(500, "pay", "server", "error", 1, 75_000);
    let future = json!({"signal": "traces", "time": now + 3_600_000, "service": "early", "kind": "server", "span_id": "f"});
    lines += &format!("{future}\n");
    // Without a service and a duration, in both ways of saying so.
    for bare in [json!({"service": ""}), json!({})] {
        let mut span = json!({"signal": "traces", "time": now - 30_000, "kind": "server", "span_id": "bare"});
        span.as_object_mut().unwrap().extend(bare.as_object().unwrap().clone());
        lines += &format!("{span}\n");
    }
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    let config = format!(
        "receivers: {{file: {{path: in.jsonl}}}}\n\
         exporters:\n  clickhouse: {{endpoint: '{}', database: {database}}}\n  local: {{directory: stored}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [file], exporters: [clickhouse, local]}}}}}}\n",
        clickhouse.url()
    );
    let stored = Weir::start_in(Arc::clone(&folder), &config, &["--exit-on-end"], &[])?.wait(TIMEOUT).await?;
    assert_eq!(stored.code, Some(0), "{}", stored.stderr);

    let data = folder.path().join("stored").display().to_string();
    let of_server = ["--clickhouse", clickhouse.url(), "--database", &database];
    for source in [&["--data", &data][..], &of_server] {
        let shown = |more: &[&str]| -> Result<String> {
            let arguments = [&["top"][..], source, more].concat();
            let shown = Weir::run_command(&arguments, &[])?;
            ensure!(shown.code == Some(0), "{source:?}: {}", shown.stderr);
            Ok(shown.stdout)
        };
        let by_rate = shown(&[])?;
        let (first, table) = by_rate.split_once('\n').unwrap();
        let old = first.split_once("newest span, which is ").unwrap().1.split(' ').next().unwrap();
        ensure!((10..70).contains(&old.parse::<u64>()?), "{first}");
        let expected = "\
SERVICE  REQUESTS/s  ERRORS      P50      P99  SPANS/s
cart            2.0  25.0 %  20.0 ms  20.0 ms      4.0
pay             1.0   0.0 %   1.50 s   1.50 s      1.0
(none)          0.0   0.0 %     0 µs     0 µs      0.0
batch           0.0       -        -        -      0.2
";
        assert_eq!(table, expected, "{source:?}");
        let slowest = shown(&["--sort", "p99", "--rows", "1", "--window", "120"])?;
        ensure!(slowest.contains("\npay") && slowest.contains("… 3 more"), "{slowest}");
    }
    let nothing = ["top", "--clickhouse", clickhouse.url(), "--database", &database, "--table", "none"];
    let nothing = Weir::run_command(&nothing, &[])?;
    ensure!(nothing.code == Some(1) && nothing.stderr.contains("none"), "{}", nothing.stderr);
    Ok(())
}
