//! Keeps the history in a storage (`storage`): a log of changes.
//!
//! * The inputs of windows are let go when what they changed is safe: a restart never goes back to what is not there.
//! * While the storage cannot write, inputs wait. Nothing is ever let go that was not written.
//! * When the log has grown to twice what is remembered, all that is remembered is written behind it, and then what was before is
//!   dropped. A crash in between leaves the old log, with a part behind it that is not complete and does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_component::storage::{Appending, DiskQueue, Storage, StorageError};
use weir_component::{Context, LogLimit, StartError};
use weir_pdata::{Ack, Held};

use crate::known::{Entry, Known, Recovery};

/// A record is not longer, unless a single series is.
const LONGEST_RECORD: usize = 256 << 10;
/// A log that is shorter is not worth replacing.
pub(crate) const SHORTEST_LOG: u64 = 1 << 20;
/// How long an append may take before that is reported.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the history of one pipeline is kept.
pub(crate) struct Place {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) context: Context,
    pub(crate) pipeline: String,
    pub(crate) errors: Counter,
    /// A log that is shorter is not replaced.
    pub(crate) shortest: u64,
}

/// The writing side.
pub(crate) struct Journal {
    sender: mpsc::UnboundedSender<Write>,
    /// Bytes since the last whole, and of it.
    since: AtomicU64,
    whole: AtomicU64,
    shortest: u64,
    longest: usize,
}

/// What is written together.
struct Write {
    records: Vec<Vec<u8>>,
    /// Let go when it is safe.
    held: Held,
    /// What was before is not needed when this is safe.
    replaces: bool,
}

/// What is written, and not safe yet or not yet dropped.
struct Writer {
    place: Place,
    queue: Arc<dyn DiskQueue>,
    /// Everything before this record is dropped.
    dropped: u64,
    /// Everything before this record has been read.
    read: u64,
    trouble: LogLimit,
}

impl Journal {
    /// Writes down changes; `ack` is let go when they are safe. Does not wait.
    pub(crate) fn write(&self, entries: &[Entry], ack: Ack) {
        let records = self.records(entries);
        self.since.fetch_add(bytes(&records), Ordering::Relaxed);
        self.send(Write { records, held: Held::new(ack), replaces: false });
    }

    /// Whether the log is so long that it should be [replaced](Self::replace).
    pub(crate) fn is_long(&self) -> bool {
        self.since.load(Ordering::Relaxed) > self.shortest.max(self.whole.load(Ordering::Relaxed))
    }

    /// Writes down all that is remembered, instead of everything before.
    pub(crate) fn replace(&self, whole: &[Entry]) {
        let records = self.records(whole);
        self.whole.store(bytes(&records), Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
        self.send(Write { records, held: Held::default(), replaces: true });
    }

    fn send(&self, write: Write) {
        // When the writer is gone the inputs fail, and are read again.
        let _ = self.sender.send(write);
    }

    fn records(&self, entries: &[Entry]) -> Vec<Vec<u8>> {
        let mut records = Vec::with_capacity(entries.len());
        entries.iter().for_each(|entry| encode(entry, self.longest, &mut records));
        records
    }
}

fn bytes(records: &[Vec<u8>]) -> u64 {
    records.iter().map(Vec::len).sum::<usize>() as u64
}

/// An entry as JSON, in several records when it is long: after a crash in between, windows that come again say the rest.
fn encode(entry: &Entry, longest: usize, records: &mut Vec<Vec<u8>>) {
    // Texts and numbers always become JSON.
    let record = serde_json::to_vec(entry).unwrap_or_default();
    match entry {
        Entry::Changed { source, end, set, gone } if record.len() > longest && set.len() + gone.len() > 1 => {
            let (set, gone) = (set.split_at(set.len() / 2), gone.split_at(gone.len() / 2));
            for (set, gone) in [(set.0, gone.0), (set.1, gone.1)] {
                if !set.is_empty() || !gone.is_empty() {
                    let (source, set, gone) = (source.clone(), set.to_vec(), gone.to_vec());
                    encode(&Entry::Changed { source, end: *end, set, gone }, longest, records);
                }
            }
        }
        _ => records.push(record),
    }
}

impl Place {
    /// What is kept, and where more goes.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub(crate) async fn open(self, stop: CancellationToken) -> Result<(Journal, Known), StartError> {
        let name = format!("{}/{}/alarms", self.context.id, self.pipeline);
        let failed = |error: StorageError| StartError(format!("its alarms cannot be read: {error}"));
        let queue = self.storage.open_queue(&name).await.map_err(failed)?;
        // All that was kept is before this.
        let opened = serde_json::to_vec(&Entry::Opened(0)).unwrap_or_default();
        let opened = tokio::select! {
            opened = queue.append(opened) => opened.map_err(failed)?,
            () = stop.cancelled() => return Err(StartError("the program stops".to_owned())),
        };
        let (mut recovery, mut kept, mut first) = (Recovery::default(), 0, opened);
        loop {
            let Some(record) = queue.next().await else {
                return Err(failed(StorageError::Closed(name)));
            };
            first = first.min(record.number);
            if record.number >= opened {
                recovery.read(Entry::Opened(opened));
                break;
            }
            kept += record.payload.len() as u64;
            match serde_json::from_slice(&record.payload) {
                Ok(entry) => recovery.read(entry),
                Err(error) => {
                    let (processor, pipeline) = (&self.context.id, &self.pipeline);
                    tracing::error!(
                        %processor, pipeline,
                        "a change of alarms in the storage is not of this version of Weir, alarms that fire may fire again: {error}"
                    );
                    queue.set_aside(record, &error.to_string());
                }
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let longest = LONGEST_RECORD.min(usize::try_from(queue.max_record()).unwrap_or(usize::MAX));
        let shortest = self.shortest;
        let writer = Writer {
            place: self,
            queue,
            dropped: first,
            read: opened + 1,
            trouble: LogLimit::every_ms(10_000),
        };
        tokio::spawn(writer.run(receiver, stop));
        let journal =
            Journal { sender, since: AtomicU64::new(kept), whole: AtomicU64::new(0), shortest, longest };
        Ok((journal, recovery.finish()))
    }
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Write>, stop: CancellationToken) {
        while let Some(Write { records, held, replaces }) = receiver.recv().await {
            let appending: Vec<Appending> =
                records.into_iter().map(|record| self.queue.append(record)).collect();
            let mut numbers = Vec::with_capacity(appending.len());
            for appending in appending {
                match self.confirmed(appending, &stop).await {
                    Some(number) => numbers.push(number),
                    None => return, // dropping what is held fails the inputs
                }
            }
            drop(held.release());
            if let Some(first) = numbers.first().filter(|_| replaces) {
                self.drop_before(*first).await;
            }
        }
    }

    /// Waits until a record is safe. `None`: it will not be, and nothing after it.
    async fn confirmed(&self, mut appending: Appending, stop: &CancellationToken) -> Option<u64> {
        loop {
            tokio::select! {
                biased;
                confirmed = &mut appending => match confirmed {
                    Ok(number) => return Some(number),
                    Err(error) => {
                        self.report(&error.to_string());
                        // One that does not fit never will, but its inputs must not be let go as if it had.
                        stop.cancelled().await;
                        return None;
                    }
                },
                () = tokio::time::sleep(PATIENCE) => {
                    self.report("the storage has not taken them for ten seconds; their input waits");
                    if stop.is_cancelled() {
                        return None;
                    }
                }
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

    fn report(&self, why: &str) {
        self.place.errors.inc();
        if let Some(held_back) = self.trouble.allow(self.place.context.clock.now_ms()) {
            let (processor, pipeline) = (&self.place.context.id, &self.place.pipeline);
            tracing::error!(%processor, pipeline, held_back, "alarms cannot be kept across a restart: {why}");
        }
    }
}
