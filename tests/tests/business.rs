//! Business success beside technical success: `enrich.business` and `aggregate.success`, through the program
//! into ClickHouse.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use weir_tests::{ClickHouse, Weir};

const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_payment_is_found_by_its_number_and_its_code_decides_about_success() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let folder = Arc::new(tempfile::tempdir()?);
    let mut lines = String::new();
    // Three applications with names of their own; one refused payment that is no error, and an error without
    // a code.
    for (n, status, attributes) in [
        (1, "ok", json!({"pay.serial_no": "P-1", "biz.code": "0000", "biz.scenario": "transfer"})),
        (2, "ok", json!({"order.id": "P-2", "resp.code": "E51", "biz.scenario": "transfer"})),
        (3, "error", json!({"order.id": "P-3", "biz.scenario": "transfer"})),
        (4, "error", json!({"pay.serial_no": "P-4", "biz.code": "S", "biz.scenario": "transfer"})),
        (5, "ok", json!({})),
    ] {
        let time = 1_796_000_000_000_i64 + n * 100;
        let span = json!({"signal": "traces", "time": time, "end_time": time, "duration_ns": 0, "service": "pay", "status": status,
                          "span_id": format!("s{n}"), "attributes": attributes});
        lines += &format!("{span}\n");
    }
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    let config = format!(
        "receivers: {{file: {{path: in.jsonl}}}}\n\
         processors:\n  enrich: {{business: {{id: [pay.serial_no, order.id], code: [biz.code, resp.code], scenario: [biz.scenario]}}}}\n  \
         aggregate: {{window: {{tumbling: 1m}}, success: \"business_code IN ('0000', 'S')\", group_by: [service, business_scenario]}}\n\
         exporters: {{clickhouse: {{endpoint: '{}', database: {database}}}}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [file], processors: [enrich, aggregate], exporters: [clickhouse]}}}}}}\n",
        clickhouse.url()
    );
    let outcome = Weir::start_in(folder, &config, &["--exit-on-end"], &[])?.wait(TIMEOUT).await?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let payment = clickhouse
        .query(&format!(
            "SELECT own_span_id AS id, business_code AS code, business_scenario AS scenario, attributes['order.id'] AS own \
             FROM {database}.events WHERE business_id = 'P-2'"
        ))
        .await?;
    assert_eq!(payment, [json!({"id": "s2", "code": "E51", "scenario": "transfer", "own": "P-2"})]);
    let index = format!(
        "SELECT type_full AS kind FROM system.data_skipping_indices WHERE database = '{database}' AND table = 'events' AND expr = 'business_id'"
    );
    assert_eq!(clickhouse.query(&index).await?, [json!({"kind": "bloom_filter(0.001)"})]);
    let windows = clickhouse
        .query(&format!(
            "SELECT labels['business_scenario'] AS scenario, toInt32(count) AS n, toInt32(error_count) AS failed, success_rate AS rate \
             FROM {database}.window_results ORDER BY scenario DESC"
        ))
        .await?;
    let transfers = json!({"scenario": "transfer", "n": 4, "failed": 2, "rate": 0.5});
    assert_eq!(windows[0], transfers);
    assert_eq!(windows[1]["failed"], json!(0));
    assert_eq!(windows.len(), 2);
    Ok(())
}
