//! The `threshold` processor: rules over windows.
//!
//! It reads `Windows`, forwards them, and adds `Alarms`: one row for every change of an alarm's state. Rules
//! come from the configuration and from a compacted Kafka topic; they change while running, at window
//! boundaries. The README says what a rule is; the module docs say what each part guarantees.

mod config;
mod evaluation;
mod metrics;
mod processor;
mod rule;
mod rule_import;
mod rule_source;
mod rule_tests;
mod stage;
mod state;
#[cfg(test)]
mod tests;

pub use rule_import::{Imported, import_rules};
pub use rule_tests::{TestReport, check_rules, run_tests};

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

/// Builds `threshold` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "threshold",
        summary: "Evaluates rules with three severities on windows and raises alarms",
        metrics: metrics::METRICS,
    },
    create: processor::create,
};
