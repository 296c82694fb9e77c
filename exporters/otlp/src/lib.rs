//! The `otlp` exporter: OTLP over gRPC and HTTP.
//!
//! Guaranteed: an export is done when the server has taken it; what it refuses goes to the dead letters.
//! Requests that nothing in the pipeline has read are forwarded as they came. Not guaranteed: that the server
//! gets data only once, when its answer is lost.

mod answer;
mod client;
mod config;
mod exporter;
mod metrics;
mod request;

use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Check, Context, Settings};
use weir_config::Diagnostics;

use crate::config::Config;

/// The factory of the `otlp` exporter.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info { kind: "otlp", summary: "OTLP over gRPC and HTTP", metrics: metrics::ALL },
    create,
};

fn create(settings: Settings<'_>, context: Context) -> Result<BuiltExporter, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    let helper = config.helper();
    check.helper(&helper);
    let target = config.target().map_err(|problems| check.all(problems)).ok();
    let target = check.finish_some(target)?;
    let otlp = exporter::Otlp::new(target, context)
        .map_err(|error| settings.error_at("", format!("cannot set up a client: {error}")))?;
    Ok(BuiltExporter { exporter: Box::new(otlp), helper })
}
