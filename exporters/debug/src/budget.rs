//! How many lines a second a terminal gets.

/// Lets a number of rows a second through and counts the rest. Each second has its whole allowance at once.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// 0: no limit.
    per_second: u64,
    second: i64,
    left: u64,
    hidden: u64,
    told_in: Option<i64>,
}

impl Budget {
    /// `per_second` rows; 0 is no limit.
    pub(crate) fn new(per_second: u64) -> Budget {
        Budget { per_second, second: i64::MIN, left: per_second, hidden: 0, told_in: None }
    }

    /// How many of `wanted` rows may be shown at `now_ms`. The others count as hidden.
    pub(crate) fn take(&mut self, wanted: usize, now_ms: i64) -> usize {
        if self.per_second == 0 {
            return wanted;
        }
        let second = now_ms.div_euclid(1000);
        if second != self.second {
            (self.second, self.left) = (second, self.per_second);
        }
        let given = wanted.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= given as u64;
        self.hidden += (wanted - given) as u64;
        given
    }

    /// How many rows were hidden and not reported yet: at most once a second, so that the reports are not a
    /// flood either.
    pub(crate) fn untold_now(&mut self, now_ms: i64) -> Option<u64> {
        let second = now_ms.div_euclid(1000);
        if self.hidden == 0 || self.told_in == Some(second) {
            return None;
        }
        self.told_in = Some(second);
        Some(std::mem::take(&mut self.hidden))
    }

    /// How many hidden rows were never reported.
    pub(crate) fn untold(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.hidden)).filter(|hidden| *hidden > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_rows_and_the_next_one_as_many_again() {
        let mut budget = Budget::new(3);
        assert_eq!(budget.take(2, 1_000), 2);
        assert_eq!(budget.take(2, 1_999), 1);
        assert_eq!(budget.take(9, 1_999), 0);
        assert_eq!(budget.take(2, 2_000), 2);
    }

    #[test]
    fn what_is_hidden_is_told_once_a_second_and_nothing_twice() {
        let mut budget = Budget::new(1);
        assert_eq!(budget.untold_now(0), None);
        budget.take(5, 0);
        assert_eq!(budget.untold_now(0), Some(4));
        budget.take(2, 500);
        assert_eq!(budget.untold_now(500), None, "already told in this second");
        assert_eq!(budget.untold_now(1_000), Some(2));
        budget.take(3, 1_000);
        assert_eq!(budget.untold(), Some(2));
        assert_eq!(budget.untold(), None);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut budget = Budget::new(0);
        assert_eq!(budget.take(1_000_000, 0), 1_000_000);
        assert_eq!(budget.untold_now(0), None);
    }
}
