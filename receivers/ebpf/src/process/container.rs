//! The container of a process, from the path of its control group.

/// The id of the container that a line of `/proc/PID/cgroup` or a path below `/sys/fs/cgroup` names: 64
/// hexadecimal digits, the innermost.
pub(crate) fn id(path: &str) -> Option<&str> {
    let parts = path.split(['/', ':', '-', '.']).rev();
    let mut ids = parts.filter(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ids.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8afe480b86c3ffc0cb9c2da6a2b6a5b0d1cd2a43dea8cc0d3a5f4d9c1b2e3f40";

    #[test]
    fn ids_are_found_as_the_usual_runtimes_write_them() {
        for path in [
            format!("0::/docker/{ID}"),
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("12:cpu:/kubepods/burstable/pod1234/{ID}"),
            format!("0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-{ID}.scope"),
            format!("0::/kubepods.slice/pod1/crio-{ID}.scope/container"),
            format!("0::/machine.slice/libpod-{ID}.scope/init.scope"),
        ] {
            assert_eq!(id(&path), Some(ID), "{path}");
        }
        for path in ["0::/", "0::/system.slice/ssh.service", "0::/user.slice/user-0.slice/session-1.scope"] {
            assert_eq!(id(path), None);
        }
    }
}
