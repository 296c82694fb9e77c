//! Queues and state on disk, as components see them. The `storage` extension implements it; its format and
//! what it does about crashes, damage and full disks are in `docs/storage-format.md`.
//!
//! A component names a storage by the id of its extension (`queue.storage: storage/main`), checks the name
//! with [`Storages::find`] when it is built, and opens what it needs when it is started: extensions start
//! first and stop last.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};

use async_trait::async_trait;
use tokio::sync::oneshot;
use weir_config::{ComponentId, nearest};

/// A directory that keeps queues and state.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens the queue of this name; makes it when there is none. A name can be open once.
    ///
    /// # Errors
    /// When the storage is not started, the queue is open already, or its files cannot be used.
    async fn open_queue(&self, name: &str) -> Result<Arc<dyn DiskQueue>, StorageError>;

    /// Replaces the value of `key` below `name`. When it returns, the value survives a power cut; when it
    /// fails or the program ends before, the old value stays.
    ///
    /// # Errors
    /// When it cannot be written.
    async fn put(&self, name: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError>;

    /// The value of `key` below `name`. A damaged one is quarantined, counted, and reads as `None`.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn get(&self, name: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError>;
}

/// Records on disk, read in the order they were appended, each until it is acknowledged.
///
/// Dropping the last handle closes the queue; what is not acknowledged is returned after the next opening.
#[async_trait]
pub trait DiskQueue: Send + Sync {
    /// Appends a record; the order of the calls is the order of the records. When the future gives the
    /// record's number, the record is as safe as the storage's `fsync` promises. It waits while the queue or
    /// the disk is full, and fails when the record can never fit or the queue is closed. If it is dropped,
    /// the record is appended all the same.
    fn append(&self, record: Vec<u8>) -> Appending;

    /// The longest record that fits, in bytes.
    fn max_record(&self) -> u64;

    /// The next record that this run has not read yet; waits until there is one. `None` after
    /// [`end`](Self::end) when all are read, or when the queue is closed. Dropping the future loses nothing.
    async fn next(&self) -> Option<Record>;

    /// This record is not needed any more. Any order; does not wait.
    fn acknowledge(&self, number: u64);

    /// This record cannot be used, because of `reason`: it is quarantined, counted, logged, and not returned
    /// again.
    fn quarantine(&self, record: Record, reason: &str);

    /// No more records come: [`next`](Self::next) ends when it has returned all.
    fn end(&self);

    /// Bytes on disk.
    fn bytes(&self) -> u64;

    /// Records that are not acknowledged.
    fn records(&self) -> u64;

    /// Writes down what was acknowledged and closes the files. Appends that still wait fail.
    async fn close(&self);
}

/// An append that is not confirmed yet.
#[derive(Debug)]
pub struct Appending {
    queue: Arc<str>,
    answer: oneshot::Receiver<Result<u64, StorageError>>,
}

impl Appending {
    /// An append to the queue of this name, answered through the sender. Dropping the sender closes the
    /// queue.
    #[must_use]
    pub fn new(queue: Arc<str>) -> (oneshot::Sender<Result<u64, StorageError>>, Appending) {
        let (sender, answer) = oneshot::channel();
        (sender, Appending { queue, answer })
    }
}

impl Future for Appending {
    type Output = Result<u64, StorageError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let answer = task::ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(
            answer.unwrap_or_else(|_| Err(StorageError::Closed(format!("the queue `{}`", self.queue)))),
        )
    }
}

/// One record of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: 1 for the first of the queue, growing.
    pub number: u64,
    /// The record that was appended.
    pub payload: Vec<u8>,
}

/// Why a storage could not do it. The message says what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The queue or the storage is not open (any more).
    #[error("{0} is not open")]
    Closed(String),
    /// The record or value is larger than the storage allows.
    #[error("{bytes} bytes do not fit: at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The longest that fits.
        max: u64,
    },
    /// The files cannot be used.
    #[error("{0}")]
    Failed(String),
}

/// The storages that the configuration starts, by the id of their extension. Cheap to clone.
#[derive(Clone, Default)]
pub struct Storages {
    named: Arc<HashMap<ComponentId, Arc<dyn Storage>>>,
    /// Shared by clones: it may be found to be needed after components have theirs.
    default: Arc<OnceLock<Arc<dyn Storage>>>,
}

impl Storages {
    /// These storages.
    #[must_use]
    pub fn new(all: HashMap<ComponentId, Arc<dyn Storage>>) -> Storages {
        Storages { named: Arc::new(all), default: Arc::default() }
    }

    /// The same storages, with one for what must be kept though no storage was named for it. Clones that were
    /// made before have it too; the first one stays.
    #[must_use]
    pub fn with_default(self, default: Arc<dyn Storage>) -> Storages {
        self.default.get_or_init(|| default);
        self
    }

    /// Where to keep what must be kept though no storage was named for it.
    #[must_use]
    pub fn default_storage(&self) -> Option<Arc<dyn Storage>> {
        self.default.get().cloned()
    }

    /// The storage of this id.
    ///
    /// # Errors
    /// The message for the user when there is none.
    pub fn find(&self, id: &ComponentId) -> Result<Arc<dyn Storage>, String> {
        if let Some(storage) = self.named.get(id) {
            return Ok(Arc::clone(storage));
        }
        let mut ids: Vec<String> = self.named.keys().map(ToString::to_string).collect();
        ids.sort_unstable();
        let wanted = id.to_string();
        Err(match nearest(&wanted, ids.iter().map(String::as_str)) {
            Some(near) => format!("`{wanted}` is not a storage that is started; did you mean `{near}`?"),
            None if ids.is_empty() => format!(
                "`{wanted}` is not a storage that is started: configure it below `extensions` and name it in `service.extensions`"
            ),
            None => format!("`{wanted}` is not a storage that is started; started are: {}", ids.join(", ")),
        })
    }
}
