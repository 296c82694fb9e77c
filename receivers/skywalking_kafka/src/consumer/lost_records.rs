//! Records that were deleted from a partition before they were read.

use crate::consumer::partition_queue::FetchQueue;

/// Counts what was deleted from a partition before it was read.
pub(crate) struct LostRecords<'a> {
    queue: Option<&'a FetchQueue>,
    first_kept: Option<i64>,
    pub(crate) records: u64,
}

impl<'a> LostRecords<'a> {
    pub(crate) fn new(queue: Option<&'a FetchQueue>) -> LostRecords<'a> {
        LostRecords { queue, first_kept: None, records: 0 }
    }

    /// No record came of the offsets from `from` up to before `to`: they were deleted, or there is no record
    /// to be read (control records, aborted transactions, compaction).
    pub(crate) fn skip(&mut self, from: i64, to: i64) {
        if self.first_kept.is_none() {
            self.first_kept = self.queue.and_then(FetchQueue::first_kept);
        }
        if let Some(first) = self.first_kept {
            self.records += u64::try_from(first.min(to) - from).unwrap_or(0);
        }
    }
}
