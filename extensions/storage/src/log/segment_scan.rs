//! Walking through the records of one segment, over damage.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::log::format::{RECORD_HEADER, RecordHeader};

/// Bytes that are looked at together in search of the next header.
const WINDOW: usize = 256 << 10;

/// A record, or the lack of one, at a place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole record with a correct checksum.
    Record(RecordHeader),
    /// A record whose payload is damaged.
    BadPayload(RecordHeader),
    /// No record up to `to`, where one begins or the segment ends.
    Garbage {
        /// Where to go on.
        to: u64,
    },
    /// Less than a record, or only zeros, up to the end: what an interrupted write leaves.
    Torn,
    /// The end.
    End,
}

/// A segment's file, up to the length that counts.
#[derive(Debug)]
pub struct SegmentScan {
    file: File,
    len: u64,
    /// The payload of the record found last.
    payload: Vec<u8>,
}

impl SegmentScan {
    /// Walks `file` up to `len`.
    #[must_use]
    pub fn new(file: File, len: u64) -> SegmentScan {
        SegmentScan { file, len, payload: Vec::new() }
    }

    /// The file has grown.
    pub fn grow(&mut self, len: u64) {
        self.len = len;
    }

    /// The payload of the record found last.
    #[must_use]
    pub fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    /// Looks at `at`. Numbers below `from`, or `end` and above, cannot come here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn step(&mut self, at: u64, from: u64, end: u64) -> io::Result<Step> {
        if at >= self.len {
            return Ok(Step::End);
        }
        let fits = |header: &RecordHeader| (from..end).contains(&header.number);
        match self.header(at)?.filter(fits) {
            Some(header) if at + header.span() <= self.len => {
                // The length is trusted: its checksum is right and the file is that long.
                self.payload.resize(header.length as usize, 0);
                self.file.read_exact_at(&mut self.payload, at + RECORD_HEADER)?;
                let good = crc32fast::hash(&self.payload) == header.check;
                Ok(if good { Step::Record(header) } else { Step::BadPayload(header) })
            }
            Some(_) => Ok(Step::Torn),
            None if self.len - at < RECORD_HEADER => Ok(Step::Torn),
            None => self.search(at, from, end),
        }
    }

    /// The bytes from `at` to `to`, at most `max`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn bytes(&self, at: u64, to: u64, max: u64) -> io::Result<Vec<u8>> {
        let length = to.min(self.len).saturating_sub(at).min(max);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The header at `at`, if all its bytes are there and check.
    fn header(&self, at: u64) -> io::Result<Option<RecordHeader>> {
        if self.len - at < RECORD_HEADER {
            return Ok(None);
        }
        let mut bytes = [0; RECORD_HEADER as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(RecordHeader::read(&bytes))
    }

    /// The next header behind `at` that checks, with a number that can come next and a payload that fits.
    fn search(&self, at: u64, from: u64, end: u64) -> io::Result<Step> {
        let mut zeros = true;
        let mut base = at;
        while base < self.len {
            let window = self.bytes(base, self.len, WINDOW as u64)?;
            zeros &= window.iter().all(|byte| *byte == 0);
            for start in 0..window.len().saturating_sub(RECORD_HEADER as usize - 1) {
                let place = base + start as u64;
                let Some(bytes) = window.get(start..start + RECORD_HEADER as usize) else { break };
                // The number is compared first: a checksum for every byte would be slow.
                let number = bytes.get(4..12).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                if place == at || !number.is_some_and(|number| (from..end).contains(&number)) {
                    continue;
                }
                if RecordHeader::read(bytes).is_some_and(|header| place + header.span() <= self.len) {
                    return Ok(Step::Garbage { to: place });
                }
            }
            if base + window.len() as u64 >= self.len {
                break;
            }
            // The next window begins with what could not be looked at as a whole header.
            base += window.len() as u64 - (RECORD_HEADER - 1);
        }
        Ok(if zeros { Step::Torn } else { Step::Garbage { to: self.len } })
    }
}
