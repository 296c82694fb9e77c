//! How much memory the program may have.

use std::path::Path;

use weir_config::MemoryLimit;

/// When nothing tells how much there is.
const FALLBACK: u64 = 1 << 30;

/// A limit in bytes.
pub(crate) fn bytes(limit: MemoryLimit) -> u64 {
    match limit {
        MemoryLimit::Bytes(size) => size.get(),
        MemoryLimit::Percent(percent) => available(Path::new("/")) / 100 * u64::from(percent),
    }
}

/// The limit of the cgroup (version 2, then 1), or the machine's memory, whatever is least.
fn available(root: &Path) -> u64 {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let machine = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let limits =
        [number("sys/fs/cgroup/memory.max"), number("sys/fs/cgroup/memory/memory.limit_in_bytes"), machine];
    limits.into_iter().flatten().min().unwrap_or(FALLBACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(available(root.path()), FALLBACK);
        write(root.path(), "proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n");
        assert_eq!(available(root.path()), 2048 * 1024);
        write(root.path(), "sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(available(root.path()), 2048 * 1024, "no limit");
        write(root.path(), "sys/fs/cgroup/memory.max", "1000\n");
        assert_eq!(available(root.path()), 1000);
    }

    #[test]
    fn a_size_is_itself() {
        assert_eq!(bytes("512MiB".parse().unwrap()), 512 << 20);
    }
}
