//! The main job, end to end: a Flask shop with the real SkyWalking Python agent → Kafka → Weir → ClickHouse
//! and an alarm gateway, with rules that change while it runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{ClickHouse, Kafka, Recorder, Shop, Weir, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Window size of the test, in milliseconds.
const WINDOW_MS: i64 = 2_000;

#[tokio::test]
async fn the_shop_is_stored_windowed_and_evaluated() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (name, database) = (unique("shop"), clickhouse.database().await?);
    let rules = unique("alarm_rule_topic");
    kafka.create_topic(&rules, 1, &[("cleanup.policy", "compact")]).await?;
    // The rule that is there before the start: /slow must answer within 150 ms on average.
    let rule = |operation: &str, limit: Value| {
        json!({"service": name, "operatorName": operation, "avgThresholdHigh": limit,
               "alarmTemplate": "${service} ${operation} takes ${value}"})
        .to_string()
    };
    kafka.produce(&rules, None, Some(b"slow"), Some(rule("/slow", json!(150)).as_bytes())).await?;

    let shop = Shop::start(kafka, &name, &format!("{name}-"), 2).await?;
    let alarms = Recorder::start().await?;
    let config = format!(
        "receivers:
  skywalking_kafka: {{brokers: [\"{brokers}\"], topics: {{segments: {topic}}}, group_id: {name}, initial_offset: earliest}}
processors:
  enrich: {{tags: {{site: test}}}}
  aggregate: {{where: \"kind = 'server'\", group_by: [service, operation], window: {{tumbling: 2s}}, out_of_orderness: 1s, idle_timeout: 3s}}
  threshold: {{rules: {{kafka: {{brokers: [\"{brokers}\"], topic: {rules}}}}}}}
exporters:
  clickhouse: {{endpoint: \"{clickhouse}\", database: {database}, batch: {{timeout: 200ms}}}}
  webhook: {{url: \"{alarms}\"}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [enrich, aggregate, threshold], exporters: [clickhouse, webhook]}}
",
        brokers = kafka.bootstrap(),
        topic = shop.segments_topic(),
        clickhouse = clickhouse.url(),
        alarms = alarms.url(),
    );
    let mut weir = Weir::start(&config, &[], &[])?;
    weir.wait_for_log("weir is running", TIMEOUT).await?;

    let mut requests = 0;
    // Slow: the alarm fires.
    shop.set_slow_ms(300).await?;
    serve_until(&shop, &mut requests, || has_alarm(&alarms, "/slow", "firing"))
        .await
        .context("slow is firing")?;
    // Fast again: it resolves.
    shop.set_slow_ms(0).await?;
    serve_until(&shop, &mut requests, || has_alarm(&alarms, "/slow", "resolved"))
        .await
        .context("slow is resolved")?;
    // A rule written while Weir runs: /pay, which makes a call of its own, may take a thousandth of a
    // millisecond.
    ensure!(!has_alarm(&alarms, "/pay", "firing")?, "no rule may have held for /pay yet");
    let written = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    kafka.produce(&rules, None, Some(b"pay"), Some(rule("/pay", json!(0.001)).as_bytes())).await?;
    serve_until(&shop, &mut requests, || has_alarm(&alarms, "/pay", "firing"))
        .await
        .context("pay is firing")?;
    // And removed: it resolves.
    kafka.produce(&rules, None, Some(b"pay"), None).await?;
    serve_until(&shop, &mut requests, || has_alarm(&alarms, "/pay", "resolved"))
        .await
        .context("pay is resolved")?;
    while requests < 200 {
        round(&shop, &mut requests).await?;
    }

    // Every span that the agent sent is one row, with its tags. The last segment may end a little after its
    // answer.
    let count = format!("SELECT count() AS n FROM {database}.events");
    let sent = wait_until("as many rows as spans", TIMEOUT, async || {
        let stored = clickhouse.number(&count).await?;
        let sent = shop.flush().await?;
        Ok((stored == sent.spans).then_some(sent))
    })
    .await?;
    let distinct = format!("SELECT uniqExact(span_id) AS n FROM {database}.events");
    assert_eq!(clickhouse.number(&distinct).await?, sent.spans, "and no span is there twice");
    let tagged = format!(
        "SELECT count() AS n FROM {database}.events WHERE kind = 'server' AND operation != '/stock'
         AND NOT (attributes['site'] = 'test' AND concat('/', attributes['shop.route']) = operation AND mapContains(attributes, 'http.method'))"
    );
    assert_eq!(clickhouse.number(&tagged).await?, 0, "every entry span has its tags and the static tag");

    // Each window equals what plain SQL over the events gives, and none is missing up to the last.
    let windows = windows(clickhouse, &database).await?;
    let expected = expected_windows(clickhouse, &database).await?;
    ensure!(windows.len() > 10, "only {} windows", windows.len());
    let last = windows.iter().filter_map(|row| row["start"].as_i64()).max().unwrap_or_default();
    let expected: Vec<Value> =
        expected.into_iter().filter(|row| row["start"].as_i64().is_some_and(|start| start <= last)).collect();
    assert_eq!(windows, expected);

    // The verdict changed within one window: the first alarm of the new rule is about a window that ended at
    // most one window, the out-of-orderness and the time of a batch after the rule was written.
    let first = alarm(&alarms, "/pay", "firing")?.context("the alarm")?;
    let end = first["window_end"].as_i64().context("window_end in milliseconds")?;
    assert!(end - written <= 3 * WINDOW_MS, "the rule took effect {} ms after it was written", end - written);
    let message = first["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with(&format!("{name} /pay takes ")), "{message}");
    // Firing and resolved are about the same thing.
    let (firing, resolved) = (alarm(&alarms, "/slow", "firing")?, alarm(&alarms, "/slow", "resolved")?);
    assert_eq!(firing.context("firing")?["fingerprint"], resolved.context("resolved")?["fingerprint"]);
    let stored = format!(
        "SELECT count() AS n FROM {database}.alarms WHERE operation = '/slow' AND state IN ('firing', 'resolved')"
    );
    assert!(clickhouse.number(&stored).await? >= 2, "alarms are stored too");

    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

/// One round of requests: some slow, some failing.
async fn round(shop: &Shop, requests: &mut u32) -> Result<()> {
    for (path, status) in [("/fast", 200), ("/slow", 200), ("/fail", 500), ("/pay?order=7&customer=ada", 200)]
    {
        ensure!(shop.get(path).await? == status, "{path} did not answer {status}");
        *requests += 1;
    }
    Ok(())
}

/// Serves requests until the condition holds.
async fn serve_until(shop: &Shop, requests: &mut u32, done: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = std::time::Instant::now() + TIMEOUT;
    while !done()? {
        ensure!(std::time::Instant::now() < deadline, "not within {TIMEOUT:?}");
        round(shop, requests).await?;
    }
    Ok(())
}

/// The first alarm of this operation and state that the gateway has accepted.
fn alarm(alarms: &Recorder, operation: &str, state: &str) -> Result<Option<Value>> {
    let bodies = alarms.accepted()?;
    let all = bodies.iter().filter_map(|body| body["alarms"].as_array()).flatten();
    Ok(all.into_iter().find(|alarm| alarm["operation"] == operation && alarm["state"] == state).cloned())
}

fn has_alarm(alarms: &Recorder, operation: &str, state: &str) -> Result<bool> {
    Ok(alarm(alarms, operation, state)?.is_some())
}

async fn windows(clickhouse: &ClickHouse, database: &str) -> Result<Vec<Value>> {
    let sql = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS start, service, operation, count, error_count,
             round(success_rate, 9) AS success_rate, round(avg_duration_ns) AS mean, max_duration_ns AS max
         FROM {database}.window_results FINAL ORDER BY start, service, operation"
    );
    clickhouse.query(&sql).await
}

async fn expected_windows(clickhouse: &ClickHouse, database: &str) -> Result<Vec<Value>> {
    let sql = format!(
        "SELECT intDiv(toUnixTimestamp64Milli(end_time), {WINDOW_MS}) * {WINDOW_MS} AS start, service, operation,
             toInt64(count()) AS count, toInt64(countIf(status = 'error')) AS error_count,
             round((count - error_count) / count, 9) AS success_rate, round(avg(duration_ns)) AS mean, max(duration_ns) AS max
         FROM {database}.events WHERE kind = 'server' GROUP BY start, service, operation ORDER BY start, service, operation"
    );
    clickhouse.query(&sql).await
}
