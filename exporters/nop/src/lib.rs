//! The `nop` exporter: takes every signal, reads nothing, keeps nothing.
//!
//! For measuring a pipeline without a destination, and for pipelines whose processors are all that matters.

use async_trait::async_trait;
use serde::Deserialize;
use weir_component::exporter_helper::HelperConfig;
use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Context, ExportError, Exporter, Settings};
use weir_config::Diagnostics;
use weir_pdata::{Demand, EventBatch, SignalSet};

/// Makes `nop` exporters.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info { kind: "nop", summary: "Takes everything and keeps nothing", metrics: &[] },
    create,
};

fn create(settings: Settings<'_>, _context: Context) -> Result<BuiltExporter, Diagnostics> {
    let NopConfig {} = settings.read()?;
    Ok(BuiltExporter { exporter: Box::new(Nop), helper: HelperConfig::default() })
}

/// The settings: there are no keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NopConfig {}

/// Takes everything and keeps nothing.
struct Nop;

#[async_trait]
impl Exporter for Nop {
    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn demand(&self) -> Demand {
        Demand::nothing()
    }

    async fn export(&self, _batches: &[EventBatch]) -> Result<(), ExportError> {
        Ok(())
    }
}
