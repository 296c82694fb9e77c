//! The HTTP server. `GET /` and `GET /status` give the verdict, `GET /live` whether the process works at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_component::{Context, Extension, StartError};

use crate::config::HealthCheckConfig;
use crate::verdict::{Asked, Now, Verdict, verdict};

/// How long the end of the program waits for requests that are being answered.
const PATIENCE: Duration = Duration::from_secs(1);

/// The extension.
pub(crate) struct HealthCheck {
    asked: Arc<Answering>,
    stop: CancellationToken,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// The source of all answers.
struct Answering {
    config: HealthCheckConfig,
    context: Context,
}

impl HealthCheck {
    pub(crate) fn new(config: HealthCheckConfig, context: Context) -> HealthCheck {
        HealthCheck {
            asked: Arc::new(Answering { config, context }),
            stop: CancellationToken::new(),
            server: Mutex::default(),
        }
    }
}

#[async_trait]
impl Extension for HealthCheck {
    async fn start(&self) -> Result<(), StartError> {
        let (id, endpoint) = (self.asked.context.id.clone(), &self.asked.config.endpoint);
        let wrong =
            |error| StartError(format!("cannot listen on {endpoint}: {error}; choose another `endpoint`"));
        let listener = TcpListener::bind(endpoint).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        tracing::info!(extension = %id, %address, "serving the status on / and /status?verbose");
        let app = Router::new()
            .route("/", get(status))
            .route("/status", get(status))
            .route("/live", get(live))
            .with_state(Arc::clone(&self.asked));
        let stop = self.stop.clone();
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(extension = %id, %error, "the server of the status ended");
            }
        });
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    async fn stop(&self) {
        self.stop.cancel();
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut server) = server
            && tokio::time::timeout(PATIENCE, &mut server).await.is_err()
        {
            server.abort();
        }
    }
}

impl Answering {
    fn verdict(&self, asked: Asked<'_>) -> Option<Verdict> {
        let now = Now { instant: Instant::now(), clock_ms: self.context.clock.now_ms() };
        verdict(&self.context.board, self.config.component_health, asked, now)
    }
}

/// 200 when healthy, else 503.
async fn status(State(answering): State<Arc<Answering>>, RawQuery(query): RawQuery) -> Response {
    let asked = read_query(query.as_deref().unwrap_or_default());
    match answering.verdict(asked) {
        Some(Verdict { is_healthy: true, body, .. }) => answer(StatusCode::OK, &body),
        Some(Verdict { body, .. }) => answer(StatusCode::SERVICE_UNAVAILABLE, &body),
        None => answer(StatusCode::NOT_FOUND, &json!({"error": "there is no such pipeline"})),
    }
}

/// 200 while a restart would not help: unless the program is ending with an error.
async fn live(State(answering): State<Arc<Answering>>) -> Response {
    match answering.verdict(Asked::default()) {
        Some(Verdict { is_fatal: true, body, .. }) => answer(StatusCode::SERVICE_UNAVAILABLE, &body),
        _ => answer(StatusCode::OK, &json!({"live": true})),
    }
}

/// `verbose` and `pipeline=ID`, as in `?verbose&pipeline=main`. Ids have only characters that need no escape,
/// but for the `/`.
fn read_query(query: &str) -> Asked<'_> {
    let mut asked = Asked::default();
    for field in query.split('&') {
        match field.split_once('=').unwrap_or((field, "")) {
            ("verbose", value) => asked.is_verbose = value != "false",
            ("pipeline", id) => asked.pipeline = Some(id),
            _ => {}
        }
    }
    asked
}

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_the_collector_reads_it() {
        assert!(!read_query("").is_verbose);
        assert!(read_query("verbose").is_verbose);
        let asked = read_query("pipeline=traces/a&verbose=true");
        assert_eq!((asked.is_verbose, asked.pipeline), (true, Some("traces/a")));
        assert!(!read_query("verbose=false").is_verbose);
    }
}
