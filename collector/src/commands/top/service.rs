//! A service, and the order in which services come.

use clap::ValueEnum;
use serde::Deserialize;

/// `--sort`: which services come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Most requests
    Rate,
    /// Most failed requests, in percent
    Errors,
    /// Slowest requests
    P99,
    /// By name
    Name,
}

/// What one service did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Service {
    pub(super) service: Option<String>,
    pub(super) spans: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// Nanoseconds; of requests.
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}
