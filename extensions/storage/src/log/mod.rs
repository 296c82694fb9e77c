//! A queue on disk, without threads: a log of records in segments. See `docs/storage-format.md`.
//!
//! [`Log`] has the files. How it is opened after a crash is in `recovery`, how it is read over damage in
//! `read`.
//!
//! One owner calls it. Nothing is written when it is dropped, so dropping one is what a crash leaves behind;
//! [`Log::close`] writes down what was acknowledged.

mod acked_ranges;
mod format;
mod position;
mod quarantine;
mod read;
mod read_cursor;
mod recovery;
mod segment_scan;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use weir_component::storage::{Record, StorageError};

use crate::config::{Fsync, Limits};
use crate::log::acked_ranges::AckedRanges;
use crate::log::format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, segment_header};
use crate::log::position::PositionFile;
use crate::log::quarantine::Quarantine;
use crate::log::read_cursor::ReadCursor;
use crate::metrics::QueueMetrics;
use crate::names::segment_name;

/// A queue on disk.
#[derive(Debug)]
pub struct Log {
    pub(crate) directory: PathBuf,
    pub(crate) limits: Limits,
    /// Segments that are complete, oldest first.
    pub(crate) sealed: VecDeque<Sealed>,
    pub(crate) active: Option<Active>,
    /// The number of the next record.
    pub(crate) next: u64,
    pub(crate) acked: AckedRanges,
    pub(crate) position: PositionFile,
    /// The file could not be written: try again.
    pub(crate) position_due: bool,
    pub(crate) cursor: ReadCursor,
    pub(crate) quarantine: Quarantine,
    pub(crate) metrics: QueueMetrics,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
}

/// A segment that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its first record.
    pub first: u64,
    /// One more than its last record.
    pub end: u64,
    /// Its length.
    pub bytes: u64,
}

/// The segment that grows.
#[derive(Debug)]
pub struct Active {
    pub(crate) file: File,
    pub(crate) first: u64,
    /// The length that counts. The file may have garbage behind it after a failed write.
    pub(crate) bytes: u64,
    /// The part that the disk has for sure: length, and the number of the next record then.
    synced: (u64, u64),
    garbage: bool,
    sync_failed: bool,
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no room until records are acknowledged.
    #[error("the queue is full")]
    Full,
    /// It can never fit.
    #[error("{0}")]
    TooLarge(StorageError),
    /// The file cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Log {
    /// Appends a record and returns its number. It is safe after [`sync`](Self::sync).
    ///
    /// # Errors
    /// When there is no room, or it cannot be written; the log is then as before.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        let length = payload.len() as u64;
        if length > self.max_record() {
            let max = self.max_record();
            return Err(AppendError::TooLarge(StorageError::TooLarge { bytes: length, max }));
        }
        let span = RECORD_HEADER + length;
        let in_active = self.active.as_ref().map_or(0, |active| active.bytes);
        let begin = in_active == 0 || in_active + span > self.limits.segment_bytes.max(SEGMENT_HEADER + span);
        let needed = if begin { SEGMENT_HEADER + span } else { span };
        if self.bytes + needed > self.limits.max_bytes {
            // What is all acknowledged need not wait until it is long enough.
            if self.active.is_none() || self.acked.position() < self.next {
                return Err(AppendError::Full);
            }
            self.seal()?;
            self.delete_acknowledged();
            return if self.bytes == 0 { self.append(payload) } else { Err(AppendError::Full) };
        }
        if begin {
            self.seal()?;
            self.begin_segment()?;
        }
        let number = self.next;
        let Some(active) = &mut self.active else { return Err(io::Error::other("no segment").into()) };
        active.write(number, payload)?;
        self.bytes += span;
        self.next += 1;
        Ok(number)
    }

    /// The longest record that fits.
    #[must_use]
    pub fn max_record(&self) -> u64 {
        self.limits.max_bytes.saturating_sub(SEGMENT_HEADER + RECORD_HEADER).min(u64::from(u32::MAX))
    }

    /// Waits until the disk has all that was appended.
    ///
    /// # Errors
    /// When the disk says that it has not.
    pub fn sync(&mut self) -> io::Result<()> {
        let next = self.next;
        match &mut self.active {
            Some(active) if active.sync_failed => Err(io::Error::other("an earlier sync failed")),
            Some(active) if active.synced != (active.bytes, next) => {
                if let Err(error) = active.file.sync_data() {
                    // A second attempt could succeed without having written anything.
                    active.sync_failed = self.limits.fsync == Fsync::Always;
                    return Err(error);
                }
                active.synced = (active.bytes, next);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// After a failed [`sync`](Self::sync): withdraws what was appended since the last one that succeeded.
    /// None of it may have been read. Returns how many records that were; they can be appended again, to a
    /// new file.
    pub fn withdraw_unsynced(&mut self) -> u64 {
        let Some(mut active) = self.active.take() else { return 0 };
        let (bytes, next) = active.synced;
        let count = self.next - next;
        self.bytes -= active.bytes - bytes;
        self.next = next;
        active.bytes = bytes;
        // If this fails too, the file has more than counts: readers stop at the numbers that count.
        let _ = active.file.set_len(bytes);
        if next > active.first {
            self.sealed.push_back(Sealed { first: active.first, end: next, bytes });
        } else {
            self.bytes -= bytes;
            self.cursor.forget(active.first);
            let _ = std::fs::remove_file(self.directory.join(segment_name(active.first)));
        }
        count
    }

    /// Acknowledges a record that was read. Space of segments that are all acknowledged is free afterwards.
    pub fn acknowledge(&mut self, number: u64) {
        if number < self.cursor.next {
            self.acknowledge_range(number, number + 1);
        }
    }

    /// Quarantines a record that its reader could not use, and acknowledges it.
    pub fn quarantine(&mut self, record: &Record, reason: &str) {
        self.metrics.corrupt_records.inc();
        let file = self.quarantine.keep(record.number, "record", &record.payload);
        let directory = self.directory.display();
        tracing::error!(%directory, number = record.number, reason, quarantined = ?file, "a record cannot be used");
        self.acknowledge(record.number);
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that are not acknowledged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.next - self.acked.position() - self.acked.ahead()
    }

    /// The number of the next record to be appended.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records that were not read yet.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.next.saturating_sub(self.cursor.next)
    }

    /// Writes down what was acknowledged, if that could not be done at once, and waits until the disk has it
    /// (not with `fsync: never`).
    ///
    /// # Errors
    /// When it cannot be written. Not writing it makes a restart return more records again, no more.
    pub fn sync_position(&mut self) -> io::Result<()> {
        if self.position_due {
            self.position.write(self.acked.position())?;
            self.position_due = false;
        }
        if self.limits.fsync == Fsync::Never { Ok(()) } else { self.position.sync() }
    }

    /// Writes everything down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn close(mut self) -> io::Result<()> {
        let synced = if self.limits.fsync == Fsync::Never { Ok(()) } else { self.sync() };
        synced.and(self.sync_position())
    }

    /// Acknowledges these records, read or lost.
    pub(crate) fn acknowledge_range(&mut self, begin: u64, end: u64) {
        if !self.acked.acknowledge(begin, end) {
            return;
        }
        self.position_due = true;
        if let Err(error) = self.position.write(self.acked.position()) {
            self.metrics.errors.inc();
            tracing::warn!(directory = %self.directory.display(), %error, "cannot write which records are acknowledged; trying again");
        } else {
            self.position_due = false;
        }
        self.delete_acknowledged();
    }

    /// Deletes segments that are all acknowledged.
    pub(crate) fn delete_acknowledged(&mut self) {
        while let Some(oldest) = self.sealed.front().copied() {
            if oldest.end > self.acked.position() {
                break;
            }
            // First the position: else a power cut between the two looks like a loss.
            if let Err(error) = self.sync_position() {
                self.metrics.errors.inc();
                tracing::warn!(directory = %self.directory.display(), %error, "cannot sync the acknowledgements");
            }
            let path = self.directory.join(segment_name(oldest.first));
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                self.metrics.errors.inc();
                tracing::warn!(file = %path.display(), %error, "cannot delete an acknowledged segment; trying again");
                break;
            }
            self.sealed.pop_front();
            self.cursor.forget(oldest.first);
            self.bytes -= oldest.bytes;
        }
    }

    /// Ends the segment that grows.
    fn seal(&mut self) -> io::Result<()> {
        if self.limits.fsync != Fsync::Never {
            self.sync()?;
        }
        if let Some(active) = self.active.take() {
            self.sealed.push_back(Sealed { first: active.first, end: self.next, bytes: active.bytes });
        }
        Ok(())
    }

    /// Begins a segment.
    fn begin_segment(&mut self) -> io::Result<()> {
        let path = self.directory.join(segment_name(self.next));
        let made =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).and_then(
                |file| {
                    file.write_all_at(&segment_header(self.next), 0)?;
                    if self.limits.fsync != Fsync::Never {
                        // The file's name must survive a power cut too.
                        File::open(&self.directory)?.sync_all()?;
                    }
                    Ok(file)
                },
            );
        match made {
            Ok(file) => {
                let active = Active {
                    file,
                    first: self.next,
                    bytes: SEGMENT_HEADER,
                    synced: (SEGMENT_HEADER, self.next),
                    garbage: false,
                    sync_failed: false,
                };
                self.active = Some(active);
                self.bytes += SEGMENT_HEADER;
                Ok(())
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Active {
    /// Writes a record behind what counts.
    fn write(&mut self, number: u64, payload: &[u8]) -> io::Result<()> {
        if self.garbage {
            self.file.set_len(self.bytes)?;
            self.garbage = false;
        }
        let header = RecordHeader::of(number, payload);
        // The header first: a header without all of its payload is what a reader knows as an interrupted
        // write.
        let written = self
            .file
            .write_all_at(&header.to_bytes(), self.bytes)
            .and_then(|()| self.file.write_all_at(payload, self.bytes + RECORD_HEADER));
        if written.is_err() {
            // Gives the space of the half record back; tried again before the next write.
            self.garbage = self.file.set_len(self.bytes).is_err();
            written?;
        }
        self.bytes += header.span();
        Ok(())
    }
}
