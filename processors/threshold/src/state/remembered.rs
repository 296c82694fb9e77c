//! The state of every stream after each of its windows, as changes. No I/O.
//!
//! A [`LogEntry`] is one change, as it is written down. Entries that are applied in their order give the
//! state. So do the entries of a [whole](RememberedSeries::whole), which replace all entries before them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use weir_alarms::series_key;

use crate::evaluation::past::chunk_key;
use crate::evaluation::series::Series;
use crate::evaluation::windows::WindowStream;

/// One change of what is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum LogEntry {
    /// When windows of the stream up to this end were evaluated, these series changed and those (by their
    /// keys) were forgotten.
    Changed {
        #[serde(rename = "source")]
        stream: WindowStream,
        end: i64,
        set: Vec<Series>,
        gone: Vec<String>,
    },
    /// Changes of the stream after windows that end later do not count any more; without a limit none does.
    Back {
        #[serde(rename = "source")]
        stream: WindowStream,
        limit: Option<i64>,
    },
    /// A whole begins.
    Whole,
    /// It is complete: it replaces everything before it.
    Complete,
    /// A process begins to write. What an earlier one left incomplete stays so.
    Opened(u64),
}

/// The state of every stream.
#[derive(Debug, Default)]
pub(crate) struct RememberedSeries(BTreeMap<WindowStream, Remembered>);

#[derive(Debug)]
struct Remembered {
    /// The end of the last window that `base` knows.
    base_end: i64,
    base: HashMap<String, Series>,
    /// The changes after that, the oldest first; ends do not go back.
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Change {
    end: i64,
    set: Vec<Series>,
    gone: Vec<String>,
}

/// Reads entries in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    known: RememberedSeries,
    /// A whole that is not complete yet.
    whole: Option<RememberedSeries>,
}

impl Series {
    /// The same for every window of the series.
    pub(crate) fn series_key(&self) -> String {
        series_key([&self.name, &self.stream.operator], &self.labels)
    }

    /// The same, and another one for each chunk of its past windows.
    pub(crate) fn key(&self) -> String {
        let key = self.series_key();
        self.past.as_ref().map_or(key.clone(), |chunk| chunk_key(&key, chunk.first()))
    }
}

impl Remembered {
    fn new() -> Remembered {
        Remembered { base_end: i64::MIN, base: HashMap::new(), changes: VecDeque::new() }
    }

    fn len(&self) -> usize {
        self.base.len() + self.changes.iter().map(|change| change.set.len()).sum::<usize>()
    }
}

impl RememberedSeries {
    /// Takes up a change.
    pub(crate) fn apply(&mut self, entry: LogEntry) {
        match entry {
            LogEntry::Changed { stream, end, set, gone } => {
                let remembered = self.0.entry(stream).or_insert_with(Remembered::new);
                remembered.changes.push_back(Change { end, set, gone });
            }
            LogEntry::Back { stream, limit } => {
                let Some(remembered) = self.0.get_mut(&stream) else { return };
                match limit.filter(|limit| remembered.base_end <= *limit) {
                    Some(limit) => remembered.changes.retain(|change| change.end <= limit),
                    None => drop(self.0.remove(&stream)),
                }
            }
            LogEntry::Whole | LogEntry::Complete | LogEntry::Opened(_) => {}
        }
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are changes of this stream after windows that end later than the limit.
    pub(crate) fn is_beyond(&self, stream: &WindowStream, limit: Option<i64>) -> bool {
        self.0.get(stream).is_some_and(|remembered| {
            let last = remembered.changes.iter().map(|change| change.end).fold(remembered.base_end, i64::max);
            limit.is_none_or(|limit| last > limit)
        })
    }

    /// The streams of a shard.
    pub(crate) fn streams_of(&self, shard: u32) -> Vec<WindowStream> {
        self.0.keys().filter(|stream| stream.shard == shard).cloned().collect()
    }

    /// Every series of a stream after the windows up to `limit`, and the end of the last of them that changed
    /// something.
    pub(crate) fn at(&self, stream: &WindowStream, limit: i64) -> Option<(i64, Vec<Series>)> {
        let remembered = self.0.get(stream)?;
        let (mut end, mut series) = (remembered.base_end, remembered.base.clone());
        for change in remembered.changes.iter().filter(|change| change.end <= limit) {
            end = change.end;
            take_up(&mut series, &change.set, &change.gone);
        }
        (end > i64::MIN && end <= limit).then(|| (end, series.into_values().collect()))
    }

    /// No restart goes back to before the windows of this stream that end at `end`.
    pub(crate) fn trim(&mut self, stream: &WindowStream, end: i64) {
        let Some(remembered) = self.0.get_mut(stream) else { return };
        while let Some(change) = remembered.changes.pop_front_if(|change| change.end <= end) {
            take_up(&mut remembered.base, &change.set, &change.gone);
            remembered.base_end = change.end;
        }
    }

    /// Makes one change of those after windows of this stream that end within `ends`: no restart goes back to
    /// between them.
    pub(crate) fn merge(&mut self, stream: &WindowStream, ends: RangeInclusive<i64>) {
        let Some(Remembered { changes, .. }) = self.0.get_mut(stream) else { return };
        let begin = changes.partition_point(|change| change.end < *ends.start());
        let end = changes.partition_point(|change| change.end <= *ends.end());
        if end.saturating_sub(begin) < 2 {
            return;
        }
        let (mut last, mut latest) = (i64::MIN, HashMap::new());
        for change in changes.drain(begin..end) {
            last = last.max(change.end);
            latest.extend(change.gone.into_iter().map(|key| (key, None)));
            latest.extend(change.set.into_iter().map(|series| (series.key(), Some(series))));
        }
        let mut merged = Change { end: last, set: Vec::new(), gone: Vec::new() };
        for (key, series) in latest {
            match series {
                Some(series) => merged.set.push(series),
                None => merged.gone.push(key),
            }
        }
        changes.insert(begin, merged);
    }

    /// Forgets streams for which `open` does not hold, when they have more than `most` series.
    pub(crate) fn forget_closed(&mut self, open: impl Fn(&WindowStream) -> bool, most: usize) {
        let closed =
            self.0.iter().filter(|(stream, _)| !open(stream)).map(|(_, remembered)| remembered.len());
        if closed.sum::<usize>() > most {
            self.0.retain(|stream, _| open(stream));
        }
    }

    /// All that is remembered, as entries.
    pub(crate) fn whole(&self) -> Vec<LogEntry> {
        let mut entries = vec![LogEntry::Whole];
        for (stream, remembered) in &self.0 {
            let changed = |end: i64, set: Vec<Series>, gone: Vec<String>| LogEntry::Changed {
                stream: stream.clone(),
                end,
                set,
                gone,
            };
            if remembered.base_end > i64::MIN {
                entries.push(changed(
                    remembered.base_end,
                    remembered.base.values().cloned().collect(),
                    Vec::new(),
                ));
            }
            let changes = remembered.changes.iter();
            entries
                .extend(changes.map(|change| changed(change.end, change.set.clone(), change.gone.clone())));
        }
        entries.push(LogEntry::Complete);
        entries
    }
}

fn take_up(series: &mut HashMap<String, Series>, set: &[Series], gone: &[String]) {
    for key in gone {
        series.remove(key);
    }
    series.extend(set.iter().map(|series| (series.key(), series.clone())));
}

impl Recovery {
    /// The next entry.
    pub(crate) fn read(&mut self, entry: LogEntry) {
        match entry {
            LogEntry::Whole => self.whole = Some(RememberedSeries::default()),
            LogEntry::Complete => self.known = self.whole.take().unwrap_or(std::mem::take(&mut self.known)),
            LogEntry::Opened(_) => self.whole = None,
            LogEntry::Changed { .. } | LogEntry::Back { .. } => {
                self.whole.as_mut().unwrap_or(&mut self.known).apply(entry);
            }
        }
    }

    /// The state.
    pub(crate) fn finish(self) -> RememberedSeries {
        self.known
    }
}
