//! The extension: owns the directory, opens queues and values in it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use async_trait::async_trait;
use weir_component::health::Troubles;
use weir_component::storage::{DiskQueue, Storage, StorageError};
use weir_component::{Context, Extension, StartError, Telemetry};

use crate::config::StorageConfig;
use crate::log::Log;
use crate::metrics::QueueMetrics;
use crate::names::{file_name, segment_of};
use crate::queue::Queue;
use crate::state::State;

/// A storage in one directory.
pub struct StorageExtension(Arc<Directory>);

struct Directory {
    id: String,
    config: StorageConfig,
    telemetry: Telemetry,
    troubles: Troubles,
    state: Arc<State>,
    opened: Mutex<Option<Arc<Opened>>>,
}

/// The parts of a started storage. Dropping the last clone gives the directory free.
struct Opened {
    _lock: File,
    /// Names of open queues.
    names: Mutex<HashSet<String>>,
    queues: Mutex<Vec<(Weak<Queue>, JoinHandle<()>)>>,
}

/// The name of an open queue, kept by its thread.
struct OpenName {
    name: String,
    opened: Arc<Opened>,
}

impl Drop for OpenName {
    fn drop(&mut self) {
        locked(&self.opened.names).remove(&self.name);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StorageExtension {
    /// A storage that is not started. Does no I/O.
    #[must_use]
    pub fn new(config: StorageConfig, context: Context) -> StorageExtension {
        let id = context.id.to_string();
        let corrupt = QueueMetrics::corrupt_values(&context.telemetry, &id);
        let state = Arc::new(State::new(config.directory.join("state"), corrupt));
        let (telemetry, troubles, opened) =
            (context.telemetry, Troubles::new(context.health), Mutex::new(None));
        StorageExtension(Arc::new(Directory { id, config, telemetry, troubles, state, opened }))
    }
}

#[async_trait]
impl Extension for StorageExtension {
    async fn start(&self) -> Result<(), StartError> {
        let directory = Arc::clone(&self.0);
        let lock = blocking(move || lock(&directory.config.directory))
            .await
            .map_err(|error| StartError(error.to_string()))?;
        let opened = Opened { _lock: lock, names: Mutex::default(), queues: Mutex::default() };
        *locked(&self.0.opened) = Some(Arc::new(opened));
        Ok(())
    }

    async fn ready(&self) {
        let Ok(opened) = self.0.opened() else { return };
        let used: HashSet<String> = locked(&opened.names).iter().filter_map(|name| file_name(name)).collect();
        let directory = self.0.config.directory.join("queues");
        let found = blocking(move || Ok(unused(&directory, &used))).await;
        for (directory, bytes) in found.unwrap_or_default() {
            let directory = directory.display();
            tracing::warn!(%directory, bytes, "a queue on disk has records, and nothing uses it: configure its exporter again, or delete it");
        }
    }

    async fn stop(&self) {
        let Some(opened) = locked(&self.0.opened).take() else { return };
        let queues = std::mem::take(&mut *locked(&opened.queues));
        for (queue, _) in &queues {
            if let Some(queue) = queue.upgrade() {
                queue.close().await;
            }
        }
        let joined = blocking(move || {
            for (_, thread) in queues {
                if thread.join().is_err() {
                    tracing::error!("the thread of a queue ended abnormally");
                }
            }
            Ok(())
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "a storage was not closed in order");
        }
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(Arc::clone(&self.0) as Arc<dyn Storage>)
    }
}

/// The folders of queues with segments, but for those that are used, and the bytes in them.
fn unused(queues: &Path, used: &HashSet<String>) -> Vec<(PathBuf, u64)> {
    let list = |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten();
    let unused =
        list(queues).filter(|folder| !folder.file_name().to_str().is_some_and(|name| used.contains(name)));
    let with_bytes = unused.map(|folder| {
        let segments =
            list(&folder.path()).filter(|file| file.file_name().to_str().and_then(segment_of).is_some());
        (folder.path(), segments.filter_map(|file| Some(file.metadata().ok()?.len())).sum())
    });
    with_bytes.filter(|(_, bytes)| *bytes > 0).collect()
}

/// Makes the directory and locks it for this process.
fn lock(directory: &Path) -> Result<File, StorageError> {
    let failed = |what: &str, error: std::io::Error| {
        StorageError::Failed(format!("cannot {what} {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| failed("make the directory", error))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join("lock"))
        .map_err(|error| failed("write to the directory", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Failed(format!(
            "the directory {} is in use, by another process or another storage: give each its own `directory`",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed("lock the directory", error)),
    }
}

impl Directory {
    fn opened(&self) -> Result<Arc<Opened>, StorageError> {
        let opened = locked(&self.opened).clone();
        opened.ok_or_else(|| StorageError::Closed(format!("the storage `{}`", self.id)))
    }
}

#[async_trait]
impl Storage for Directory {
    async fn open_queue(&self, name: &str) -> Result<Arc<dyn DiskQueue>, StorageError> {
        let opened = self.opened()?;
        let file = file_name(name).ok_or_else(|| {
            StorageError::Failed(format!("`{name}` cannot be the name of a queue: it is empty or too long"))
        })?;
        if !locked(&opened.names).insert(name.to_owned()) {
            return Err(StorageError::Failed(format!("the queue `{name}` of `{}` is open already", self.id)));
        }
        let kept = OpenName { name: name.to_owned(), opened: Arc::clone(&opened) };
        let directory = self.config.directory.join("queues").join(file);
        let limits = self.config.limits;
        let metrics = QueueMetrics::new(&self.telemetry, &self.id, name);
        let (queue_name, troubles) = (name.to_owned(), self.troubles.clone());
        let (queue, thread) = blocking(move || {
            let log = Log::open(&directory, limits, metrics.clone())?;
            let (bytes, records, directory) = (log.bytes(), log.records(), directory.display());
            tracing::info!(queue = queue_name, %directory, bytes, records, "opened a queue on disk");
            Queue::start(&queue_name, log, limits.fsync, metrics, troubles, kept).map_err(|error| {
                StorageError::Failed(format!("cannot start the thread of the queue `{queue_name}`: {error}"))
            })
        })
        .await?;
        let queue = Arc::new(queue);
        let mut queues = locked(&opened.queues);
        queues.retain(|(_, thread)| !thread.is_finished());
        queues.push((Arc::downgrade(&queue), thread));
        Ok(queue)
    }

    async fn put(&self, name: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        let opened = self.opened()?;
        let (state, name, key) = (Arc::clone(&self.state), name.to_owned(), key.to_owned());
        blocking(move || {
            let _opened = opened;
            state.put(&name, &key, &value)
        })
        .await
    }

    async fn get(&self, name: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let opened = self.opened()?;
        let (state, name, key) = (Arc::clone(&self.state), name.to_owned(), key.to_owned());
        blocking(move || {
            let _opened = opened;
            state.get(&name, &key)
        })
        .await
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StorageError::Failed(format!("file work ended abnormally: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_with_segments_that_nothing_uses_is_found() {
        let directory = tempfile::tempdir().unwrap();
        for (queue, file) in [
            ("used", "00000000000000000001.log"),
            ("left", "00000000000000000001.log"),
            ("empty", "position"),
        ] {
            std::fs::create_dir(directory.path().join(queue)).unwrap();
            std::fs::write(directory.path().join(queue).join(file), "12345").unwrap();
        }
        let used = HashSet::from(["used".to_owned()]);
        assert_eq!(unused(directory.path(), &used), [(directory.path().join("left"), 5)]);
        assert_eq!(unused(&directory.path().join("nowhere"), &used), []);
    }
}
