//! Reading a log from its position to its end, over damage.

use std::fs::File;
use std::io;
use std::ops::Range;

use weir_component::storage::Record;

use crate::log::Log;
use crate::log::format::{SEGMENT_HEADER, SegmentHeader, read_segment_header};
use crate::log::read_cursor::SegmentCursor;
use crate::log::segment_scan::{SegmentScan, Step};
use crate::names::segment_name;

impl Log {
    /// The next record that was not read since the log was opened.
    ///
    /// # Errors
    /// When a file cannot be read. Trying again continues at the same record.
    pub fn read(&mut self) -> io::Result<Option<Record>> {
        read(self)
    }
}

fn read(log: &mut Log) -> io::Result<Option<Record>> {
    while log.cursor.next < log.next {
        let Some((first, end, bytes)) = segment_to_read(log) else { return Ok(None) };
        if first > log.cursor.next {
            skip_lost(log, first);
        }
        let mut segment = match log.cursor.segment.take().filter(|segment| segment.first == first) {
            Some(segment) => segment,
            None => match open(log, first, bytes) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    log.metrics.corrupt_segments.inc();
                    skip_lost(log, end);
                    continue;
                }
                opened => opened?,
            },
        };
        segment.scan.grow(bytes);
        let step = segment.scan.step(segment.offset, segment.from, end);
        let record = step.map(|step| take_step(log, &mut segment, step, end));
        log.cursor.segment = Some(segment);
        if let Some(record) = record? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The oldest segment with a record that is to be read: its first number, its end, its length.
fn segment_to_read(log: &Log) -> Option<(u64, u64, u64)> {
    let next = log.cursor.next;
    let sealed = log.sealed.iter().find(|segment| segment.end > next);
    let sealed = sealed.map(|segment| (segment.first, segment.end, segment.bytes));
    sealed.or_else(|| log.active.as_ref().map(|active| (active.first, log.next, active.bytes)))
}

fn open(log: &Log, first: u64, bytes: u64) -> io::Result<SegmentCursor> {
    let file = File::open(log.directory.join(segment_name(first)))?;
    let scan = SegmentScan::new(file, bytes);
    let mut segment = SegmentCursor { first, scan, offset: SEGMENT_HEADER, from: first, damaged: false };
    let header = segment.scan.bytes(0, SEGMENT_HEADER, SEGMENT_HEADER)?;
    if read_segment_header(&header, first) != SegmentHeader::Good {
        quarantine_bytes(log, &mut segment, 0..SEGMENT_HEADER);
    }
    Ok(segment)
}

/// Moves on by one step. `None` when that gave no record to return.
fn take_step(log: &mut Log, segment: &mut SegmentCursor, step: Step, end: u64) -> Option<Record> {
    match step {
        Step::Record(header) => {
            segment.offset += header.span();
            segment.from = header.number + 1;
            if header.number < log.cursor.next {
                return None; // acknowledged before the start
            }
            if header.number > log.cursor.next {
                count_damaged(log, segment);
                skip_lost(log, header.number);
            }
            log.cursor.next = header.number + 1;
            Some(Record { number: header.number, payload: segment.scan.take_payload() })
        }
        Step::BadPayload(header) => {
            let from = segment.offset;
            segment.offset += header.span();
            segment.from = header.number + 1;
            if header.number >= log.cursor.next {
                quarantine_bytes(log, segment, from..segment.offset);
                skip_lost(log, header.number + 1);
            }
            None
        }
        Step::Garbage { to } => {
            quarantine_bytes(log, segment, segment.offset..to);
            segment.offset = to;
            None
        }
        Step::Torn | Step::End => {
            count_damaged(log, segment);
            skip_lost(log, end);
            None
        }
    }
}

/// Quarantines damaged bytes.
fn quarantine_bytes(log: &Log, segment: &mut SegmentCursor, range: Range<u64>) {
    count_damaged(log, segment);
    let kept = segment
        .scan
        .bytes(range.start, range.end, log.quarantine.max())
        .and_then(|bytes| log.quarantine.keep(segment.first, range.start, &bytes));
    let path = log.directory.join(segment_name(segment.first));
    match kept {
        Ok(kept) => tracing::error!(
            segment = %path.display(), bytes = ?range, quarantined = %kept.display(), "damaged bytes in a queue"
        ),
        Err(error) => tracing::error!(
            segment = %path.display(), bytes = ?range, %error, "damaged bytes in a queue; they could not be quarantined"
        ),
    }
}

/// Counts the segment as damaged, once.
fn count_damaged(log: &Log, segment: &mut SegmentCursor) {
    if !std::mem::replace(&mut segment.damaged, true) {
        log.metrics.corrupt_segments.inc();
    }
}

/// Goes on at `end`: the records before it are lost.
fn skip_lost(log: &mut Log, end: u64) {
    let begin = log.cursor.next;
    log.metrics.corrupt_records.inc_by(end - begin);
    tracing::error!(
        directory = %log.directory.display(), from = begin, to = end - 1, records = end - begin, "records of a queue are lost"
    );
    log.cursor.next = end;
    log.acknowledge_range(begin, end);
}
