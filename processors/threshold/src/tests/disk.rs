//! A real storage, and what a crash leaves of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::oneshot;
use weir_component::Extension;
use weir_component::storage::{Appending, DiskQueue, Record, Storage, StorageError};
use weir_extension_storage::{Fsync, Limits, StorageConfig, StorageExtension};

use super::test_context;

/// A storage in a folder of its own.
pub(super) struct Disk {
    folder: tempfile::TempDir,
    extension: StorageExtension,
    max_bytes: u64,
}

impl Disk {
    /// One with room for the history of every window of a test, each with the past that it looks back to.
    pub(super) async fn new() -> Disk {
        Disk::begin(tempfile::tempdir().unwrap(), 16 << 20).await
    }

    /// One with the least room that its configuration allows.
    pub(super) async fn small() -> Disk {
        Disk::begin(tempfile::tempdir().unwrap(), 256 << 10).await
    }

    async fn begin(folder: tempfile::TempDir, max_bytes: u64) -> Disk {
        // A crash of the process loses nothing that is written, whatever the disk has.
        let limits = Limits { max_bytes, segment_bytes: 64 << 10, fsync: Fsync::Never };
        let config = StorageConfig { directory: folder.path().to_owned(), limits };
        let extension = StorageExtension::new(config, test_context().with_id("storage".parse().unwrap()));
        extension.start().await.unwrap();
        Disk { folder, extension, max_bytes }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        self.extension.storage().unwrap()
    }

    /// The state that another process finds when this one ends now.
    pub(super) async fn after_a_crash(&self) -> Disk {
        Disk::begin(copy(self.path()), self.max_bytes).await
    }

    /// The state that another process finds in this folder.
    pub(super) async fn of(folder: tempfile::TempDir) -> Disk {
        Disk::begin(folder, 16 << 20).await
    }
}

/// A storage whose queue can be stopped: appends then wait, as on a disk that takes nothing.
#[derive(Clone)]
pub(super) struct Gate(Arc<Gated>);

struct Gated {
    inner: Arc<dyn Storage>,
    waiting: Mutex<Option<Vec<Waiting>>>,
    queue: Mutex<Option<Arc<dyn DiskQueue>>>,
}

type Waiting = (Vec<u8>, oneshot::Sender<Result<u64, StorageError>>);

impl Gate {
    pub(super) fn before(inner: Arc<dyn Storage>) -> Gate {
        Gate(Arc::new(Gated { inner, waiting: Mutex::default(), queue: Mutex::default() }))
    }

    /// From now on nothing is written.
    pub(super) fn close(&self) {
        self.0.waiting.lock().unwrap().get_or_insert_default();
    }

    /// Everything that waits is written, and everything that comes.
    pub(super) fn open(&self) {
        let Some(waiting) = self.0.waiting.lock().unwrap().take() else { return };
        let queue = self.0.queue.lock().unwrap().clone().unwrap();
        for (record, answer) in waiting {
            let appending = queue.append(record);
            tokio::spawn(async move { answer.send(appending.await) });
        }
    }
}

#[async_trait]
impl Storage for Gate {
    async fn open_queue(&self, name: &str) -> Result<Arc<dyn DiskQueue>, StorageError> {
        let queue = self.0.inner.open_queue(name).await?;
        *self.0.queue.lock().unwrap() = Some(Arc::clone(&queue));
        Ok(Arc::new(GatedQueue { queue, gate: self.clone() }))
    }

    async fn put(&self, name: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.0.inner.put(name, key, value).await
    }

    async fn get(&self, name: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.inner.get(name, key).await
    }
}

struct GatedQueue {
    queue: Arc<dyn DiskQueue>,
    gate: Gate,
}

#[async_trait]
impl DiskQueue for GatedQueue {
    fn append(&self, record: Vec<u8>) -> Appending {
        match &mut *self.gate.0.waiting.lock().unwrap() {
            Some(waiting) => {
                let (answer, appending) = Appending::new("gated".into());
                waiting.push((record, answer));
                appending
            }
            None => self.queue.append(record),
        }
    }

    fn max_record(&self) -> u64 {
        self.queue.max_record()
    }

    async fn next(&self) -> Option<Record> {
        self.queue.next().await
    }

    fn acknowledge(&self, number: u64) {
        self.queue.acknowledge(number);
    }

    fn quarantine(&self, record: Record, reason: &str) {
        self.queue.quarantine(record, reason);
    }

    fn end(&self) {
        self.queue.end();
    }

    fn bytes(&self) -> u64 {
        self.queue.bytes()
    }

    fn records(&self) -> u64 {
        self.queue.records()
    }

    async fn close(&self) {
        self.queue.close().await;
    }
}

/// A folder as it is at one moment: what two looks agree on, since nothing that is written there is written
/// back.
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
