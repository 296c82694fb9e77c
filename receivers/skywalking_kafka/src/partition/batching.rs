//! Which records of a partition go down its lane in one batch. Sans-IO: time is an argument.
//!
//! A record is copied once, into the arena of its batch. A batch is complete in three cases: it has
//! `max_records` records, the next record would make it larger than `max_bytes`, or its first record has
//! waited for `timeout`.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use weir_pdata::Format;

/// The cost of a waiting record beside its bytes.
const RECORD_OVERHEAD: usize = 64;

/// How a record is encoded, and its times in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its encoding. A batch has records of one.
    pub(crate) format: Format,
    /// When the broker appended it, where the topic keeps that time.
    pub(crate) arrival: Option<i64>,
    /// The time of the record, whoever set it.
    pub(crate) written: Option<i64>,
}

/// Records of one partition, laid end to end, and the offsets that they take the lane past.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The records' bytes.
    pub(crate) arena: Vec<u8>,
    /// Where each record is in the arena.
    pub(crate) records: Vec<Range<u32>>,
    /// The offset of each record. Offsets may have holes.
    pub(crate) offsets: Vec<i64>,
    /// When each record was appended, where the topic keeps that: of all of them or of none.
    pub(crate) arrivals: Vec<i64>,
    /// The time of each record; 0 where it has none.
    pub(crate) written: Vec<i64>,
    /// The keys of the records.
    pub(crate) keys: Keys,
    /// How the records are encoded, when there are any.
    pub(crate) format: Option<Format>,
    /// The first offset of the chunk, of a record or of one that was skipped.
    pub(crate) start: i64,
    /// One past the last offset.
    pub(crate) end: i64,
}

/// The keys of several records, laid end to end. A record without one has an empty one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Keys {
    /// Adds the key of the next record.
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// The key of a record; `None` when it has none.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = usize::try_from(*self.ends.get(index)?).ok()?;
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.map_or(Some(0), |start| usize::try_from(*start).ok())?;
        self.bytes.get(start..end).filter(|key| !key.is_empty())
    }
}

impl Chunk {
    fn weight(&self) -> usize {
        self.arena.len() + self.keys.bytes.len() + self.records.len() * RECORD_OVERHEAD
    }
}

/// When a batch is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Records of a batch, at least 1.
    pub(crate) max_records: usize,
    /// Bytes of a batch of more than one record.
    pub(crate) max_bytes: usize,
    /// The longest that a record waits.
    pub(crate) timeout: Duration,
}

/// The records of one partition that wait for its lane.
#[derive(Debug)]
pub(crate) struct Batching {
    limits: Limits,
    /// Offsets that no batch may span, rising.
    cuts: VecDeque<i64>,
    complete: VecDeque<Chunk>,
    open: Option<(Chunk, Instant)>,
    weight: usize,
    /// Bytes and records for which the next batch gets room: it is likely as large as the last one.
    likely: (usize, usize),
}

impl Batching {
    /// `cuts`: offsets that no batch may span, rising.
    pub(crate) fn new(limits: Limits, cuts: Vec<i64>) -> Batching {
        Batching {
            limits,
            cuts: cuts.into(),
            complete: VecDeque::new(),
            open: None,
            weight: 0,
            likely: (0, 0),
        }
    }

    /// Takes the next record. Returns whether the reader has to be woken: the first record came, or a
    /// batch is complete.
    pub(crate) fn push(
        &mut self,
        offset: i64,
        stamp: Stamp,
        (key, record): (&[u8], &[u8]),
        now: Instant,
    ) -> bool {
        let Stamp { format, arrival, written } = stamp;
        let mut wake = self.cut(offset) || self.open.is_none();
        let full = |chunk: &Chunk| {
            let too_large = chunk.arena.len() + record.len() > self.limits.max_bytes;
            let other_kind =
                chunk.arrivals.is_empty() == arrival.is_some() || chunk.format.is_some_and(|of| of != format);
            !chunk.records.is_empty() && (too_large || other_kind)
        };
        if self.open.as_ref().is_some_and(|(chunk, _)| full(chunk)) {
            self.complete_open();
            wake = true;
        }
        let likely = self.likely;
        let (chunk, _) = self.open.get_or_insert_with(|| (begin(offset, likely), now));
        // The arena ends below 2^31: `max_bytes` and a record are at most 512 MiB each.
        let start = u32::try_from(chunk.arena.len()).unwrap_or(u32::MAX);
        chunk.arena.extend_from_slice(record);
        let end = u32::try_from(chunk.arena.len()).unwrap_or(u32::MAX);
        chunk.records.push(start..end);
        chunk.offsets.push(offset);
        if let Some(arrival) = arrival {
            if chunk.arrivals.is_empty() {
                chunk.arrivals.reserve(likely.1);
            }
            chunk.arrivals.push(arrival);
        }
        chunk.format = Some(format);
        chunk.written.push(written.unwrap_or(0));
        chunk.keys.push(key);
        chunk.end = offset.saturating_add(1);
        self.weight += record.len() + key.len() + RECORD_OVERHEAD;
        if chunk.records.len() >= self.limits.max_records || chunk.arena.len() >= self.limits.max_bytes {
            self.complete_open();
            wake = true;
        }
        wake
    }

    /// Takes the lane past a record that has nothing for it. Returns as [`push`](Self::push).
    pub(crate) fn skip(&mut self, offset: i64, now: Instant) -> bool {
        let wake = self.cut(offset) || self.open.is_none();
        let (chunk, _) = self.open.get_or_insert_with(|| (begin(offset, (0, 0)), now));
        chunk.end = offset.saturating_add(1);
        wake
    }

    /// The oldest batch that is complete at `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Chunk> {
        if self.complete.is_empty() && self.ready_at().is_some_and(|ready| ready <= now) {
            self.complete_open();
        }
        let chunk = self.complete.pop_front()?;
        self.weight = self.weight.saturating_sub(chunk.weight());
        Some(chunk)
    }

    /// When [`take`](Self::take) gives something without a further record; `None` when nothing waits.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        let (_, since) = self.open.as_ref()?;
        Some(*since + self.limits.timeout)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && self.complete.is_empty()
    }

    /// Bytes that wait, with what the records cost beside theirs.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Completes the open batch when `offset` is behind a cut. Whether it did.
    fn cut(&mut self, offset: i64) -> bool {
        let mut passed = false;
        while self.cuts.front().is_some_and(|cut| *cut <= offset) {
            self.cuts.pop_front();
            passed = true;
        }
        let cut = passed && self.open.is_some();
        if cut {
            self.complete_open();
        }
        cut
    }

    fn complete_open(&mut self) {
        if let Some((chunk, _)) = self.open.take() {
            // A little more than it had: an arena that grows is copied.
            let bytes = chunk.arena.len() + chunk.arena.len() / 8;
            self.likely = (bytes.min(self.limits.max_bytes), chunk.records.len());
            self.complete.push_back(chunk);
        }
    }
}

fn begin(offset: i64, (bytes, records): (usize, usize)) -> Chunk {
    Chunk {
        arena: Vec::with_capacity(bytes),
        records: Vec::with_capacity(records),
        offsets: Vec::with_capacity(records),
        arrivals: Vec::new(),
        written: Vec::with_capacity(records),
        keys: Keys::default(),
        format: None,
        start: offset,
        end: offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn at(arrival: Option<i64>) -> Stamp {
        Stamp { format: Format::SkyWalkingSegment, arrival, written: None }
    }

    fn batching(max_records: usize, max_bytes: usize) -> (Batching, Instant) {
        (Batching::new(Limits { max_records, max_bytes, timeout: WAIT }, Vec::new()), Instant::now())
    }

    #[test]
    fn a_batch_is_complete_with_its_number_of_records() {
        let (mut batching, now) = batching(2, 1000);
        assert!(batching.push(5, at(None), (b"", b"one"), now), "the reader has to know when to wake");
        assert_eq!(batching.take(now), None);
        assert!(batching.push(6, at(None), (b"", b"two!"), now));
        let chunk = batching.take(now).unwrap();
        assert_eq!((chunk.start, chunk.end), (5, 7));
        assert_eq!(chunk.arena, b"onetwo!");
        assert_eq!(chunk.records, [0..3, 3..7]);
        assert_eq!(chunk.offsets, [5, 6]);
        assert!(batching.is_empty());
        assert_eq!(batching.weight(), 0);
    }

    #[test]
    fn a_batch_has_the_append_times_of_all_its_records_or_of_none() {
        let (mut batching, now) = batching(100, 1000);
        batching.skip(0, now);
        batching.push(1, at(Some(10)), (b"", b"a"), now);
        batching.push(2, at(Some(20)), (b"", b"b"), now);
        assert!(
            batching.push(3, at(None), (b"", b"c"), now),
            "the topic was changed to keep the producers' time"
        );
        batching.push(4, at(Some(40)), (b"", b"d"), now);
        let chunks: Vec<_> = std::iter::from_fn(|| batching.take(now + WAIT)).collect();
        let parts: Vec<_> = chunks.iter().map(|chunk| (chunk.start..chunk.end, &*chunk.arrivals)).collect();
        assert_eq!(parts, [(0..3, [10, 20].as_slice()), (3..4, &[]), (4..5, &[40])]);
    }

    #[test]
    fn no_batch_spans_a_cut() {
        let (_, now) = batching(1, 1);
        let limits = Limits { max_records: 100, max_bytes: 1000, timeout: WAIT };
        let mut batching = Batching::new(limits, vec![7, 30]);
        for offset in [5, 6, 7, 29, 31] {
            batching.push(offset, at(None), (b"", b"x"), now);
        }
        let first = batching.take(now).unwrap();
        let second = batching.take(now).unwrap();
        assert_eq!((first.start, first.end, second.start, second.end), (5, 7, 7, 30));
        assert_eq!(batching.take(now), None, "the third is open");
        assert_eq!(batching.take(now + WAIT).unwrap().start, 31);
    }

    #[test]
    fn a_batch_does_not_exceed_its_bytes_unless_one_record_does() {
        let (mut batching, now) = batching(100, 10);
        batching.push(0, at(None), (b"", &[0; 6]), now);
        assert!(batching.push(1, at(None), (b"", &[0; 6]), now));
        assert!(batching.push(2, at(None), (b"", &[0; 50]), now));
        let sizes: Vec<_> =
            std::iter::from_fn(|| batching.take(now)).map(|chunk| chunk.arena.len()).collect();
        assert_eq!(sizes, [6, 6, 50]);
    }

    #[test]
    fn a_record_waits_no_longer_than_the_timeout() {
        let (mut batching, now) = batching(100, 1000);
        batching.push(0, at(None), (b"", b"a"), now);
        assert!(
            !batching.push(1, at(None), (b"", b"b"), now + WAIT / 2),
            "the reader already knows when to wake"
        );
        assert_eq!(batching.ready_at(), Some(now + WAIT));
        assert_eq!(batching.take(now + WAIT - Duration::from_millis(1)), None);
        assert_eq!(batching.take(now + WAIT).unwrap().records.len(), 2);
        assert_eq!(batching.ready_at(), None);
    }

    #[test]
    fn the_end_is_one_past_the_last_offset_whatever_the_holes() {
        let (mut batching, now) = batching(100, 1000);
        batching.skip(10, now);
        batching.push(12, at(None), (b"", b"a"), now);
        batching.push(20, at(None), (b"", b"b"), now);
        batching.skip(25, now);
        let chunk = batching.take(now + WAIT).unwrap();
        assert_eq!((chunk.start, chunk.end), (10, 26));
        assert_eq!(chunk.offsets, [12, 20]);
    }

    #[test]
    fn skipped_records_alone_still_take_the_lane_on() {
        let (mut batching, now) = batching(100, 1000);
        assert!(batching.skip(3, now));
        let chunk = batching.take(now + WAIT).unwrap();
        assert!(chunk.records.is_empty());
        assert_eq!(chunk.end, 4);
    }

    #[test]
    fn a_batch_has_records_of_one_encoding_and_their_times() {
        let (mut batching, now) = batching(100, 1000);
        let stamp = |format| Stamp { format, arrival: None, written: Some(7) };
        batching.push(0, stamp(Format::SkyWalkingPing), (b"", b"a"), now);
        batching.push(1, stamp(Format::SkyWalkingPing), (b"", b"b"), now);
        assert!(batching.push(2, stamp(Format::SkyWalkingSegment), (b"", b"c"), now));
        let chunks: Vec<_> = std::iter::from_fn(|| batching.take(now + WAIT)).collect();
        let parts: Vec<_> = chunks.iter().map(|chunk| (chunk.format, &*chunk.written, chunk.end)).collect();
        assert_eq!(
            parts,
            [
                (Some(Format::SkyWalkingPing), [7, 7].as_slice(), 2),
                (Some(Format::SkyWalkingSegment), &[7], 3)
            ]
        );
    }
}
