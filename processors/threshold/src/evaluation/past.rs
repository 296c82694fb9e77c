//! What windows had long before, for conditions that ask for it: `offset(count, '1d')`.
//!
//! * The windows of a series are kept for as long as its rule looks back, in chunks: a chunk is what a window
//!   changes of the state that is written down.
//! * At most so many windows are kept, of all series. When there are more, new ones are not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::evaluation::windows::WindowStream;

/// Windows of a chunk, at most. In tests so few that there are several.
const CHUNK: usize = if cfg!(test) { 4 } else { 64 };
/// What is behind the key of a series in the key of a chunk. No key of a series has a letter there.
const MARK: &str = "past:";

/// Some windows of a series, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Chunk {
    columns: Arc<[Arc<str>]>,
    /// Their ends, in nanoseconds, and what they had of the columns.
    rows: Vec<(i64, Box<[Option<f64>]>)>,
}

/// Numbers as their bits: JSON would round some of them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    columns: Vec<String>,
    rows: Vec<(i64, Vec<Option<u64>>)>,
}

impl From<Saved> for Chunk {
    fn from(saved: Saved) -> Chunk {
        let row = |(end, bits): (i64, Vec<Option<u64>>)| {
            (end, bits.into_iter().map(|bits| bits.map(f64::from_bits)).collect())
        };
        Chunk {
            columns: saved.columns.into_iter().map(Arc::from).collect(),
            rows: saved.rows.into_iter().map(row).collect(),
        }
    }
}

impl From<Chunk> for Saved {
    fn from(chunk: Chunk) -> Saved {
        let row = |(end, values): (i64, Box<[Option<f64>]>)| {
            (end, values.iter().map(|value| value.map(f64::to_bits)).collect())
        };
        Saved {
            columns: chunk.columns.iter().map(ToString::to_string).collect(),
            rows: chunk.rows.into_iter().map(row).collect(),
        }
    }
}

impl Chunk {
    /// The end of its first window.
    pub(crate) fn first(&self) -> i64 {
        self.rows.first().map_or(i64::MIN, |(end, _)| *end)
    }

    /// The end of its last window.
    pub(crate) fn last(&self) -> i64 {
        self.rows.last().map_or(i64::MIN, |(end, _)| *end)
    }

    fn value(&self, column: &str, end: i64) -> Option<f64> {
        let at = self.columns.iter().position(|known| **known == *column)?;
        let row = self.rows.binary_search_by_key(&end, |(end, _)| *end).ok()?;
        *self.rows.get(row)?.1.get(at)?
    }
}

/// The key of a chunk.
pub(crate) fn chunk_key(series: &str, first: i64) -> String {
    format!("{series}{MARK}{first}")
}

/// The key of the series of a chunk, and the end of the chunk's first window.
pub(crate) fn series_of(key: &str) -> Option<(&str, i64)> {
    let (series, first) = key.rsplit_once(MARK)?;
    Some((series, first.parse().ok()?))
}

/// The windows that are kept.
pub(crate) struct PastWindows {
    /// By the key of the series.
    series: HashMap<String, Past>,
    windows: usize,
    most: usize,
}

struct Past {
    stream: WindowStream,
    /// The oldest first.
    chunks: VecDeque<Arc<Chunk>>,
}

/// A window that is to be kept.
pub(crate) struct NewWindow<'a> {
    /// Of its series.
    pub(crate) key: &'a str,
    pub(crate) stream: &'a WindowStream,
    pub(crate) end: i64,
    pub(crate) columns: &'a Arc<[Arc<str>]>,
    pub(crate) values: Box<[Option<f64>]>,
    /// How long windows are kept, in nanoseconds.
    pub(crate) keep: i64,
}

impl PastWindows {
    /// Keeps at most so many windows.
    pub(crate) fn new(most: usize) -> PastWindows {
        PastWindows { series: HashMap::new(), windows: 0, most }
    }

    /// How many windows are kept.
    pub(crate) fn len(&self) -> usize {
        self.windows
    }

    /// What the window of a series that ended then had of a column.
    pub(crate) fn value(&self, key: &str, column: &str, end: i64) -> Option<f64> {
        let chunks = &self.series.get(key)?.chunks;
        let behind = chunks.partition_point(|chunk| chunk.first() <= end);
        chunks.get(behind.checked_sub(1)?)?.value(column, end)
    }

    /// Keeps a window, or what is new of the last one, and forgets those that are too old. The keys of the
    /// chunks that have changed go to `changed`. Says whether there was room.
    pub(crate) fn push(&mut self, window: NewWindow<'_>, changed: &mut impl FnMut(String)) -> bool {
        let NewWindow { key, stream, end, columns, values, keep } = window;
        let past = match self.series.get_mut(key) {
            Some(known) => known,
            None => self
                .series
                .entry(key.to_owned())
                .or_insert_with(|| Past { stream: stream.clone(), chunks: VecDeque::new() }),
        };
        while let Some(old) = past.chunks.pop_front_if(|chunk| chunk.last() < end.saturating_sub(keep)) {
            self.windows = self.windows.saturating_sub(old.rows.len());
            changed(chunk_key(key, old.first()));
        }
        // It comes again, and the rule asks for other columns than then.
        let is_other = |chunk: &mut Arc<Chunk>| chunk.first() == end && chunk.columns != *columns;
        if let Some(other) = past.chunks.pop_back_if(is_other) {
            self.windows = self.windows.saturating_sub(other.rows.len());
        }
        let last = past.chunks.back_mut().filter(|chunk| chunk.columns == *columns);
        match last {
            Some(chunk) if chunk.last() == end => {
                let chunk = Arc::make_mut(chunk);
                if let Some(row) = chunk.rows.last_mut() {
                    row.1 = values;
                }
                changed(chunk_key(key, chunk.first()));
                return true;
            }
            _ if self.windows >= self.most => return false,
            Some(chunk) if chunk.rows.len() < CHUNK => {
                let chunk = Arc::make_mut(chunk);
                chunk.rows.push((end, values));
                changed(chunk_key(key, chunk.first()));
            }
            _ => {
                past.chunks
                    .push_back(Arc::new(Chunk { columns: columns.clone(), rows: vec![(end, values)] }));
                changed(chunk_key(key, end));
            }
        }
        self.windows += 1;
        true
    }

    /// The chunk that begins with the window that ended then.
    pub(crate) fn chunk(&self, key: &str, first: i64) -> Option<&Arc<Chunk>> {
        let chunks = &self.series.get(key)?.chunks;
        let at = chunks.binary_search_by_key(&first, |chunk| chunk.first()).ok()?;
        chunks.get(at)
    }

    /// Keeps a chunk as it was kept.
    pub(crate) fn restore(&mut self, key: String, stream: WindowStream, chunk: Arc<Chunk>) {
        let past = self.series.entry(key).or_insert_with(|| Past { stream, chunks: VecDeque::new() });
        self.windows += chunk.rows.len();
        let at = past.chunks.partition_point(|known| known.first() < chunk.first());
        past.chunks.insert(at, chunk);
    }

    /// Forgets the windows of a shard, without a word.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.retain(|_, stream| stream.shard != shard, &mut |_, _| {});
    }

    /// Forgets the windows of series for which `is_kept` does not hold. The keys of their chunks go to
    /// `gone`.
    pub(crate) fn retain(
        &mut self,
        is_kept: impl Fn(&str, &WindowStream) -> bool,
        gone: &mut impl FnMut(String, &WindowStream),
    ) {
        let windows = &mut self.windows;
        self.series.retain(|key, past| {
            if is_kept(key, &past.stream) {
                return true;
            }
            for chunk in &past.chunks {
                *windows = windows.saturating_sub(chunk.rows.len());
                gone(chunk_key(key, chunk.first()), &past.stream);
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// By the definition: each window that is not too old, with what it had last; after being written
        /// down and read at any time, too.
        #[test]
        fn windows_are_kept_as_long_as_they_are_looked_back_to(
            steps in prop::collection::vec((0_i64..4, prop::option::of(-1.0..1.0), any::<bool>()), 1..60),
            keep in 1_i64..30,
            other_from in 0_usize..80,
        ) {
            let stream = WindowStream { operator: "a".into(), shard: 0 };
            let names = |name: &str| Arc::from([Arc::from(name), Arc::from("both")]);
            let (mut past, mut expected) = (PastWindows::new(1_000), BTreeMap::new());
            let (mut end, mut written) = (0, BTreeMap::<String, String>::new());
            for (step, (gap, value, restarts)) in steps.into_iter().enumerate() {
                // No gap: the last window comes again.
                end += gap;
                let name = if step < other_from { "x" } else { "y" };
                let columns = names(name);
                let values = Box::from([value, Some(end as f64)]);
                let window = NewWindow { key: "k", stream: &stream, end, columns: &columns, values, keep };
                let mut changed = Vec::new();
                prop_assert!(past.push(window, &mut |key| changed.push(key)));
                expected.insert(end, (name, value));
                expected.retain(|kept, _| *kept >= end - keep);
                for key in changed {
                    let (series, first) = series_of(&key).unwrap();
                    match past.chunk(series, first) {
                        Some(chunk) => {
                            written.insert(key.clone(), serde_json::to_string(&**chunk).unwrap());
                        }
                        None => drop(written.remove(&key)),
                    }
                }
                if restarts {
                    past = PastWindows::new(1_000);
                    for chunk in written.values().rev() {
                        let chunk: Chunk = serde_json::from_str(chunk).unwrap();
                        past.restore("k".to_owned(), stream.clone(), Arc::new(chunk));
                    }
                }
                for at in end - keep - 3..=end {
                    let known = expected.get(&at);
                    let of = |column: &str| past.value("k", column, at);
                    // Those of a chunk that is not over may be older.
                    if at >= end - keep {
                        prop_assert_eq!(of("both"), known.map(|_| at as f64), "{} at {}", at, end);
                        for name in ["x", "y"] {
                            let value = known.filter(|(known, _)| *known == name);
                            let value = value.and_then(|(_, value)| *value);
                            prop_assert_eq!(of(name), value);
                        }
                    }
                }
                prop_assert!(past.len() <= expected.len() + CHUNK);
            }
            let mut gone = 0;
            past.retain(|_, _| false, &mut |_, _| gone += 1);
            prop_assert_eq!((past.len(), gone), (0, written.len()));
        }
    }
}
