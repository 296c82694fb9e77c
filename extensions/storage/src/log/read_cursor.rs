//! How far a log was read.

use crate::log::segment_scan::SegmentScan;

/// How far a log was read.
#[derive(Debug)]
pub struct ReadCursor {
    /// The number of the record to read next.
    pub next: u64,
    /// Where it is, once its segment is open.
    pub segment: Option<SegmentCursor>,
}

/// A position in a segment.
#[derive(Debug)]
pub struct SegmentCursor {
    /// The segment's first record.
    pub first: u64,
    /// Its file.
    pub scan: SegmentScan,
    /// Where to go on in it.
    pub offset: u64,
    /// The lowest number that can come.
    pub from: u64,
    /// Damage was found in it.
    pub damaged: bool,
}

impl ReadCursor {
    /// Begins with record `next`.
    #[must_use]
    pub fn at(next: u64) -> ReadCursor {
        ReadCursor { next, segment: None }
    }

    /// The segment that begins with this record is gone.
    pub fn forget(&mut self, first: u64) {
        self.segment.take_if(|segment| segment.first == first);
    }
}
