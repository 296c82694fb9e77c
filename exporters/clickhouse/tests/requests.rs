//! The exporter's requests to a server: a small HTTP server stands in and records it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use weir_component::testkit::context;
use weir_component::{ExportError, Exporter, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_clickhouse::FACTORY;
use weir_pdata::{Ack, EventBatch, Origin, Signal};

#[derive(Clone)]
struct Seen {
    /// `name=value` of the URL, still encoded.
    fields: Vec<String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

type Book = Arc<Mutex<Vec<Seen>>>;

/// A server whose every table has the columns `service` and `it's`. It refuses asynchronous inserts.
async fn server() -> (String, Book) {
    let book = Book::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(record).with_state(book.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, book)
}

async fn record(
    State(book): State<Book>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let fields: Vec<String> = uri.query().unwrap_or_default().split('&').map(str::to_owned).collect();
    let describes = body.starts_with(b"DESCRIBE");
    let asks_version = body.starts_with(b"SELECT version()");
    let is_queued = fields.iter().any(|field| field == "async_insert=1");
    book.lock().unwrap().push(Seen { fields, headers, body: body.to_vec() });
    if is_queued {
        let refusal = "Code: 469. DB::Exception: Constraint `c` is violated at row 7. (VIOLATED_CONSTRAINT)";
        return (StatusCode::INTERNAL_SERVER_ERROR, refusal);
    }
    let answer = if describes {
        "{\"name\":\"service\",\"type\":\"String\"}\n{\"name\":\"it's\",\"type\":\"String\"}\n"
    } else if asks_version {
        "{\"version\":\"26.9.1.1\",\"settings\":[\"async_insert\",\"wait_for_async_insert\",\"async_insert_deduplicate\",\
         \"insert_deduplicate\",\"deduplicate_blocks_in_dependent_materialized_views\",\"max_threads\",\"insert_quorum\"]}\n"
    } else {
        ""
    };
    (StatusCode::OK, answer)
}

fn exporter(url: &str, more: &str) -> Box<dyn Exporter> {
    let text = format!(
        "receivers: {{r: }}\nexporters:\n  clickhouse: {{endpoint: \"{url}\", {more}}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [clickhouse]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = context("clickhouse", &std::env::temp_dir());
    (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context).unwrap().exporter
}

fn span() -> EventBatch {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let columns = RecordBatch::try_from_iter([("service", text("pay")), ("it's", text("x"))]).unwrap();
    EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none())
}

#[tokio::test]
async fn every_insert_names_its_columns_and_says_its_settings() {
    let (url, book) = server().await;
    let more = "database: weir, username: u, password: p, compression: none, settings: {insert_quorum: 2}";
    let exporter = exporter(&url, more);
    for _ in 0..2 {
        exporter.export(&[span()]).await.unwrap();
    }
    let seen = book.lock().unwrap().clone();
    let (made, questions): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(|seen| inserts(seen));
    let asked: Vec<_> = questions.iter().map(|seen| String::from_utf8_lossy(&seen.body)).collect();
    let expected = [
        "DESCRIBE TABLE `weir`.`events`",
        // Whether it is as it would be created.
        "DESCRIBE TABLE `weir`.`events`",
        "DESCRIBE TABLE `weir`.`segments`",
        "SELECT engine, engine_full, create_table_query",
        "SELECT version()",
    ];
    assert_eq!(asked.len(), expected.len(), "they are asked once: {asked:#?}");
    for (asked, expected) in asked.iter().zip(expected) {
        assert!(asked.starts_with(expected), "{asked}");
    }
    assert!(!questions[0].fields.contains(&"insert_quorum=2".to_owned()), "settings are for inserts");
    assert_eq!(made.len(), 2);
    for insert in &made {
        for expected in [
            "database=weir",
            "query=INSERT+INTO+%60events%60+%28%60service%60%2C+%60it%27s%60%29+FORMAT+Native",
            "async_insert=0",
            "wait_for_async_insert=1",
            "insert_deduplicate=1",
            "deduplicate_blocks_in_dependent_materialized_views=1",
            "insert_quorum=2",
        ] {
            assert!(insert.fields.iter().any(|field| field == expected), "{expected}: {:?}", insert.fields);
        }
        assert_eq!(
            (&insert.headers["x-clickhouse-user"], &insert.headers["x-clickhouse-key"]),
            (&"u".parse().unwrap(), &"p".parse().unwrap())
        );
        assert!(!insert.body.is_empty());
    }
    let token = |seen: &Seen| {
        seen.fields.iter().find(|field| field.starts_with("insert_deduplication_token=")).cloned()
    };
    assert!(token(made[0]).is_some());
    assert_eq!(token(made[0]), token(made[1]), "the same export again");
}

#[tokio::test]
async fn an_insert_leaves_while_its_lane_is_owned_or_not_at_all() {
    let (url, book) = server().await;
    let exporter = exporter(&url, "");
    let mut span = span();
    let bodies = |book: &Book| book.lock().unwrap().iter().filter(|seen| inserts(seen)).count();
    // Over by the time that the server has described its table.
    span.origin.owned_until = Some(Instant::now());
    let error = exporter.export(&[span.clone()]).await.unwrap_err();
    assert!(matches!(&error, ExportError::Retryable { .. }), "{error}");
    assert!(error.to_string().contains("may have another owner"), "{error}");
    assert_eq!(bodies(&book), 0);
    span.origin.owned_until = Some(Instant::now() + Duration::from_secs(60));
    exporter.export(&[span]).await.unwrap();
    assert_eq!(bodies(&book), 1);
}

fn inserts(seen: &Seen) -> bool {
    seen.fields.iter().any(|field| field.starts_with("query=INSERT"))
}

#[tokio::test]
async fn an_asynchronous_insert_that_is_refused_is_made_again_alone() {
    let (url, book) = server().await;
    // The row at fault may be of another insert, which the server had put together with this one.
    exporter(&url, "async_insert: true").export(&[span()]).await.unwrap();
    let seen = book.lock().unwrap().clone();
    let inserts: Vec<&Seen> = seen.iter().filter(|seen| inserts(seen)).collect();
    let field = |at: usize, name: &str| {
        inserts[at].fields.iter().find(|field| field.starts_with(name)).cloned().unwrap_or_default()
    };
    assert_eq!(inserts.len(), 2);
    assert_eq!([field(0, "async_insert="), field(1, "async_insert=")], ["async_insert=1", "async_insert=0"]);
    assert_eq!(field(0, "insert_deduplication_token="), field(1, "insert_deduplication_token="));
}

#[tokio::test]
async fn batches_without_rows_are_not_sent() {
    let (url, book) = server().await;
    let span = span();
    let none = span.as_columns().unwrap().slice(0, 0);
    exporter(&url, "").export(&[span.with_columns(none)]).await.unwrap();
    assert!(book.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_signal_is_taken() {
    let signals = exporter("http://localhost:1", "").signals();
    let left: Vec<_> = Signal::ALL.into_iter().filter(|signal| !signals.contains(*signal)).collect();
    assert_eq!(left, []);
}
