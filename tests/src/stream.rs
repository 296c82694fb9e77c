//! An input of known content, and the windows that have to come of it, computed without Weir.

use std::collections::BTreeMap;

use crate::{Entry, Record};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// 2023-11-14T22:13:20Z: in the past, so that no event is from the future. A multiple of every slide below.
pub const START: i64 = 1_700_000_000_000 - 1_700_000_000_000 % 420_000;
/// Event time from one segment to the next, before disorder.
const STEP_MS: i64 = 6;
/// How far segments are out of order; the configuration allows for more.
pub const DISORDER_MS: i64 = 4_000;

/// The segments `0..count` of one seed, over some partitions: of five services, each with three operations.
#[derive(Debug)]
pub struct Stream {
    count: i64,
    partitions: i32,
    disorder: Vec<i64>,
}

/// A row of `window_results`: operator, start of the window, service, operation.
pub type Key = (String, i64, String, String);

/// The content of a row: count, errors, longest, shortest (nanoseconds).
pub type Value = (u64, u64, i64, i64);

impl Stream {
    /// A stream of `count` segments. The same seed gives the same segments, whatever the partitions.
    #[must_use]
    pub fn new(count: i64, partitions: i32, seed: u64) -> Stream {
        let mut random = StdRng::seed_from_u64(seed);
        let disorder = (0..count).map(|_| random.random_range(0..DISORDER_MS)).collect();
        Stream { count, partitions, disorder }
    }

    /// Segments, without the closing ones.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Segments with the closing ones: what must be stored.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.count.unsigned_abs() + u64::from(self.partitions.unsigned_abs())
    }

    fn entry(&self, n: i64) -> Entry {
        Entry {
            id: format!("segment-{n}"),
            service: format!("service-{}", n % 5),
            operation: format!("operation-{}", n / 5 % 3),
            end_ms: START + DISORDER_MS + n * STEP_MS - self.disorder[n as usize],
            duration_ms: 1 + n * 37 % 900,
            failed: n % 11 == 0,
        }
    }

    /// The records of these segments.
    #[must_use]
    pub fn records(&self, topic: &str, segments: std::ops::Range<i64>) -> Vec<Record> {
        segments.map(|n| self.entry(n).record(topic, (n % i64::from(self.partitions)) as i32)).collect()
    }

    /// One record a partition, far later: every window of the stream is over then.
    #[must_use]
    pub fn closing(&self, topic: &str) -> Vec<Record> {
        let end_ms = START + self.count * STEP_MS + 600_000;
        let entry = |partition: i32| Entry { id: format!("closing-{partition}"), end_ms, ..self.entry(0) };
        (0..self.partitions).map(|partition| entry(partition).record(topic, partition)).collect()
    }

    /// Event time before which every window must be there.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        START + self.count * STEP_MS + 60_000
    }

    /// The windows of an operator: `size` long, one beginning every `slide`.
    #[must_use]
    pub fn windows(&self, operator: &str, size: i64, slide: i64) -> BTreeMap<Key, Value> {
        let mut windows: BTreeMap<Key, Value> = BTreeMap::new();
        for n in 0..self.count {
            let entry = self.entry(n);
            let nanos = entry.duration_ms * 1_000_000;
            let mut start = entry.end_ms.div_euclid(slide) * slide;
            while start > entry.end_ms - size {
                let key = (operator.to_owned(), start, entry.service.clone(), entry.operation.clone());
                let value = windows.entry(key).or_insert((0, 0, i64::MIN, i64::MAX));
                *value =
                    (value.0 + 1, value.1 + u64::from(entry.failed), value.2.max(nanos), value.3.min(nanos));
                start -= slide;
            }
        }
        windows
    }
}
