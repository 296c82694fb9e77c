//! Batches that wait for an exporter.

use std::any::Any;
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_pdata::{Ack, EventBatch, MemoryPermit, Origin, Payload, Signal};

/// A batch on its way to a destination: its events, or what its exporter has made of them in
/// [`prepare`](crate::Exporter::prepare). The queue has its ack.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The kind of row.
    pub signal: Signal,
    /// Where the events came from.
    pub origin: Origin,
    permit: MemoryPermit,
    rows: Rows,
}

#[derive(Clone, Debug)]
enum Rows {
    Events(Payload),
    Prepared(Prepared),
}

/// Rows as a destination takes them. Only the exporter that made them can read them.
#[derive(Clone)]
struct Prepared {
    rows: usize,
    items: usize,
    bytes: usize,
    content: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows in {} bytes", self.rows, self.bytes)
    }
}

impl From<EventBatch> for Outgoing {
    fn from(EventBatch { signal, payload, origin, permit, ack: _ }: EventBatch) -> Outgoing {
        Outgoing { signal, origin, permit, rows: Rows::Events(payload) }
    }
}

impl Outgoing {
    /// A batch whose rows are kept as `content`, which takes this many bytes of memory.
    #[must_use]
    pub fn prepared(batch: EventBatch, content: impl Any + Send + Sync, bytes: usize) -> Outgoing {
        let (rows, items) = (batch.len(), batch.payload.items());
        let prepared = Prepared { rows, items, bytes, content: Arc::new(content) };
        Outgoing { rows: Rows::Prepared(prepared), ..Outgoing::from(batch) }
    }

    /// The prepared form of the batch, when it is of this type.
    #[must_use]
    pub fn content<T: Any>(&self) -> Option<&T> {
        match &self.rows {
            Rows::Prepared(prepared) => prepared.content.downcast_ref(),
            Rows::Events(_) => None,
        }
    }

    /// The events, without an ack. `None`: the batch is prepared.
    #[must_use]
    pub fn events(&self) -> Option<EventBatch> {
        match &self.rows {
            Rows::Events(payload) => Some(self.with_payload(payload.clone())),
            Rows::Prepared(_) => None,
        }
    }

    /// Whether it is not decoded.
    #[must_use]
    pub(crate) fn is_encoded(&self) -> bool {
        matches!(self.rows, Rows::Events(Payload::Encoded(_)))
    }

    /// The same batch with these columns, without an ack.
    #[must_use]
    pub fn with_columns(&self, columns: RecordBatch) -> EventBatch {
        self.with_payload(Payload::Columns(columns))
    }

    fn with_payload(&self, payload: Payload) -> EventBatch {
        let (origin, permit) = (self.origin.clone(), self.permit.clone());
        EventBatch { signal: self.signal, payload, origin, ack: Ack::none(), permit }
    }

    /// The columns. `None`: the batch is prepared, or not decoded.
    #[must_use]
    pub fn as_columns(&self) -> Option<&RecordBatch> {
        match &self.rows {
            Rows::Events(Payload::Columns(columns)) => Some(columns),
            Rows::Events(Payload::Encoded(_)) | Rows::Prepared(_) => None,
        }
    }

    /// The number of rows, or of records when the batch is not decoded.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Events(payload) => payload.len(),
            Rows::Prepared(prepared) => prepared.rows,
        }
    }

    /// The number of spans, log records or data points, also when the batch is not decoded.
    #[must_use]
    pub(crate) fn items(&self) -> usize {
        match &self.rows {
            Rows::Events(payload) => payload.items(),
            Rows::Prepared(prepared) => prepared.items,
        }
    }

    /// Whether there is no row or record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that the batch keeps alive, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.rows {
            Rows::Events(payload) => payload.memory(),
            Rows::Prepared(prepared) => prepared.bytes,
        }
    }
}
