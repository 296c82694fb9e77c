//! Running a graph: lanes, trunks, exporters, and their order of start and stop.
//!
//! Start: extensions, exporters, then processors' background work, then trunks, then receivers. Stop:
//! receivers drain their lanes and commit what is acknowledged, trunks end, exporters flush, extensions
//! close.

mod extensions;
mod lane;
mod memory_permit;
mod metrics;
mod pending;
mod service;
mod trunk;

pub use metrics::METRICS;
pub use service::{Ended, Options, run};
