//! The `health_check` extension: the status of the program and of each component over HTTP.
//!
//! Components report their status ([`weir_component::health`]). [`verdict`] makes one answer of that, without
//! I/O; [`extension`] serves it.

mod config;
mod extension;
mod verdict;

use weir_component::factory::{ExtensionFactory, Info};
use weir_component::{Context, Extension, Settings};
use weir_config::Diagnostics;

use crate::config::HealthCheckConfig;
use crate::extension::HealthCheck;

/// Makes `health_check` extensions.
pub const FACTORY: ExtensionFactory = ExtensionFactory {
    info: Info { kind: "health_check", summary: "Status over HTTP, for probes", metrics: &[] },
    create,
};

fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Extension>, Diagnostics> {
    Ok(Box::new(HealthCheck::new(HealthCheckConfig::read(settings)?, context)))
}
