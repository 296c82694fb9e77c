//! Reading a log from its position to its end, over damage.

use std::fs::File;
use std::io;
use std::ops::Range;

use weir_component::storage::Record;

use crate::log::Log;
use crate::log::format::{SEGMENT_HEADER, SegmentHeader, read_segment_header};
use crate::log::segment_scan::{Step, Walker};
use crate::names::segment_name;

/// How far a log was read.
#[derive(Debug)]
pub struct Reader {
    next: u64,
    place: Option<Place>,
}

/// A place in a segment.
#[derive(Debug)]
struct Place {
    first: u64,
    walker: Walker,
    offset: u64,
    /// The lowest number that can come.
    from: u64,
    damaged: bool,
}

impl Reader {
    /// Begins with record `next`.
    #[must_use]
    pub fn at(next: u64) -> Reader {
        Reader { next, place: None }
    }

    /// The number of the record to read next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The segment that begins with this record is gone.
    pub fn forget(&mut self, first: u64) {
        self.place.take_if(|place| place.first == first);
    }
}

/// The next record, if there is one.
///
/// # Errors
/// When a file cannot be read; the next call tries the same place.
pub fn read(log: &mut Log) -> io::Result<Option<Record>> {
    while log.reader.next < log.next {
        let Some((first, end, bytes)) = segment(log) else { return Ok(None) };
        if first > log.reader.next {
            lose(log, first);
        }
        let mut place = match log.reader.place.take().filter(|place| place.first == first) {
            Some(place) => place,
            None => match open(log, first, bytes) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    log.metrics.corrupt_segments.inc();
                    lose(log, end);
                    continue;
                }
                opened => opened?,
            },
        };
        place.walker.grow(bytes);
        let step = place.walker.step(place.offset, place.from, end);
        let record = step.map(|step| handle(log, &mut place, step, end));
        log.reader.place = Some(place);
        if let Some(record) = record? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The oldest segment with a record that is to be read: its first number, its end, its length.
fn segment(log: &Log) -> Option<(u64, u64, u64)> {
    let next = log.reader.next;
    let sealed = log.sealed.iter().find(|segment| segment.end > next);
    let sealed = sealed.map(|segment| (segment.first, segment.end, segment.bytes));
    sealed.or_else(|| log.active.as_ref().map(|active| (active.first, log.next, active.bytes)))
}

fn open(log: &Log, first: u64, bytes: u64) -> io::Result<Place> {
    let file = File::open(log.directory.join(segment_name(first)))?;
    let walker = Walker::new(file, bytes);
    let mut place = Place { first, walker, offset: SEGMENT_HEADER, from: first, damaged: false };
    let header = place.walker.bytes(0, SEGMENT_HEADER, SEGMENT_HEADER)?;
    if read_segment_header(&header, first) != SegmentHeader::Good {
        damage(log, &mut place, 0..SEGMENT_HEADER);
    }
    Ok(place)
}

/// Moves on by one step. `None` when that gave no record to return.
fn handle(log: &mut Log, place: &mut Place, step: Step, end: u64) -> Option<Record> {
    match step {
        Step::Record(header) => {
            place.offset += header.span();
            place.from = header.number + 1;
            if header.number < log.reader.next {
                return None; // acknowledged before the start
            }
            if header.number > log.reader.next {
                note(log, place);
                lose(log, header.number);
            }
            log.reader.next = header.number + 1;
            Some(Record { number: header.number, payload: place.walker.take_payload() })
        }
        Step::BadPayload(header) => {
            let from = place.offset;
            place.offset += header.span();
            place.from = header.number + 1;
            if header.number >= log.reader.next {
                damage(log, place, from..place.offset);
                lose(log, header.number + 1);
            }
            None
        }
        Step::Garbage { to } => {
            damage(log, place, place.offset..to);
            place.offset = to;
            None
        }
        Step::Torn | Step::End => {
            note(log, place);
            lose(log, end);
            None
        }
    }
}

/// Sets damaged bytes aside.
fn damage(log: &Log, place: &mut Place, range: Range<u64>) {
    note(log, place);
    let kept = place
        .walker
        .bytes(range.start, range.end, log.aside.max())
        .and_then(|bytes| log.aside.keep(place.first, range.start, &bytes));
    let segment = log.directory.join(segment_name(place.first));
    match kept {
        Ok(set_aside) => tracing::error!(
            segment = %segment.display(), bytes = ?range, set_aside = %set_aside.display(), "damaged bytes in a queue"
        ),
        Err(error) => tracing::error!(
            segment = %segment.display(), bytes = ?range, %error, "damaged bytes in a queue; they could not be set aside"
        ),
    }
}

/// Counts the segment of this place as damaged, once.
fn note(log: &Log, place: &mut Place) {
    if !std::mem::replace(&mut place.damaged, true) {
        log.metrics.corrupt_segments.inc();
    }
}

/// The records up to `end` are lost.
fn lose(log: &mut Log, end: u64) {
    let begin = log.reader.next;
    log.metrics.corrupt_records.inc_by(end - begin);
    tracing::error!(
        directory = %log.directory.display(), from = begin, to = end - 1, records = end - begin, "records of a queue are lost"
    );
    log.reader.next = end;
    log.acknowledge_range(begin, end);
}
