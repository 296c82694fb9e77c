//! Keeps the history in a storage (`storage`): a log of changes.
//!
//! * The inputs of windows are acknowledged when the changes that they made are safe: a restart never goes back to what is
//!   not there.
//! * While the storage cannot write, inputs wait, and nothing else does. Nothing is acknowledged that was not written.
//! * When the log has grown to twice what is remembered, everything that is remembered is written behind it (a *whole*), and then
//!   what was before is dropped. A crash in between leaves the old log, with an incomplete whole behind it that does not count.
//! * Changes that wait for the storage are bounded in the same way: a whole takes their place. What it remembers of windows that
//!   only wait for the storage is the state after the last of them, since they are acknowledged together.
//! * A whole takes at most a sixth of the queue, so the old one, the changes behind it and the new one have room beside each
//!   other. Series beyond that are not kept: counted and logged; their alarms go out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_component::storage::{Appending, DiskQueue, Storage, StorageError};
use weir_component::{Context, LogLimit, StartError, Status};
use weir_pdata::{Ack, Held};

use crate::evaluation::series::{Series, WindowStream};
use crate::metrics::StorageMetrics;
use crate::state::remembered::{LogEntry, Recovery, RememberedSeries};

/// A record is not longer, unless a single series is.
const LONGEST_RECORD: u64 = 256 << 10;
/// A log that is shorter is not worth replacing. In tests it is, so that they see it.
pub(crate) const SHORTEST_LOG: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };
/// How many wholes the queue has room for: the segment that is deleted next is at most a quarter of it.
const WHOLES: u64 = 6;
/// How long an append may take before that is reported.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the history of one pipeline is kept.
pub(crate) struct JournalStore {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) context: Context,
    pub(crate) pipeline: String,
    /// A log that is shorter is not replaced.
    pub(crate) shortest: u64,
}

/// The writing side. Bounded while the storage cannot write: see the [module](self).
pub(crate) struct Journal {
    waiting: Arc<JournalQueue>,
    reports: Arc<StorageReports>,
    /// Bytes since the last whole, and of it.
    since: u64,
    whole: u64,
    limits: Limits,
}

/// Lengths in bytes.
#[derive(Clone, Copy)]
struct Limits {
    /// Of a log that is not replaced.
    shortest: u64,
    /// Of a record with several series.
    record: u64,
    /// Of a whole.
    most: u64,
}

/// What waits for the writer.
#[derive(Default)]
struct JournalQueue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    writes: VecDeque<Write>,
    /// No more comes.
    ended: bool,
    /// The writer is gone.
    stopped: bool,
}

/// What is written together.
#[derive(Default)]
struct Write {
    records: Vec<Vec<u8>>,
    /// The windows that wait for it, in their order.
    windows: Vec<Windows>,
    /// What was before is not needed when this is safe.
    replaces: bool,
}

/// A batch of windows whose inputs wait.
struct Windows {
    /// The end of the last window of each stream.
    ends: BTreeMap<WindowStream, i64>,
    held: Held,
}

/// What is written, and not safe yet or not yet dropped.
struct Writer {
    waiting: Arc<JournalQueue>,
    reports: Arc<StorageReports>,
    queue: Arc<dyn DiskQueue>,
    /// Everything before this record is dropped.
    dropped: u64,
    /// Everything before this record has been read.
    read: u64,
}

/// Says what goes wrong.
struct StorageReports {
    context: Context,
    pipeline: String,
    metrics: StorageMetrics,
    trouble: LogLimit,
    room: LogLimit,
    /// The storage does not take what it is given.
    is_stuck: AtomicBool,
}

impl Journal {
    /// Writes down changes, which `known` has already. The windows that made them end at `ends`; their `ack` is let go when it is
    /// safe. Windows without changes wait only behind others. Does not block.
    pub(crate) fn write(
        &mut self,
        entries: &[LogEntry],
        ends: BTreeMap<WindowStream, i64>,
        ack: Ack,
        remembered: &mut RememberedSeries,
    ) {
        let (records, left_out) = encode(entries, self.limits);
        let added = bytes(&records);
        let waiting = Arc::clone(&self.waiting);
        let mut state = waiting.lock();
        if records.is_empty() && (ends.is_empty() || state.writes.is_empty()) {
            return;
        }
        let windows = Windows { ends, held: Held::new(ack) };
        if state.stopped {
            return; // dropping what is held fails the inputs, and they are read again
        }
        if records.is_empty() {
            // They are before what comes next, so they must not be acknowledged after it.
            if let Some(last) = state.writes.back_mut() {
                last.windows.push(windows);
            }
            return;
        }
        if self.since + added > self.limits.shortest.max(self.whole).min(self.limits.most) {
            return self.replace(state, windows, remembered);
        }
        self.since += added;
        state.writes.push_back(Write { records, windows: vec![windows], replaces: false });
        drop(state);
        self.reports.not_kept(&left_out);
        waiting.changed.notify_one();
    }

    /// Writes down all that is remembered, instead of everything before and of all that still waits. Of windows that wait for the
    /// storage alone only the state after the last one stays remembered.
    fn replace(
        &mut self,
        mut state: MutexGuard<'_, State>,
        newest: Windows,
        remembered: &mut RememberedSeries,
    ) {
        let mut windows: Vec<Windows> = state.writes.drain(..).flat_map(|write| write.windows).collect();
        windows.push(newest);
        for (stream, ends) in acknowledged_together(&windows) {
            remembered.merge(&stream, ends);
        }
        let (records, left_out) = encode_whole(remembered.whole(), self.limits);
        (self.since, self.whole) = (0, bytes(&records));
        state.writes.push_back(Write { records, windows, replaces: true });
        drop(state);
        self.reports.not_kept(&left_out);
        self.waiting.changed.notify_one();
    }

    /// Bytes that wait for the storage, beside those that it is writing.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting.lock().writes.iter().map(|write| bytes(&write.records)).sum()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.waiting.lock().ended = true;
        self.waiting.changed.notify_one();
    }
}

/// For each stream the ends of windows that are acknowledged at one moment, when these windows are released: nothing but
/// the storage keeps them, and the first of them keeps the mark of all.
fn acknowledged_together(windows: &[Windows]) -> BTreeMap<WindowStream, RangeInclusive<i64>> {
    let mut found: BTreeMap<WindowStream, Vec<i64>> = BTreeMap::new();
    let mut closed: BTreeSet<&WindowStream> = BTreeSet::new();
    for Windows { ends, held } in windows {
        let is_last = held.is_last();
        for (stream, end) in ends {
            if closed.contains(stream) {
                continue;
            }
            found.entry(stream.clone()).or_default().push(*end);
            if !is_last {
                closed.insert(stream);
            }
        }
    }
    // More windows with the last end may come, or wait for others too.
    let before_last = |(stream, ends): (WindowStream, Vec<i64>)| {
        let last = *ends.last()?;
        let end = ends.iter().copied().filter(|end| *end < last).max()?;
        Some((stream, *ends.first()?..=end))
    };
    found.into_iter().filter_map(before_last).collect()
}

fn bytes(records: &[Vec<u8>]) -> u64 {
    records.iter().map(|record| length(record)).sum()
}

fn length(record: &[u8]) -> u64 {
    record.len() as u64
}

/// Texts and numbers always become JSON.
fn json(entry: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(entry).unwrap_or_default()
}

/// Entries as JSON, and the rule and length of a series that is too long to be kept.
fn encode(entries: &[LogEntry], limits: Limits) -> (Vec<Vec<u8>>, Vec<LeftOut>) {
    let (mut records, mut left_out) = (Vec::with_capacity(entries.len()), Vec::new());
    entries.iter().for_each(|entry| encode_one(entry, limits, &mut records, &mut left_out));
    (records, left_out)
}

/// An entry in several records when it is long: after a crash in between, windows that come again say the rest.
fn encode_one(entry: &LogEntry, limits: Limits, records: &mut Vec<Vec<u8>>, left_out: &mut Vec<LeftOut>) {
    let record = json(entry);
    match entry {
        LogEntry::Changed { stream, end, set, gone }
            if length(&record) > limits.record && set.len() + gone.len() > 1 =>
        {
            let half = (set.split_at(set.len() / 2), gone.split_at(gone.len() / 2));
            for (set, gone) in [(half.0.0, half.1.0), (half.0.1, half.1.1)] {
                if !set.is_empty() || !gone.is_empty() {
                    let (stream, set, gone) = (stream.clone(), set.to_vec(), gone.to_vec());
                    encode_one(
                        &LogEntry::Changed { stream, end: *end, set, gone },
                        limits,
                        records,
                        left_out,
                    );
                }
            }
        }
        LogEntry::Changed { stream, end, set, .. } if length(&record) > limits.most => {
            left_out.extend(set.iter().map(|series| LeftOut::new(series, length(&record))));
            let (stream, end) = (stream.clone(), *end);
            records.push(json(&LogEntry::Changed { stream, end, set: Vec::new(), gone: Vec::new() }));
        }
        _ => records.push(record),
    }
}

/// A whole as JSON, without the series for which there is no room. One that is left out is left out everywhere.
fn encode_whole(mut entries: Vec<LogEntry>, limits: Limits) -> (Vec<Vec<u8>>, Vec<LeftOut>) {
    let (records, mut left_out) = encode(&entries, limits);
    if left_out.is_empty() && bytes(&records) <= limits.most {
        return (records, left_out);
    }
    let mut sizes: HashMap<String, u64> = HashMap::new();
    let mut taken = 0;
    for entry in &entries {
        let LogEntry::Changed { stream, end, set, gone } = entry else { continue };
        let (stream, end) = (stream.clone(), *end);
        taken += length(&json(&LogEntry::Changed { stream, end, set: Vec::new(), gone: Vec::new() }));
        set.iter().for_each(|series| *sizes.entry(series.key()).or_default() += length(&json(series)) + 1);
        gone.iter().for_each(|key| *sizes.entry(key.clone()).or_default() += length(&json(key)) + 1);
    }
    let room = limits.most.saturating_sub(taken);
    // The small ones first: that keeps the most of them.
    let mut order: Vec<(u64, String)> = sizes.into_iter().map(|(key, size)| (size, key)).collect();
    order.sort_unstable();
    let mut used = 0;
    let fits = |(size, _): &(u64, String)| {
        used += size;
        used <= room
    };
    let kept: HashSet<String> = order.into_iter().take_while(fits).map(|(_, key)| key).collect();
    left_out.clear();
    for entry in &mut entries {
        if let LogEntry::Changed { set, gone, .. } = entry {
            let without = set.extract_if(.., |series| !kept.contains(&series.key()));
            left_out.extend(without.map(|series| LeftOut::new(&series, length(&json(&series)))));
            gone.retain(|key| kept.contains(key));
        }
    }
    (encode(&entries, limits).0, left_out)
}

/// A series that is not kept.
struct LeftOut {
    rule: Arc<str>,
    bytes: u64,
}

impl LeftOut {
    fn new(series: &Series, bytes: u64) -> LeftOut {
        LeftOut { rule: series.name.clone(), bytes }
    }
}

impl JournalStore {
    /// What is kept, and where more goes.
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
        if let Some(old) = reports.read_old(storage.as_ref()).await? {
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
            reports.forget_old(storage.as_ref()).await;
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

impl JournalQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written next; waits until there is something. `None`: nothing comes any more.
    async fn next(&self) -> Option<Write> {
        loop {
            {
                let mut state = self.lock();
                if let Some(mut write) = state.writes.pop_front() {
                    // What waits is written together, up to where all of it is written.
                    while let Some(more) = state.writes.pop_front_if(|more| !more.replaces) {
                        write.records.extend(more.records);
                        write.windows.extend(more.windows);
                    }
                    return Some(write);
                }
                if state.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
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

impl StorageReports {
    /// Waits until a record is safe. `None`: it will not be, and nothing after it.
    async fn confirmed(&self, mut appending: Appending, stop: &CancellationToken) -> Option<u64> {
        loop {
            tokio::select! {
                biased;
                confirmed = &mut appending => match confirmed {
                    Ok(number) => {
                        if self.is_stuck.swap(false, Ordering::Relaxed) {
                            self.context.health.report(Status::Ok);
                        }
                        return Some(number);
                    }
                    Err(error) => {
                        self.trouble(&error.to_string());
                        // Its inputs must not be let go as if it had been written.
                        stop.cancelled().await;
                        return None;
                    }
                },
                () = tokio::time::sleep(PATIENCE) => {
                    self.trouble("the storage has not taken them for ten seconds; their input waits");
                    if stop.is_cancelled() {
                        return None;
                    }
                }
            }
        }
    }

    /// The alarms of a version of Weir that wrote them as one value, as changes. `None`: there are none.
    async fn read_old(&self, storage: &dyn Storage) -> Result<Option<Vec<LogEntry>>, StartError> {
        let value = storage.get(&self.context.id.to_string(), &self.pipeline).await;
        let value = value.map_err(|error| StartError(format!("its alarms cannot be read: {error}")))?;
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        let (processor, pipeline) = (&self.context.id, &self.pipeline);
        match crate::state::checkpoint::read(&value) {
            Ok(entries) => {
                tracing::info!(%processor, %pipeline, "the alarms that an earlier version of Weir has kept are taken over");
                Ok(Some(entries))
            }
            Err(error) => {
                self.foreign(&error);
                Ok(Some(Vec::new()))
            }
        }
    }

    /// They are taken over.
    async fn forget_old(&self, storage: &dyn Storage) {
        if let Err(error) = storage.put(&self.context.id.to_string(), &self.pipeline, Vec::new()).await {
            self.trouble(&error.to_string());
        }
    }

    fn foreign(&self, error: &str) {
        let (processor, pipeline) = (&self.context.id, &self.pipeline);
        tracing::error!(
            %processor, %pipeline,
            "alarms in the storage are not of this version of Weir; those that fire may be raised once more: {error}"
        );
    }

    fn trouble(&self, why: &str) {
        self.metrics.errors.inc();
        self.is_stuck.store(true, Ordering::Relaxed);
        let error = format!("alarms cannot be kept across a restart: {why}");
        self.context.health.report(Status::RecoverableError(error));
        if let Some(suppressed) = self.trouble.allow(self.context.clock.now_ms()) {
            let (processor, pipeline) = (&self.context.id, &self.pipeline);
            tracing::error!(%processor, %pipeline, suppressed, "alarms cannot be kept across a restart: {why}");
        }
    }

    fn not_kept(&self, left_out: &[LeftOut]) {
        let Some(LeftOut { rule, bytes }) = left_out.first() else { return };
        self.metrics.not_kept.inc_by(left_out.len() as u64);
        if let Some(suppressed) = self.room.allow(self.context.clock.now_ms()) {
            let (processor, pipeline, series) = (&self.context.id, &self.pipeline, left_out.len());
            tracing::error!(
                %processor, %pipeline, series, %rule, bytes, suppressed,
                "the storage has no room for the state of some series: their alarms go out, and are raised once more after a restart; \
                 raise its `max_bytes`"
            );
        }
    }
}
