//! `notify` with a real server and a real storage: groups, crashes, failures.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use serde_json::{Value, json};
use support::{Seen, Target, status};
use weir_component::clock::ManualClock;
use weir_component::testkit::{context, json_batch};
use weir_component::{Context, Exporter, Extension, Notifications, Settings, Storages};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_extension_storage::{Fsync, Limits, StorageConfig, StorageExtension};
use weir_pdata::{Ack, EventBatch, Signal};

/// The time when everything begins.
const NOW: i64 = 1_700_000_000_000;

/// A gateway's webhook with what it needs, until it is dropped, as in a crash.
struct Gateway {
    exporter: Box<dyn Exporter>,
    notifications: Notifications,
    _storage: StorageExtension,
}

impl Gateway {
    async fn start(folder: &Path, clock: &Arc<ManualClock>, url: &str, keys: &str) -> Gateway {
        let text = format!(
            "receivers: {{r: }}\nexporters: {{webhook/x: {{url: \"{url}\", retry: {{initial_interval: 10ms, max_interval: 20ms}}, {keys}}}}}\n\
             service: {{pipelines: {{main: {{receivers: [r], exporters: [webhook/x]}}}}}}\n"
        );
        let limits = Limits { max_bytes: 16 << 20, segment_bytes: 1 << 20, fsync: Fsync::Always };
        let config = StorageConfig { directory: folder.join("storage"), limits };
        let storage = StorageExtension::new(config, context("storage", folder));
        // What the one before has dropped is gone when its tasks are.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = storage.start().await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let storages = Storages::default().with_default(storage.storage().unwrap());
        let clock = Arc::clone(clock) as Arc<dyn weir_component::Clock>;
        let context = Context { storages, clock, ..context("webhook/x", folder) };
        let notifications = context.notifications.clone();
        notifications.listen();
        let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
        let topology = Topology::read(&document).unwrap();
        let built = (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context);
        let exporter = built.map_err(|errors| errors.to_string()).unwrap().exporter;
        exporter.start().await.unwrap();
        Gateway { exporter, notifications, _storage: storage }
    }

    async fn raise(&self, rows: &[Value]) {
        self.exporter.export(&[batch(rows)]).await.unwrap();
    }
}

fn batch(rows: &[Value]) -> EventBatch {
    json_batch(Signal::Alarms, rows, Ack::none())
}

fn alarm(fingerprint: &str, state: &str, seconds: i64) -> Value {
    json!({
        "time": NOW + seconds * 1000, "rule": "slow", "severity": "high", "state": state,
        "service": fingerprint, "labels": {"service": fingerprint}, "message": "slow", "fingerprint": fingerprint,
        "starts_at": NOW
    })
}

/// What a person reads: `+` for an alarm that fires, `-` for one that is over.
fn read(seen: &Seen) -> String {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    let word = |alarm: &Value| {
        let sign = if alarm["state"] == "firing" { '+' } else { '-' };
        format!("{sign}{}", alarm["fingerprint"].as_str().unwrap())
    };
    body["alarms"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join(" ")
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const KEYS: &str = "notify: {group_wait: 5s, group_interval: 10s}";

/// A crash before the message is made, while it cannot be delivered, when it was delivered, and after the end
/// of the alarm was heard of.
#[tokio::test]
async fn a_crash_in_any_state_tells_once_that_it_fires_and_once_that_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (target, clock) = (Target::start().await, Arc::new(ManualClock::at(NOW)));
    let start = || Gateway::start(folder.path(), &clock, &target.url, KEYS);

    let gateway = start().await;
    gateway.raise(&[alarm("a", "firing", 0)]).await;
    drop(gateway);
    for _ in 0..1000 {
        target.then(status(503));
    }
    let gateway = start().await;
    gateway.raise(&[alarm("a", "firing", 0)]).await;
    clock.set(NOW + 5_000);
    until("it is tried", || target.seen().len() >= 2).await;
    drop(gateway);
    target.answers.lock().unwrap().clear();
    let tried = target.seen().len();
    let gateway = start().await;
    until("it is delivered", || target.seen().len() > tried).await;
    let seen = target.seen();
    assert!(seen.iter().all(|seen| read(seen) == "+a"));
    assert!(seen.iter().all(|one| one.header("webhook-id") == seen[0].header("webhook-id")), "one id");
    // The answer may be on its way when the server has seen the request.
    let sent = folder.path().join("storage/state/webhook%2Fx/notify_sent.value");
    until("it is written that it is delivered", || {
        std::fs::read(&sent).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("\"numbers\":[0]"))
    })
    .await;
    drop(gateway);

    let before = target.seen().len();
    let gateway = start().await;
    gateway.raise(&[alarm("a", "firing", 0), alarm("a", "resolved", 7)]).await;
    drop(gateway);
    let gateway = start().await;
    clock.set(NOW + 20_000);
    until("its end is told", || target.seen().len() > before).await;
    let heard: Vec<String> = target.seen()[before..].iter().map(read).collect();
    assert_eq!(heard, ["-a"]);
    drop(gateway);
}

/// What was delivered is written without all the rest; what that belongs to is written, too.
#[tokio::test]
async fn what_was_delivered_stays_delivered_whatever_is_written_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let (target, clock) = (Target::start().await, Arc::new(ManualClock::at(NOW)));
    let keys = "batch: {max_rows: 1}, notify: {group_wait: 0s, group_interval: 0s}";
    let mut expected = 0;
    for round in 0..4 {
        let gateway = Gateway::start(folder.path(), &clock, &target.url, keys).await;
        for number in 0..5 {
            gateway.raise(&[alarm(&format!("{round}-{number}"), "firing", 0)]).await;
            expected += 1;
            until("it is delivered", || target.seen().len() >= expected).await;
        }
        let mut told = 0;
        while told < 5 {
            told += gateway.notifications.next(10).await.0.len();
        }
        drop(gateway);
    }
    let _gateway = Gateway::start(folder.path(), &clock, &target.url, keys).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(target.seen().len(), 20, "nothing came twice");
}

#[tokio::test]
async fn an_alarm_that_the_target_refuses_goes_to_the_dead_letters_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (target, clock) = (Target::start().await, Arc::new(ManualClock::at(NOW)));
    for _ in 0..20 {
        target.then(|seen| {
            let bad = seen.fingerprints().contains(&"bad".to_owned());
            if bad { axum::http::StatusCode::BAD_REQUEST } else { axum::http::StatusCode::OK }.into_response()
        });
    }
    let gateway = Gateway::start(folder.path(), &clock, &target.url, "notify: {group_wait: 0s}").await;
    gateway.raise(&[alarm("a", "firing", 0), alarm("bad", "firing", 0), alarm("c", "firing", 0)]).await;
    let letters = folder.path().join("webhook-x.jsonl");
    until("a dead letter", || std::fs::read_to_string(&letters).is_ok_and(|text| text.ends_with('\n'))).await;
    let letter: Value = serde_json::from_str(std::fs::read_to_string(&letters).unwrap().trim()).unwrap();
    assert_eq!(letter["reason"], "the webhook answered 400 Bad Request");
    let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
    assert_eq!(row["fingerprint"], "bad");
    let taken = || {
        let seen = target.seen();
        let taken = seen.iter().map(read).filter(|text| !text.contains("bad"));
        taken.collect::<Vec<_>>().join(" ")
    };
    until("the others are delivered", || taken() == "+a +c").await;
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(gateway.notifications.next(10).await.0);
    }
    let mut told: Vec<_> = told
        .iter()
        .map(|one| (one.alarm[5].as_str(), one.outcome, one.target.as_str(), one.reason.as_str()))
        .collect();
    told.sort_unstable();
    let expected = [
        ("a", "sent", "webhook/x", ""),
        ("bad", "failed", "webhook/x", "the webhook answered 400 Bad Request"),
        ("c", "sent", "webhook/x", ""),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_a_target_does_not_take_for_too_long_goes_to_the_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let keys = "notify: {group_wait: 0s}";
    let gateway = Gateway::start(folder.path(), &clock, "http://127.0.0.1:1/", keys).await;
    gateway.raise(&[alarm("a", "firing", 0)]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let letters = folder.path().join("webhook-x.jsonl");
    assert!(!letters.exists());
    clock.set(NOW + 16 * 60_000);
    until("a dead letter", || std::fs::read_to_string(&letters).is_ok_and(|text| text.ends_with('\n'))).await;
    let text = std::fs::read_to_string(&letters).unwrap();
    assert!(text.contains("given up after 15m: the webhook cannot be reached"), "{text}");
}

/// 5,000 series in 500 groups, for a robot that takes a message a second.
#[tokio::test]
async fn a_storm_reaches_people_as_a_handful_of_messages() {
    let folder = tempfile::tempdir().unwrap();
    let (target, clock) = (Target::start().await, Arc::new(ManualClock::at(NOW)));
    let keys = "kind: slack, max_per_minute: 60, notify: {group_by: [service], group_wait: 0s}";
    let gateway = Gateway::start(folder.path(), &clock, &target.url, keys).await;
    let one = |number: usize| {
        let mut alarm = alarm(&number.to_string(), "firing", 0);
        alarm["labels"] = json!({"service": format!("s{}", number % 500)});
        alarm["service"] = format!("s{}", number % 500).into();
        alarm
    };
    let storm: Vec<Value> = (0..5000).map(one).collect();
    gateway.raise(&storm).await;
    let title = |seen: &Seen| {
        serde_json::from_slice::<Value>(&seen.body).unwrap()["text"].as_str().unwrap().to_owned()
    };
    until("a digest", || target.seen().iter().any(|seen| title(seen).ends_with("alarms firing"))).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let titles: Vec<String> = target.seen().iter().map(title).collect();
    assert!(titles.len() <= 3, "{titles:?}");
    let told: usize = titles.iter().map(|title| title.split(' ').next().unwrap().parse().unwrap_or(1)).sum();
    assert_eq!(told, 5000, "{titles:?}");
}

#[tokio::test]
async fn a_target_that_asks_for_time_is_given_it_and_hears_the_last_state() {
    let folder = tempfile::tempdir().unwrap();
    let (target, clock) = (Target::start().await, Arc::new(ManualClock::at(NOW)));
    target.then(|_| (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response());
    let gateway = Gateway::start(folder.path(), &clock, &target.url, "notify: {group_wait: 0s}").await;
    gateway.raise(&[alarm("a", "firing", 0)]).await;
    until("it is tried", || target.seen().len() == 1).await;
    // What comes meanwhile is no reason to ask earlier.
    gateway.raise(&[alarm("b", "firing", 1)]).await;
    until("it is tried again", || target.seen().len() >= 2).await;
    let seen = target.seen();
    assert!(seen[1].at.duration_since(seen[0].at) >= Duration::from_secs(2), "not before it asked for");
    assert_eq!(
        (read(&seen[1]), seen[1].header("webhook-id")),
        ("+a".to_owned(), seen[0].header("webhook-id"))
    );
}

/// It says 200 and a longer body than it sends.
#[tokio::test]
async fn half_an_answer_is_success_where_the_status_says_it_and_none_where_the_body_does() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut bytes = vec![0; 65536];
            let _ = stream.read(&mut bytes).await;
            let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"errcode\":0";
            let _ = stream.write_all(half).await;
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let clock = Arc::new(ManualClock::at(NOW));
    for (kind, outcome) in [("generic", "sent"), ("dingtalk", "failed")] {
        let folder = tempfile::tempdir().unwrap();
        let keys = format!("kind: {kind}, max_per_minute: 0, notify: {{group_wait: 0s}}");
        let gateway = Gateway::start(folder.path(), &clock, &url, &keys).await;
        let before = requests.load(std::sync::atomic::Ordering::SeqCst);
        gateway.raise(&[alarm("a", "firing", 0)]).await;
        if outcome == "failed" {
            until("it is tried again", || requests.load(std::sync::atomic::Ordering::SeqCst) > before + 2)
                .await;
            clock.set(NOW + 16 * 60_000);
        }
        let told = gateway.notifications.next(10).await.0;
        assert_eq!(told[0].outcome, outcome, "{kind}: {told:?}");
    }
}

#[tokio::test]
async fn a_dead_target_does_not_delay_another() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(NOW));
    // It accepts connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let (target, keys) = (Target::start().await, "notify: {group_wait: 0s}");
    let dead = Gateway::start(one.path(), &clock, &url, keys).await;
    let alive = Gateway::start(other.path(), &clock, &target.url, keys).await;
    dead.raise(&[alarm("a", "firing", 0)]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    dead.raise(&[alarm("b", "firing", 0)]).await;
    alive.raise(&[alarm("b", "firing", 0)]).await;
    until("the other has it", || target.seen().len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_storage_alarms_are_sent_as_they_come() {
    let target = Target::start().await;
    let exporter = target.exporter("notify: {group_wait: 1h}").exporter;
    exporter.start().await.unwrap();
    exporter.export(&[support::alarms(&["a"])]).await.unwrap();
    assert_eq!(target.seen().len(), 1);
}
