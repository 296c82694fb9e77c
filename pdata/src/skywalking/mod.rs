//! SkyWalking segments to Traces columns.
//!
//! One row per span, as the data model says. What it leaves open:
//! * Empty texts of segments, spans and references are null: proto3 does not tell them from absent ones. Tags and log
//!   fields keep empty keys and values.
//! * Milliseconds become nanoseconds by saturation, so absurd times stay absurd. The `duration_ns` of a span that ends before it
//!   starts (an `endTime` of 0, clocks that were set back) is 0.
//! * `layer` is null for number 0; `component` is null when the number has no name here, `component_id` always stays.
//! * A negative `parentSpanId` means a root.
//! * An event's name is the value of its first `event` field; its attributes are all of its fields.
//! * Columns that SkyWalking has no values for (`status_message`, `trace_state`, `flags`, `scope_name`,
//!   `scope_version`, `resource`) are not built.

mod columns;
mod keys;
mod lists;
mod names;
mod scan;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use crate::{DecodeError, Decoded, Encoded, MAX_ARENA, Projection, Rejected};
use columns::Columns;
use scan::Segment;

/// Decodes one `SegmentObject` a record. See [`decode`](crate::decode()).
pub(crate) fn decode(encoded: &Encoded, projection: &Projection) -> Decoded {
    let mut segment = Segment::with_room();
    let mut columns = Columns::new(&encoded.arena, projection);
    let mut rejected = Vec::new();
    let mut empty = 0;
    for (record, range) in encoded.records.iter().enumerate() {
        let read = bounds(range).and_then(|range| {
            let size = range.len();
            segment.read(&encoded.arena, range)?;
            if record == 0 {
                columns.reserve(encoded.records.len(), &segment, encoded.arena.len());
            }
            columns.append(&segment, size)
        });
        match read {
            Ok(()) => empty += usize::from(segment.spans.is_empty()),
            Err(reason) => rejected.push(Rejected { record, reason }),
        }
    }
    let backwards = columns.backwards;
    match columns.finish() {
        Ok(columns) => Decoded { columns, rejected, empty, backwards },
        // Columns of different lengths or types would be a mistake in this module. Lose nothing, say so.
        Err(_) => Decoded {
            columns: RecordBatch::new_empty(Arc::new(Schema::empty())),
            rejected: (0..encoded.records.len())
                .map(|record| Rejected { record, reason: DecodeError::Columns })
                .collect(),
            empty: 0,
            backwards: 0,
        },
    }
}

fn bounds(range: &Range<u32>) -> Result<Range<usize>, DecodeError> {
    let (start, end) = (range.start as usize, range.end as usize);
    if start > end || end > MAX_ARENA { Err(DecodeError::OutOfBounds) } else { Ok(start..end) }
}
