//! Which changes of a ledger are written down.

use std::time::Instant;

use super::Ledger;
use super::positions::Position;
use crate::delivery::metadata::operator_of;

/// The ownership has ended: nothing more may be begun for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane has another owner now")]
pub struct Closed;

impl Ledger {
    /// This position is written down.
    pub fn written(&self, position: &Position) {
        let pipelines = self.lock().pipelines.clone();
        for (pipeline, marks, _) in pipelines {
            let written = position.metadata.windows_of(&pipeline);
            marks.written(self.0.shard, written.map(|(name, mark)| (operator_of(name).0, mark)));
        }
        let version = position.version;
        self.0.progress.send_if_modified(|progress| {
            let news = version > progress.written;
            progress.written = progress.written.max(version);
            news
        });
    }

    /// Whether the change with this version is written down.
    ///
    /// # Errors
    /// The ownership has ended.
    pub fn is_written(&self, version: u64) -> Result<bool, Closed> {
        let progress = *self.0.progress.borrow();
        if progress.closed { Err(Closed) } else { Ok(progress.written >= version) }
    }

    /// Waits until the change with this version is written down.
    ///
    /// # Errors
    /// The ownership has ended.
    pub async fn until_written(&self, version: u64) -> Result<(), Closed> {
        let mut progress = self.0.progress.subscribe();
        let reached = progress.wait_for(|now| now.closed || now.written >= version).await;
        match reached.map(|now| now.closed) {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(Closed),
        }
    }

    /// Waits until it is known that the lane has no other owner now: at once while the lease holds for a
    /// while, else until something is written down again. To be asked before each try to deliver, as tries
    /// may be hours apart.
    ///
    /// # Errors
    /// The ownership has ended.
    pub async fn until_owned(&self) -> Result<(), Closed> {
        while !self.0.lease.holds_for_a_while(Instant::now()) {
            let version = self.request_write();
            self.until_written(version).await?;
        }
        self.until_written(0).await
    }

    /// After which moment the lane may have another owner, unless more is heard by then. `None`: never.
    #[must_use]
    pub fn owned_until(&self) -> Option<Instant> {
        self.0.lease.end()
    }

    /// Waits until the ownership has ended.
    pub async fn until_closed(&self) {
        // The sender is gone: the ownership has ended.
        let _ = self.0.progress.subscribe().wait_for(|now| now.closed).await;
    }

    /// Asks for a write, if only to see whether it succeeds. When it [has](Self::is_written), the next owner
    /// knows of this ownership.
    #[must_use]
    pub fn request_write(&self) -> u64 {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        drop(state);
        (self.0.wake)();
        version
    }
}
