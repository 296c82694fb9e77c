//! When something happens to a series although no window of it comes: one moment for each series.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The earliest moment for each series, by its key.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(i64, String)>>,
    /// The moments that count: what else is in the heap has been replaced.
    earliest: HashMap<String, i64>,
}

impl Deadlines {
    /// Something may happen to the series then. A later moment than the known one is not noted: who asks for
    /// what is [due](Self::next_due) looks again.
    pub(crate) fn watch(&mut self, key: &str, at: i64) {
        match self.earliest.get_mut(key) {
            Some(known) if *known <= at => return,
            Some(known) => *known = at,
            None => drop(self.earliest.insert(key.to_owned(), at)),
        }
        self.heap.push(Reverse((at, key.to_owned())));
    }

    /// The next series whose moment is at or before `now`. It is not watched any more.
    pub(crate) fn next_due(&mut self, now: i64) -> Option<String> {
        while self.heap.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Reverse((at, key)) = self.heap.pop()?;
            if self.earliest.get(&key) == Some(&at) {
                self.earliest.remove(&key);
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_is_due_once_at_its_earliest_moment() {
        let mut deadlines = Deadlines::default();
        for (key, at) in [("a", 30), ("b", 20), ("a", 10), ("a", 25), ("b", 40)] {
            deadlines.watch(key, at);
        }
        assert_eq!(deadlines.next_due(9), None);
        assert_eq!(deadlines.next_due(10).as_deref(), Some("a"));
        assert_eq!(deadlines.next_due(50).as_deref(), Some("b"));
        assert_eq!(deadlines.next_due(50), None);
        assert!(deadlines.heap.is_empty());
    }
}
