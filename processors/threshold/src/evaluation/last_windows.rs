//! The last window of each series, including series at rest. It tells whether a window that fires again still
//! counts.
//!
//! A window that fires again is evaluated again if no later window of its group was evaluated. After a
//! restart that is known only of the last windows that were delivered before it. Earlier ones are not
//! evaluated again.

use std::collections::{BTreeMap, HashMap};

use crate::evaluation::windows::Window;

/// For each series that may be remembered, groups that are.
const GROUPS: usize = 4;

/// The end of the last window of each group: operator, shard and labels.
pub(crate) struct LastWindows {
    /// By hash. A collision keeps a late firing from being evaluated, no more.
    last: HashMap<u64, Last>,
    /// By shard and operator: windows that end before were evaluated by an earlier owner.
    limits: HashMap<(u32, String), i64>,
    most: usize,
}

#[derive(Clone, Copy)]
struct Last {
    end: i64,
    shard: u32,
}

impl LastWindows {
    /// For so many series that fire.
    pub(crate) fn new(max_series: usize) -> LastWindows {
        LastWindows {
            last: HashMap::new(),
            limits: HashMap::new(),
            most: max_series.saturating_mul(GROUPS).max(1),
        }
    }

    /// A shard begins after windows of operators that end here.
    pub(crate) fn set_limits(&mut self, shard: u32, limits: BTreeMap<String, i64>) {
        self.limits.extend(limits.into_iter().map(|(operator, limit)| ((shard, operator), limit)));
    }

    /// Forgets a shard.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.last.retain(|_, last| last.shard != shard);
        self.limits.retain(|(of, _), _| *of != shard);
    }

    /// Whether a window is evaluated, as far as this is known here; it is then the last one of its group,
    /// unless that is later.
    pub(crate) fn admits(&mut self, window: &Window) -> bool {
        let group = window.group;
        let last = self.last.get(&group).map(|last| last.end);
        if window.again {
            let limit = self.limits.get(&(window.shard, window.operator.clone()));
            if last.is_some_and(|last| window.end < last) || limit.is_some_and(|limit| window.end < *limit) {
                return false;
            }
        }
        if last.is_none_or(|last| last < window.end) {
            self.make_room();
            self.last.insert(group, Last { end: window.end, shard: window.shard });
        }
        true
    }

    /// Forgets the older half, when there are too many.
    fn make_room(&mut self) {
        if self.last.len() < self.most {
            return;
        }
        let mut ends: Vec<i64> = self.last.values().map(|last| last.end).collect();
        let half = ends.len() / 2;
        let (_, middle, _) = ends.select_nth_unstable(half);
        let middle = *middle;
        self.last.retain(|_, last| last.end > middle);
    }
}
