//! Where alarms wait that could not be sent, when the configuration starts no storage: a folder of the dead
//! letters.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use weir_component::storage::Storage;
use weir_component::{Context, Extension, StartError};
use weir_extension_storage::{Fsync, Limits, StorageConfig, StorageExtension};

/// Most bytes that wait for one exporter: some 200,000 alarms.
const MAX_BYTES: u64 = 128 << 20;

/// A storage that the program does not depend on: when it cannot be used, alarms wait in memory.
pub(crate) struct Undelivered {
    inner: StorageExtension,
    directory: PathBuf,
}

impl Undelivered {
    /// In this directory, made when it is started.
    pub(crate) fn new(directory: PathBuf, context: Context) -> Undelivered {
        let limits = Limits { max_bytes: MAX_BYTES, segment_bytes: MAX_BYTES / 8, fsync: Fsync::Always };
        let config = StorageConfig { directory: directory.clone(), limits };
        Undelivered { inner: StorageExtension::new(config, context), directory }
    }
}

#[async_trait]
impl Extension for Undelivered {
    async fn start(&self) -> Result<(), StartError> {
        if let Err(error) = self.inner.start().await {
            let directory = self.directory.display();
            tracing::warn!(%directory, %error, "there is no place on disk for alarms that cannot be sent at once; start a `storage` extension");
        }
        Ok(())
    }

    async fn ready(&self) {
        self.inner.ready().await;
    }

    async fn stop(&self) {
        self.inner.stop().await;
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        self.inner.storage()
    }
}
