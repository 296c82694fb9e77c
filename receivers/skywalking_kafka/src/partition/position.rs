//! How far one ownership of a partition has come. Sans-IO.

use weir_component::delivery::Ledger;

use crate::rebalance::start_offsets::{LogChange, Recheck, Start};

/// The positions of one ownership. Dropped with it: acks that come later change nothing.
pub(crate) struct ReadPosition {
    /// The part of the lane that is done, and the part that is on its way.
    pub(crate) ledger: Ledger,
    /// One past the last record that came.
    next: i64,
    /// Records before it are only looked at.
    begin: i64,
    /// Whether those that are only looked at are all that the partition has.
    search: bool,
    /// Records before it have been read by an earlier owner.
    reached: i64,
    /// Under leaders up to this epoch.
    before: Option<i32>,
    /// The latest epoch of what was read.
    epoch: i32,
    failure_reported: bool,
}

/// The meaning of a record, or of the end of the partition, for the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// It comes next; offsets from `gap` on were left out before it.
    Next {
        /// The first offset that was left out.
        gap: Option<i64>,
    },
    /// It has been read before.
    AlreadyRead,
    /// The partition is not what it was: its lane has to begin again.
    Broken(LogChange),
}

impl ReadPosition {
    /// Reading begins at `start`.
    pub(crate) fn new(ledger: Ledger, start: &Start) -> ReadPosition {
        let known = start.metadata.epoch;
        let reached = start.metadata.exported.values().chain(start.metadata.pending.values()).copied().max();
        let reached = reached.unwrap_or(i64::MIN).max(start.offset);
        ReadPosition {
            ledger,
            next: start.read_from(),
            begin: start.offset,
            search: matches!(start.check, Recheck::From(_)),
            reached,
            before: known,
            epoch: known.unwrap_or(-1),
            failure_reported: false,
        }
    }

    /// The record at `offset` came, written under this epoch (-1: not known).
    pub(crate) fn read(&mut self, offset: i64, epoch: i32) -> Continuity {
        if offset < self.next {
            return Continuity::Broken(LogChange::Unplaced);
        }
        if offset < self.reached && self.before.is_some_and(|known| epoch > known) {
            // Between what is only looked at and the last record before there may be more of the new ones.
            let found = self.search || offset >= self.begin;
            return Continuity::Broken(if found {
                LogChange::TruncatedAt(offset)
            } else {
                LogChange::Unplaced
            });
        }
        let gap = self.gap(offset);
        self.next = offset.saturating_add(1);
        if offset < self.begin {
            return Continuity::AlreadyRead;
        }
        self.epoch = self.epoch.max(epoch);
        Continuity::Next { gap }
    }

    /// The partition is read up to `end`, before which there is nothing more to read.
    pub(crate) fn reach(&mut self, end: i64) -> Continuity {
        if self.search {
            return Continuity::Broken(LogChange::TruncatedAt(end));
        }
        if end < self.next || end < self.begin {
            return Continuity::Broken(LogChange::Unplaced);
        }
        let gap = self.gap(end);
        self.next = end;
        Continuity::Next { gap }
    }

    fn gap(&self, to: i64) -> Option<i64> {
        let from = self.next.max(self.begin);
        (to > from).then_some(from)
    }

    /// The latest epoch of what was read, here and by earlier owners; -1 when not known.
    pub(crate) fn epoch(&self) -> i32 {
        if self.before.is_none() && self.next < self.reached { -1 } else { self.epoch }
    }

    /// Records between the position and `end`, the end of the partition.
    pub(crate) fn lag(&self, end: i64) -> i64 {
        end.saturating_sub(self.next).max(0)
    }

    /// Whether some input failed, the first time that it is asked.
    pub(crate) fn failure(&mut self) -> bool {
        let news = !self.failure_reported && self.ledger.tracker().has_failed();
        self.failure_reported |= news;
        news
    }
}

impl Drop for ReadPosition {
    fn drop(&mut self) {
        self.ledger.close();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use weir_component::delivery::{LedgerSpec, Metadata, Shard};

    /// A ledger that is not written down.
    pub(crate) fn ledger(position: i64) -> Ledger {
        Ledger::new(LedgerSpec {
            source: "cluster/group/t".into(),
            input: None,
            set: None,
            number: 0,
            shard: Shard(0),
            own: Shard(1),
            position: Some(position),
            metadata: Metadata::default(),
            wake: Arc::new(|| {}),
        })
    }

    fn position(offset: i64, check: Recheck, metadata: Metadata) -> ReadPosition {
        ReadPosition::new(ledger(offset), &Start { offset, check, metadata, trouble: None })
    }

    fn plain(offset: i64) -> ReadPosition {
        position(offset, Recheck::Nothing, Metadata::default())
    }

    /// Read up to 60 under epochs up to 3.
    fn read_before() -> Metadata {
        let exported = BTreeMap::from([("main/db".to_owned(), 60)]);
        Metadata { epoch: Some(3), exported, ..Metadata::default() }
    }

    #[test]
    fn lag_counts_from_the_next_record() {
        let mut position = plain(40);
        assert_eq!(position.lag(50), 10);
        assert_eq!(position.read(49, 0), Continuity::Next { gap: Some(40) });
        assert_eq!((position.lag(50), position.lag(45)), (0, 0));
        assert_eq!(
            position.read(0, 0),
            Continuity::Broken(LogChange::Unplaced),
            "the topic was created again"
        );
    }

    #[test]
    fn what_is_no_record_is_passed_at_the_end() {
        let mut position = plain(40);
        assert_eq!(position.read(40, 0), Continuity::Next { gap: None });
        assert_eq!(position.reach(50), Continuity::Next { gap: Some(41) });
        assert_eq!(position.lag(50), 0);
        assert_eq!(position.reach(50), Continuity::Next { gap: None });
        assert_eq!(position.read(50, 0), Continuity::Next { gap: None });
        assert_eq!(position.reach(10), Continuity::Broken(LogChange::Unplaced));
    }

    #[test]
    fn a_record_that_was_written_after_what_was_read_before_tells_of_a_truncation() {
        let mut position = position(50, Recheck::Last, read_before());
        assert_eq!(position.read(49, 3), Continuity::AlreadyRead);
        assert_eq!(position.read(50, 3), Continuity::Next { gap: None });
        assert_eq!(position.read(55, 4), Continuity::Broken(LogChange::TruncatedAt(55)));
        assert_eq!(position.read(60, 4), Continuity::Next { gap: Some(51) }, "it had not been read");
        assert_eq!(position.epoch(), 4);
    }

    #[test]
    fn a_truncation_below_the_committed_offset_is_searched_for() {
        let mut last = position(50, Recheck::Last, read_before());
        assert_eq!(last.read(49, 4), Continuity::Broken(LogChange::Unplaced));
        let mut search = position(i64::MAX, Recheck::From(10), read_before());
        assert_eq!(search.read(10, 2), Continuity::AlreadyRead);
        assert_eq!(search.read(20, 3), Continuity::AlreadyRead);
        assert_eq!(search.read(21, 4), Continuity::Broken(LogChange::TruncatedAt(21)));
        let mut nothing_new = position(i64::MAX, Recheck::From(10), read_before());
        assert_eq!(nothing_new.reach(30), Continuity::Broken(LogChange::TruncatedAt(30)));
    }

    #[test]
    fn an_epoch_counts_when_all_is_read_that_an_earlier_owner_read_without_writing_one_down() {
        // As an earlier version of the program left it.
        let mut position = position(50, Recheck::Nothing, Metadata { epoch: None, ..read_before() });
        assert_eq!(position.read(50, 5), Continuity::Next { gap: None });
        assert_eq!(position.epoch(), -1, "what comes before 60 may be of a later one");
        assert_eq!(position.read(58, 6), Continuity::Next { gap: Some(51) });
        assert_eq!(position.epoch(), -1);
        assert_eq!(position.read(59, 6), Continuity::Next { gap: None });
        assert_eq!(position.epoch(), 6);
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut position = plain(0);
        let bad = position.ledger.tracker().track(20);
        assert!(!position.failure());
        bad.fail();
        drop(bad);
        assert!(position.failure());
        assert!(!position.failure());
    }

    #[test]
    fn the_end_of_an_ownership_closes_its_ledger() {
        let ledger = ledger(0);
        let start =
            Start { offset: 0, check: Recheck::Nothing, metadata: Metadata::default(), trouble: None };
        drop(ReadPosition::new(ledger.clone(), &start));
        assert!(ledger.is_written(0).is_err());
    }
}
