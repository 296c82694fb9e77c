//! Columns to requests.
//!
//! Rows become the items of a request in their order. A new frame of a resource or scope begins where its
//! content differs from that of the row before.

mod frames;
mod logs;
mod metrics;
mod skywalking;
mod traces;
mod values;

use arrow::array::RecordBatch;
use thiserror::Error;

use crate::Signal;
use crate::attributes::without_copies;
use crate::span_ids::as_texts;

/// Why rows cannot be made an OTLP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Rows of this signal have no form in OTLP.
    #[error("{0} have no form in OTLP")]
    NoForm(Signal),
}

/// Appends the `Export…ServiceRequest` that the rows of a batch are. Requests one behind the other are one
/// request. What rows that are not from OTLP become is in `docs/data-model.md`, "OTLP".
///
/// # Errors
/// Rows of this signal have no form in OTLP. Nothing is appended then.
pub fn encode(signal: Signal, columns: &RecordBatch, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    // A key that something reads has a copy of its values: they are in the lists as they were received.
    match signal {
        Signal::Traces => {
            let texts = as_texts(columns);
            traces::encode(&without_copies(&texts, |_| false), out);
        }
        Signal::Logs => logs::encode(&without_copies(columns, |_| false), out),
        Signal::Metrics => metrics::encode(&without_copies(columns, |_| false), out),
        Signal::Windows | Signal::Alarms => return Err(EncodeError::NoForm(signal)),
    }
    Ok(())
}
