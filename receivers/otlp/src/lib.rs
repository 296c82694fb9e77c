//! The `otlp` receiver: OTLP over gRPC and HTTP.
//!
//! Guaranteed: a request is answered with success when its data is safe (`answer: delivered`), or when the
//! exporters' queues have it (`answer: received`); memory is bounded whatever clients send. Not guaranteed:
//! that data comes only once. A client that got no answer sends it again.

mod answer;
mod config;
mod lanes;
mod metrics;
mod receiver;
mod server;

use weir_component::ReceiverFactory;
use weir_component::factory::Info;

/// Makes `otlp` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info { kind: "otlp", summary: "OTLP over gRPC and HTTP", metrics: metrics::ALL },
    create: |settings, context| {
        let config = config::read(settings)?;
        Ok(Box::new(receiver::OtlpReceiver::new(config, context)))
    },
};
