//! `GET /metrics`: Weir's own metrics as OpenMetrics text. `GET /debug/pipelines`: the rows over the edges of
//! the pipelines and how late events are, as JSON, or as plain text with `?format=text` or
//! `Accept: text/plain`.

mod process;

use anyhow::Context;
use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_component::telemetry::Metric;
use weir_component::{Telemetry, host_name};

use crate::traffic::{self, Traffic, TrafficMetrics};
use process::Process;

/// The declarations, for the reference.
pub const METRICS: &[Metric] = process::METRICS;

/// Serves metrics and traffic at `address` until `stop` is cancelled.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve(
    address: &str,
    telemetry: Telemetry,
    traffic: Traffic,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot serve metrics on {address}: choose another service.telemetry.metrics.address, or \"\" for none"
        )
    })?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics on /metrics, traffic on /debug/pipelines");
    telemetry.identify(identity());
    telemetry.collect(Box::new(TrafficMetrics(traffic.clone())));
    telemetry.collect(Box::new(Process::start()));
    let metrics = get(move || async move {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(CONTENT_TYPE, kind)], telemetry.encode())
    });
    let pipelines = get(move |uri: Uri, headers: HeaderMap| async move { show(&traffic, &uri, &headers) });
    let app = Router::new().route("/metrics", metrics).route("/debug/pipelines", pipelines);
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the metrics server ended");
        }
    });
    Ok(())
}

/// The traffic in the form that is asked for.
fn show(traffic: &Traffic, uri: &Uri, headers: &HeaderMap) -> Response {
    let format = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("format=")));
    let is_for_people = headers.get(ACCEPT).is_some_and(|kinds| kinds.as_bytes().starts_with(b"text/plain"));
    let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    match format.unwrap_or(if is_for_people { "text" } else { "json" }) {
        "text" => (plain, traffic::text(traffic)).into_response(),
        "json" => ([(CONTENT_TYPE, "application/json")], traffic::json(traffic).to_string()).into_response(),
        other => {
            let help = format!("unknown format {other:?}: format=json or format=text\n");
            (StatusCode::BAD_REQUEST, plain, help).into_response()
        }
    }
}

/// The labels of `target_info`, under which the Collector says who it is. No other process has this instance
/// at the same time: its host and its number there.
fn identity() -> Vec<(&'static str, String)> {
    let host = host_name(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    vec![
        ("service_name", "weir".to_owned()),
        ("service_instance_id", format!("{host}:{}", std::process::id())),
        ("service_version", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}
