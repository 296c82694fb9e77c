//! Writes what waits, and drops what it replaces.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_component::storage::{Appending, DiskQueue};

use crate::state::journal::queue::{JournalQueue, Write};
use crate::state::journal::reports::StorageReports;

/// Records that are written, and not safe yet or not yet dropped.
pub(crate) struct Writer {
    pub(crate) waiting: Arc<JournalQueue>,
    pub(crate) reports: Arc<StorageReports>,
    pub(crate) queue: Arc<dyn DiskQueue>,
    /// Everything before this record is dropped.
    pub(crate) dropped: u64,
    /// Everything before this record has been read.
    pub(crate) read: u64,
}

impl Writer {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while let Some(Write { records, windows, replaces }) = self.waiting.next().await {
            let appending: Vec<Appending> =
                records.into_iter().map(|record| self.queue.append(record)).collect();
            let mut first = None;
            for appending in appending {
                match self.reports.confirmed(appending, &stop).await {
                    Some(number) => drop(first.get_or_insert(number)),
                    None => return, // dropping what is held fails the inputs
                }
            }
            // The first of them keeps the mark of all of them, so that it moves at one moment.
            for windows in windows.into_iter().rev() {
                drop(windows.held.release());
            }
            if let Some(first) = first.filter(|_| replaces) {
                self.drop_before(first).await;
            }
        }
    }

    /// Gives the space before this record free.
    async fn drop_before(&mut self, first: u64) {
        while self.dropped < first {
            // Only what was read can be acknowledged.
            if self.dropped >= self.read {
                match self.queue.next().await {
                    Some(record) => self.read = record.number + 1,
                    None => return,
                }
            }
            self.queue.acknowledge(self.dropped);
            self.dropped += 1;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.waiting.lock();
        state.stopped = true;
        let writes = std::mem::take(&mut state.writes);
        drop(state);
        drop(writes); // fails the inputs
    }
}
