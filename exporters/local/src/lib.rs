//! The `local` exporter: Parquet files by signal and hour, for `weir query` and any other reader of Parquet.
//!
//! Files lie in `<directory>/<signal>/<yyyy-mm-dd>/<HH>/`. A file appears under its final name only when it
//! is complete and on disk, and batches are acknowledged after that. A crash between the files of one export
//! means that its input is read again: at least once.

mod config;
mod error;
mod exporter;
mod files;
mod flatten;
mod hours;
mod keys;
mod nested;
#[cfg(test)]
mod tests;

use weir_component::ExporterFactory;
use weir_component::factory::{BuiltExporter, Info};

/// Makes `local` exporters.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info { kind: "local", summary: "Parquet files by signal and hour, for `weir query`", metrics: &[] },
    create: |settings, context| {
        let (config, helper) = config::read(settings)?;
        Ok(BuiltExporter { exporter: Box::new(exporter::LocalExporter::new(config, context)), helper })
    },
};
