//! Whether this gateway has every partition of every topic, so that windows are over all of them. Sans-IO.

use std::time::{Duration, Instant};

use crate::partition::assignment::WindowScope;
use crate::rebalance::questions::Topic;

/// How many partitions each topic has, as far as that is known.
pub(crate) struct Shares {
    counts: Vec<Option<i32>>,
    /// Since when the open lanes make windows of the wrong kind.
    wrong_since: Option<Instant>,
    /// For how long they may: a rebalance that changes it may be on its way.
    patience: Duration,
}

impl Shares {
    pub(crate) fn new(topics: usize, patience: Duration) -> Shares {
        Shares { counts: vec![None; topics], wrong_since: None, patience }
    }

    /// Takes up what an answer about this topic says.
    pub(crate) fn count(&mut self, topic: usize, facts: &Topic) {
        for (number, known) in self.counts.iter_mut().enumerate() {
            let said = facts.counts.get(number).copied().flatten();
            *known = if number == topic { Some(facts.count) } else { said.or(*known) };
        }
    }

    /// How windows are added up by a gateway that has so many partitions of each topic; and a topic of
    /// which it has only part, with the partitions of that. Of a topic of which nothing is known another
    /// gateway may have all: the two must not take their windows for the same.
    pub(crate) fn scope(&self, owned: &[usize]) -> (WindowScope, Option<(usize, Option<i32>)>) {
        let is_part = |(owned, count): (&usize, &Option<i32>)| match count {
            Some(count) => i64::try_from(*owned).unwrap_or(i64::MAX) < i64::from(*count),
            None => *owned == 0,
        };
        match owned.iter().zip(&self.counts).position(is_part) {
            Some(topic) => {
                let count = self.counts.get(topic).copied().flatten();
                (WindowScope::EachPartition, Some((topic, count)))
            }
            None => (WindowScope::AllPartitions, None),
        }
    }

    /// Whether the open lanes have made windows of the wrong kind for longer than they may.
    pub(crate) fn is_wrong_for_long(&mut self, wrong: bool, now: Instant) -> bool {
        if !wrong {
            self.wrong_since = None;
            return false;
        }
        let since = *self.wrong_since.get_or_insert(now);
        let long = now >= since + self.patience;
        if long {
            self.wrong_since = None;
        }
        long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(count: i32, counts: &[Option<i32>]) -> Topic {
        Topic { cluster: "c".to_owned(), id: None, count, counts: counts.to_vec() }
    }

    #[test]
    fn windows_are_whole_as_long_as_every_partition_of_every_topic_is_here() {
        let mut shares = Shares::new(2, Duration::ZERO);
        shares.count(0, &topic(4, &[Some(4), None]));
        assert_eq!(
            shares.scope(&[4, 0]),
            (WindowScope::EachPartition, Some((1, None))),
            "who has the other?"
        );
        assert_eq!(shares.scope(&[4, 1]).0, WindowScope::AllPartitions, "it is here");
        shares.count(0, &topic(4, &[Some(4), Some(0)]));
        assert_eq!(shares.scope(&[4, 0]), (WindowScope::AllPartitions, None), "there is none");
        shares.count(0, &topic(4, &[Some(4), Some(3)]));
        assert_eq!(shares.scope(&[4, 0]), (WindowScope::EachPartition, Some((1, Some(3)))));
        shares.count(0, &topic(4, &[Some(4), None]));
        assert_eq!(shares.scope(&[4, 0]).0, WindowScope::EachPartition, "as far as it is known");
        shares.count(1, &topic(0, &[Some(4), Some(0)]));
        assert_eq!(shares.scope(&[4, 0]).0, WindowScope::AllPartitions, "it has been deleted");
        assert_eq!(shares.scope(&[3, 0]), (WindowScope::EachPartition, Some((0, Some(4)))));
    }

    #[test]
    fn a_rebalance_has_time_to_bring_what_is_missing() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut shares = Shares::new(1, 10 * second);
        assert!(!shares.is_wrong_for_long(true, now));
        assert!(!shares.is_wrong_for_long(true, now + 9 * second));
        assert!(!shares.is_wrong_for_long(false, now + 9 * second));
        assert!(!shares.is_wrong_for_long(true, now + 10 * second), "it is another time");
        assert!(shares.is_wrong_for_long(true, now + 20 * second));
    }
}
