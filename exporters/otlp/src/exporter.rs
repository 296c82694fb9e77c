//! The exporter: one request an export.

use async_trait::async_trait;
use weir_component::{Context, ExportError, Exporter, LogLimit, Outgoing};
use weir_pdata::{Demand, EventBatch, Format, Signal, SignalSet};

use crate::client::Client;
use crate::config::Target;
use crate::metrics::Metrics;
use crate::request;

/// Sends traces, logs and metrics to one server.
pub(crate) struct Otlp {
    client: Client,
    address: String,
    metrics: Metrics,
    context: Context,
    log: LogLimit,
}

impl Otlp {
    pub(crate) fn new(target: Target, context: Context) -> Result<Otlp, String> {
        Ok(Otlp {
            client: Client::new(&target)?,
            address: target.address,
            metrics: Metrics::new(&context.telemetry, &context.id.to_string()),
            context,
            log: LogLimit::every_ms(10_000),
        })
    }
}

#[async_trait]
impl Exporter for Otlp {
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::Traces, Signal::Logs, Signal::Metrics])
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    fn takes_encoded(&self, format: Format) -> bool {
        request::format(format.signal()) == Some(format)
    }

    fn prepare(&self, batch: EventBatch) -> Outgoing {
        request::prepare(batch)
    }

    fn restore(&self, batch: &Outgoing) -> Result<EventBatch, String> {
        request::restore(batch)
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let batches: Vec<Outgoing> = batches.iter().cloned().map(Outgoing::from).collect();
        self.export_outgoing(&batches).await
    }

    async fn export_outgoing(&self, batches: &[Outgoing]) -> Result<(), ExportError> {
        let Some(signal) = batches.first().map(|batch| batch.signal) else { return Ok(()) };
        let (request, forwarded) = request::assemble(batches).map_err(ExportError::permanent)?;
        if request.is_empty() {
            return Ok(());
        }
        let partial = self.client.send(signal, request, self.context.clock.now_ms()).await?;
        self.metrics.forwarded.inc_by(forwarded);
        if partial.rejected > 0 || !partial.message.is_empty() {
            self.metrics.rejected.inc_by(partial.rejected);
            if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
                let (exporter, rejected, server) = (&self.context.id, partial.rejected, &self.address);
                let why = &partial.message;
                tracing::warn!(
                    %exporter, server, %signal, rejected, why, suppressed,
                    "the server did not take all items of a request, and does not say which"
                );
            }
        }
        if partial.rejected > 0 {
            return Err(ExportError::Partial { items: partial.rejected, reason: partial.message });
        }
        Ok(())
    }
}
