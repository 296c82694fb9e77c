//! Extensions: parts of the program that no event passes through, such as a storage.

use std::sync::Arc;

use async_trait::async_trait;

use crate::StartError;
use crate::storage::Storage;

/// A part of the program beside the pipelines. Extensions named in `service.extensions` are started before
/// everything else, in that order, and stopped after everything else, in the opposite order.
#[async_trait]
pub trait Extension: Send + Sync {
    /// Opens what the extension needs. Other components call it only after this.
    ///
    /// # Errors
    /// An error that no retry can cure. The program then ends with it.
    async fn start(&self) -> Result<(), StartError>;

    /// Everything else has been started now, too. Called once.
    async fn ready(&self) {}

    /// Closes it. Called once, after `start` has succeeded.
    async fn stop(&self);

    /// The storage that this extension is, if it is one.
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        None
    }
}
