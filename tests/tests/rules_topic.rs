//! The rules' topic: read to its end before the first window is evaluated, followed while running, waited for
//! when it is away; a bad rule changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{Entry, Kafka, Metrics, Record, Recorder, Weir, free_port, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

/// Windows of one second over a topic with one partition: nothing but event time closes them.
struct Bench {
    kafka: &'static Kafka,
    segments: String,
    alarms: Recorder,
    metrics: String,
    /// The next window's number.
    next: i64,
}

impl Bench {
    async fn new() -> Result<Bench> {
        let (kafka, segments) = (Kafka::shared()?, unique("segments"));
        kafka.create_topic(&segments, 1, &[]).await?;
        let metrics = format!("127.0.0.1:{}", free_port()?);
        Ok(Bench { kafka, segments, alarms: Recorder::start().await?, metrics, next: 0 })
    }

    /// Weir with rules of this topic of this broker.
    fn start(&self, rules_broker: &Kafka, rules: &str) -> Result<Weir> {
        let (brokers, topic) = (self.kafka.bootstrap(), &self.segments);
        let config = format!(
            "receivers:
  skywalking_kafka: {{brokers: [\"{brokers}\"], topics: {{segments: {topic}}}, group_id: {topic}, initial_offset: earliest}}
processors:
  aggregate: {{window: {{tumbling: 1s}}, out_of_orderness: 0s, idle_timeout: 1h}}
  threshold: {{rules: {{kafka: {{brokers: [\"{}\"], topic: {rules}}}}}}}
exporters:
  webhook: {{url: \"{}\", batch: {{timeout: 10ms}}}}
service:
  telemetry: {{metrics: {{address: \"{}\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [aggregate, threshold], exporters: [webhook]}}
",
            rules_broker.bootstrap(),
            self.alarms.url(),
            self.metrics,
        );
        Weir::start(&config, &[], &[])
    }

    /// Fills the next window with one slow request to this operation of `shop`, and closes it with a quick
    /// one to another. Returns when the window began.
    async fn slow(&mut self, operation: &str) -> Result<i64> {
        let start = START + self.next * 1_000;
        self.next += 1;
        let entry = |operation: &str, end_ms: i64, duration_ms: i64| Entry {
            id: format!("{operation}-{end_ms}"),
            service: "shop".into(),
            operation: operation.into(),
            end_ms,
            duration_ms,
            failed: false,
        };
        let records = [entry(operation, start + 500, 500), entry("/quick", start + 1_000, 1)];
        self.kafka.produce_all(&records.map(|entry| entry.record(&self.segments, 0))).await?;
        Ok(start)
    }

    /// Waits for the alarm that this operation fires or resolves.
    async fn alarm(&self, operation: &str, state: &str) -> Result<Value> {
        let of = |bodies: &[Value]| {
            let mut all = bodies.iter().filter_map(|body| body["alarms"].as_array()).flatten();
            all.find(|alarm| alarm["operation"] == operation && alarm["state"] == state).cloned()
        };
        let bodies = self
            .alarms
            .wait_until(&format!("{operation} {state}"), TIMEOUT, |bodies| of(bodies).is_some())
            .await?;
        of(&bodies).context("the alarm")
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        let page = Metrics::scrape(&self.metrics).await?;
        let labels: &[(&str, &str)] =
            if name == "weir_threshold_rules" { &[("source", "kafka")] } else { &[] };
        page.sum(name, labels).with_context(|| format!("no {name}"))
    }

    async fn wait_for_metric(&self, name: &str, value: f64) -> Result<()> {
        let what = format!("{name} to be {value}");
        wait_until(&what, TIMEOUT, async || Ok((self.metric(name).await? == value).then_some(()))).await
    }
}

/// A new rules' topic on this broker.
async fn rules_topic(kafka: &Kafka) -> Result<String> {
    let topic = unique("rules");
    kafka.create_topic(&topic, 1, &[("cleanup.policy", "compact")]).await?;
    Ok(topic)
}

fn rule(service: &str, severity: &str, message: &str) -> String {
    json!({"service": service, "operator_name": "*", format!("maxThreshold{severity}"): 100, "alarmTemplate": message})
        .to_string()
}

#[tokio::test]
async fn the_first_window_is_evaluated_by_the_last_rule_of_the_topic() -> Result<()> {
    let mut bench = Bench::new().await?;
    let rules = rules_topic(bench.kafka).await?;
    let record = |key: String, value: String| Record {
        topic: rules.clone(),
        partition: 0,
        offset: 0,
        timestamp_ms: START,
        key: Some(key.into_bytes()),
        value: Some(value.into_bytes()),
    };
    let mut records = vec![record("decisive".into(), rule("shop", "High", "an old version"))];
    records.extend(
        (0..20_000).map(|n| record(format!("other-{n}"), rule(&format!("other-{n}"), "High", "another"))),
    );
    records.push(record("decisive".into(), rule("shop", "Low", "the newest version")));
    bench.kafka.produce_all(&records).await?;
    // The segments are there before the start: a start that does not wait for the rules evaluates them
    // without.
    let first = bench.slow("/pay").await?;
    bench.slow("/pay").await?;

    let weir = bench.start(bench.kafka, &rules)?;
    let alarm = bench.alarm("/pay", "firing").await?;
    assert_eq!(alarm["window_start"], first, "the first window is evaluated: {alarm}");
    assert_eq!(
        (&alarm["message"], &alarm["severity"], &alarm["rule"], &alarm["rule_epoch"]),
        (&json!("the newest version"), &json!("low"), &json!("decisive"), &json!(1)),
    );
    assert_eq!(bench.metric("weir_threshold_rules").await?, 20_001.0);
    assert_eq!(bench.metric("weir_threshold_rules_rejected_total").await?, 0.0);
    let ended = weir.terminate(TIMEOUT).await?;
    assert_eq!(ended.code, Some(0));
    ensure!(!ended.stderr.contains("PartitionEOF"), "the end of the topic is no error:\n{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_bad_rule_is_counted_and_logged_and_changes_nothing_and_a_tombstone_removes() -> Result<()> {
    let mut bench = Bench::new().await?;
    let kafka = bench.kafka;
    let rules = rules_topic(kafka).await?;
    let write = async |key: &str, value: Option<&str>| {
        kafka.produce(&rules, None, Some(key.as_bytes()), value.map(str::as_bytes)).await
    };
    write("any", Some(&rule("*", "Low", "for everybody"))).await?;
    write("shop", Some(&rule("shop", "High", "the first version"))).await?;
    let mut weir = bench.start(kafka, &rules)?;
    bench.slow("/a").await?;
    let alarm = bench.alarm("/a", "firing").await?;
    assert_eq!((&alarm["message"], &alarm["rule_epoch"]), (&json!("the first version"), &json!(1)));

    // Bad versions of the rule. (A key that no rule has is not bad: other programs write more into the
    // topic.)
    let bad = [
        (r#"{"service": "shop", "maxThresholdHigh": 1"#, "EOF"),
        (r#"["shop"]"#, "a list"),
        (r#"{"service": 7}"#, "expected a string"),
        (r#"{"operatorName": "/a", "maxThresholdHigh": 1}"#, "missing field `service`"),
        (r#"{"service": "shop", "maxThresholdHigh": "fast"}"#, "fast"),
        (r#"{"service": "shop", "maxThresholdHigh": true}"#, "milliseconds"),
        (r#"{"service": "shop", "alarmTemplate": "{{ unfinished"}"#, "alarmTemplate"),
        (r#"{"service": "shop", "alarmTemplate": "{{ service | indent(9000000000) }}"}"#, "indent"),
        (r#"{"service": "shop", "operationName": "/a", "maxThresholdHigh": 1}"#, "operationName"),
        (r#"{"service": "shop", "operator_name": "/a", "operatorName": "/b"}"#, "write one of them"),
    ];
    let mut places = Vec::new();
    for (value, reason) in bad {
        places.push((format!("{rules}/0/{}", write("shop", Some(value)).await?), reason));
    }
    bench.wait_for_metric("weir_threshold_rules_rejected_total", bad.len() as f64).await?;
    for (place, reason) in places {
        let line = weir.wait_for_log(&format!("{place} is rejected"), TIMEOUT).await?;
        ensure!(line.contains(reason), "why: {line}");
    }
    assert_eq!(bench.metric("weir_threshold_rule_epoch").await?, 1.0);
    assert_eq!(bench.metric("weir_threshold_rules").await?, 2.0);
    bench.slow("/b").await?;
    let alarm = bench.alarm("/b", "firing").await?;
    assert_eq!((&alarm["message"], &alarm["rule_epoch"]), (&json!("the first version"), &json!(1)));

    // A good one, after all that.
    write("shop", Some(&rule("shop", "Mid", "the second version"))).await?;
    bench.wait_for_metric("weir_threshold_rule_epoch", 2.0).await?;
    bench.slow("/c").await?;
    let alarm = bench.alarm("/c", "firing").await?;
    assert_eq!((&alarm["message"], &alarm["severity"]), (&json!("the second version"), &json!("mid")));

    // Removed: its alarms resolve, and the less specific rule holds.
    write("shop", None).await?;
    bench.wait_for_metric("weir_threshold_rule_epoch", 3.0).await?;
    assert_eq!(bench.metric("weir_threshold_rules").await?, 1.0);
    bench.slow("/d").await?;
    let alarm = bench.alarm("/d", "firing").await?;
    assert_eq!((&alarm["message"], &alarm["rule"]), (&json!("for everybody"), &json!("any")));
    assert_eq!(bench.alarm("/c", "resolved").await?["rule"], "shop");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn kafka_that_is_down_for_the_rules_is_waited_for_and_later_outages_keep_the_rules() -> Result<()> {
    let mut bench = Bench::new().await?;
    let broker = Kafka::start()?;
    let rules = rules_topic(&broker).await?;
    broker.produce(&rules, None, Some(b"shop"), Some(rule("shop", "High", "from before").as_bytes())).await?;
    broker.stop()?;
    let first = bench.slow("/a").await?;
    let mut weir = bench.start(&broker, &rules)?;
    let line = weir.wait_for_log(&format!("waiting for the rules' topic `{rules}`"), TIMEOUT).await?;
    ensure!(
        line.contains("threshold") && line.contains("Kafka does not answer"),
        "who waits, and why: {line}"
    );
    broker.start_again()?;
    let alarm = bench.alarm("/a", "firing").await?;
    assert_eq!((&alarm["message"], &alarm["window_start"]), (&json!("from before"), &json!(first)));

    broker.stop()?;
    bench.slow("/b").await?;
    assert_eq!(bench.alarm("/b", "firing").await?["message"], "from before");
    broker.start_again()?;
    broker.produce(&rules, None, Some(b"shop"), Some(rule("shop", "Low", "from after").as_bytes())).await?;
    bench.wait_for_metric("weir_threshold_rule_epoch", 2.0).await?;
    bench.slow("/c").await?;
    assert_eq!(bench.alarm("/c", "firing").await?["message"], "from after");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_rules_topic_that_does_not_exist_is_waited_for() -> Result<()> {
    let mut bench = Bench::new().await?;
    let rules = unique("later");
    let mut weir = bench.start(bench.kafka, &rules)?;
    weir.wait_for_log(&format!("topic `{rules}` does not exist; create it"), TIMEOUT).await?;
    bench.kafka.create_topic(&rules, 1, &[("cleanup.policy", "compact")]).await?;
    weir.wait_for_log(&format!("0 rules read from topic `{rules}`"), TIMEOUT).await?;
    bench
        .kafka
        .produce(&rules, None, Some(b"shop"), Some(rule("shop", "High", "at last").as_bytes()))
        .await?;
    bench.wait_for_metric("weir_threshold_rules", 1.0).await?;
    bench.slow("/a").await?;
    assert_eq!(bench.alarm("/a", "firing").await?["message"], "at last");
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}
