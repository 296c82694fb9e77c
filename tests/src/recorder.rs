//! An HTTP server that records what is POSTed to it: the alarm gateway of the tests.

use crate::wait::wait_until;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// One recorded request.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its body had arrived.
    pub at: SystemTime,
    /// Path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The status it was answered with.
    pub status: u16,
}

impl Request {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

#[derive(Debug, Default)]
struct Book {
    requests: Vec<Request>,
    answers: VecDeque<u16>,
    /// The answer when nothing else was ordered; `None`: 200.
    usual: Option<u16>,
    delay: Duration,
}

/// The recorder; it lives in the runtime of the test that started it, until dropped.
#[derive(Debug)]
pub struct Recorder {
    book: Arc<Mutex<Book>>,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Recorder {
    /// Starts a recorder on a free port. It answers 200 to everything until told otherwise.
    pub async fn start() -> Result<Self> {
        let book = Arc::new(Mutex::new(Book::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/alarms", listener.local_addr()?);
        // As large as any body: the recorder refuses nothing.
        let app = Router::new()
            .fallback(record)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&book));
        let task = tokio::spawn(async move {
            // It ends only by being aborted.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { book, url, task })
    }

    /// The address to send alarms to; any other path is recorded as well.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers the next requests with these statuses, in this order, then 200 again.
    pub fn answer_with(&self, statuses: &[u16]) {
        locked(&self.book).answers.extend(statuses);
    }

    /// Answers with this status from now on, whenever [`answer_with`](Self::answer_with) orders nothing else.
    pub fn answer_always(&self, status: u16) {
        locked(&self.book).usual = Some(status);
    }

    /// Answers each request after this long from now on.
    pub fn delay(&self, delay: Duration) {
        locked(&self.book).delay = delay;
    }

    /// Everything recorded so far, refused requests included.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.book).requests.clone()
    }

    /// The bodies of the requests answered with success so far, as JSON.
    pub fn accepted(&self) -> Result<Vec<Value>> {
        let requests = self.requests();
        requests.iter().filter(|request| (200..300).contains(&request.status)).map(Request::json).collect()
    }

    /// Waits until the accepted bodies satisfy `enough`, and returns them; the error shows what was recorded.
    pub async fn wait_until(
        &self,
        what: &str,
        timeout: Duration,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let look = || async {
            let bodies = self.accepted()?;
            Ok(enough(&bodies).then_some(bodies))
        };
        let found = wait_until(what, timeout, look).await;
        found.with_context(|| format!("recorded so far: {:?}", self.accepted()))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn record(
    State(book): State<Arc<Mutex<Book>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let delay = locked(&book).delay;
    tokio::time::sleep(delay).await;
    let mut book = locked(&book);
    let status = book.answers.pop_front().or(book.usual).unwrap_or(200);
    book.requests.push(Request { at: SystemTime::now(), path: uri.to_string(), headers, body, status });
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
