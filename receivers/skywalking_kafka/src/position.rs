//! How far one ownership of a partition has come, and what of it may be committed. Sans-IO.

use weir_component::offsets::OffsetTracker;

/// The positions of one ownership. Dropped with it: acks that come later change nothing.
#[derive(Default)]
pub(crate) struct Position {
    /// What the lane has been given.
    pub(crate) tracker: OffsetTracker,
    /// Where reading began, when the group had no offset here and the place must be kept.
    begin: Option<i64>,
    requested: Option<i64>,
    committed: Option<i64>,
    /// One past the last record that came.
    next: Option<i64>,
    failure_told: bool,
}

impl Position {
    /// Reading begins at `offset`. `commit`: the group has no offset yet, so that this one is kept at once.
    pub(crate) fn begin(&mut self, offset: Option<i64>, commit: bool) {
        self.next = offset;
        self.begin = offset.filter(|_| commit);
    }

    /// The record at `offset` came.
    pub(crate) fn read(&mut self, offset: i64) {
        self.next = Some(offset.saturating_add(1));
    }

    /// What is to be committed now, when it is not what was asked for last.
    pub(crate) fn to_commit(&self) -> Option<i64> {
        self.tracker.committable().or(self.begin).filter(|offset| self.requested != Some(*offset))
    }

    /// A commit of `offset` was asked for.
    pub(crate) fn requested(&mut self, offset: i64) {
        self.requested = Some(offset);
    }

    /// Kafka has committed `offset`.
    pub(crate) fn committed(&mut self, offset: i64) {
        self.committed = Some(offset);
    }

    /// Kafka has refused a commit: it is asked for again.
    pub(crate) fn refused(&mut self) {
        self.requested = self.committed;
    }

    /// Whether nothing that was sent down the lane can change what may be committed.
    pub(crate) fn is_final(&self) -> bool {
        self.tracker.is_final()
    }

    /// Records between the position and `end`, the end of the partition; `None` when the position is not known yet.
    pub(crate) fn lag(&self, end: i64) -> Option<i64> {
        Some(end.saturating_sub(self.next?).max(0))
    }

    /// The offset that is not passed because of a failure, the first time that it is asked for.
    pub(crate) fn failure(&mut self) -> Option<Option<i64>> {
        if self.failure_told || !self.tracker.has_failed() {
            return None;
        }
        self.failure_told = true;
        Some(self.tracker.committable().or(self.committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_acknowledged_is_committed_and_only_once() {
        let mut position = Position::default();
        assert_eq!(position.to_commit(), None);
        let (a, b) = (position.tracker.track(10), position.tracker.track(20));
        assert_eq!(position.to_commit(), None);
        drop(a);
        assert_eq!(position.to_commit(), Some(10));
        position.requested(10);
        assert_eq!(position.to_commit(), None);
        drop(b);
        assert_eq!(position.to_commit(), Some(20));
    }

    #[test]
    fn a_refused_commit_is_asked_for_again() {
        let mut position = Position::default();
        drop(position.tracker.track(10));
        position.requested(10);
        position.committed(10);
        drop(position.tracker.track(20));
        position.requested(20);
        position.refused();
        assert_eq!(position.to_commit(), Some(20));
    }

    #[test]
    fn nothing_is_committed_past_a_failure_and_it_is_told_once() {
        let mut position = Position::default();
        drop(position.tracker.track(10));
        let bad = position.tracker.track(20);
        bad.fail();
        drop(bad);
        drop(position.tracker.track(30));
        assert_eq!(position.to_commit(), Some(10));
        assert_eq!(position.failure(), Some(Some(10)));
        assert_eq!(position.failure(), None);
        assert!(position.is_final(), "what comes after the failure changes nothing");
    }

    #[test]
    fn a_place_to_begin_is_kept_until_something_is_done() {
        let mut position = Position::default();
        position.begin(Some(100), true);
        assert_eq!(position.to_commit(), Some(100));
        drop(position.tracker.track(101));
        assert_eq!(position.to_commit(), Some(101));
        let mut position = Position::default();
        position.begin(Some(100), false);
        assert_eq!(position.to_commit(), None);
    }

    #[test]
    fn lag_counts_from_the_next_record() {
        let mut position = Position::default();
        assert_eq!(position.lag(50), None);
        position.begin(Some(40), false);
        assert_eq!(position.lag(50), Some(10));
        position.read(49);
        assert_eq!(position.lag(50), Some(0));
        assert_eq!(position.lag(45), Some(0));
    }
}
