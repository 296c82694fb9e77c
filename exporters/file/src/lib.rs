//! The `file` exporter: JSON lines, one object a row, in the form that the `file` receiver reads.

mod config;
mod exporter;

use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Context, Settings};
use weir_config::Diagnostics;

use crate::exporter::LineFile;

/// Makes `file` exporters.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info { kind: "file", summary: "JSON lines in a file, with rotation", metrics: &[] },
    create,
};

fn create(settings: Settings<'_>, _context: Context) -> Result<BuiltExporter, Diagnostics> {
    let (config, helper) = config::read(settings)?;
    Ok(BuiltExporter { exporter: Box::new(LineFile::new(config)), helper })
}
