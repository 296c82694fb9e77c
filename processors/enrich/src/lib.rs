//! The `enrich` processor: adds constant columns, casts, renames and drops attributes.
//!
//! Guaranteed: every row goes on, in order, with its ack; fixed columns are never touched; a value that
//! cannot be cast stays in the `attributes` list. Batches of windows and alarms pass untouched, and so do
//! batches not yet decoded.

mod business;
mod cast;
mod config;
mod constants;
mod entries;
mod environment;
mod host;
mod instances;
mod processor;
mod stage;
#[cfg(test)]
mod tests;

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

/// Makes `enrich` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "enrich",
        summary: "Adds tags, environment, host and properties of instances; casts, renames and drops attributes",
        metrics: stage::METRICS,
    },
    create: |settings, context| {
        let config = config::read(settings, &context)?;
        let environment: Vec<_> = environment::of_this_process().collect();
        Ok(Box::new(processor::Enrich::new(&config, &environment, host::read_file, context)))
    },
};
