//! The weir program: command line, graph builder, runtime, default component set.
//!
//! * [`graph`]: from a configuration to built components.
//! * [`mod@run`]: starts a graph, runs lanes and trunks, stops in order.
//! * `commands`: the command line, a file for each command that is more than a few lines.
//!
//! The program assembles; what components do is in their own crates.

mod commands;
pub mod components;
pub mod graph;
mod logging;
mod memory;
mod program;
pub mod run;
mod shutdown;
mod telemetry_server;
mod traffic;
mod undelivered;

pub use commands::{main, query, reference};
