//! OTLP: requests to columns, and columns to requests.

mod base;
mod encode;
mod hex;
mod json;
mod levels;
mod lists;
mod logs;
mod metrics;
mod nested;
mod point;
mod point_fields;
mod points;
mod records;
mod scan;
mod spans;
mod texts;
mod traces;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use weir_proto::wire::{self, Reader};

use crate::decode::result::{DecodeError, Decoded, Rejected, RejectedItems};
use crate::{Encoded, Format, MAX_ARENA, Projection};
use base::Columns;
pub use encode::{EncodeError, encode};
pub use json::{JsonError, from_json, to_json};
pub(crate) use json::{format_of, from_tree};
use logs::Logs;
use metrics::MetricColumns;
use scan::{Items, Request};
use traces::Traces;

/// Decodes one `Export…ServiceRequest` a record. See [`decode`](crate::decode()).
pub(crate) fn decode(encoded: &Encoded, projection: &Projection) -> Decoded {
    match encoded.format {
        Format::OtlpLogs => decode_as::<Logs<'_>>(encoded, projection),
        Format::OtlpMetrics => decode_as::<MetricColumns<'_>>(encoded, projection),
        _ => decode_as::<Traces<'_>>(encoded, projection),
    }
}

fn decode_as<'a, C: Columns<'a>>(encoded: &'a Encoded, projection: &'a Projection) -> Decoded {
    let mut request = Request::<C::Items>::default();
    let mut columns = C::new(encoded, projection);
    let (mut rejected, mut rejected_items, mut empty) = (Vec::new(), Vec::new(), 0);
    for (record, range) in encoded.records.iter().enumerate() {
        let read = bounds(range).and_then(|range| {
            let size = range.len();
            request.read(&encoded.arena, range)?;
            columns.append(&request, size, record)
        });
        match (read, request.refused.first) {
            (Err(reason), _) => rejected.push(Rejected { record, reason }),
            (Ok(()), Some(reason)) => {
                rejected_items.push(RejectedItems { record, items: request.refused.rows, reason });
            }
            (Ok(()), None) => empty += usize::from(request.items.rows(0..request.items.len()) == 0),
        }
    }
    let backwards = columns.backwards();
    match columns.finish() {
        Ok(columns) => {
            let escaped = Vec::new();
            Decoded { columns, rejected, rejected_items, empty, backwards, escaped }
        }
        // Columns of different lengths or types would be a mistake in this module. Lose nothing, say so.
        Err(_) => Decoded {
            columns: RecordBatch::new_empty(Arc::new(Schema::empty())),
            rejected: (0..encoded.records.len())
                .map(|record| Rejected { record, reason: DecodeError::Columns })
                .collect(),
            rejected_items: Vec::new(),
            empty: 0,
            backwards: 0,
            escaped: Vec::new(),
        },
    }
}

fn bounds(range: &Range<u32>) -> Result<Range<usize>, DecodeError> {
    let (start, end) = (range.start as usize, range.end as usize);
    if start > end || end > MAX_ARENA { Err(DecodeError::OutOfBounds) } else { Ok(start..end) }
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
                        points @ (5 | 7 | 9 | 10 | 11) => metric.skip_unknown(tag, points)?,
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

/// Calls `inner` with each message that is field `number`, and skips all others. A field of that number
/// that is no message is an error, as it is for the decoder.
fn each(
    mut reader: Reader<'_>,
    number: u32,
    inner: &mut dyn FnMut(Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while let Some(tag) = reader.next_tag()? {
        if tag == wire::message(number) {
            inner(reader.message()?)?;
        } else {
            // With its own number it is an error.
            reader.skip_unknown(tag, if tag >> 3 == number { number } else { 0 })?;
        }
    }
    Ok(())
}
