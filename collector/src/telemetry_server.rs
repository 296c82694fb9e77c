//! `GET /metrics`: Weir's own metrics as OpenMetrics text.

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_component::Telemetry;

/// Serves the metrics at `address` until `stop` is cancelled.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve(
    address: &str,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot serve metrics on {address}: choose another service.telemetry.metrics.address, or \"\" for none"
        )
    })?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics on /metrics");
    let app = Router::new().route(
        "/metrics",
        get(move || async move {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], telemetry.encode())
        }),
    );
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the metrics server ended");
        }
    });
    Ok(())
}
