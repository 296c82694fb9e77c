//! A stand-in for ClickHouse: it says its version, creates tables, describes them, and throws inserts away.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use serde_json::json;

/// The columns of the table that was created last, as `DESCRIBE TABLE … FORMAT JSONEachRow` has them.
type Table = Arc<Mutex<Option<String>>>;

/// Starts it on a free port, in this runtime; returns its address.
pub async fn start() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Table::default());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

async fn answer(State(table): State<Table>, body: Bytes) -> (StatusCode, String) {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    let sql = std::str::from_utf8(&body).unwrap_or_default();
    if sql.starts_with("DESCRIBE") {
        return match &*table {
            Some(columns) => (StatusCode::OK, columns.clone()),
            None => (StatusCode::NOT_FOUND, "Code: 60. DB::Exception: there is no such table".to_owned()),
        };
    }
    if sql.starts_with("SELECT version()") {
        let settings = ["async_insert", "wait_for_async_insert", "insert_deduplicate", "max_threads"];
        return (StatusCode::OK, json!({"version": "26.9.1.1", "settings": settings}).to_string());
    }
    if sql.starts_with("CREATE TABLE") {
        *table = Some(described(sql));
    }
    (StatusCode::OK, String::new())
}

/// The lines `    `name` type CODEC(…),` of the statement, without columns that the server computes.
fn described(create: &str) -> String {
    let columns = create.lines().filter_map(|line| line.strip_prefix("    `")?.split_once("` "));
    let lines = columns.filter(|(_, kind)| !kind.contains(" ALIAS ")).map(|(name, kind)| {
        let kind = kind.trim_end_matches(',').split(" CODEC").next().unwrap_or_default();
        format!("{}\n", json!({"name": name, "type": kind}))
    });
    lines.collect()
}
