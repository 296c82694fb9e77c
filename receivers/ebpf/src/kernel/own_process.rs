//! The id that the kernel has for this process.

use std::fs;
use std::path::Path;

/// The machine's own PID namespace has this number on every kernel.
const MACHINES: &str = "pid:[4026531836]";

/// The id of this process, by which its own connections are left out.
///
/// # Errors
/// This process is in a PID namespace of its own, as in a container. There it would see its own exports as
/// traffic, and take other processes for those that it is told of.
pub(crate) fn tgid() -> Result<u32, &'static str> {
    tgid_where(Path::new("/proc/self/ns/pid"))
}

fn tgid_where(namespace: &Path) -> Result<u32, &'static str> {
    match fs::read_link(namespace) {
        Ok(link) if link.as_os_str() == MACHINES => Ok(std::process::id()),
        Ok(_) => Err("this process is in a PID namespace of its own; a container needs `hostPID: true` \
                      (Docker: `--pid=host`)"),
        Err(_) => Err("/proc is not mounted, so that the PID namespace of this process is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machines_own_namespace_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &str| {
            let path = folder.path().join(name);
            std::os::unix::fs::symlink(target, &path).unwrap();
            tgid_where(&path)
        };
        assert_eq!(link("machine", "pid:[4026531836]"), Ok(std::process::id()));
        assert!(link("container", "pid:[4026532281]").unwrap_err().contains("hostPID"));
        assert!(tgid_where(&folder.path().join("none")).unwrap_err().contains("/proc"));
    }
}
