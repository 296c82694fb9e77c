//! The receiver over real sockets: what clients send and how they are answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "../../../../http/tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests of exporters use the rest")]
mod certificates;
mod fuzz;
mod guarded;
mod malformed;
mod reports;
mod streams;
mod support;
