//! The `pattern` processor: sequences of events per key, by the rules of Flink's CEP.
//!
//! * It reads windows, alarms or events, forwards them, and adds `Alarms`: one row for every match.
//! * Events wait on the trunk until the watermark, and are then taken in order of time. So a match does not
//!   depend on lanes and batches. An event at or before the watermark is late.
//! * An alarm holds the inputs of all events of its match. Live partial matches hold theirs, too (see the
//!   README).
//!
//! [`nfa`] is the state machine of one key, [`keys`] the buffer in front of it.

mod alarm;
mod config;
mod keys;
mod lane;
mod metrics;
mod nfa;
mod operator;
mod processor;
mod rows;
#[cfg(test)]
mod tests;
mod trunk;

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

/// Builds `pattern` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "pattern",
        summary: "Raises an alarm when events of one key come in a given sequence within a time",
        metrics: metrics::METRICS,
    },
    create: processor::create,
};
