//! The records of a batch of wire bytes: where their bytes are, and one error for all of them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use crate::decode::result::{DecodeError, Decoded, Rejected};
use crate::{Encoded, MAX_ARENA};

/// The bytes of a record, and where they begin in the arena.
pub(super) fn record_bytes<'a>(
    encoded: &'a Encoded,
    range: &Range<u32>,
) -> Result<(&'a [u8], usize), DecodeError> {
    let range = bounds(range)?;
    let base = range.start;
    let bytes = encoded.arena.get(range).ok_or(DecodeError::OutOfBounds)?;
    Ok((bytes, base))
}

/// The place of a record in the arena.
pub(super) fn bounds(range: &Range<u32>) -> Result<Range<usize>, DecodeError> {
    let (start, end) = (range.start as usize, range.end as usize);
    if start > end || end > MAX_ARENA { Err(DecodeError::OutOfBounds) } else { Ok(start..end) }
}

/// No row, and the same error for all records.
pub(super) fn all_rejected(encoded: &Encoded, reason: DecodeError) -> Decoded {
    Decoded {
        columns: RecordBatch::new_empty(Arc::new(Schema::empty())),
        rejected: (0..encoded.records.len()).map(|record| Rejected { record, reason }).collect(),
        rejected_items: Vec::new(),
        empty: 0,
        backwards: 0,
        escaped: Vec::new(),
    }
}
