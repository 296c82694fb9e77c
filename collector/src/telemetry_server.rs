//! `GET /metrics`: Weir's own metrics as OpenMetrics text. `GET /debug/pipelines`: what goes over the edges
//! of the pipelines and how late events are, as JSON, or as plain text with `?format=text` or
//! `Accept: text/plain`.

use anyhow::Context;
use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_component::Telemetry;

use crate::traffic::{self, Process, Traffic, TrafficMetrics, identity};

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
    telemetry.identify(identity(instance()));
    telemetry.collect(Box::new(TrafficMetrics(traffic.clone())));
    telemetry.collect(Box::new(Process::start()));
    let metrics = get(move || async move {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(CONTENT_TYPE, kind)], telemetry.encode())
    });
    let pipelines = get(move |uri: Uri, headers: HeaderMap| async move {
        if is_for_people(&uri, &headers) {
            ([(CONTENT_TYPE, "text/plain; charset=utf-8")], traffic::text(&traffic))
        } else {
            ([(CONTENT_TYPE, "application/json")], traffic::json(&traffic).to_string())
        }
    });
    let app = Router::new().route("/metrics", metrics).route("/debug/pipelines", pipelines);
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the metrics server ended");
        }
    });
    Ok(())
}

/// Whether plain text is asked for.
fn is_for_people(uri: &Uri, headers: &HeaderMap) -> bool {
    let format = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("format=")));
    match format {
        Some(format) => format == "text",
        None => headers.get(ACCEPT).is_some_and(|kinds| kinds.as_bytes().starts_with(b"text/plain")),
    }
}

/// A name of this process that no other has at the same time: its host and its number there.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}
