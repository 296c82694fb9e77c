//! Keeps the history in a storage (`storage`): a log of changes.
//!
//! * The inputs of windows are acknowledged when the changes that they made are safe: a restart never goes
//!   back to a state that is not there.
//! * While the storage cannot write, inputs wait, and nothing else does. Nothing is acknowledged that was not
//!   written.
//! * When the log has grown to twice the size of the state, the whole state is written behind it (a *whole*),
//!   and everything before that is dropped. A crash in between leaves the old log and an incomplete whole,
//!   which does not count.
//! * Changes that wait for the storage are bounded in the same way: a whole replaces them. For windows that
//!   wait only for the storage, it has the state after the last of them, because they are acknowledged
//!   together.
//! * A whole takes at most a sixth of the queue. So the old one, the changes behind it and the new one fit
//!   together. Series beyond that are not kept: they are counted and logged, and their alarms go out.

pub(crate) mod encode;
pub(crate) mod queue;
pub(crate) mod reports;
pub(crate) mod store;
pub(crate) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, MutexGuard};

use weir_pdata::{Ack, Held};

use crate::evaluation::windows::WindowStream;
use crate::state::journal::encode::{Limits, bytes, encode, encode_whole};
use crate::state::journal::queue::{JournalQueue, State, WaitingWindows, Write};
use crate::state::journal::reports::StorageReports;
use crate::state::remembered::{LogEntry, RememberedSeries};

/// The writing side. Bounded while the storage cannot write: see the [module](self).
pub(crate) struct Journal {
    waiting: Arc<JournalQueue>,
    reports: Arc<StorageReports>,
    /// Bytes since the last whole, and of it.
    since: u64,
    whole: u64,
    limits: Limits,
}

impl Journal {
    /// Writes down changes, which `known` has already. The windows that made them end at `ends`; their `ack`
    /// is let go when it is safe. Windows without changes wait only behind others. Does not block.
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
        let windows = WaitingWindows { ends, held: Held::new(ack) };
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

    /// Writes down all that is remembered, instead of everything before and of all that still waits. Of
    /// windows that wait for the storage alone only the state after the last one stays remembered.
    fn replace(
        &mut self,
        mut state: MutexGuard<'_, State>,
        newest: WaitingWindows,
        remembered: &mut RememberedSeries,
    ) {
        let mut windows: Vec<WaitingWindows> =
            state.writes.drain(..).flat_map(|write| write.windows).collect();
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

/// For each stream the ends of windows that are acknowledged at one moment, when these windows are released:
/// nothing but the storage keeps them, and the first of them keeps the mark of all.
fn acknowledged_together(windows: &[WaitingWindows]) -> BTreeMap<WindowStream, RangeInclusive<i64>> {
    let mut found: BTreeMap<WindowStream, Vec<i64>> = BTreeMap::new();
    let mut closed: BTreeSet<&WindowStream> = BTreeSet::new();
    for WaitingWindows { ends, held } in windows {
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
