//! Opening a log: finding its segments, its position, and what a crash has left at its end.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use weir_component::storage::StorageError;

use crate::config::{Fsync, Limits};
use crate::log::acked_ranges::AckedRanges;
use crate::log::format::{RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, VERSION, read_segment_header};
use crate::log::position::PositionFile;
use crate::log::quarantine::Quarantine;
use crate::log::read_cursor::ReadCursor;
use crate::log::segment_scan::{SegmentScan, Step};
use crate::log::{Log, Sealed};
use crate::metrics::QueueMetrics;
use crate::names::{segment_name, segment_of};

impl Log {
    /// Opens the queue in `directory`, made when missing, and repairs what a crash has left.
    ///
    /// # Errors
    /// When the directory cannot be used, or another version of Weir wrote it.
    pub fn open(directory: &Path, limits: Limits, metrics: QueueMetrics) -> Result<Log, StorageError> {
        open(directory, limits, metrics)
    }
}

fn open(directory: &Path, limits: Limits, metrics: QueueMetrics) -> Result<Log, StorageError> {
    let failed = |what: &str, path: &Path, error: io::Error| {
        StorageError::Failed(format!("cannot {what} {}: {error}", path.display()))
    };
    make(directory, limits.fsync).map_err(|error| failed("make the directory", directory, error))?;
    let firsts = segments(directory).map_err(|error| failed("list", directory, error))?;
    let (position, known) = PositionFile::open(directory)
        .map_err(|error| failed("open the position file in", directory, error))?;
    if known.is_none() && !firsts.is_empty() {
        tracing::warn!(directory = %directory.display(), "no valid position file: all records are delivered again");
    }
    let start = known.or(firsts.first().copied()).unwrap_or(1);
    let quarantine = Quarantine::new(directory, limits.max_bytes / 8);
    let mut log = Log {
        directory: directory.to_owned(),
        limits,
        sealed: VecDeque::new(),
        active: None,
        next: start,
        acked: AckedRanges::at(start),
        position,
        position_due: false,
        cursor: ReadCursor::at(start),
        quarantine,
        metrics,
        bytes: 0,
    };
    for (at, first) in firsts.iter().copied().enumerate() {
        let path = directory.join(segment_name(first));
        let (file, bytes) = check(&path, first)?;
        let segment = match firsts.get(at + 1) {
            Some(end) => Some(Sealed { first, end: *end, bytes }),
            None => repair(&log, &path, file, first, bytes)
                .map_err(|error| failed("check the segment", &path, error))?,
        };
        if let Some(segment) = segment {
            log.bytes += segment.bytes;
            log.next = log.next.max(segment.end);
            log.sealed.push_back(segment);
        }
    }
    log.delete_acknowledged();
    Ok(log)
}

/// Makes the directory, so that it survives a power cut.
fn make(directory: &Path, fsync: Fsync) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(directory)?;
    // The folder of all queues may be new too, so its own entry is synced as well.
    let parents = directory.ancestors().skip(1).take(2).filter(|parent| !parent.as_os_str().is_empty());
    for parent in parents.filter(|_| fsync != Fsync::Never) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// The first records of the segments in a directory, in order.
fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        firsts.extend(entry?.file_name().to_str().and_then(segment_of));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Opens a segment, whose header may be damaged but not of another version. Also gives its length.
fn check(path: &PathBuf, first: u64) -> Result<(File, u64), StorageError> {
    let failed = |error: io::Error| {
        StorageError::Failed(format!("cannot read the segment {}: {error}", path.display()))
    };
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let scan = SegmentScan::new(file.try_clone().map_err(failed)?, bytes);
    let header = scan.bytes(0, SEGMENT_HEADER, SEGMENT_HEADER).map_err(failed)?;
    match read_segment_header(&header, first) {
        SegmentHeader::Version(version) => Err(StorageError::Failed(format!(
            "the segment {} has format version {version}, this program reads {VERSION}: empty the queue with the version of Weir that wrote it, or move its directory away",
            path.display()
        ))),
        SegmentHeader::Good | SegmentHeader::Damaged => Ok((file, bytes)),
    }
}

/// Cuts off what the last segment has behind its last record. `None` when nothing is left; the file is then
/// deleted.
fn repair(log: &Log, path: &Path, file: File, first: u64, bytes: u64) -> io::Result<Option<Sealed>> {
    let mut scan = SegmentScan::new(file, bytes);
    let (mut at, mut from) = (SEGMENT_HEADER, first);
    // No more records than this can be in the file.
    let end = first + bytes / RECORD_HEADER + 1;
    let tail = loop {
        match scan.step(at, from, end)? {
            Step::Record(header) | Step::BadPayload(header) => {
                at += header.span();
                from = header.number + 1;
            }
            Step::Garbage { to } if to < bytes => at = to, // the reader comes here again
            other => break other,
        }
    };
    // A file that ends within its header comes out here as well.
    let torn = tail == Step::Torn || bytes < SEGMENT_HEADER;
    if torn {
        log.metrics.torn_tails.inc();
        tracing::warn!(segment = %path.display(), at, bytes, "cut off an interrupted write");
    } else if let Step::Garbage { .. } = tail {
        log.metrics.corrupt_segments.inc();
        log.metrics.corrupt_records.inc();
        let kept = scan
            .bytes(at, bytes, log.quarantine.max())
            .and_then(|bytes| log.quarantine.keep(first, at, &bytes));
        tracing::error!(segment = %path.display(), at, bytes, quarantined = ?kept, "cut off damaged bytes at the end of a queue");
    }
    if from == first && at == SEGMENT_HEADER {
        std::fs::remove_file(path)?;
        return Ok(None);
    }
    if at < bytes {
        OpenOptions::new().write(true).open(path)?.set_len(at)?;
    }
    Ok(Some(Sealed { first, end: from, bytes: at }))
}
