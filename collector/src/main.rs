//! The weir program. Everything is in the library, so that tests and custom builds can use it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main(&weir::components::STANDARD)
}
