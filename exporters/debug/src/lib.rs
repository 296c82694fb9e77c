//! The `debug` exporter: readable lines on standard output, from one line a batch to a live summary.

mod budget;
mod config;
mod exporter;
mod lines;
mod summary;
mod value;

use weir_component::factory::{BuiltExporter, ExporterFactory, Info};

use crate::exporter::Console;

/// Makes `debug` exporters.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info { kind: "debug", summary: "Readable lines on standard output", metrics: exporter::METRICS },
    create: |settings, context| {
        let (config, helper) = config::read(settings)?;
        Ok(BuiltExporter { exporter: Box::new(Console::stdout(&config, &context)), helper })
    },
};
