//! Opening the journal of one pipeline.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;
use weir_component::storage::{Appending, Storage, StorageError};
use weir_component::{Context, LogLimit, StartError};

use crate::metrics::StorageMetrics;
use crate::state::checkpoint;
use crate::state::journal::Journal;
use crate::state::journal::encode::{Limits, encode_whole, json, length};
use crate::state::journal::queue::JournalQueue;
use crate::state::journal::reports::StorageReports;
use crate::state::journal::writer::Writer;
use crate::state::remembered::{LogEntry, Recovery, RememberedSeries};

/// A record is not longer, unless a single series is.
const LONGEST_RECORD: u64 = 256 << 10;
/// A log that is shorter is not worth replacing. In tests it is, so that they see it.
pub(crate) const SHORTEST_LOG: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };
/// How many wholes the queue has room for: the segment that is deleted next is at most a quarter of it.
const WHOLES: u64 = 6;

/// Where the history of one pipeline is kept.
pub(crate) struct JournalStore {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) context: Context,
    pub(crate) pipeline: String,
    /// A log that is shorter is not replaced.
    pub(crate) shortest: u64,
}

impl JournalStore {
    /// The state that is kept, and the journal for more.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub(crate) async fn open(
        self,
        stop: CancellationToken,
    ) -> Result<(Journal, RememberedSeries), StartError> {
        let JournalStore { storage, context, pipeline, shortest } = self;
        let name = format!("{}/{pipeline}/alarms", context.id);
        let failed = |error: StorageError| StartError(format!("its alarms cannot be read: {error}"));
        let queue = storage.open_queue(&name).await.map_err(failed)?;
        let metrics = StorageMetrics::new(&context);
        let (trouble, room) = (LogLimit::every_ms(10_000), LogLimit::every_ms(10_000));
        let reports = Arc::new(StorageReports {
            context,
            pipeline,
            metrics,
            trouble,
            room,
            is_stuck: AtomicBool::new(false),
        });
        let stopped = || StartError("the program stops".to_owned());
        // All that was kept is before this.
        let opened = queue.append(json(&LogEntry::Opened(0)));
        let opened = reports.confirmed(opened, &stop).await.ok_or_else(stopped)?;
        let (mut recovery, mut kept, mut first) = (Recovery::default(), 0, opened);
        loop {
            let Some(record) = queue.next().await else {
                return Err(failed(StorageError::Closed(name)));
            };
            first = first.min(record.number);
            if record.number >= opened {
                recovery.read(LogEntry::Opened(opened));
                break;
            }
            kept += length(&record.payload);
            match serde_json::from_slice(&record.payload) {
                Ok(entry) => recovery.read(entry),
                Err(error) => {
                    reports.foreign(&error.to_string());
                    queue.quarantine(record, &error.to_string());
                }
            }
        }
        let most = queue.max_record() / WHOLES;
        let limits = Limits { shortest, record: LONGEST_RECORD.min(most), most };
        let mut remembered = recovery.finish();
        if let Some(old) = read_old(&reports, storage.as_ref()).await? {
            // If something is remembered, an earlier start has taken them over.
            if remembered.is_empty() {
                old.into_iter().for_each(|entry| remembered.apply(entry));
                let (records, left_out) = encode_whole(remembered.whole(), limits);
                reports.not_kept(&left_out);
                let appending: Vec<Appending> =
                    records.into_iter().map(|record| queue.append(record)).collect();
                for appending in appending {
                    reports.confirmed(appending, &stop).await.ok_or_else(stopped)?;
                }
            }
            forget_old(&reports, storage.as_ref()).await;
        }
        let waiting = Arc::new(JournalQueue::default());
        let writer = Writer {
            waiting: Arc::clone(&waiting),
            reports: Arc::clone(&reports),
            queue,
            dropped: first,
            read: opened + 1,
        };
        tokio::spawn(writer.run(stop));
        Ok((Journal { waiting, reports, since: kept, whole: 0, limits }, remembered))
    }
}

/// The alarms of a version of Weir that wrote them as one value, as changes. `None`: there are none.
async fn read_old(
    reports: &StorageReports,
    storage: &dyn Storage,
) -> Result<Option<Vec<LogEntry>>, StartError> {
    let value = storage.get(&reports.context.id.to_string(), &reports.pipeline).await;
    let value = value.map_err(|error| StartError(format!("its alarms cannot be read: {error}")))?;
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let (processor, pipeline) = (&reports.context.id, &reports.pipeline);
    match checkpoint::read(&value) {
        Ok(entries) => {
            tracing::info!(%processor, %pipeline, "the alarms that an earlier version of Weir has kept are taken over");
            Ok(Some(entries))
        }
        Err(error) => {
            reports.foreign(&error);
            Ok(Some(Vec::new()))
        }
    }
}

/// They are taken over.
async fn forget_old(reports: &StorageReports, storage: &dyn Storage) {
    if let Err(error) = storage.put(&reports.context.id.to_string(), &reports.pipeline, Vec::new()).await {
        reports.trouble(&error.to_string());
    }
}
