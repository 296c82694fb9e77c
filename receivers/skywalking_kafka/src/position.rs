//! How far one ownership of a partition has come. Sans-IO.

use weir_component::delivery::Ledger;

/// The positions of one ownership. Dropped with it: acks that come later change nothing.
pub(crate) struct Position {
    /// What of the lane is done, and what of it is on its way.
    pub(crate) ledger: Ledger,
    /// One past the last record that came.
    next: i64,
    failure_told: bool,
}

impl Position {
    /// Reading begins at `offset`.
    pub(crate) fn new(ledger: Ledger, offset: i64) -> Position {
        Position { ledger, next: offset, failure_told: false }
    }

    /// The record at `offset` came. Whether it is one that was not there before: else positions have begun anew.
    pub(crate) fn read(&mut self, offset: i64) -> bool {
        if offset < self.next {
            return false;
        }
        self.next = offset.saturating_add(1);
        true
    }

    /// Records between the position and `end`, the end of the partition.
    pub(crate) fn lag(&self, end: i64) -> i64 {
        end.saturating_sub(self.next).max(0)
    }

    /// Whether some input failed, the first time that it is asked.
    pub(crate) fn failure(&mut self) -> bool {
        let news = !self.failure_told && self.ledger.tracker().has_failed();
        self.failure_told |= news;
        news
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        self.ledger.close();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use weir_component::delivery::{LedgerSpec, Metadata, Shard};

    /// A ledger that nobody writes down.
    pub(crate) fn ledger(position: i64) -> Ledger {
        Ledger::new(LedgerSpec {
            source: "cluster/group/t".into(),
            number: 0,
            shard: Shard(0),
            own: Shard(1),
            position: Some(position),
            metadata: Metadata::default(),
            wake: Arc::new(|| {}),
        })
    }

    #[test]
    fn lag_counts_from_the_next_record() {
        let mut position = Position::new(ledger(40), 40);
        assert_eq!(position.lag(50), 10);
        assert!(position.read(49));
        assert_eq!((position.lag(50), position.lag(45)), (0, 0));
        assert!(!position.read(0), "the topic was created again");
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut position = Position::new(ledger(0), 0);
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
        drop(Position::new(ledger.clone(), 0));
        assert!(ledger.is_written(0).is_err());
    }
}
