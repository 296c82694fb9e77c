//! Alarms to a small HTTP server, through the helper in front of the exporter.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Float64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampNanosecondArray,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_component::testkit::{check_exporter, check_exporter_contract, context};
use weir_component::{Settings, factory::BuiltExporter};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_pdata::{Ack, EventBatch, Origin, Outcome, Signal};

/// One request that the server saw.
#[derive(Clone)]
struct Seen {
    at: Instant,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn fingerprints(&self) -> Vec<String> {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["alarms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alarm| alarm["fingerprint"].as_str().unwrap().to_owned())
            .collect()
    }
}

type Answer = Box<dyn FnMut(&Seen) -> Response + Send>;

/// A server that answers as told, then 200.
#[derive(Clone)]
struct Target {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Target {
    async fn start() -> Target {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=t0p", listener.local_addr().unwrap());
        let target = Target { url, seen: Arc::default(), answers: Arc::default() };
        let app = Router::new().fallback(answer).with_state(target.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        target
    }

    fn then(&self, answer: impl FnMut(&Seen) -> Response + Send + 'static) {
        self.answers.lock().unwrap().push_back(Box::new(answer));
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The exporter for this target, with further keys.
    fn exporter(&self, more: &str) -> BuiltExporter {
        let text = format!(
            "receivers: {{r: }}\nexporters:\n  webhook:\n    url: {}\n    retry: {{initial_interval: 1ms, max_interval: 5ms}}\n    {more}\n\
             service: {{pipelines: {{main: {{receivers: [r], exporters: [webhook]}}}}}}\n",
            self.url
        );
        let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
        let topology = Topology::read(&document).unwrap();
        let directory = std::env::temp_dir();
        (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context("webhook", &directory))
            .unwrap()
    }

    /// Sends batches through the helper; returns the dead letters.
    async fn deliver(&self, more: &str, batches: Vec<EventBatch>) -> String {
        let BuiltExporter { exporter, helper } = self.exporter(more);
        check_exporter(exporter, helper, batches, Outcome::Done).await
    }
}

async fn answer(State(target): State<Target>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let seen = Seen { at: Instant::now(), path: uri.to_string(), headers, body: body.to_vec() };
    let next = target.answers.lock().unwrap().pop_front();
    let response = next.map_or_else(|| StatusCode::OK.into_response(), |mut answer| answer(&seen));
    target.seen.lock().unwrap().push(seen);
    response
}

fn status(code: u16) -> impl FnMut(&Seen) -> Response + Send + 'static {
    move |_| StatusCode::from_u16(code).unwrap().into_response()
}

/// One firing alarm for each fingerprint.
fn alarms(fingerprints: &[&str]) -> EventBatch {
    let all = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; fingerprints.len()])) };
    let time = |ms: i64| -> ArrayRef {
        Arc::new(
            TimestampNanosecondArray::from(vec![ms * 1_000_000; fingerprints.len()]).with_timezone("UTC"),
        )
    };
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for _ in fingerprints {
        labels.keys().append_value("zone");
        labels.values().append_value("eu");
        labels.append(true).unwrap();
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", time(1_749_088_712_000)),
        ("rule", all("slow")),
        ("severity", all("high")),
        ("state", all("firing")),
        ("service", all("pay")),
        ("operation", all("/pay")),
        ("labels", Arc::new(labels.finish())),
        ("measure", all("max_duration_ns")),
        ("value", Arc::new(Float64Array::from(vec![2.5e9; fingerprints.len()]))),
        ("message", all("pay is \"slow\"\nsince 7 s – 超时")),
        ("fingerprint", Arc::new(StringArray::from(fingerprints.to_vec()))),
    ];
    let columns = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    EventBatch::columns(Signal::Alarms, columns, Origin::default(), Ack::none())
}

#[tokio::test]
async fn the_contract_of_exporters_is_kept() {
    let target = Target::start().await;
    check_exporter_contract(target.exporter("").exporter, vec![alarms(&["a", "b"]), alarms(&["c"])]).await;
    let sent: usize = target.seen().iter().map(|seen| seen.fingerprints().len()).sum();
    assert_eq!(sent, 3);
}

#[tokio::test]
async fn a_request_has_this_body_and_these_headers() {
    let target = Target::start().await;
    target.deliver("headers: {authorization: Bearer s3cret, X-Team: sre}", vec![alarms(&["f1"])]).await;
    let seen = &target.seen()[0];
    assert_eq!(seen.path, "/hook?token=t0p");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("authorization"), "Bearer s3cret");
    assert_eq!(seen.header("x-team"), "sre");
    assert_eq!(seen.header("webhook-timestamp"), "0", "the clock of the test stands at 0");
    insta::assert_snapshot!(
        format!("{}\n{}", seen.header("webhook-id"), String::from_utf8_lossy(&seen.body)),
        @r#"
    msg_fdac3915ad63ff81f5f9c73d5fb6900b
    {"alarms":[{"signal":"alarms","time":1749088712000,"rule":"slow","severity":"high","state":"firing","service":"pay","operation":"/pay","labels":{"zone":"eu"},"measure":"max_duration_ns","value":2500000000.0,"message":"pay is \"slow\"\nsince 7 s – 超时","fingerprint":"f1"}]}
    "#
    );
}

#[tokio::test]
async fn a_failed_request_is_repeated_with_the_same_id_and_body() {
    let target = Target::start().await;
    for code in [500, 302, 408, 425, 429] {
        target.then(status(code));
    }
    let dead = target.deliver("", vec![alarms(&["a"])]).await;
    let seen = target.seen();
    assert_eq!((seen.len(), dead.as_str()), (6, ""));
    assert!(seen.iter().all(|seen| seen.body == target.seen()[0].body));
    assert!(seen.iter().all(|seen| seen.header("webhook-id") == target.seen()[0].header("webhook-id")));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (target, elsewhere) = (Target::start().await, Target::start().await);
    let location = elsewhere.url.clone();
    target.then(move |_| (StatusCode::PERMANENT_REDIRECT, [("location", location.clone())]).into_response());
    target.deliver("", vec![alarms(&["a"])]).await;
    assert_eq!((target.seen().len(), elsewhere.seen().len()), (2, 0));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let target = Target::start().await;
    target.then(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response());
    target.deliver("", vec![alarms(&["a"])]).await;
    let seen = target.seen();
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(990), "{waited:?}");
}

#[tokio::test]
async fn a_rejected_alarm_is_dead_lettered_and_the_others_are_delivered() {
    let target = Target::start().await;
    for _ in 0..20 {
        target.then(|seen| {
            let bad = seen.fingerprints().iter().any(|fingerprint| fingerprint == "bad");
            if bad {
                (StatusCode::BAD_REQUEST, "no such team").into_response()
            } else {
                StatusCode::OK.into_response()
            }
        });
    }
    let dead = target.deliver("", vec![alarms(&["a", "b", "bad", "c"])]).await;
    let letter: Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!(letter["reason"], json!("the webhook answered 400 Bad Request: no such team"));
    let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
    assert_eq!(row["fingerprint"], json!("bad"));
    let accepted: Vec<_> = target
        .seen()
        .iter()
        .map(Seen::fingerprints)
        .filter(|all| !all.contains(&"bad".to_owned()))
        .flatten()
        .collect();
    assert_eq!(accepted, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_request_holds_at_most_max_rows_alarms_in_order() {
    let target = Target::start().await;
    let dead = target
        .deliver("batch: {max_rows: 2}", vec![alarms(&["a", "b", "c", "d", "e"]), alarms(&["f"])])
        .await;
    let seen: Vec<_> = target.seen().iter().map(Seen::fingerprints).collect();
    assert!(seen.iter().all(|alarms| alarms.len() <= 2), "{seen:?}");
    assert_eq!(seen.concat(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(dead, "");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_tried_again_and_its_address_not_told() {
    let target = Target {
        url: "http://127.0.0.1:1/hook?token=t0p".into(),
        seen: Arc::default(),
        answers: Arc::default(),
    };
    let error = target.exporter("").exporter.export(&[alarms(&["a"])]).await.unwrap_err();
    assert!(matches!(error, weir_component::ExportError::Retryable { .. }));
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!error.to_string().contains("t0p"), "{error}");
}

#[tokio::test]
async fn other_signals_do_not_reach_it() {
    let target = Target::start().await;
    let signals = target.exporter("").exporter.signals();
    assert!(Signal::ALL.into_iter().all(|signal| signals.contains(signal) == (signal == Signal::Alarms)));
}
