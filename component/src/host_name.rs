//! The name of the machine.

/// The machine's name as the kernel says it. `read` gives the text of a file. `None`: the kernel does not
/// say.
#[must_use]
pub fn host_name(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = read("/proc/sys/kernel/hostname")?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
