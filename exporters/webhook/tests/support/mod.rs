//! A small HTTP server that records requests and answers as told, and alarms for it.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{
    ArrayRef, Float64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampNanosecondArray,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use weir_component::testkit::{check_exporter, context};
use weir_component::{Settings, factory::BuiltExporter};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_pdata::{Ack, EventBatch, Origin, Outcome, Signal};

/// One request that the server saw.
#[derive(Clone)]
pub struct Seen {
    pub at: Instant,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn fingerprints(&self) -> Vec<String> {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["alarms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alarm| alarm["fingerprint"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub type Answer = Box<dyn FnMut(&Seen) -> Response + Send>;

/// A server that answers as told, then 200.
#[derive(Clone)]
pub struct Target {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Target {
    pub async fn start() -> Target {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=t0p", listener.local_addr().unwrap());
        let target = Target { url, seen: Arc::default(), answers: Arc::default() };
        let app = Router::new().fallback(answer).with_state(target.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        target
    }

    pub fn then(&self, answer: impl FnMut(&Seen) -> Response + Send + 'static) {
        self.answers.lock().unwrap().push_back(Box::new(answer));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The exporter for this target, with further keys.
    pub fn exporter(&self, more: &str) -> BuiltExporter {
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
    pub async fn deliver(&self, more: &str, batches: Vec<EventBatch>) -> String {
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

pub fn status(code: u16) -> impl FnMut(&Seen) -> Response + Send + 'static {
    move |_| StatusCode::from_u16(code).unwrap().into_response()
}

/// One firing alarm for each fingerprint.
pub fn alarms(fingerprints: &[&str]) -> EventBatch {
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
