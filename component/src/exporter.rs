//! Exporters: where events go.

use std::time::Duration;

use async_trait::async_trait;
use weir_pdata::{Demand, EventBatch, Format, SignalSet};

use crate::Outgoing;

/// Delivers batches to one destination. The [exporter helper](crate::exporter_helper) calls it.
#[async_trait]
pub trait Exporter: Send + Sync + 'static {
    /// The signals it takes. Others never reach it.
    fn signals(&self) -> SignalSet;

    /// The columns and attributes that it reads.
    fn demand(&self) -> Demand;

    /// Whether it takes batches that are not decoded, of records in this format. It gets them as they came
    /// when nothing else in the pipelines of their receiver reads them; all others come with columns.
    fn takes_encoded(&self, _format: Format) -> bool {
        false
    }

    /// Whether a batch with an [identity](weir_pdata::Origin::identity) that the destination has seen before
    /// is left out.
    ///
    /// Then such batches are exported alone, and ranges of lanes are written down before they are exported,
    /// so that the lane's next owner repeats them exactly. All batches of such an export have the same
    /// identity.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Prepares the destination (checks, tables). Called once before the first export.
    ///
    /// A destination that cannot be reached is not an error here: say so in the log and let `export` retry.
    ///
    /// # Errors
    /// An error that no retry can cure. The program then ends with it.
    async fn start(&self) -> Result<(), StartError> {
        Ok(())
    }

    /// Brings a batch with columns into the form in which it waits for
    /// [`export_outgoing`](Self::export_outgoing), while the columns are in the cache: only the result is
    /// kept. The lane calls this, so it must not wait for anything.
    fn prepare(&self, batch: EventBatch) -> Outgoing {
        batch.into()
    }

    /// The rows of a batch that [`prepare`](Self::prepare) has made, as columns again: asked for when the
    /// destination rejects some of them.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn restore(&self, batch: &Outgoing) -> Result<EventBatch, String> {
        batch.events().ok_or_else(|| "its exporter cannot read the form that it has prepared".to_owned())
    }

    /// Delivers these batches, all of one signal, with columns, or as the exporter
    /// [takes them](Self::takes_encoded).
    /// When it returns `Ok` they are safe.
    ///
    /// # Errors
    /// See [`ExportError`]. After an error other than [`ExportError::Partial`] nothing may be assumed
    /// delivered; the helper calls again with the same batches, or with parts of them.
    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError>;

    /// Delivers batches as [`export`](Self::export) does, some of which may be prepared. An exporter that
    /// prepares batches implements it.
    ///
    /// # Errors
    /// As `export`.
    async fn export_outgoing(&self, batches: &[Outgoing]) -> Result<(), ExportError> {
        let events: Result<Vec<EventBatch>, String> =
            batches.iter().map(|batch| self.restore(batch)).collect();
        self.export(&events.map_err(ExportError::permanent)?).await
    }

    /// Called once after the last export.
    async fn stop(&self) {}
}

/// Why an export did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExportError {
    /// The destination failed (network, overload, credentials, missing rights): the same data may succeed
    /// later.
    #[error("{reason}")]
    Retryable {
        /// The reason.
        reason: String,
        /// Not before this long, when the destination said so.
        after: Option<Duration>,
    },
    /// The data was rejected. The helper isolates the rejected rows and dead-letters those alone.
    #[error("{reason}")]
    Permanent {
        /// Why the data was rejected.
        reason: String,
        /// The rejected rows, in ascending order, counted over all batches, if the destination names them:
        /// the others may be taken. Empty: unknown.
        rows: Vec<usize>,
    },
    /// The destination has taken the batches but for some of their items, and does not say which. They are
    /// counted, and nothing is repeated.
    #[error("{items} items were not taken: {reason}")]
    Partial {
        /// How many are not taken.
        items: u64,
        /// The reason, as the destination says it.
        reason: String,
    },
    /// There are more rows or bytes than the destination takes at once. The helper halves them. Of a row that
    /// is alone the data is at fault.
    #[error("{reason}")]
    TooLarge {
        /// The thing that is too large.
        reason: String,
    },
}

impl ExportError {
    /// The destination failed.
    pub fn retryable(reason: impl Into<String>) -> ExportError {
        ExportError::Retryable { reason: reason.into(), after: None }
    }

    /// The data was rejected.
    pub fn permanent(reason: impl Into<String>) -> ExportError {
        ExportError::Permanent { reason: reason.into(), rows: Vec::new() }
    }

    /// There is too much at once.
    pub fn too_large(reason: impl Into<String>) -> ExportError {
        ExportError::TooLarge { reason: reason.into() }
    }
}

/// Why a component cannot start. The message says what happened and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);
