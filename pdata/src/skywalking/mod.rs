//! What SkyWalking agents send, to columns: segments to Traces, the rest to Logs and Metrics.
//!
//! [`logs`], [`jvm`] and [`meters`] say what the data model leaves open about theirs. Of a segment there is
//! one row per span. There:
//! * Empty texts of segments, spans and references are null: proto3 does not tell them from absent ones. Tags
//!   and log fields keep empty keys and values.
//! * Milliseconds become nanoseconds by saturation, so absurd times stay absurd. The `duration_ns` of a span
//!   that ends before it starts (an `endTime` of 0, clocks that were set back) is 0.
//! * `layer` is null for number 0; `component` is null when the number has no name here, `component_id`
//!   always stays.
//! * A negative `parentSpanId` means a root.
//! * A text of a span that is not UTF-8 is escaped byte by byte (`\xe9`); one of the segment's own names
//!   rejects the record.
//! * An event's name is the value of its first `event` field; its attributes are all of its fields.
//! * Columns that SkyWalking has no values for (`status_message`, `trace_state`, `flags`, `scope_name`,
//!   `scope_version`, `resource`) are not built.

mod columns;
mod escape;
mod ids;
mod jvm;
mod log_columns;
mod log_json;
mod logs;
mod meters;
mod metric_columns;
mod names;
mod of_segments;
mod own_time;
mod records;
mod rows;
mod scan;
mod words;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;

use crate::decode::result::{DecodeError, Decoded, Escaped, Rejected};
use crate::{Encoded, Format, MAX_ARENA, Projection};
use columns::Columns;
use jvm::JvmReader;
use log_columns::LogColumns;
use logs::LogReader;
use meters::MeterReader;
use metric_columns::MetricColumns;
use records::{all_rejected, bounds, record_bytes};
use scan::Segment;
use words::Words;

/// Decodes one message a record. See [`decode`](crate::decode()).
pub(crate) fn decode(encoded: &Encoded, projection: &Projection) -> Decoded {
    if encoded.format == Format::SkyWalkingLogJson {
        return log_json::decode(encoded, |protobuf| decode(protobuf, projection));
    }
    let decoded = decode_as_is(encoded, projection);
    let no_text = |rejected: &&Rejected| matches!(rejected.reason, DecodeError::Utf8 { .. });
    let odd: Vec<usize> = decoded.rejected.iter().filter(no_text).map(|rejected| rejected.record).collect();
    if odd.is_empty() {
        return decoded;
    }
    let Some((encoded, mut escaped)) = with_escapes(encoded, &odd) else { return decoded };
    let mut again = decode_as_is(&encoded, projection);
    // Records that are still rejected keep their first reason.
    for rejected in &mut again.rejected {
        let first = decoded.rejected.iter().find(|first| first.record == rejected.record);
        *rejected = first.copied().unwrap_or(*rejected);
        escaped.retain(|escaped| escaped.record != rejected.record);
    }
    Decoded { escaped, ..again }
}

/// The batch with these records written again, behind all others; and what was escaped. `None` when nothing
/// could be.
fn with_escapes(encoded: &Encoded, odd: &[usize]) -> Option<(Encoded, Vec<Escaped>)> {
    let (mut arena, mut records, mut escaped) =
        (encoded.arena.to_vec(), encoded.records.to_vec(), Vec::new());
    for record in odd {
        let range = bounds(records.get(*record)?).ok()?;
        let Ok((range, keys)) = escape::rewrite(encoded.format, encoded.arena.get(range)?, &mut arena) else {
            continue;
        };
        if arena.len() > MAX_ARENA {
            return None;
        }
        *records.get_mut(*record)? = u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?;
        escaped.extend(keys.into_iter().map(|key| Escaped { record: *record, key }));
    }
    let (arena, records) = (Buffer::from_vec(arena), records.into());
    (!escaped.is_empty()).then(|| (Encoded { arena, records, ..encoded.clone() }, escaped))
}

fn decode_as_is(encoded: &Encoded, projection: &Projection) -> Decoded {
    match encoded.format {
        Format::SkyWalkingSegment => decode_segments(encoded, projection),
        Format::SkyWalkingJvm | Format::SkyWalkingMeters => decode_metrics(encoded, projection),
        _ => decode_logs(encoded, projection),
    }
}

fn decode_logs(encoded: &Encoded, projection: &Projection) -> Decoded {
    let Some((with_words, words)) = Words::append(encoded) else {
        return all_rejected(encoded, DecodeError::BatchFull);
    };
    let mut columns = LogColumns::new(&with_words, projection);
    let mut reader = LogReader::new(&words);
    let mut rejected = Vec::new();
    for (record, range) in encoded.records.iter().enumerate() {
        let read = record_bytes(encoded, range)
            .and_then(|(bytes, base)| reader.read(encoded, &mut columns, bytes, base, record));
        rejected.extend(read.err().map(|reason| Rejected { record, reason }));
    }
    finished(encoded, columns.finish(), rejected, 0, 0)
}

fn decode_metrics(encoded: &Encoded, projection: &Projection) -> Decoded {
    let Some((with_words, words)) = Words::append(encoded) else {
        return all_rejected(encoded, DecodeError::BatchFull);
    };
    let jvm = encoded.format == Format::SkyWalkingJvm;
    let mut columns = MetricColumns::new(&with_words, projection, jvm);
    let (mut of_jvm, mut of_meters) = (JvmReader::new(&words), MeterReader::default());
    let (mut rejected, mut empty) = (Vec::new(), 0);
    for (record, range) in encoded.records.iter().enumerate() {
        let read = record_bytes(encoded, range).and_then(|(bytes, base)| match jvm {
            true => of_jvm.read(&mut columns, bytes, base, record),
            false => of_meters.read(&mut columns, bytes, base, record),
        });
        match read {
            Ok(rows) => empty += usize::from(rows == 0),
            Err(reason) => rejected.push(Rejected { record, reason }),
        }
    }
    finished(encoded, columns.finish(), rejected, empty, 0)
}

fn decode_segments(encoded: &Encoded, projection: &Projection) -> Decoded {
    let mut segment = Segment::with_room();
    let mut columns = Columns::new(encoded, projection);
    let mut rejected = Vec::new();
    let mut empty = 0;
    for (record, range) in encoded.records.iter().enumerate() {
        let read = bounds(range).and_then(|range| {
            let size = range.len();
            segment.read(&encoded.arena, range)?;
            if record == 0 {
                columns.reserve(encoded.records.len(), &segment, encoded.arena.len());
            }
            columns.append(&segment, size, record)
        });
        match read {
            Ok(()) => empty += usize::from(segment.spans.is_empty()),
            Err(reason) => rejected.push(Rejected { record, reason }),
        }
    }
    let backwards = columns.backwards;
    finished(encoded, columns.finish(), rejected, empty, backwards)
}

fn finished(
    encoded: &Encoded,
    columns: Result<RecordBatch, ArrowError>,
    rejected: Vec<Rejected>,
    empty: usize,
    backwards: usize,
) -> Decoded {
    match columns {
        Ok(columns) => {
            let (rejected_items, escaped) = (Vec::new(), Vec::new());
            Decoded { columns, rejected, rejected_items, empty, backwards, escaped }
        }
        // Columns of different lengths or types would be a mistake in this module. Lose nothing, say so.
        Err(_) => all_rejected(encoded, DecodeError::Columns),
    }
}
