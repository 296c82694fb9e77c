//! Kafka behind TLS and a login: segments and rules are read over the same listener, and what is wrong with
//! certificate or password is said.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::{Entry, Kafka, Metrics, Recorder, Secure, Weir, free_port, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// 2026-11-20 in milliseconds.
const START: i64 = 1_795_132_800_000;

/// The settings of a client of this listener, with another password, or an authority of one's own or the
/// system's.
fn client(secure: &Secure, password: &str, ca_file: Option<&str>) -> String {
    let tls = ca_file.map_or_else(|| "{}".to_owned(), |path| format!("{{ca_file: \"{path}\"}}"));
    format!(
        "brokers: [\"{}\"], tls: {tls}, sasl: {{mechanism: PLAIN, username: {}, password: \"{password}\"}}",
        secure.bootstrap, secure.username
    )
}

/// From the topic to nowhere, with metrics; with processors too when there are clients' settings for rules.
fn to_nop(client: &str, topic: &str, port: u16, rules: Option<&str>) -> String {
    let (sections, names) = rules.map_or_else(Default::default, |rules| {
        let threshold = format!("threshold: {{rules: {{kafka: {{{rules}}}}}}}");
        let sections = format!("processors:\n  aggregate: {{window: {{tumbling: 1s}}}}\n  {threshold}\n");
        (sections, "processors: [aggregate, threshold], ")
    });
    format!(
        "receivers:\n  skywalking_kafka: {{{client}, topics: {{segments: {topic}}}, group_id: {topic}}}\n{sections}\
         exporters:\n  nop:\n\
         service:\n  telemetry: {{metrics: {{address: \"127.0.0.1:{port}\"}}}}\n  pipelines:\n    main: {{receivers: [skywalking_kafka], {names}exporters: [nop]}}\n"
    )
}

#[tokio::test]
async fn segments_and_rules_are_read_over_tls_with_a_login() -> Result<()> {
    let kafka = Kafka::start_secure()?;
    let secure = kafka.secure()?;
    let (topic, rules) = (unique("segments"), unique("rules"));
    kafka.create_topic(&topic, 2, &[]).await?;
    kafka.create_topic(&rules, 1, &[("cleanup.policy", "compact")]).await?;
    let rule = json!({"service": "shop", "maxThresholdHigh": 100, "alarmTemplate": "${service} is slow"})
        .to_string();
    kafka.produce(&rules, None, Some(b"slow"), Some(rule.as_bytes())).await?;
    let entry = |second: i64| Entry {
        id: format!("segment-{second}"),
        service: "shop".into(),
        operation: "/pay".into(),
        end_ms: START + second * 1_000,
        duration_ms: 500,
        failed: false,
    };
    let segments: Vec<_> = (0..20).map(|second| entry(second).record(&topic, (second % 2) as i32)).collect();
    kafka.produce_all(&segments).await?;

    let alarms = Recorder::start().await?;
    let client = client(secure, &secure.password, Some(&secure.ca_file));
    let config = format!(
        "receivers:\n  skywalking_kafka: {{{client}, topics: {{segments: {topic}}}, group_id: {topic}, initial_offset: earliest, batch: {{max_records: 1}}}}\n\
         processors:\n  aggregate: {{window: {{tumbling: 1s}}, out_of_orderness: 1s}}\n  threshold: {{rules: {{kafka: {{{client}, topic: {rules}}}}}}}\n\
         exporters:\n  webhook: {{url: \"{}\"}}\n\
         service:\n  telemetry: {{metrics: {{address: \"\"}}}}\n  pipelines:\n    main: {{receivers: [skywalking_kafka], processors: [aggregate, threshold], exporters: [webhook]}}\n",
        alarms.url(),
    );
    let weir = Weir::start(&config, &[], &[])?;
    let bodies = alarms.wait_until("an alarm", TIMEOUT, |bodies| !bodies.is_empty()).await?;
    assert_eq!(bodies[0]["alarms"][0]["message"], "shop is slow");
    wait_until("offsets to be committed", TIMEOUT, async || {
        Ok(kafka.committed(&topic, &topic)?.into_iter().all(|offset| offset > Some(0)).then_some(()))
    })
    .await?;
    let ended = weir.terminate(TIMEOUT).await?;
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains(&secure.password), "the log never has the password:\n{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_refused_login_is_said_and_tried_again() -> Result<()> {
    let kafka = Kafka::start_secure()?;
    let secure = kafka.secure()?;
    let (topic, rules) = (unique("segments"), unique("rules"));
    kafka.create_topic(&topic, 1, &[]).await?;
    kafka.create_topic(&rules, 1, &[("cleanup.policy", "compact")]).await?;
    let wrong = client(secure, "wrong-password", Some(&secure.ca_file));

    // The receiver.
    let port = free_port()?;
    let mut weir = Weir::start(&to_nop(&wrong, &topic, port, None), &[], &[])?;
    let line = weir.wait_for_log("refuses the login", TIMEOUT).await?;
    ensure!(line.contains(&secure.bootstrap) && line.contains("sasl"), "where, and what to look at: {line}");
    keeps_trying(port).await?;
    let ended = weir.terminate(TIMEOUT).await?;
    assert_eq!(ended.code, Some(0));
    assert!(
        !ended.stderr.contains("wrong-password"),
        "not even a wrong password is logged:\n{}",
        ended.stderr
    );

    // The rules.
    let right = client(secure, &secure.password, Some(&secure.ca_file));
    let config = to_nop(&right, &topic, free_port()?, Some(&format!("{wrong}, topic: {rules}")));
    let mut weir = Weir::start(&config, &[], &[])?;
    let line = weir.wait_for_log("refuses the login", TIMEOUT).await?;
    ensure!(line.contains("threshold") && line.contains("sasl"), "who, and what to look at: {line}");
    weir.wait_for_log(&format!("waiting for the rules' topic `{rules}`"), TIMEOUT).await?;
    let ended = weir.terminate(TIMEOUT).await?;
    assert_eq!(ended.code, Some(0), "waiting for rules does not keep it from ending");
    assert!(!ended.stderr.contains("wrong-password"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_is_said_and_tried_again() -> Result<()> {
    let kafka = Kafka::start_secure()?;
    let secure = kafka.secure()?;
    let topic = unique("segments");
    kafka.create_topic(&topic, 1, &[]).await?;
    let port = free_port()?;
    // With the system's authorities, of which none has signed the broker's certificate.
    let config = to_nop(&client(secure, &secure.password, None), &topic, port, None);
    let mut weir = Weir::start(&config, &[], &[])?;
    let line = weir.wait_for_log("certificate verify failed", TIMEOUT).await?;
    ensure!(line.contains(&secure.bootstrap), "where: {line}");
    keeps_trying(port).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

/// Waits until the client has failed some more times than now.
async fn keeps_trying(port: u16) -> Result<()> {
    let address = format!("127.0.0.1:{port}");
    let failed = async || -> Result<f64> {
        Ok(Metrics::scrape(&address).await?.sum("weir_kafka_errors_total", &[]).unwrap_or_default())
    };
    let before = failed().await?;
    wait_until("more tries", TIMEOUT, async || Ok((failed().await? >= before + 3.0).then_some(()))).await
}
