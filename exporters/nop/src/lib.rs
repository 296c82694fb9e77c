//! The `nop` exporter: takes every signal, reads nothing, keeps nothing.
//!
//! For measuring a pipeline without a destination, and for pipelines whose processors are all that matters.

mod config;
mod nop;

use weir_component::exporter_helper::HelperConfig;
use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Context, Settings};
use weir_config::Diagnostics;

use crate::config::NopConfig;
use crate::nop::Nop;

/// Makes `nop` exporters.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info { kind: "nop", summary: "Takes everything and keeps nothing", metrics: &[] },
    create,
};

fn create(settings: Settings<'_>, _context: Context) -> Result<BuiltExporter, Diagnostics> {
    let NopConfig {} = settings.read()?;
    Ok(BuiltExporter { exporter: Box::new(Nop), helper: HelperConfig::default() })
}
