//! A real Alertmanager takes our alarms: it groups, silences and resolves them, and its webhook payload has
//! the form of ours. `scripts/setup alertmanager` builds it.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Seen, Target};
use weir_component::testkit::{context, json_batch};
use weir_component::{Context, Exporter, Settings, SystemClock};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_pdata::{Ack, Signal};

fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("WEIR_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/weir")))?;
    Some(cache.join("tools/alertmanager-0.28.1/alertmanager")).filter(|program| program.exists())
}

/// A running Alertmanager.
struct Alertmanager {
    child: Child,
    url: String,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    async fn start(program: &Path, folder: &Path, receiver: &str) -> Alertmanager {
        let config = json!({
            "route": {
                "receiver": "recorder", "group_by": ["service"], "group_wait": "1s", "group_interval": "1s",
                "repeat_interval": "1h"
            },
            "receivers": [{"name": "recorder", "webhook_configs": [{"url": receiver, "send_resolved": true}]}]
        });
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Alertmanager { child, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while started.get("/-/ready").await.is_none() {
            assert!(Instant::now() < deadline, "Alertmanager does not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        started
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    /// Silences alarms of a service for an hour.
    async fn silence(&self, service: &str) {
        let now = chrono::DateTime::from_timestamp_millis(now_ms()).unwrap();
        let silence = json!({
            "matchers": [{"name": "service", "value": service, "isRegex": false, "isEqual": true}],
            "startsAt": now.to_rfc3339(), "endsAt": (now + chrono::TimeDelta::hours(1)).to_rfc3339(),
            "createdBy": "test", "comment": "test"
        });
        let client = reqwest::Client::new();
        let url = format!("{}/api/v2/silences", self.url);
        client.post(url).json(&silence).send().await.unwrap().error_for_status().unwrap();
    }

    /// The states of the alerts that it knows, by service.
    async fn states(&self) -> Vec<(String, String)> {
        let alerts: Value = serde_json::from_str(&self.get("/api/v2/alerts").await.unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let alerts = alerts.as_array().unwrap().iter();
        let mut states: Vec<_> = alerts
            .map(|alert| (text(&alert["labels"]["service"]), text(&alert["status"]["state"])))
            .collect();
        states.sort();
        states
    }
}

fn now_ms() -> i64 {
    weir_component::Clock::now_ms(&SystemClock)
}

fn exporter(kind: &str, url: &str) -> Box<dyn Exporter> {
    let text = format!(
        "receivers: {{r: }}\nexporters: {{webhook: {{kind: {kind}, url: \"{url}\"}}}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [webhook]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = context("webhook", Path::new("/nonexistent"));
    let context = Context { clock: Arc::new(SystemClock), ..context };
    (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context).unwrap().exporter
}

async fn send(exporter: &dyn Exporter, rows: &[Value]) {
    exporter.export(&[json_batch(Signal::Alarms, rows, Ack::none())]).await.unwrap();
}

fn alarm(service: &str, operation: &str, state: &str, since: i64) -> Value {
    let mut alarm = json!({
        "time": since, "rule": "slow", "severity": "high", "state": state, "service": service,
        "operation": operation, "labels": {"service": service, "operation": operation, "http.route": "/x"},
        "measure": "max_duration_ns", "value": 2.5e9, "threshold": 2e9, "message": "slow",
        "fingerprint": format!("{service}{operation}"), "starts_at": since
    });
    if state == "resolved" {
        alarm["ends_at"] = now_ms().into();
    }
    alarm
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

/// The request about this service and status, of which the group has so many alerts.
async fn heard(target: &Target, service: &str, status: &str, alerts: usize) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let bodies: Vec<Value> = target.seen().iter().map(body).collect();
        let found = bodies.iter().find(|body| {
            body["groupLabels"]["service"] == service
                && body["status"] == status
                && body["alerts"].as_array().unwrap().len() == alerts
        });
        if let Some(found) = found {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "{service} {status}: {bodies:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_real_alertmanager_groups_silences_and_resolves_our_alarms() {
    let Some(program) = program() else {
        eprintln!("skipped: there is no Alertmanager; `scripts/setup alertmanager` builds it (needs Go)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (recorder, own) = (Target::start().await, Target::start().await);
    let alertmanager = Alertmanager::start(&program, folder.path(), &recorder.url).await;
    let exporter = self::exporter("alertmanager", &alertmanager.url);
    let since = now_ms() - 60_000;
    alertmanager.silence("order").await;
    let firing = [
        alarm("pay", "/a", "firing", since),
        alarm("pay", "/b", "firing", since),
        alarm("order", "/c", "firing", since),
    ];
    send(&*exporter, &firing).await;
    let theirs = heard(&recorder, "pay", "firing", 2).await;
    let states = alertmanager.states().await;
    let state = |service: &str, state: &str| (service.to_owned(), state.to_owned());
    assert_eq!(states, [state("order", "suppressed"), state("pay", "active"), state("pay", "active")]);

    // The payload of the other kind has the form of theirs, and the fingerprints.
    send(&*self::exporter("alertmanager_webhook", &own.url), &firing[..2]).await;
    let ours = body(&own.seen()[0]);
    let theirs_keys: BTreeSet<&str> = keys(&theirs)
        .into_iter()
        .filter(|key| !["notification_reason", "routeLabels"].contains(key))
        .collect();
    assert_eq!(keys(&ours), theirs_keys);
    assert_eq!(keys(&ours["alerts"][0]), keys(&theirs["alerts"][0]));
    for field in ["version", "status", "commonLabels", "commonAnnotations", "truncatedAlerts"] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    let each = |payload: &Value, field: &str| -> BTreeSet<String> {
        payload["alerts"].as_array().unwrap().iter().map(|alert| alert[field].to_string()).collect()
    };
    for field in ["fingerprint", "labels", "annotations", "status"] {
        assert_eq!(each(&ours, field), each(&theirs, field), "{field}");
    }

    send(&*exporter, &[alarm("pay", "/a", "resolved", since), alarm("pay", "/b", "resolved", since)]).await;
    heard(&recorder, "pay", "resolved", 2).await;
    assert!(recorder.seen().iter().all(|seen| body(seen)["groupLabels"]["service"] == "pay"), "silenced");
}
