//! The `storage` extension: queues and state on disk. `docs/storage-format.md` describes the files and the
//! guarantees.

mod config;
mod extension;
pub mod log;
mod metrics;
mod names;
mod queue;
mod state;

use weir_component::factory::{ExtensionFactory, Info};
use weir_component::{Context, Extension, Settings};
use weir_config::Diagnostics;

pub use crate::config::{Fsync, Limits, StorageConfig};
pub use crate::extension::StorageExtension;
pub use crate::metrics::QueueMetrics;

/// Makes `storage` extensions.
pub const FACTORY: ExtensionFactory = ExtensionFactory {
    info: Info { kind: "storage", summary: "Queues and state on disk", metrics: metrics::METRICS },
    create,
};

fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Extension>, Diagnostics> {
    Ok(Box::new(StorageExtension::new(StorageConfig::read(settings)?, context)))
}
