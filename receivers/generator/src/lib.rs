//! The `generator` receiver: realistic SkyWalking segments without an agent, for trying Weir, tests and
//! measurements.
//!
//! Guaranteed: with `start_time` set, the same settings give the same segments, byte for byte, in the same
//! batches; the event times (ends of entry spans) are at most `disorder` behind the latest one before them on
//! the lane. Not guaranteed: that a segment is sent again when an exporter rejects it. There is no input to
//! read again.

mod config;
mod incident;
mod pace;
mod plan;
mod random;
mod receiver;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod written;

use weir_component::ReceiverFactory;
use weir_component::factory::Info;

/// Makes `generator` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info {
        kind: "generator",
        summary: "Realistic SkyWalking segments, made for tests and demonstrations",
        metrics: receiver::METRICS,
    },
    create: |settings, context| {
        let config = config::read(settings)?;
        Ok(Box::new(receiver::Generator::new(config, context)))
    },
};
