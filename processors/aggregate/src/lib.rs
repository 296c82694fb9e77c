//! The `aggregate` processor: exact event-time windows.
//!
//! * On each lane, events go into slices of windows by time and group, or into fragments of sessions; what they keep is
//!   mergeable. When the lane's watermark passes them they leave for the trunk as a partial result ([`partial`]).
//! * On the trunk, partial results of all lanes merge to windows ([`trunk`]). A window fires when the combined
//!   watermark passes it, and again when late events within `allowed_lateness` change it.
//! * Results depend on the events alone, not on lanes, batches or order (as long as no event is late and
//!   `max_groups` is not reached). Inputs are done when every window that holds one of their events is exported.
//!
//! Seams: a kind of window joins [`window`]; a partial result is a batch that can travel through Kafka.

mod config;
mod fingerprint;
mod group;
mod lane;
mod metrics;
mod operator;
mod output_schema;
mod partial;
mod processor;
mod state;
mod trunk;
mod window;

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

/// Makes `aggregate` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "aggregate",
        summary: "Counts, rates, means and quantiles per group in exact event-time windows",
        metrics: metrics::METRICS,
    },
    create: processor::create,
};
