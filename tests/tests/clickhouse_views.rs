//! The views that the `clickhouse` exporter creates, and `weir clickhouse ddl`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::{ClickHouse, Outcome, Weir, decode_segments, recorded};

const PATIENCE: Duration = Duration::from_secs(60);
const ALL: &str = "views: [segments, flink_operator_agg_result, events_trace_id_ts, service_edges]";

/// Stores lines with these settings of the exporter.
async fn store(lines: &str, url: &str, database: &str, settings: &str) -> Result<Outcome> {
    let folder = Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    let config = configuration(url, database, settings);
    Weir::start_in(folder, &config, &["--exit-on-end"], &[])?.wait(PATIENCE).await
}

fn configuration(url: &str, database: &str, settings: &str) -> String {
    // Where inserts are to wait for ever.
    let patience = if settings.contains("check") { "3s" } else { "60s" };
    format!(
        "receivers: {{file: {{path: in.jsonl}}}}\n\
         exporters: {{clickhouse: {{endpoint: '{url}', database: {database}, retry: {{initial_interval: 10ms, max_interval: 50ms}}, {settings}}}}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, shutdown_timeout: {patience}, pipelines: {{main: {{receivers: [file], exporters: [clickhouse]}}}}}}\n"
    )
}

/// The recorded agent's segments, as JSON lines and as the agent's own classes read them; and some of other
/// layers, with children that run at the same time and beyond their parent.
fn segments() -> Result<(String, Vec<Value>)> {
    let mut segments = decode_segments(&recorded("skywalking-segments")?)?;
    let span = |id: i32, parent: i32, from: i64, to: i64, kind: &str, layer: &str, peer: &str| {
        json!({"spanId": id, "parentSpanId": parent, "startTime": 1_749_088_705_000_i64 + from, "endTime": 1_749_088_705_000_i64 + to,
               "operationName": format!("/{layer}/{id}"), "spanType": kind, "spanLayer": layer, "peer": peer, "isError": id == 3, "refs": []})
    };
    for number in 0..3 {
        let mut spans = vec![
            span(0, -1, 0, 100, "Local", "Unknown", ""),
            span(1, 0, 5, 90, "Entry", "RPCFramework", ""),
            span(2, 1, 10, 50, "Exit", "Database", "db:3306"),
            span(3, 1, 30, 120, "Exit", "Cache", "redis:6379"),
            span(4, 1, 40, 45, "Exit", "MQ", "kafka:9092"),
            span(5, 2, 10, 12, "Local", "Unknown", ""),
            span(6, 1, 80, 80, "Exit", "Http", "other:80"),
        ];
        let refs = ["front", "front", "batch"].map(|service| {
            json!({"refType": "CrossProcess", "traceId": "t", "parentTraceSegmentId": "p", "parentSpanId": 1, "parentService": service,
                   "parentServiceInstance": "i", "parentEndpoint": "/f", "networkAddressUsedAtPeer": "h:1"})
        });
        spans[1]["refs"] = json!(refs);
        segments.push(json!({"traceId": format!("trace{number}"), "traceSegmentId": format!("segment{number}"), "service": "pay",
                             "serviceInstance": "pay-1", "spans": spans}));
    }
    let lines = segments.iter().map(|segment| format!("{segment}\n")).collect();
    Ok((lines, segments))
}

fn int(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Milliseconds of a span in which none of its children runs: each is looked at by itself.
fn self_ms(span: &Value, spans: &[Value]) -> i64 {
    let range = |span: &Value| int(&span["startTime"])..int(&span["endTime"]);
    let children: Vec<_> =
        spans.iter().filter(|child| int(&child["parentSpanId"]) == int(&span["spanId"])).collect();
    range(span).filter(|ms| !children.iter().any(|child| range(child).contains(ms))).count() as i64
}

fn layer(span: &Value) -> String {
    match span["spanLayer"].as_str().unwrap_or_default() {
        "Unknown" => String::new(),
        "RPCFramework" => "rpc_framework".to_owned(),
        layer => layer.to_lowercase(),
    }
}

#[tokio::test]
async fn a_segment_is_one_row_with_its_entry_and_the_self_times_of_its_layers() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let (lines, segments) = segments()?;
    let database = clickhouse.database().await?;
    let outcome = store(&lines, clickhouse.url(), &database, "").await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    let rows = clickhouse.query(&format!("SELECT * FROM {database}.segments")).await?;
    assert_eq!(rows.len(), segments.len());
    let mut layers = BTreeSet::new();
    for segment in &segments {
        let row = rows.iter().find(|row| row["segment_id"] == segment["traceSegmentId"]).unwrap();
        let spans = list(&segment["spans"]);
        let is_entry = |span: &&Value| span["spanType"] == "Entry";
        let entry = spans.iter().filter(is_entry).min_by_key(|span| int(&span["spanId"]));
        let entry = entry.or_else(|| spans.iter().min_by_key(|span| int(&span["spanId"]))).unwrap();
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for span in spans {
            *expected.entry(layer(span)).or_default() += self_ms(span, spans) * 1_000_000;
            layers.insert(layer(span));
        }
        expected.retain(|_, nanos| *nanos > 0);
        assert_eq!(row["self_ns"], json!(expected), "{segment}");
        assert_eq!(row["span_count"], spans.len() as u64);
        assert_eq!(row["error_count"], spans.iter().filter(|span| span["isError"] == true).count() as u64);
        assert_eq!((&row["operation"], &row["service"]), (&entry["operationName"], &segment["service"]));
        assert_eq!(int(&row["duration_ns"]), (int(&entry["endTime"]) - int(&entry["startTime"])) * 1_000_000);
    }
    assert_eq!(layers.len(), 6, "{layers:?}");
    // A condition within the view, as the data model says.
    let of_none = format!(
        "SELECT count() FROM {database}.segments SETTINGS additional_table_filters = {{'{database}.events': 'time < toDateTime(1)'}}"
    );
    assert_eq!(clickhouse.number(&of_none).await?, 0);
    Ok(())
}

/// Callers and callees by hand: the services that entry spans name as their parents, and the peers of exits.
fn edges(segments: &[Value]) -> BTreeMap<(String, String, String), (u64, u64, i64)> {
    let mut edges: BTreeMap<_, (u64, u64, i64)> = BTreeMap::new();
    for segment in segments {
        let service = segment["service"].as_str().unwrap();
        for span in list(&segment["spans"]) {
            let layer = layer(span);
            let (callers, callee): (BTreeSet<&str>, &str) = match span["spanType"].as_str() {
                Some("Entry") => {
                    let refs = list(&span["refs"]).iter().filter_map(|of| of["parentService"].as_str());
                    (refs.filter(|name| !name.is_empty()).collect(), service)
                }
                Some("Exit")
                    if ["database", "cache", "mq"].contains(&layer.as_str()) && span["peer"] != "" =>
                {
                    ([service].into(), span["peer"].as_str().unwrap())
                }
                _ => continue,
            };
            for caller in callers {
                let key = (
                    caller.to_owned(),
                    callee.to_owned(),
                    span["operationName"].as_str().unwrap().to_owned(),
                );
                let edge = edges.entry(key).or_default();
                edge.0 += 1;
                edge.1 += u64::from(span["isError"] == true);
                edge.2 += (int(&span["endTime"]) - int(&span["startTime"])) * 1_000_000;
            }
        }
    }
    edges
}

#[tokio::test]
async fn edges_and_the_times_of_traces_count_an_insert_once_however_often_it_comes() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let (lines, segments) = segments()?;
    let database = clickhouse.database().await?;
    // The answer of the first insert is lost, so that it comes again.
    clickhouse.fault(json!({"mode": "lost_answer", "times": 2, "match": "INSERT"})).await?;
    let outcome =
        store(&lines, clickhouse.url(), &database, &format!("{ALL}, batch: {{max_rows: 200}}")).await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    assert!(clickhouse.stats().await?.faults >= 2);
    let rows = clickhouse
        .query(&format!(
            "SELECT caller, callee, operation, sum(count) AS n, sum(errors) AS e, sum(duration_ns) AS d, max(max_duration_ns) AS m, \
             quantilesTDigestMerge(0.5, 0.9, 0.99)(latency) AS q FROM {database}.service_edges GROUP BY ALL"
        ))
        .await?;
    let expected = edges(&segments);
    assert!(expected.len() > 2, "{expected:?}");
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let found: BTreeMap<_, _> = rows
        .iter()
        .map(|row| {
            let key = (text(row, "caller"), text(row, "callee"), text(row, "operation"));
            (key, (row["n"].as_u64().unwrap(), row["e"].as_u64().unwrap(), int(&row["d"])))
        })
        .collect();
    assert_eq!(found, expected);
    for row in &rows {
        let highest = row["q"].as_array().unwrap().last().unwrap().as_f64().unwrap();
        assert!(highest <= int(&row["m"]) as f64 * 1.01, "{row}");
    }
    // Each trace is found between its two times.
    let outside = format!(
        "SELECT count() FROM {database}.events AS e LEFT JOIN (SELECT TraceId, min(Start) AS s, max(End) AS f FROM {database}.events_trace_id_ts GROUP BY TraceId) AS t \
         ON e.trace_id = t.TraceId WHERE toDateTime(time) < s OR toDateTime(time) > f OR TraceId = ''"
    );
    assert_eq!(clickhouse.number(&outside).await?, 0);
    let traces: BTreeSet<_> = segments.iter().map(|segment| segment["traceId"].clone().to_string()).collect();
    let known = format!("SELECT uniqExact(TraceId) FROM {database}.events_trace_id_ts");
    assert_eq!(clickhouse.number(&known).await?, traces.len() as u64);
    Ok(())
}

#[tokio::test]
async fn older_servers_take_the_views_too() -> Result<()> {
    let (lines, segments) = segments()?;
    for clickhouse in [ClickHouse::start_oldest()?, ClickHouse::start_real()?] {
        let database = clickhouse.database().await?;
        let outcome = store(&lines, clickhouse.url(), &database, ALL).await?;
        ensure!(outcome.code == Some(0), "{}", outcome.stderr);
        ensure!(!outcome.stderr.contains("WARN"), "{}", outcome.stderr);
        let count =
            async |table: &str| clickhouse.number(&format!("SELECT count() FROM {database}.{table}")).await;
        assert_eq!(count("segments").await?, segments.len() as u64);
        let all = format!("SELECT sum(count) FROM {database}.service_edges");
        assert_eq!(clickhouse.number(&all).await?, edges(&segments).values().map(|edge| edge.0).sum::<u64>());
    }
    Ok(())
}

#[tokio::test]
async fn window_results_have_the_form_of_the_older_system_with_shards_added_up() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let window = |shard: u64, firing: u64, count: u64, avg: f64, errors: u64| {
        json!({"signal": "windows", "operator": "mean", "window_start": "2026-11-30T10:00:00Z", "window_end": "2026-11-30T10:00:07Z",
               "window_size_ms": 7000, "service": "pay", "operation": "/pay", "shard": shard, "firing": firing, "count": count, "error_count": errors,
               "avg_duration_ns": avg, "max_duration_ns": 5_000_000 * (shard + 1), "success_rate": 1.0 - errors as f64 / count as f64})
    };
    let lines = [window(0, 0, 1, 9e6, 0), window(0, 1, 2, 2e6, 1), window(1, 0, 6, 6e6, 0)];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let outcome = store(&lines, clickhouse.url(), &database, "").await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    let rows = clickhouse.query(&format!("SELECT * FROM {database}.flink_operator_agg_result")).await?;
    assert_eq!(
        rows,
        [
            json!({"operator_class": "mean", "service": "pay", "operator_name": "/pay", "window_start": "2026-11-30 10:00:00.000000000",
                "window_end": "2026-11-30 10:00:07.000000000", "window_size": 7, "avg_duration": 5, "max_duration": 10, "success_rate": 0.875,
                "traffic_volume": 8})
        ]
    );
    Ok(())
}

#[tokio::test]
async fn the_printed_statements_create_what_the_exporter_checks() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = weir_tests::unique("printed");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("weir.yaml").display().to_string();
    let config =
        configuration(clickhouse.url(), &database, &format!("create_schema: check, ttl: 36500d, {ALL}"));
    std::fs::write(&file, &config)?;
    let printed = Weir::run_command(&["clickhouse", "ddl", "--config", &file], &[])?;
    ensure!(printed.code == Some(0), "{}", printed.stderr);
    for statement in printed.stdout.split(";\n").filter(|text| !text.trim().is_empty()) {
        // The engine keeps no settings between requests.
        if !statement.trim().starts_with("SET ") {
            clickhouse.query(statement).await?;
        }
    }
    let (lines, segments) = segments()?;
    let outcome = store(&lines, clickhouse.url(), &database, &format!("create_schema: check, {ALL}")).await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    let count = format!("SELECT count() FROM {database}.segments");
    assert_eq!(clickhouse.number(&count).await?, segments.len() as u64);
    // Column by column: of another type, and missing.
    clickhouse
        .query(&format!("ALTER TABLE {database}.events MODIFY COLUMN status_message LowCardinality(String)"))
        .await?;
    clickhouse.query(&format!("ALTER TABLE {database}.events DROP COLUMN size_limited")).await?;
    let outcome = store(&lines, clickhouse.url(), &database, "create_schema: check").await?;
    assert_eq!(outcome.code, Some(1));
    for told in [
        "`status_message` is LowCardinality(String), and expected is String",
        &format!(
            "`size_limited` is missing: ALTER TABLE `{database}`.`events` ADD COLUMN `size_limited` Bool"
        ),
    ] {
        assert!(outcome.stderr.contains(told), "{told} is not in\n{}", outcome.stderr);
    }
    // With `true` it is told, and inserts go on.
    let outcome = store(&lines, clickhouse.url(), &database, "").await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`size_limited` is missing"), "{}", outcome.stderr);
    // A table that is missing is not created.
    let outcome =
        store(&lines, clickhouse.url(), &weir_tests::unique("none"), "create_schema: check").await?;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("does not exist"), "{}", outcome.stderr);
    Ok(())
}

#[tokio::test]
async fn the_queries_of_the_data_model_run() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("weir.yaml").display().to_string();
    std::fs::write(&file, configuration(clickhouse.url(), &database, ALL))?;
    let printed = Weir::run_command(&["clickhouse", "ddl", "--config", &file], &[])?;
    for statement in printed.stdout.split(";\n").filter(|text| !text.trim().is_empty()) {
        if !statement.trim().starts_with("SET ") {
            clickhouse.query(statement).await?;
        }
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/data-model.md");
    let page = std::fs::read_to_string(page)?.replace("weir.", &format!("{database}."));
    let page = page.replace("default.", &format!("{database}."));
    let mut run = 0;
    for block in page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for statement in block.split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
            let tables = ["CREATE TABLE", "ALTER TABLE"].map(|verb| format!("{verb} {database}."));
            let begins = ["SELECT", "WITH", "CREATE DICTIONARY", &tables[0], &tables[1]];
            if begins.iter().any(|begin| statement.starts_with(begin)) {
                let settings = [("database", database.as_str())];
                let done = clickhouse.insert(statement.trim_end_matches(';'), &settings, Vec::new()).await;
                ensure!(done.is_ok(), "{statement}\n{done:?}");
                run += 1;
            }
        }
    }
    assert!(run >= 12, "{run}");
    clickhouse.query(&format!("INSERT INTO {database}.cmdb VALUES ('pay', 'team a', 'gold')")).await?;
    clickhouse
        .query(&format!("INSERT INTO {database}.events (time, service) VALUES (now(), 'pay'), (now(), 'x')"))
        .await?;
    clickhouse.query(&format!("SYSTEM RELOAD DICTIONARY {database}.cmdb_tags")).await?;
    let owners =
        clickhouse.query(&format!("SELECT service, owner FROM {database}.events ORDER BY service")).await?;
    assert_eq!(owners, [json!({"service": "pay", "owner": "team a"}), json!({"service": "x", "owner": ""})]);
    Ok(())
}

#[tokio::test]
async fn weir_query_asks_the_server() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let (lines, segments) = segments()?;
    let database = clickhouse.database().await?;
    let outcome = store(&lines, clickhouse.url(), &database, "").await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    let ask = |format: &str, sql: &str| {
        let url = clickhouse.url();
        Weir::run_command(
            &["query", "--clickhouse", url, "--database", &database, "--format", format, sql],
            &[],
        )
    };
    let count = "SELECT toUInt32(count()) AS n FROM segments";
    let answer = ask("json", count)?;
    assert_eq!(answer.stdout, format!("{{\"n\":{}}}\n", segments.len()), "{}", answer.stderr);
    assert_eq!(ask("csv", count)?.stdout, format!("\"n\"\n{}\n", segments.len()));
    assert!(ask("table", count)?.stdout.contains(&format!("{}", segments.len())));
    let wrong = ask("table", "SELECT 1 FROM nothing")?;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("Code: 60"), "{}", wrong.stderr);
    let drop = ask("table", "DROP VIEW segments")?;
    assert!(drop.code == Some(1) && drop.stderr.contains("Code: 164"), "it only reads: {}", drop.stderr);
    assert_eq!(ask("json", &format!("{count} SETTINGS max_threads = 1"))?.stdout, answer.stdout);
    let away = Weir::run_command(&["query", "--clickhouse", "http://127.0.0.1:1", "SELECT 1"], &[])?;
    assert!(away.code == Some(1) && away.stderr.contains("does not answer"), "{}", away.stderr);
    Ok(())
}

#[tokio::test]
async fn alarms_that_fire_are_the_same_from_files_and_from_the_server() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    let alarm = |name: &str, state: &str, minutes_ago: i64| {
        let time = now - minutes_ago * 60_000;
        let mut row = json!({
            "signal": "alarms", "time": time, "rule": "slow", "severity": "high", "state": state, "service": name,
            "labels": {"service": name}, "message": format!("{name} is slow"), "fingerprint": name,
            "starts_at": now - 600_000
        });
        if state == "resolved" {
            row["ends_at"] = time.into();
        }
        row
    };
    let mut event = alarm("event", "firing", 5);
    event["ends_at"] = event["time"].clone();
    let mut mild = alarm("mild", "firing", 3);
    (mild["severity"], mild["rule"]) = ("low".into(), "other".into());
    let rows = [
        alarm("fires", "firing", 10),
        alarm("over", "firing", 10),
        alarm("over", "resolved", 4),
        alarm("at once", "resolved", 4),
        alarm("at once", "firing", 4),
        alarm("the other way", "firing", 4),
        alarm("the other way", "resolved", 4),
        alarm("again", "resolved", 9),
        alarm("again", "firing", 8),
        alarm("lost", "firing", 50 * 24 * 60),
        mild,
        event,
    ];
    let folder = Arc::new(tempfile::tempdir()?);
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    std::fs::write(folder.path().join("in.jsonl"), lines.join("\n") + "\n")?;
    let config = configuration(clickhouse.url(), &database, "")
        .replace("exporters: {clickhouse", "exporters: {local: {directory: data}, clickhouse")
        .replace("exporters: [clickhouse]", "exporters: [clickhouse, local]");
    let outcome =
        Weir::start_in(Arc::clone(&folder), &config, &["--exit-on-end"], &[])?.wait(PATIENCE).await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    let data = folder.path().join("data").display().to_string();
    let files = Weir::run_command(&["alarms", "--data", &data], &[])?;
    let arguments = ["alarms", "--clickhouse", clickhouse.url(), "--database", &database];
    let server = Weir::run_command(&arguments, &[])?;
    ensure!(server.code == Some(0) && files.code == Some(0), "{}{}", server.stderr, files.stderr);
    assert_eq!(files.stdout, server.stdout);
    let words = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("service="));
        lines.map(|line| line.rsplit("service=").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(words(&server.stdout), ["again", "fires", "mild"], "{}", server.stdout);
    ensure!(server.stdout.contains("  10m  slow  service=fires\n      fires is slow\n"), "{}", server.stdout);
    ensure!(server.stdout.ends_with("3 alarms fire: 2 high, 1 low\n"), "{}", server.stdout);
    let one = Weir::run_command(&[&arguments[..], &["--rule", "other"]].concat(), &[])?;
    assert_eq!(words(&one.stdout), ["mild"]);
    let old = Weir::run_command(&[&arguments[..], &["--since", "100d"]].concat(), &[])?;
    assert_eq!(words(&old.stdout), ["again", "fires", "lost", "mild"], "{}", old.stdout);
    Ok(())
}

#[tokio::test]
async fn a_trace_is_drawn_the_same_from_files_and_from_the_server() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let (_, segments) = segments()?;
    let mut callee = segments.last().unwrap().clone();
    let front = json!({"traceId": "trace2", "traceSegmentId": "p", "service": "front", "serviceInstance": "f", "spans": [
        {"spanId": 0, "parentSpanId": -1, "startTime": 1_749_088_704_990_i64, "endTime": 1_749_088_705_130_i64, "operationName": "/f", "spanType": "Entry",
         "spanLayer": "Http", "isError": false, "refs": [], "peer": ""},
        {"spanId": 1, "parentSpanId": 0, "startTime": 1_749_088_705_000_i64, "endTime": 1_749_088_705_125_i64, "operationName": "/call", "spanType": "Exit",
         "spanLayer": "Http", "isError": false, "refs": [], "peer": "pay:80"}
    ]});
    // The entry span is below the exit span of the caller, as its reference says.
    callee["spans"] = json!([callee["spans"][1], callee["spans"][3]]);
    callee["spans"][0]["parentSpanId"] = json!(-1);
    let folder = Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("in.jsonl"), format!("{callee}\n{front}\n"))?;
    let config = configuration(clickhouse.url(), &database, "")
        .replace("exporters: {clickhouse", "exporters: {local: {directory: data}, clickhouse")
        .replace("exporters: [clickhouse]", "exporters: [clickhouse, local]");
    let outcome =
        Weir::start_in(Arc::clone(&folder), &config, &["--exit-on-end"], &[])?.wait(PATIENCE).await?;
    ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    let data = folder.path().join("data").display().to_string();
    let files = Weir::run_command(&["trace", "trace2", "--data", &data], &[])?;
    let server = Weir::run_command(
        &["trace", "trace2", "--clickhouse", clickhouse.url(), "--database", &database],
        &[],
    )?;
    assert_eq!(files.stdout, server.stdout, "{}{}", files.stderr, server.stderr);
    let lines: Vec<&str> = server.stdout.lines().collect();
    assert_eq!(lines[0], "trace trace2: 4 spans, 2 services, 1 error, 140.0 ms", "{}", server.stderr);
    assert_eq!(lines[1], "front → pay");
    for (line, begin, ends) in [
        (3, "front /f ", "140.0 ms  self   15.0 ms"),
        (4, "└─ front /call → pay:80 ", "125.0 ms  self   40.0 ms"),
        (5, "   └─ pay /RPCFramework/1 ", "85.0 ms  self   25.0 ms"),
        (6, "      └─ pay /Cache/3 → redis:6379 ", "90.0 ms  self   90.0 ms  ERROR"),
    ] {
        assert!(lines[line].starts_with(begin) && lines[line].ends_with(ends), "{}", server.stdout);
    }
    let none = Weir::run_command(
        &["trace", "it's \\ none", "--clickhouse", clickhouse.url(), "--database", &database],
        &[],
    )?;
    assert!(
        none.code == Some(1) && none.stderr.contains("there are no spans of the trace"),
        "{}",
        none.stderr
    );
    Ok(())
}
