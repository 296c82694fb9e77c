//! The batches of one lane that are exported together, so that the lane's next owner could repeat the export.
//! Sans-IO.
//!
//! * Batches come in the order of their positions. A range begins where the one before ended and ends with a
//!   batch.
//! * One range at a time is on its way.
//! * A range that an earlier owner had begun is cut exactly as it was. It waits until all of it has arrived,
//!   however long that takes, and is never exported in part.

use std::collections::VecDeque;
use std::ops::Range;

/// A batch, as ranges see it.
pub trait RangeBatch {
    /// Its positions.
    fn positions(&self) -> Range<i64>;
    /// Its rows.
    fn rows(&self) -> usize;
    /// Its bytes.
    fn bytes(&self) -> u64;
}

/// A number of rows and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Rows.
    pub rows: usize,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Half of it.
    #[must_use]
    pub fn half(self) -> Amount {
        Amount { rows: self.rows / 2, bytes: self.bytes / 2 }
    }

    /// Whether there is enough in one or the other.
    #[must_use]
    pub fn reaches(self, enough: Amount) -> bool {
        self.rows >= enough.rows || self.bytes >= enough.bytes
    }
}

/// The batches of one lane that wait for one sink. `T` is the clock's instant.
#[derive(Debug)]
pub struct Ranges<P, T> {
    enough: Amount,
    /// Where the next range begins.
    from: Option<i64>,
    /// The end of the range that has to be repeated.
    repeat: Option<i64>,
    complete: VecDeque<BatchRange<P, T>>,
    open: Option<BatchRange<P, T>>,
    in_flight: bool,
}

/// A range and its batches.
#[derive(Debug)]
pub struct BatchRange<P, T> {
    /// The positions.
    pub range: Range<i64>,
    /// The batches.
    pub batches: Vec<P>,
    /// When the first batch has waited long enough.
    pub due: T,
    /// The positions of the batches.
    pub amount: Amount,
}

impl<P: RangeBatch, T: Copy + Ord> Ranges<P, T> {
    /// Ranges after `exported`, which are complete with `enough`. `unfinished`: what an earlier owner had
    /// begun.
    pub fn new(enough: Amount, exported: Option<i64>, unfinished: Option<Range<i64>>) -> Ranges<P, T> {
        let repeat = unfinished.map(|range| range.end);
        Ranges { enough, from: exported, repeat, complete: VecDeque::new(), open: None, in_flight: false }
    }

    /// Adds the next batch, which may wait until `due`.
    pub fn add(&mut self, batch: P, due: T) {
        let positions = batch.positions();
        if self.repeat.is_some_and(|end| positions.start >= end) {
            // The rest of the range is not there any more, or never had a batch.
            self.complete_repeat(due);
        }
        let from = *self.from.get_or_insert(positions.start);
        let open = self.open.get_or_insert_with(|| BatchRange {
            range: from..from,
            batches: Vec::new(),
            due,
            amount: Amount::default(),
        });
        open.range.end = positions.end;
        open.amount.rows += batch.rows();
        open.amount.bytes += batch.bytes();
        open.batches.push(batch);
        let full = open.amount.reaches(self.enough);
        match self.repeat {
            Some(end) if positions.end >= end => self.complete_repeat(due),
            None if full => self.complete(),
            Some(_) | None => {}
        }
    }

    /// When [`take`](Self::take) may give something. `None`: not without a further batch, or
    /// [`delivered`](Self::delivered).
    pub fn due(&self) -> Option<T> {
        if self.in_flight {
            return None;
        }
        let open = self.open.as_ref().filter(|_| self.repeat.is_none());
        self.complete.front().or(open).map(|cut| cut.due)
    }

    /// Whether [`take`](Self::take) gives something before it is due.
    pub fn is_ready(&self) -> bool {
        !self.in_flight && !self.complete.is_empty()
    }

    /// Takes the next range, when it is complete or due at `now`. It is on its way until
    /// [`delivered`](Self::delivered).
    pub fn take(&mut self, now: T) -> Option<BatchRange<P, T>> {
        if self.in_flight {
            return None;
        }
        if self.complete.is_empty()
            && self.repeat.is_none()
            && self.open.as_ref().is_some_and(|cut| cut.due <= now)
        {
            self.complete();
        }
        let cut = self.complete.pop_front()?;
        self.in_flight = true;
        Some(cut)
    }

    /// The range that was taken is delivered.
    pub fn delivered(&mut self) {
        self.in_flight = false;
    }

    /// No further batch comes: what waits is due now.
    pub fn ended(&mut self, now: T) {
        if let Some(open) = &mut self.open {
            open.due = open.due.min(now);
        }
    }

    /// Whether nothing waits or is on its way.
    pub fn is_empty(&self) -> bool {
        !self.in_flight && self.complete.is_empty() && self.open.is_none()
    }

    /// Everything that waits, in order.
    pub fn into_batches(self) -> impl Iterator<Item = P> {
        self.complete.into_iter().chain(self.open).flat_map(|cut| cut.batches)
    }

    /// The batches that are not yet in a range.
    pub fn open(&self) -> Amount {
        self.open.as_ref().map_or_else(Amount::default, |open| open.amount)
    }

    /// Whether what waits can only go with more batches: not all of a range that has to be repeated is there.
    pub fn is_stuck(&self) -> bool {
        self.repeat.is_some() && self.open.is_some()
    }

    fn complete(&mut self) {
        if let Some(cut) = self.open.take() {
            self.from = Some(cut.range.end);
            self.complete.push_back(cut);
        }
    }

    /// The batches that are there are all of the range that has to be repeated.
    fn complete_repeat(&mut self, due: T) {
        let (Some(end), Some(from)) = (self.repeat.take(), self.from) else { return };
        let nothing = BatchRange { range: from..from, batches: Vec::new(), due, amount: Amount::default() };
        let mut cut = self.open.take().unwrap_or(nothing);
        cut.range.end = end;
        self.from = Some(end);
        self.complete.push_back(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Batch(Range<i64>);

    impl RangeBatch for Batch {
        fn positions(&self) -> Range<i64> {
            self.0.clone()
        }
        fn rows(&self) -> usize {
            usize::try_from(self.0.end - self.0.start).unwrap()
        }
        fn bytes(&self) -> u64 {
            1
        }
    }

    fn ranges(exported: Option<i64>, unfinished: Option<Range<i64>>) -> Ranges<Batch, u32> {
        Ranges::new(Amount { rows: 10, bytes: 100 }, exported, unfinished)
    }

    fn taken(ranges: &mut Ranges<Batch, u32>, now: u32) -> Option<(Range<i64>, usize)> {
        ranges.take(now).map(|cut| (cut.range, cut.batches.len()))
    }

    #[test]
    fn a_range_is_taken_when_it_is_full_or_due_and_one_at_a_time() {
        let mut lane = ranges(None, None);
        lane.add(Batch(0..4), 5);
        assert_eq!(taken(&mut lane, 4), None);
        assert_eq!(taken(&mut lane, 5), Some((0..4, 1)));
        lane.add(Batch(4..9), 6);
        lane.add(Batch(9..20), 6);
        assert_eq!((lane.due(), taken(&mut lane, 9)), (None, None), "one is on its way");
        lane.delivered();
        assert!(lane.is_ready());
        assert_eq!(taken(&mut lane, 0), Some((4..20, 2)));
    }

    #[test]
    fn what_waits_is_due_when_the_lane_has_ended() {
        let mut lane = ranges(None, None);
        lane.add(Batch(0..4), 500);
        assert_eq!(taken(&mut lane, 4), None);
        lane.ended(4);
        assert_eq!((lane.due(), taken(&mut lane, 4)), (Some(4), Some((0..4, 1))));
    }

    #[test]
    fn holes_belong_to_the_range_that_follows() {
        let mut lane = ranges(Some(7), None);
        lane.add(Batch(9..12), 1);
        assert_eq!(taken(&mut lane, 1), Some((7..12, 1)));
    }

    #[test]
    fn a_range_that_was_begun_is_cut_as_it_was() {
        let mut lane = ranges(Some(0), Some(0..30));
        lane.add(Batch(0..25), 1);
        assert_eq!((lane.due(), taken(&mut lane, 9)), (None, None), "full and due, but not all of it");
        lane.add(Batch(25..30), 1);
        lane.add(Batch(30..32), 1);
        assert_eq!(taken(&mut lane, 0), Some((0..30, 2)));
        lane.delivered();
        assert_eq!(taken(&mut lane, 1), Some((30..32, 1)));
    }

    #[test]
    fn a_begun_range_is_stuck_until_all_of_it_is_there() {
        let mut ranges = ranges(Some(0), Some(0..20));
        assert!(!ranges.is_stuck());
        ranges.add(Batch(0..10), 1);
        assert!(ranges.is_stuck());
        ranges.add(Batch(10..20), 1);
        assert!(!ranges.is_stuck());
    }

    #[test]
    fn what_is_gone_from_a_begun_range_is_left_out() {
        let mut lane = ranges(Some(0), Some(0..30));
        lane.add(Batch(0..5), 1);
        lane.add(Batch(40..41), 1);
        assert_eq!(taken(&mut lane, 0), Some((0..30, 1)));
        lane.delivered();
        assert_eq!(taken(&mut lane, 1), Some((30..41, 1)));
        let mut lane = ranges(Some(0), Some(0..30));
        lane.add(Batch(40..41), 1);
        assert_eq!(taken(&mut lane, 0), Some((0..30, 0)), "all of it is gone");
    }
}
