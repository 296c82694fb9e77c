//! The weir program. Everything is in the library, so that tests and custom builds can use it.

use std::process::ExitCode;

#[cfg(not(feature = "count-allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: weir_allocations::Counting<mimalloc::MiMalloc> =
    weir_allocations::Counting::new(mimalloc::MiMalloc);

fn main() -> ExitCode {
    let code = weir::main(&weir::components::STANDARD);
    #[cfg(feature = "count-allocations")]
    #[allow(clippy::print_stderr, reason = "a measurement")]
    {
        eprintln!("heap allocations: {}", ALLOCATOR.count());
    }
    code
}
