//! `weir ebpf`, and why a program has no such receiver.

/// The table of hooks.
///
/// # Errors
/// This program has no eBPF, or is not where it could observe the machine.
pub(crate) fn check() -> anyhow::Result<String> {
    #[cfg(all(feature = "ebpf", target_os = "linux"))]
    return weir_receiver_ebpf::check()
        .map_err(|reason| anyhow::anyhow!("nothing can be observed: {reason}"));
    #[cfg(not(all(feature = "ebpf", target_os = "linux")))]
    Err(anyhow::anyhow!("this program was built without eBPF: {}", reason().unwrap_or_default()))
}

/// The line of `weir components` that says why there is no eBPF; empty when there is.
pub(crate) fn absence() -> String {
    reason().map_or_else(String::new, |reason| format!("\nThe receiver ebpf observes nothing: {reason}\n"))
}

#[cfg(all(feature = "ebpf", target_os = "linux"))]
fn reason() -> Option<&'static str> {
    weir_receiver_ebpf::ABSENT
}

#[cfg(not(all(feature = "ebpf", target_os = "linux")))]
fn reason() -> Option<&'static str> {
    let is_linux = cfg!(target_os = "linux");
    Some(if is_linux { "the feature `ebpf` is switched off" } else { "eBPF is a part of Linux" })
}
