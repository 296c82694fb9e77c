//! The `filter` processor: keeps or drops rows by SQL conditions, for each signal its own.
//!
//! Guaranteed: rows that stay keep their order and their values, and batches their origin. Dropped rows are
//! counted, and acknowledged with the rest of their batch. A batch that loses all its rows goes on without
//! any on a lane, because its positions show how far the lane has read. Batches of signals without
//! conditions pass untouched, and are not decoded for it.

mod conditions;
mod config;
mod metrics;
mod processor;
mod stage;
#[cfg(test)]
mod tests;

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

/// Makes `filter` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "filter",
        summary: "Keeps or drops rows by SQL conditions",
        metrics: metrics::METRICS,
    },
    create: |settings, context| Ok(Box::new(processor::Filter::new(config::read(settings)?, &context))),
};
