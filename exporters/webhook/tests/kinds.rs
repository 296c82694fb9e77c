//! A recorder for each kind: what the vendor's documentation says is what arrives.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use axum::response::IntoResponse;
use serde_json::{Value, json};
use support::{Seen, Target};
use weir_component::clock::ManualClock;
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{check_exporter, context, json_batch};
use weir_component::{Context, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_pdata::{Ack, EventBatch, Outcome, Signal};

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000_000;

/// Builds the exporter `webhook/NAME` with these keys, in flow style, at this time.
fn build(name: &str, keys: &str, now_ms: i64) -> BuiltExporter {
    let text = format!(
        "receivers: {{r: }}\nexporters: {{webhook/{name}: {{retry: {{initial_interval: 1ms, max_interval: 5ms}}, {keys}}}}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [webhook/{name}]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = context(&format!("webhook/{name}"), Path::new("/nonexistent"));
    let context = Context { clock: Arc::new(ManualClock::at(now_ms)), ..context };
    (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context)
        .map_err(|errors| errors.to_string())
        .unwrap()
}

/// What a rule raises about a slow payment.
fn firing(fingerprint: &str) -> Value {
    json!({
        "time": NOW - 1000, "rule": "slow", "severity": "high", "state": "firing", "service": "pay",
        "operation": "/pay", "labels": {"service": "pay", "operation": "/pay"},
        "measure": "max_duration_ns", "value": 2.5e9, "threshold": 2e9,
        "message": "pay is \"slow\"", "fingerprint": fingerprint, "starts_at": NOW - 61_000
    })
}

fn resolved(fingerprint: &str) -> Value {
    let mut alarm = firing(fingerprint);
    alarm["state"] = "resolved".into();
    alarm["ends_at"] = (NOW - 1000).into();
    alarm
}

fn batch(rows: &[Value]) -> EventBatch {
    json_batch(Signal::Alarms, rows, Ack::none())
}

/// Sends the alarms with these keys besides `url`; gives the requests that arrived.
async fn sent(keys: &str, rows: &[Value]) -> Vec<Seen> {
    sent_to(&Target::start().await, keys, rows).await
}

async fn sent_to(target: &Target, keys: &str, rows: &[Value]) -> Vec<Seen> {
    let BuiltExporter { exporter, helper } = build("x", &format!("url: \"{}\", {keys}", target.url), NOW);
    let dead = check_exporter(exporter, helper, vec![batch(rows)], Outcome::Done).await;
    assert_eq!(dead, "");
    target.seen()
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

fn text(seen: &Seen) -> &str {
    std::str::from_utf8(&seen.body).unwrap()
}

#[tokio::test]
async fn generic_is_signed_as_standard_webhooks_are() {
    let keys = "secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let seen = &sent(keys, &[firing("f1")]).await[0];
    assert_eq!(seen.header("webhook-timestamp"), "1700000000");
    // Computed by OpenSSL's command line over what arrived.
    let content = [seen.header("webhook-id").as_bytes(), b".1700000000.", &seen.body].concat();
    assert_eq!(seen.header("webhook-signature"), format!("v1,{}", openssl_hmac(&content)));
}

/// Base64 of the HMAC with the key of the example of Standard Webhooks, made by the program `openssl`.
fn openssl_hmac(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    std::fs::write(&file, content).unwrap();
    // `MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw` in hexadecimal.
    let script = format!(
        "key=$(echo MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | od -An -tx1 | tr -d ' \\n'); \
         openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary {} | base64 -w0",
        file.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn generic_templates_give_json_with_escaped_values() {
    let keys = r#"template: {body: '{"text": "{{ message }}", "to": "{{ labels.service }}", "n": {{ alarms | length }}}', headers: {x-severity: "{{ severity }}"}}"#;
    let seen = &sent(keys, &[firing("f1")]).await[0];
    assert_eq!(text(seen), r#"{"text": "pay is \"slow\"", "to": "pay", "n": 1}"#);
    assert_eq!(seen.header("x-severity"), "high");
}

/// A gateway for text messages that takes forms.
#[tokio::test]
async fn generic_templates_give_forms_for_text_messages() {
    let keys = "batch: {max_rows: 1}, headers: {content-type: application/x-www-form-urlencoded}, \
                template: {body: \"mobile=13800138000&content={{ severity }} {{ message }}\"}";
    let seen = &sent(keys, &[firing("f1")]).await[0];
    assert_eq!(seen.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(text(seen), "mobile=13800138000&content=high pay%20is%20%22slow%22");
}

#[tokio::test]
async fn a_template_that_gives_no_json_is_refused_and_dead_lettered() {
    let target = Target::start().await;
    let keys = format!("url: \"{}\", template: {{body: \"{{{{ message }}}}\"}}", target.url);
    let BuiltExporter { exporter, .. } = build("x", &keys, NOW);
    let error = exporter.export(&[batch(&[firing("f1")])]).await.unwrap_err();
    assert!(matches!(error, weir_component::ExportError::Permanent { .. }));
    assert!(error.to_string().starts_with("`template.body` does not give JSON"), "{error}");
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn alertmanager_takes_alerts_at_its_api() {
    let target = Target::start().await;
    let base = target.url.replace("/hook?token=t0p", "/am/");
    let keys = format!(
        "kind: alertmanager, url: \"{base}\", link: \"https://weir/?s={{{{ service }}}}&o={{{{ operation }}}}\""
    );
    let BuiltExporter { exporter, .. } = build("x", &keys, NOW);
    exporter.export(&[batch(&[firing("f1"), resolved("f1")])]).await.unwrap();
    let seen = &target.seen()[0];
    assert_eq!(seen.path, "/am/api/v2/alerts");
    let labels = json!({
        "alertname": "slow", "severity": "high", "service": "pay", "operation": "/pay",
        "alarm_fingerprint": "f1"
    });
    let annotations = json!({
        "summary": "pay is \"slow\"", "measure": "max_duration_ns", "value": "2500000000",
        "threshold": "2000000000"
    });
    let alert = |ends_at: &str| {
        json!({
            "labels": labels, "annotations": annotations, "startsAt": "2023-11-14T22:12:19.000Z",
            "endsAt": ends_at, "generatorURL": "https://weir/?s=pay&o=%2Fpay"
        })
    };
    let expected = json!([alert("2023-11-15T22:13:20.000Z"), alert("2023-11-14T22:13:19.000Z")]);
    assert_eq!(body(seen), expected);
}

/// A match of a pattern has an end when it is raised, and no row says that it is over.
#[tokio::test]
async fn what_happened_once_does_not_fire_for_a_day_in_alertmanager() {
    let mut event = firing("f1");
    event["ends_at"] = (NOW - 1000).into();
    let target = Target::start().await;
    for (keys, ends_at) in [("", "2023-11-14T22:18:20.000Z"), (", expires: 1m", "2023-11-14T22:14:20.000Z")] {
        let keys =
            format!("kind: alertmanager, url: \"{}\"{keys}", target.url.replace("/hook?token=t0p", ""));
        let BuiltExporter { exporter, .. } = build("x", &keys, NOW);
        exporter.export(&[batch(&[event.clone()])]).await.unwrap();
        assert_eq!(body(target.seen().last().unwrap())[0]["endsAt"], ends_at);
    }
}

#[tokio::test]
async fn alertmanager_webhook_is_version_4() {
    let seen = &sent("kind: alertmanager_webhook", &[firing("f1"), resolved("f2")]).await[0];
    let labels = json!({"alertname": "slow", "severity": "high", "service": "pay", "operation": "/pay"});
    let annotations = json!({
        "summary": "pay is \"slow\"", "measure": "max_duration_ns", "value": "2500000000",
        "threshold": "2000000000"
    });
    let alert = |status: &str, fingerprint: &str, ends_at: &str| {
        let mut labels = labels.clone();
        labels["alarm_fingerprint"] = fingerprint.into();
        json!({
            "status": status, "labels": labels, "annotations": annotations,
            "startsAt": "2023-11-14T22:12:19.000Z", "endsAt": ends_at, "generatorURL": "",
            "fingerprint": "FINGERPRINT"
        })
    };
    let expected = json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "webhook/x", "groupLabels": {}, "commonLabels": labels,
        "commonAnnotations": annotations, "externalURL": "",
        "alerts": [
            alert("firing", "f1", "0001-01-01T00:00:00Z"),
            alert("resolved", "f2", "2023-11-14T22:13:19.000Z")
        ]
    });
    let mut got = body(seen);
    for alert in got["alerts"].as_array_mut().unwrap() {
        let fingerprint = alert["fingerprint"].as_str().unwrap();
        assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
        alert["fingerprint"] = "FINGERPRINT".into();
    }
    assert_eq!(got, expected);
}

/// The fields of `AlarmMessage` in SkyWalking's `backend-alarm.md`.
#[tokio::test]
async fn skywalking_gets_alarm_messages_and_recoveries_elsewhere() {
    let (target, recovery) = (Target::start().await, Target::start().await);
    let keys = format!("kind: skywalking, recovery_url: \"{}\"", recovery.url);
    let seen = sent_to(&target, &keys, &[firing("f1"), resolved("f0")]).await;
    let message = |uuid: &str| {
        json!({
            "scopeId": 3, "scope": "ENDPOINT", "name": "/pay in pay", "id0": "cGF5.1_L3BheQ==", "id1": "",
            "ruleName": "slow", "alarmMessage": "pay is \"slow\"",
            "tags": [
                {"key": "level", "value": "high"}, {"key": "operation", "value": "/pay"},
                {"key": "service", "value": "pay"}
            ],
            "startTime": NOW - 61_000, "uuid": uuid
        })
    };
    assert_eq!(seen.len(), 1);
    assert_eq!(body(&seen[0]), json!([message("f1")]));
    let mut recovered = message("f0");
    recovered["recoveryTime"] = (NOW - 1000).into();
    assert_eq!(body(&recovery.seen()[0]), json!([recovered]));
    let without = sent("kind: skywalking", &[firing("f1"), resolved("f0")]).await;
    assert_eq!(without.len(), 1, "without an address for them, recoveries are not sent");
}

#[tokio::test]
async fn dingtalk_gets_signed_markdown() {
    let target = Target::start().await;
    target.then(|_| r#"{"errcode":0,"errmsg":"ok"}"#.into_response());
    let keys = "kind: dingtalk, secret: SECthis-is-a-test, time_zone: Asia/Shanghai, \
                mention: {mobiles: [\"13800138000\"]}";
    let seen = &sent_to(&target, keys, &[firing("f1")]).await[0];
    // The signature of this secret and time in DingTalk's form.
    let query = "timestamp=1700000000000&sign=NMFx89%2FEw%2B0YAO0M7Tk6uuWL14KgsoG36AkMt62uIHM%3D";
    assert_eq!(seen.path, format!("/hook?token=t0p&{query}"));
    let text = "### [high] slow: /pay, pay\n\npay is \"slow\"\n\nmax_duration_ns is 2.5 s, the limit is 2 s\n\n\
                since 2023-11-15 06:12:19 CST\n\n@13800138000";
    let expected = json!({
        "msgtype": "markdown",
        "markdown": {"title": "[high] slow: /pay, pay", "text": text},
        "at": {"atMobiles": ["13800138000"], "atUserIds": [], "isAtAll": false}
    });
    assert_eq!(body(seen), expected);
}

#[tokio::test]
async fn wecom_gets_markdown_within_its_bound() {
    let ok = |_: &Seen| r#"{"errcode":0,"errmsg":"ok"}"#.into_response();
    let target = Target::start().await;
    target.then(ok);
    let keys = "kind: wecom, mention: {all: true}, link: \"https://g/?s={{ service }}\"";
    let seen = &sent_to(&target, keys, &[resolved("f1")]).await[0];
    let text = "<font color=\"info\">[resolved] slow: /pay, pay</font>\npay is \"slow\"\n\
                max_duration_ns is 2.5 s, the limit is 2 s\n\
                from 2023-11-14 22:12:19 UTC to 2023-11-14 22:13:19 UTC (1 min 0 s)\n\
                https://g/?s=pay\n<@all>";
    assert_eq!(body(seen), json!({"msgtype": "markdown", "markdown": {"content": text}}));
    let target = Target::start().await;
    target.then(ok);
    let mut long = firing("f1");
    long["message"] = format!("超时<@all>{}", "支".repeat(3000)).into();
    let seen = &sent_to(&target, "kind: wecom, mention: {users: [zhang]}", &[long]).await[0];
    let content = body(seen)["markdown"]["content"].as_str().unwrap().to_owned();
    assert!(content.len() <= 4096 && content.ends_with("支…\n<@zhang>"), "{}", content.len());
    assert!(content.contains("超时＜@all＞"), "a value calls nobody");
}

#[tokio::test]
async fn feishu_gets_a_signed_card() {
    let target = Target::start().await;
    target.then(|_| r#"{"code":0,"data":{},"msg":"success"}"#.into_response());
    let keys = format!("url: \"{}\", kind: feishu, secret: demo, mention: {{all: true}}", target.url);
    let BuiltExporter { exporter, .. } = build("x", &keys, 1_599_360_473_000);
    exporter.export(&[batch(&[firing("f1")])]).await.unwrap();
    let seen = &target.seen()[0];
    let text = "pay is \"slow\"\nmax_duration_ns is 2.5 s, the limit is 2 s\nsince 2023-11-14 22:12:19 UTC\n\
                <at id=all></at>";
    let expected = json!({
        "timestamp": "1599360473",
        "sign": "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=",
        "msg_type": "interactive",
        "card": {
            "schema": "2.0",
            "header": {
                "title": {"tag": "plain_text", "content": "[high] slow: /pay, pay"}, "template": "red"
            },
            "body": {"elements": [{"tag": "markdown", "content": text}]}
        }
    });
    assert_eq!(body(seen), expected);
}

#[tokio::test]
async fn slack_gets_a_section_with_escaped_values() {
    let mut alarm = firing("f1");
    alarm["message"] = "p99 > 2 s <!channel> & more".into();
    let seen = &sent("kind: slack, text: \"{{ message }} {{ value }}\"", &[alarm]).await[0];
    let text = "*[high] slow: /pay, pay*\np99 &gt; 2 s &lt;!channel&gt; &amp; more 2500000000";
    let expected = json!({
        "text": "[high] slow: /pay, pay",
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]
    });
    assert_eq!(body(seen), expected);
}

#[tokio::test]
async fn pagerduty_triggers_and_resolves_with_one_key() {
    let seen = sent("kind: pagerduty, routing_key: R0UT1NG", &[firing("f1"), resolved("f1")]).await;
    let mut details = firing("f1");
    details["signal"] = "alarms".into();
    let expected = json!({
        "routing_key": "R0UT1NG", "event_action": "trigger", "dedup_key": "f1", "client": "Weir",
        "payload": {
            "summary": "pay is \"slow\"", "source": "pay", "severity": "critical",
            "timestamp": "2023-11-14T22:12:19.000Z", "component": "/pay", "class": "slow",
            "custom_details": details
        }
    });
    assert_eq!(seen.len(), 2, "an event has one alarm");
    assert_eq!(body(&seen[0]), expected);
    let resolve = json!({"routing_key": "R0UT1NG", "event_action": "resolve", "dedup_key": "f1"});
    assert_eq!(body(&seen[1]), resolve);
}

#[tokio::test]
async fn a_storm_is_one_message_of_a_robot() {
    let target = Target::start().await;
    target.then(|_| r#"{"errcode":0,"errmsg":"ok"}"#.into_response());
    let alarm = |number: usize| {
        let mut alarm = firing(&number.to_string());
        alarm["labels"] = json!({"service": format!("s{number}")});
        if number.is_multiple_of(10) {
            alarm["rule"] = "errors".into();
            alarm["severity"] = "mid".into();
        }
        alarm
    };
    let storm: Vec<Value> = (0..5000).map(alarm).collect();
    let seen = sent_to(&target, "kind: wecom", &storm).await;
    assert_eq!(seen.len(), 1);
    let text = "<font color=\"warning\">5000 alarms firing</font>\n\
                [high] slow, 4500 times: s1, s2, s3, s4, s5 and 4495 more\n\
                [mid] errors, 500 times: s0, s10, s20, s30, s40 and 495 more";
    assert_eq!(body(&seen[0])["markdown"]["content"], json!(text));
}

#[tokio::test]
async fn a_robot_that_refuses_in_its_body_is_believed() {
    let target = Target::start().await;
    target.then(|_| r#"{"errcode":-1,"errmsg":"system busy"}"#.into_response());
    target.then(|_| r#"{"errcode":0,"errmsg":"ok"}"#.into_response());
    assert_eq!(sent_to(&target, "kind: dingtalk, max_per_minute: 6000", &[firing("f1")]).await.len(), 2);
    let target = Target::start().await;
    target.then(|_| r#"{"errcode":40035,"errmsg":"bad parameter"}"#.into_response());
    let keys = format!("url: \"{}\", kind: dingtalk", target.url);
    let BuiltExporter { exporter, helper } = build("x", &keys, NOW);
    let dead = check_exporter(exporter, helper, vec![batch(&[firing("f1")])], Outcome::Done).await;
    let letter: Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!(letter["reason"], json!("DingTalk answered with code 40035: bad parameter"));
}

#[tokio::test]
async fn resolved_alarms_are_left_out_where_nobody_wants_them() {
    let rows = [firing("f1"), resolved("f0")];
    let seen = sent("send_resolved: false", &rows).await;
    assert_eq!(seen[0].fingerprints(), ["f1"]);
    assert!(sent("send_resolved: false", &rows[1..]).await.is_empty());
}
