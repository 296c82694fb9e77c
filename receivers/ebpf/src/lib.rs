//! The `ebpf` receiver: what the kernel sees of connections and requests of this machine.
//!
//! Guaranteed: a hook that is missing costs what it is for and nothing else; memory is bounded; what is lost
//! is counted; headers are read and never written. Not guaranteed: that everything is seen. There is no input
//! to read again.

#[cfg(weir_programs)]
mod config;
#[cfg(weir_programs)]
mod direction;
#[cfg(weir_programs)]
mod filter;
#[cfg(weir_programs)]
mod http;
#[cfg(weir_programs)]
mod http2;
#[cfg(weir_programs)]
mod kernel;
mod metrics;
#[cfg(weir_programs)]
mod observer;
#[cfg(weir_programs)]
mod process;
#[cfg(weir_programs)]
mod receiver;
#[cfg(weir_programs)]
mod rows;
#[cfg(weir_programs)]
mod tcp;
#[cfg(weir_programs)]
mod worker;

use weir_component::ReceiverFactory;
use weir_component::factory::Info;

/// Makes `ebpf` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info {
        kind: "ebpf",
        summary: "TCP connections and HTTP requests of this machine, seen in the kernel (Linux)",
        metrics: metrics::ALL,
    },
    create,
};

/// Why this build has no programs for the kernel, when it has none.
#[cfg(weir_programs)]
pub const ABSENT: Option<&str> = None;
/// Why this build has no programs for the kernel, when it has none.
#[cfg(not(weir_programs))]
pub const ABSENT: Option<&str> = Some(env!("WEIR_EBPF_ABSENT"));

#[cfg(weir_programs)]
fn create(
    settings: weir_component::Settings<'_>,
    context: weir_component::Context,
) -> Result<Box<dyn weir_component::Receiver>, weir_config::Diagnostics> {
    let config = config::read(settings)?;
    Ok(Box::new(receiver::EbpfReceiver::new(config, context)))
}

#[cfg(not(weir_programs))]
fn create(
    settings: weir_component::Settings<'_>,
    _: weir_component::Context,
) -> Result<Box<dyn weir_component::Receiver>, weir_config::Diagnostics> {
    let mut check = weir_component::Check::new(settings);
    check.wrong("", format!("this program was built without eBPF: {}", ABSENT.unwrap_or_default()));
    check.finish_some(None)
}

/// The table of hooks of this kernel with the rights of this process: which work, and what is lost without
/// the others.
///
/// # Errors
/// This build has no programs, or this process is not where it could observe the machine.
#[cfg(weir_programs)]
pub fn check() -> Result<String, &'static str> {
    let own_tgid = kernel::own_process::tgid()?;
    let limits = kernel::programs::Limits {
        ring_bytes: 64 << 10,
        max_connections: 1024,
        capture: 4096,
        ports: Vec::new(),
        http: true,
        own_tgid,
    };
    let (tried, _programs) = kernel::programs::load(&limits);
    Ok(kernel::hooks::table(&tried))
}

/// The table of hooks of this kernel with the rights of this process: which work, and what is lost without
/// the others.
///
/// # Errors
/// This build has no programs.
#[cfg(not(weir_programs))]
pub fn check() -> Result<String, &'static str> {
    Err(ABSENT.unwrap_or_default())
}
