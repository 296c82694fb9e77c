//! `health_check` on the real program: it is unhealthy while Kafka or ClickHouse is away and while the clock
//! is behind, and healthy again afterwards.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{
    ClickHouse, Kafka, Record, SHORT_SESSION, Weir, free_port, recorded, storing, unique, wait_until,
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The status code and body of a request.
async fn ask(port: u16, path: &str) -> Result<(u16, Value)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(format!("http://127.0.0.1:{port}{path}")).send().await?;
    Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?)?))
}

/// Waits until `/` gives this code, and returns the verbose answer of that moment.
async fn until(port: u16, code: u16) -> Result<Value> {
    wait_until(&format!("status {code}"), TIMEOUT, async || {
        let Ok((now, body)) = ask(port, "/status?verbose").await else { return Ok(None) };
        ensure!(body["healthy"] == (now == 200), "{body}");
        Ok((now == code && ask(port, "/").await?.0 == code).then_some(body))
    })
    .await
}

fn component<'a>(body: &'a Value, name: &str) -> &'a Value {
    &body["components"]["pipeline:main"]["components"][name]
}

/// A configuration with the extension, whose errors count after half a second.
fn with_health(config: &str, port: u16) -> String {
    format!(
        "extensions:\n  health_check: {{endpoint: \"127.0.0.1:{port}\", component_health: {{recovery_duration: 500ms}}}}\n{}",
        config.replace("service:\n", "service:\n  extensions: [health_check]\n")
    )
}

#[tokio::test]
async fn a_gateway_is_unhealthy_while_kafka_or_clickhouse_is_away_and_while_it_stops() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::start()?, ClickHouse::start()?);
    let (topic, database, port) = (unique("health"), clickhouse.database().await?, free_port()?);
    kafka.create_topic(&topic, 1, &[]).await?;
    let receiver = format!("{SHORT_SESSION}, metadata_refresh: 1s");
    let config =
        storing((&kafka, &topic), (&clickhouse, &database), &receiver, "retry: {max_interval: 200ms}");
    let weir = Weir::start(&with_health(&config, port), &[], &[])?;
    let body = until(port, 200).await?;
    assert_eq!(component(&body, "receiver:skywalking_kafka")["status"], "StatusOK", "{body}");

    kafka.stop()?;
    let body = until(port, 503).await?;
    let receiver = component(&body, "receiver:skywalking_kafka");
    assert_eq!(receiver["status"], "StatusRecoverableError", "{body}");
    assert!(receiver["error"].as_str().context("no error")?.contains(kafka.bootstrap()), "{body}");
    assert_eq!(component(&body, "exporter:clickhouse")["status"], "StatusOK", "{body}");
    assert_eq!(ask(port, "/live").await?.0, 200);
    kafka.start_again()?;
    let body = until(port, 200).await?;
    assert!(component(&body, "receiver:skywalking_kafka")["last_error"].is_string(), "{body}");

    clickhouse.fault(json!({"mode": "http500", "code": 252, "match": "INSERT"})).await?;
    let segments: Vec<Record> = recorded("skywalking-segments")?
        .into_iter()
        .map(|record| Record { topic: topic.clone(), partition: 0, ..record })
        .collect();
    kafka.produce_all(&segments).await?;
    let body = until(port, 503).await?;
    let exporter = component(&body, "exporter:clickhouse");
    assert_eq!(exporter["status"], "StatusRecoverableError", "{body}");
    assert!(exporter["error"].as_str().context("no error")?.contains("252"), "{body}");
    assert_eq!(ask(port, "/status?pipeline=other").await?.0, 404);
    clickhouse.fault(json!({"mode": "ok"})).await?;
    let body = until(port, 200).await?;
    assert_eq!(component(&body, "exporter:clickhouse")["status"], "StatusOK", "{body}");

    // While it drains.
    clickhouse.fault(json!({"mode": "refuse"})).await?;
    kafka.produce_all(&segments).await?;
    until(port, 503).await?;
    weir.signal("TERM")?;
    wait_until("the status of a program that stops", TIMEOUT, async || {
        let (code, body) = ask(port, "/").await?;
        Ok((body["status"] == "StatusStopping" && code == 503).then_some(()))
    })
    .await?;
    clickhouse.fault(json!({"mode": "ok"})).await?;
    assert_eq!(weir.wait(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_gateway_is_unhealthy_while_its_clock_is_behind() -> Result<()> {
    let (folder, port) = (tempfile::tempdir()?, free_port()?);
    let input = folder.path().join("in.jsonl");
    let mut file = std::fs::File::create(&input)?;
    let mut event = |ahead_ms: i64| -> Result<()> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let (time, end) = (now + ahead_ms, now + ahead_ms + 1);
        let line = json!({"signal": "traces", "time": time, "end_time": end, "duration_ns": 1_000_000, "service": "pay"});
        Ok(writeln!(file, "{line}")?)
    };
    event(2 * 3_600_000)?;
    let config = format!(
        "receivers:\n  file: {{path: \"{}\", follow: true}}\n\
         processors:\n  aggregate: {{window: {{tumbling: 7s}}, max_future: 1h}}\n\
         exporters:\n  nop: {{}}\n\
         service:\n  telemetry: {{metrics: {{address: \"\"}}}}\n  pipelines:\n    main: {{receivers: [file], processors: [aggregate], exporters: [nop]}}\n",
        input.display()
    );
    let mut weir = Weir::start(&with_health(&config, port), &[], &[])?;
    weir.wait_for_log("the clock of this gateway is behind", TIMEOUT).await?;
    let body = until(port, 503).await?;
    let processor = component(&body, "processor:aggregate");
    assert_eq!(processor["status"], "StatusPermanentError", "{body}");
    assert_eq!(body["status"], "StatusPermanentError", "{body}");
    event(0)?;
    let body = until(port, 200).await?;
    assert_eq!(component(&body, "processor:aggregate")["status"], "StatusOK", "{body}");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
