//! A real storage, and what a crash leaves of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_component::Extension;
use weir_component::storage::Storage;
use weir_extension_storage::{Fsync, Limits, StorageConfig, StorageExtension};

use super::test_context;

/// A storage in a folder of its own.
pub(super) struct Disk {
    folder: tempfile::TempDir,
    extension: StorageExtension,
}

impl Disk {
    pub(super) async fn new() -> Disk {
        Disk::begin(tempfile::tempdir().unwrap()).await
    }

    async fn begin(folder: tempfile::TempDir) -> Disk {
        // A crash of the process loses nothing that is written, whatever the disk has.
        let limits = Limits { max_bytes: 1 << 20, segment_bytes: 64 << 10, fsync: Fsync::Never };
        let config = StorageConfig { directory: folder.path().to_owned(), limits };
        let extension = StorageExtension::new(config, test_context().with_id("storage".parse().unwrap()));
        extension.start().await.unwrap();
        Disk { folder, extension }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        self.extension.storage().unwrap()
    }

    /// What another process finds when this one ends now.
    pub(super) async fn after_a_crash(&self) -> Disk {
        Disk::begin(copy(self.path())).await
    }

    /// What another process finds in this folder.
    pub(super) async fn of(folder: tempfile::TempDir) -> Disk {
        Disk::begin(folder).await
    }
}

/// A folder as it is at one moment: what two looks agree on, since nothing that is written there is written back.
pub(super) fn copy(from: &Path) -> tempfile::TempDir {
    let mut files = BTreeMap::new();
    loop {
        let mut again = BTreeMap::new();
        read(from, Path::new(""), &mut again);
        if again == files {
            break;
        }
        files = again;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn read(folder: &Path, name: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder.join(name)).unwrap() {
        let name = name.join(entry.unwrap().file_name());
        if folder.join(&name).is_dir() {
            read(folder, &name, files);
        } else if let Ok(bytes) = std::fs::read(folder.join(&name)) {
            files.insert(name, bytes);
        }
    }
}
