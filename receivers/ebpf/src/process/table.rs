//! The processes that are known.

use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::container;
use super::identity::Identity;

/// How long a process is known after its end: what it did may be told later. Nanoseconds.
const KEPT: u64 = 60_000_000_000;
/// Most control groups that are remembered, and that are looked through for one.
const MOST_GROUPS: usize = 4096;

/// Processes by their number. Bounded; of the others only the number is known.
#[derive(Debug)]
pub(crate) struct Processes {
    proc: PathBuf,
    cgroups: PathBuf,
    known: HashMap<u32, Arc<Identity>>,
    /// Containers by the number of their control group.
    containers: HashMap<u64, Option<String>>,
    ended: VecDeque<(u64, u32)>,
    most: usize,
}

impl Processes {
    /// The processes of this machine.
    pub(crate) fn new(most: usize) -> Processes {
        Processes {
            proc: PathBuf::from("/proc"),
            cgroups: PathBuf::from("/sys/fs/cgroup"),
            known: HashMap::new(),
            containers: HashMap::new(),
            ended: VecDeque::new(),
            most,
        }
    }

    /// A process did something for the first time, or executes another program.
    pub(crate) fn seen(&mut self, tgid: u32, cgroup: u64, comm: &str) -> Arc<Identity> {
        self.known.remove(&tgid);
        self.ended.retain(|(_, ended)| *ended != tgid);
        self.learn(tgid, cgroup, comm)
    }

    /// The process of this number, in this control group (0: not known).
    pub(crate) fn of(&mut self, tgid: u32, cgroup: u64) -> Arc<Identity> {
        match self.known.get(&tgid) {
            Some(known) => Arc::clone(known),
            None => self.learn(tgid, cgroup, ""),
        }
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, tgid: u32, time: u64) {
        self.ended.push_back((time, tgid));
    }

    /// The header of a request that the process made names its service and instance.
    pub(crate) fn told_its_name(&mut self, tgid: u32, service: &str, instance: &str) {
        let Some(known) = self.known.get_mut(&tgid).filter(|known| known.service.is_none()) else { return };
        let known = Arc::make_mut(known);
        known.service = Some(service.to_owned());
        known.instance.get_or_insert_with(|| instance.to_owned());
    }

    /// Forgets processes that ended long before `now`, of the kernel's clock.
    pub(crate) fn forget(&mut self, now: u64) {
        while let Some((time, tgid)) = self.ended.front().copied()
            && now.saturating_sub(time) > KEPT
        {
            self.ended.pop_front();
            self.known.remove(&tgid);
        }
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    fn learn(&mut self, tgid: u32, cgroup: u64, comm: &str) -> Arc<Identity> {
        let read = (tgid != 0).then(|| Identity::read(&self.proc, tgid)).flatten();
        let identity = read.unwrap_or_else(|| Identity::gone(tgid, comm, self.container_of(cgroup)));
        if self.containers.len() < MOST_GROUPS && cgroup != 0 {
            self.containers.entry(cgroup).or_insert_with(|| identity.container.clone());
        }
        let identity = Arc::new(identity);
        if self.known.len() >= self.most {
            // The one that ended first, else any.
            let gone = self.ended.pop_front().map(|(_, tgid)| tgid);
            let gone = gone.or_else(|| self.known.keys().next().copied());
            gone.and_then(|tgid| self.known.remove(&tgid));
        }
        self.known.insert(tgid, Arc::clone(&identity));
        identity
    }

    /// The container of a control group whose process is gone: its number is the inode of its folder.
    fn container_of(&mut self, cgroup: u64) -> Option<String> {
        if cgroup == 0 {
            return None;
        }
        if let Some(known) = self.containers.get(&cgroup) {
            return known.clone();
        }
        let found = folder_of(&self.cgroups, cgroup);
        let container = found.and_then(|path| container::id(&path.to_string_lossy()).map(str::to_owned));
        if self.containers.len() < MOST_GROUPS {
            self.containers.insert(cgroup, container.clone());
        }
        container
    }
}

/// The folder with this inode.
fn folder_of(root: &Path, inode: u64) -> Option<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        looked_at += 1;
        if looked_at > MOST_GROUPS {
            return None;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_dir() {
                continue;
            }
            if metadata.ino() == inode {
                return Some(entry.path());
            }
            folders.push(entry.path());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_named_by_the_kernel_and_its_container_by_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        let folder = root.path().join(format!("system.slice/docker-{id}.scope"));
        std::fs::create_dir_all(&folder).unwrap();
        let inode = std::fs::metadata(&folder).unwrap().ino();
        let mut processes = Processes::new(10);
        processes.cgroups = root.path().to_owned();
        let gone = processes.seen(u32::MAX, inode, "curl");
        assert_eq!((gone.name.as_str(), gone.container.as_deref()), ("curl", Some(id.as_str())));
        assert_eq!(processes.of(u32::MAX - 1, inode).container.as_deref(), Some(id.as_str()));
    }

    #[test]
    fn processes_are_forgotten_some_time_after_their_end_and_their_number_is_bounded() {
        let mut processes = Processes::new(3);
        for tgid in 0..10 {
            processes.seen(u32::MAX - tgid, 0, "x");
        }
        assert_eq!(processes.len(), 3);
        processes.seen(u32::MAX - 20, 0, "y");
        processes.ended(u32::MAX - 20, 5);
        processes.forget(KEPT);
        assert_eq!(processes.of(u32::MAX - 20, 0).name, "y");
        processes.forget(KEPT + 6);
        assert_eq!(processes.of(u32::MAX - 20, 0).name, "");
    }

    #[test]
    fn a_request_names_the_service_of_its_process() {
        let mut processes = Processes::new(3);
        processes.seen(u32::MAX, 0, "python");
        assert_eq!(processes.of(u32::MAX, 0).service_or_program(), "unknown_service:python");
        processes.told_its_name(u32::MAX, "shop", "shop-1");
        processes.told_its_name(u32::MAX, "other", "other-1");
        let known = processes.of(u32::MAX, 0);
        assert_eq!((known.service.as_deref(), known.instance.as_deref()), (Some("shop"), Some("shop-1")));
    }
}
