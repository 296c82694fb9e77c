//! The weir program: command line, graph builder, runtime, default component set.
//!
//! * [`graph`]: from a configuration to built components.
//! * [`mod@run`]: starts a graph, runs lanes and trunks, stops in order.
//! * [`cli`]: the commands.
//!
//! The program assembles; what components do is in their own crates.

pub mod cli;
pub mod components;
mod config_args;
pub mod graph;
mod logging;
mod memory;
mod program;
pub mod query;
mod quickstart;
pub mod reference;
mod replay;
pub mod run;
mod shutdown;
mod telemetry_server;
mod undelivered;
