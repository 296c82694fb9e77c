//! The receiver as clients of both protocols see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod answers;
#[path = "../../../../http/tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests of exporters use the rest")]
mod certificates;
mod fuzz;
mod guarded;
mod malformed;
mod support;
