//! Which records are acknowledged: everything below a position, and ranges above it.

use std::collections::BTreeMap;

/// Acknowledgements in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckedRanges {
    position: u64,
    /// Acknowledged ranges above the position, begin to end (exclusive). They neither touch nor overlap.
    above: BTreeMap<u64, u64>,
    /// Records in those ranges.
    count: u64,
}

impl AckedRanges {
    /// Everything below `position` is acknowledged.
    #[must_use]
    pub fn at(position: u64) -> AckedRanges {
        AckedRanges { position, above: BTreeMap::new(), count: 0 }
    }

    /// The lowest number that is not acknowledged.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Records above the position that are acknowledged.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        self.count
    }

    /// Acknowledges `begin..end`. Returns whether the position moved. What was acknowledged before stays so.
    pub fn acknowledge(&mut self, begin: u64, end: u64) -> bool {
        let (mut begin, mut end) = (begin.max(self.position), end);
        if begin >= end {
            return false;
        }
        // Joins what touches: the range that begins before, then those that begin inside.
        if let Some((&before, &until)) = self.above.range(..=begin).next_back()
            && until >= begin
        {
            begin = before;
            end = end.max(until);
            self.remove(before);
        }
        while let Some((&inside, &until)) = self.above.range(begin..=end).next() {
            end = end.max(until);
            self.remove(inside);
        }
        if begin == self.position {
            self.position = end;
            return true;
        }
        self.above.insert(begin, end);
        self.count += end - begin;
        false
    }

    fn remove(&mut self, begin: u64) {
        if let Some(end) = self.above.remove(&begin) {
            self.count -= end - begin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::BTreeSet;

    #[test]
    fn the_position_is_the_lowest_number_not_acknowledged() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut acked, mut model) = (AckedRanges::at(1), BTreeSet::new());
            for _ in 0..60 {
                let begin = random.random_range(0..40u64);
                let end = begin + random.random_range(0..5);
                model.extend(begin.max(1)..end);
                let before = acked.position();
                let moved = acked.acknowledge(begin, end);
                let lowest = (1..).find(|number| !model.contains(number)).unwrap();
                assert_eq!(acked.position(), lowest, "seed {seed}");
                assert_eq!(moved, lowest > before, "seed {seed}");
                assert_eq!(acked.ahead() as usize, model.range(lowest..).count(), "seed {seed}");
            }
        }
    }
}
