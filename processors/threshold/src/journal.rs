//! Keeps the history in a storage (`storage`).
//!
//! * The inputs of windows are let go when the checkpoint that they made is safe: a restart never goes back to one that is
//!   not there.
//! * While the storage cannot write, inputs wait; it is tried again every second.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_component::storage::{Storage, StorageError};
use weir_component::{Context, LogLimit, StartError};
use weir_pdata::{Ack, Held};

use crate::history::Checkpoint;

const RETRY: Duration = Duration::from_secs(1);

/// Where the history of one pipeline is kept.
pub(crate) struct Place {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) context: Context,
    pub(crate) pipeline: String,
    pub(crate) errors: Counter,
}

/// The writing side.
pub(crate) struct Journal(mpsc::UnboundedSender<(Vec<Arc<str>>, Held)>);

impl Journal {
    /// Replaces what is kept; `ack` is let go when that is safe. Does not wait.
    pub(crate) fn write(&self, texts: Vec<Arc<str>>, ack: Ack) {
        // When the writer is gone the inputs fail, and are read again.
        let _ = self.0.send((texts, Held::new(ack)));
    }
}

impl Place {
    /// What is kept, the oldest first, and where more goes.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub(crate) async fn open(
        self,
        stop: CancellationToken,
    ) -> Result<(Journal, Vec<Checkpoint>), StartError> {
        let kept = self.storage.get(&self.context.id.to_string(), &self.pipeline).await;
        let kept = kept.map_err(|error| StartError(format!("its alarms cannot be read: {error}")))?;
        let text = String::from_utf8_lossy(kept.as_deref().unwrap_or_default()).into_owned();
        let checkpoints: Result<Vec<Checkpoint>, String> = text.lines().map(Checkpoint::read).collect();
        let checkpoints = checkpoints.unwrap_or_else(|problem| {
            let (processor, pipeline) = (&self.context.id, &self.pipeline);
            tracing::error!(
                %processor, pipeline,
                "the alarms in the storage are not of this version of Weir, those that fire will fire again: {problem}"
            );
            Vec::new()
        });
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(self.run(receiver, stop));
        Ok((Journal(sender), checkpoints))
    }

    async fn run(
        self,
        mut receiver: mpsc::UnboundedReceiver<(Vec<Arc<str>>, Held)>,
        stop: CancellationToken,
    ) {
        let name = self.context.id.to_string();
        let trouble = LogLimit::every_ms(10_000);
        while let Some((mut texts, mut held)) = receiver.recv().await {
            // Each has all that is needed: what waits is written at once, the last one alone.
            while let Ok((later, more)) = receiver.try_recv() {
                texts = later;
                held.absorb(more);
            }
            let value = texts.join("\n").into_bytes();
            while let Err(error) = self.storage.put(&name, &self.pipeline, value.clone()).await {
                self.errors.inc();
                self.report(&trouble, &error);
                if matches!(error, StorageError::TooLarge { .. }) {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => return, // dropping what is held fails the inputs
                }
            }
            drop(held.release());
        }
    }

    fn report(&self, trouble: &LogLimit, error: &StorageError) {
        if let Some(held_back) = trouble.allow(self.context.clock.now_ms()) {
            let (processor, pipeline) = (&self.context.id, &self.pipeline);
            tracing::error!(%processor, pipeline, held_back, "alarms cannot be kept across a restart: {error}");
        }
    }
}
