//! How long the `clickhouse` exporter keeps rows: by class, and when a disk is almost full.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{ClickHouse, Outcome, Weir, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
const CLASSES: &str = "ttl: 2d, views: [events_trace_id_ts], retention: {traces: [\
     {where: \"status = 'error'\", ttl: 36500d}, \
     {where: \"service = 'pay' OR attributes['keep'] != ''\", ttl: 5d}]}";

/// A span that began so many days ago.
fn span(id: &str, days: u64, service: &str, status: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = now.as_millis() as u64 - days * 86_400_000;
    json!({"signal": "traces", "time": time, "service": service, "span_id": id, "trace_id": format!("t{id}"),
           "status": status})
}

/// Stores spans with these settings of the exporter.
async fn store(clickhouse: &ClickHouse, database: &str, settings: &str, spans: &[Value]) -> Result<Outcome> {
    let folder = Arc::new(tempfile::tempdir()?);
    let lines: String = spans.iter().map(|span| format!("{span}\n")).collect();
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    let url = clickhouse.url();
    let config = format!(
        "receivers: {{file: {{path: in.jsonl}}}}\n\
         exporters: {{clickhouse: {{endpoint: '{url}', database: {database}, {settings}}}}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, shutdown_timeout: 3s, pipelines: {{main: {{receivers: [file], exporters: [clickhouse]}}}}}}\n"
    );
    Weir::start_in(folder, &config, &["--exit-on-end"], &[])?.wait(TIMEOUT).await
}

/// The spans of a table, by id.
async fn ids(clickhouse: &ClickHouse, database: &str) -> Result<Vec<String>> {
    let rows =
        clickhouse.query(&format!("SELECT own_span_id AS id FROM {database}.events ORDER BY id")).await?;
    Ok(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn rows_are_kept_as_long_as_their_class_says() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let mut kept = span("kept-by-attribute", 3, "shop", "ok");
    kept["attributes"] = json!({"keep": "x"});
    let spans = [
        span("new", 0, "shop", "ok"),
        span("old", 3, "shop", "ok"),
        span("old-error", 3, "shop", "error"),
        span("old-pay", 3, "pay", "ok"),
        span("very-old-pay", 6, "pay", "ok"),
        span("very-old-error-of-pay", 6, "pay", "error"),
        kept,
    ];
    let outcome = store(clickhouse, &database, CLASSES, &spans).await?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    clickhouse.query(&format!("OPTIMIZE TABLE {database}.events FINAL")).await?;
    let expected = ["kept-by-attribute", "new", "old-error", "old-pay", "very-old-error-of-pay"];
    wait_until("rows to go", TIMEOUT, async || {
        Ok((ids(clickhouse, &database).await? == expected).then_some(()))
    })
    .await?;
    // What is looked up by trace has to live as long as the longest.
    clickhouse.query(&format!("OPTIMIZE TABLE {database}.events_trace_id_ts FINAL")).await?;
    let traces = format!("SELECT count() FROM {database}.events_trace_id_ts WHERE TraceId = 'told-error'");
    assert_eq!(clickhouse.number(&traces).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_table_with_other_classes_is_named_with_what_to_do() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let checked =
        format!("create_schema: check, {CLASSES}").replace("views: [events_trace_id_ts]", "views: []");
    let first = store(clickhouse, &database, "views: []", &[span("a", 0, "pay", "ok")]).await?;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let without = store(clickhouse, &database, &checked, &[span("b", 0, "pay", "ok")]).await?;
    ensure!(without.code == Some(1) && without.stderr.contains("`_ttl_s` is missing"), "{}", without.stderr);
    let warned =
        store(clickhouse, &database, &checked.replace("check", "true"), &[span("c", 0, "pay", "ok")]).await?;
    ensure!(warned.code == Some(0) && warned.stderr.contains("`_ttl_s` is missing"), "{}", warned.stderr);
    assert_eq!(ids(clickhouse, &database).await?, ["a", "c"]);

    // Created with other classes: the statement of the message makes it right.
    clickhouse.query(&format!("DROP TABLE {database}.events")).await?;
    let former = checked.replace("check", "true").replace("5d", "4d");
    let created = store(clickhouse, &database, &former, &[span("d", 0, "pay", "ok")]).await?;
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    let other = store(clickhouse, &database, &checked, &[span("e", 0, "pay", "ok")]).await?;
    let statement = other.stderr.split("For new rows: ").nth(1).and_then(|rest| rest.lines().next());
    ensure!(other.code == Some(1) && statement.is_some(), "{}", other.stderr);
    clickhouse.query(statement.unwrap()).await?;
    let right = store(clickhouse, &database, &checked, &[span("f", 0, "pay", "ok")]).await?;
    assert_eq!(right.code, Some(0), "{}", right.stderr);
    let kept = clickhouse
        .query(&format!("SELECT own_span_id AS id, _ttl_s AS kept FROM {database}.events ORDER BY id"))
        .await?;
    let day = 86_400;
    assert_eq!(kept, [json!({"id": "d", "kept": 4 * day}), json!({"id": "f", "kept": 5 * day})]);
    Ok(())
}

/// The server refuses the rows of such a condition, and no others.
#[tokio::test]
async fn a_condition_that_fails_on_a_row_costs_that_row_only() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let spans: Vec<Value> = (0..40)
        .map(|n| {
            let mut span = span(&format!("{n:02}"), 0, "shop", "ok");
            span["attributes"] = json!({"n": if n == 7 { "seven".to_owned() } else { n.to_string() }});
            span
        })
        .collect();
    let settings = "ttl: 2d, retention: {traces: [{where: \"toUInt8(attributes['n']) > 20\", ttl: 5d}]}";
    let outcome = store(clickhouse, &database, settings, &spans).await?;
    let expected: Vec<String> = (0..40).filter(|n| *n != 7).map(|n| format!("{n:02}")).collect();
    assert_eq!(ids(clickhouse, &database).await?, expected, "{}", outcome.stderr);
    let kept = format!("SELECT count() FROM {database}.events WHERE _ttl_s = 5 * 86400");
    assert_eq!(clickhouse.number(&kept).await?, 19);
    ensure!(outcome.stderr.contains("dead letter"), "{}", outcome.stderr);
    Ok(())
}

/// A condition reads the map: were the key to get a column, it would not hold any longer.
#[tokio::test]
async fn a_key_in_a_condition_gets_no_column_of_its_own() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let folder = Arc::new(tempfile::tempdir()?);
    let path = folder.path().join("in.jsonl");
    let mut lines = String::new();
    let mut write = |from: usize, to: usize| {
        for n in from..to {
            let mut span = span(&format!("{n:02}"), 0, "shop", "ok");
            span["attributes"] = json!({"keep": "x", "size": n.to_string()});
            lines += &format!("{span}\n");
        }
        std::fs::write(&path, &lines).unwrap();
    };
    write(0, 20);
    let config = format!(
        "receivers: {{file: {{path: in.jsonl, follow: true}}}}\n\
         exporters: {{clickhouse: {{endpoint: '{}', database: {database}, {CLASSES}, batch: {{timeout: 100ms}}, dynamic_columns: {{interval: 1s}}}}}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [file], exporters: [clickhouse]}}}}}}\n",
        clickhouse.url()
    );
    let weir = Weir::start_in(folder, &config, &[], &[])?;
    let of = |name: &str| {
        format!("SELECT count() FROM {database}.new_key FINAL WHERE keyName = '{name}' AND isCreated")
    };
    wait_until("the column of size", TIMEOUT, async || {
        Ok((clickhouse.number(&of("size")).await.unwrap_or(0) == 1).then_some(()))
    })
    .await?;
    write(20, 30);
    let kept = format!("SELECT count() FROM {database}.events WHERE _ttl_s = 5 * 86400");
    wait_until("spans of the class", TIMEOUT, async || {
        Ok((clickhouse.number(&kept).await? == 30).then_some(()))
    })
    .await?;
    assert_eq!(clickhouse.number(&of("keep")).await?, 0);
    weir.terminate(TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn an_almost_full_disk_costs_the_oldest_days_of_the_cheapest_class_only_when_told_to() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let spans: Vec<Value> = (0..4)
        .flat_map(|days| {
            [
                span(&format!("ok-{days}"), days, "shop", "ok"),
                span(&format!("error-{days}"), days, "shop", "error"),
            ]
        })
        .collect();
    // Every disk is fuller than this.
    for (guard, deletes) in [
        ("disk_guard: {warn_below_percent: 100, interval: 1s}", false),
        ("disk_guard: {warn_below_percent: 100, drop_below_percent: 100, interval: 1s}", true),
    ] {
        let database = clickhouse.database().await?;
        // Of somebody else: nobody here knows how long its rows are kept.
        clickhouse
            .query(&format!(
                "CREATE TABLE {database}.logs ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY time \
                 TTL toDateTime(time) + toIntervalDay(9000) AS SELECT toDateTime64('2026-01-01', 9, 'UTC') AS time"
            ))
            .await?;
        let settings = format!("{CLASSES}, {guard}").replace("ttl: 2d", "ttl: 30d").replace("5d", "40d");
        let folder = Arc::new(tempfile::tempdir()?);
        let lines: String = spans.iter().map(|span| format!("{span}\n")).collect();
        std::fs::write(folder.path().join("in.jsonl"), lines)?;
        let config = format!(
            "receivers: {{file: {{path: in.jsonl, follow: true}}}}\n\
             exporters: {{clickhouse: {{endpoint: '{}', database: {database}, {settings}}}}}\n\
             service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [file], exporters: [clickhouse]}}}}}}\n",
            clickhouse.url()
        );
        let mut weir = Weir::start_in(folder, &config, &[], &[])?;
        wait_until("all spans", TIMEOUT, async || {
            // The table may not be there yet, or be without the first days again.
            let newest = ids(&clickhouse, &database).await.unwrap_or_default();
            Ok(newest.contains(&"ok-0".to_owned()).then_some(()))
        })
        .await?;
        let errors = ["error-0", "error-1", "error-2", "error-3"];
        if deletes {
            wait_until("the days before today to go", TIMEOUT, async || {
                let gone = weir.log().iter().filter(|line| line.contains("deleted a day")).count();
                Ok((gone == 3).then_some(()))
            })
            .await
            .with_context(|| weir.log().join("\n"))?;
        }
        weir.wait_for_log("disks of the server are almost full", TIMEOUT).await?;
        let outcome = weir.terminate(TIMEOUT).await?;
        let left = ids(&clickhouse, &database).await?;
        assert_eq!(clickhouse.number(&format!("SELECT count() FROM {database}.logs")).await?, 1);
        if deletes {
            assert_eq!(left, [&errors[..], &["ok-0"]].concat());
            let deleted = outcome.stderr.lines().filter(|line| line.contains("deleted a day"));
            let days: Vec<&str> = deleted.filter_map(|line| line.split("('").nth(1)?.get(..10)).collect();
            ensure!(days.len() == 3 && days.is_sorted(), "the oldest first: {days:?} {}", outcome.stderr);
        } else {
            assert_eq!(left.len(), spans.len());
            ensure!(!outcome.stderr.contains("deleted a day"), "{}", outcome.stderr);
        }
    }
    Ok(())
}
