//! Facts about the machine: `host.name`, `os.type`, `container.id`.

use weir_component::host_name;

/// The first 64 KiB of a file as text; `None` when it cannot be read.
pub(crate) fn read_file(path: &str) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(64 << 10).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The columns and their values. What cannot be found is left out. `read` gives the text of a file,
/// `environment` the variable `HOSTNAME` where the kernel does not tell.
pub(crate) fn attributes(
    read: impl Fn(&str) -> Option<String>,
    environment: &[(String, String)],
) -> Vec<(String, String)> {
    let from_shell =
        || environment.iter().find(|(name, _)| name == "HOSTNAME").map(|(_, value)| value.clone());
    let name = host_name(&read).or_else(from_shell);
    let os = match std::env::consts::OS {
        // OpenTelemetry's name.
        "macos" => "darwin",
        os => os,
    };
    let container = read("/proc/self/cgroup")
        .and_then(|text| container_in_cgroup(&text))
        .or_else(|| read("/proc/self/mountinfo").and_then(|text| container_in_mounts(&text)));
    [("host.name", name), ("os.type", Some(os.to_owned())), ("container.id", container)]
        .into_iter()
        .filter_map(|(column, value)| Some((column.to_owned(), value?)))
        .collect()
}

/// cgroup v1 names the container: `5:cpu:/kubepods/pod…/<id>`, `…/cri-containerd-<id>.scope`, `/docker/<id>`.
fn container_in_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        path.rsplit('/').find_map(|part| part.split(['-', ':', '.']).find(|id| is_id(id)).map(str::to_owned))
    })
}

/// cgroup v2 does not; but the runtime mounts files of the container's own folder into it:
/// `… /var/lib/docker/containers/<id>/hostname /etc/hostname …`.
fn container_in_mounts(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        // On the host itself containers' folders are mounted too, but elsewhere.
        if !matches!(at, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let (_, behind) = root.rsplit_once("containers/")?;
        behind.split('/').next().filter(|id| is_id(id)).map(str::to_owned)
    })
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e1c0d9b8a77665544332211ffeeddccbbaa99887766554433221100abcdef";

    #[test]
    fn cgroup_v1_paths_name_the_container() {
        for path in [
            format!("12:cpu,cpuacct:/docker/{ID}"),
            format!("1:name=systemd:/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/{ID}"),
            format!("4:memory:/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("0::/system.slice/docker-{ID}.scope/init"),
        ] {
            assert_eq!(container_in_cgroup(&format!("13:pids:/\n{path}\n")).as_deref(), Some(ID), "{path}");
        }
    }

    #[test]
    fn without_a_container_there_is_no_id() {
        for text in ["0::/\n", "0::/user.slice/user-1000.slice\n", "", "nonsense", "1:a:/docker/3f4e"] {
            assert_eq!(container_in_cgroup(text), None, "{text}");
        }
    }

    #[test]
    fn with_cgroup_v2_the_mounts_name_the_container() {
        let docker = format!(
            "641 612 0:26 / /sys ro - sysfs sysfs ro\n\
             655 612 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n"
        );
        assert_eq!(container_in_mounts(&docker).as_deref(), Some(ID));
        let podman = format!(
            "9 1 0:4 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw"
        );
        assert_eq!(container_in_mounts(&podman).as_deref(), Some(ID));
        let on_the_host =
            format!("70 29 0:60 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw");
        assert_eq!(container_in_mounts(&on_the_host), None);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let os = ("os.type".to_owned(), std::env::consts::OS.replace("macos", "darwin"));
        assert_eq!(attributes(|_| None, &[]), std::slice::from_ref(&os));
        let shell = [("HOSTNAME".to_owned(), "from-shell".to_owned())];
        let name = |value: &str| ("host.name".to_owned(), value.to_owned());
        assert_eq!(attributes(|_| None, &shell), [name("from-shell"), os.clone()]);
        let kernel = |path: &str| path.ends_with("hostname").then(|| "from-kernel\n".to_owned());
        assert_eq!(attributes(kernel, &shell), [name("from-kernel"), os]);
    }
}
