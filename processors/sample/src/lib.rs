//! The `sample` processor: keeps a share of the traces, each of them whole, by OpenTelemetry's consistent
//! probability sampling (OTEP 235).
//!
//! Guaranteed: whether a row stays depends on its trace id, its trace state and the configuration alone. So
//! all rows of a trace stay or go together, on all gateways, and a repeat after a crash has the same rows. A
//! row that stays says how many it stands for. Dropped rows are counted, and acknowledged with the rest of
//! their batch. Batches of other signals pass untouched, and are not decoded for it.

mod columns;
mod config;
mod metrics;
mod processor;
mod stage;
#[cfg(test)]
mod tests;
mod threshold;
mod trace_state;

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

/// Makes `sample` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "sample",
        summary: "Keeps a share of the traces, each of them whole",
        metrics: metrics::METRICS,
    },
    create: |settings, context| Ok(Box::new(processor::Sample::new(config::read(settings)?, &context))),
};
