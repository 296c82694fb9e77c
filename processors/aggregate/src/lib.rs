//! The `aggregate` processor: exact event-time windows.
//!
//! * [`lane`]: events go into slices of windows, or into fragments of sessions, by time and group. When the
//!   watermark of the lane passes them, they go to the trunk as a partial result ([`partial`]).
//! * [`trunk`]: the partial results of all lanes are merged to windows. A window fires when the combined
//!   watermark passes it, and again when late events within `allowed_lateness` change it.
//! * [`state`]: what is kept of a group. [`group`]: its key. [`window`]: the windows of an event.
//!
//! Results depend on the events alone, and not on lanes, batches or order, while no event is late and
//! `max_groups` is not reached. An input is done when every window with one of its events has been exported.
//!
//! A new kind of window begins in [`window`]. A partial result is a batch, so that it can travel through
//! Kafka.

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
mod unmeasured;
mod window;

use weir_component::ProcessorFactory;
use weir_component::factory::Info;

pub use crate::output_schema::default_measures;

/// Makes `aggregate` processors.
pub const FACTORY: ProcessorFactory = ProcessorFactory {
    info: Info {
        kind: "aggregate",
        summary: "Counts, rates, means and quantiles per group in exact event-time windows",
        metrics: metrics::METRICS,
    },
    create: processor::create,
};
