//! The keys of all slices of an operator on the trunk: each key is stored once and has a number.
//!
//! The table counts the slices of each key. A key without slices stays for the next slice that brings it.
//! When most keys have no slice, the table is built again without them ([`KeyTable::renumber`]). Without
//! slices it is empty.

use crate::group::groups::Groups;
use crate::group::key::{Key, KeyHasher, KeyRows};

/// Keys below which unused ones are not cleaned up.
const FEW: usize = 64;

/// Keys by number.
#[derive(Default)]
pub(crate) struct KeyTable {
    /// How many slices have each key, by its number.
    slices: Groups<u32>,
    /// Numbers by key, of the keys that were there when this was last asked.
    order: Vec<u32>,
    /// Keys that a slice has.
    used: usize,
}

impl KeyTable {
    /// The number of a row's key, if it has one.
    pub(crate) fn find(&self, rows: &KeyRows<'_>, row: usize) -> Option<u32> {
        self.slices.find(rows, row).map(number)
    }

    /// Gives a row's key a number. It has none yet.
    pub(crate) fn insert(&mut self, rows: &KeyRows<'_>, row: usize) -> u32 {
        number(self.slices.add(rows, row, 0))
    }

    /// The number of the overflow group for this many group-by columns.
    pub(crate) fn overflow(&mut self, columns: usize, hasher: &KeyHasher) -> u32 {
        number(self.slices.overflow(columns, hasher, || 0))
    }

    /// One more slice has this key.
    pub(crate) fn hold(&mut self, number: u32) {
        if let Some(slices) = self.slices.state(number as usize) {
            self.used += usize::from(*slices == 0);
            *slices += 1;
        }
    }

    /// A slice that had this key is gone.
    pub(crate) fn release(&mut self, number: u32) {
        if let Some(slices) = self.slices.state(number as usize) {
            *slices = slices.saturating_sub(1);
            self.used -= usize::from(*slices == 0);
        }
    }

    /// Keys that a slice has.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The key of this number.
    pub(crate) fn key(&self, number: u32) -> Option<&Key> {
        self.slices.key(number as usize)
    }

    /// All keys and their numbers, ordered by key.
    pub(crate) fn ordered(&mut self) -> impl Iterator<Item = (u32, &Key)> {
        let sorted = self.order.len();
        if sorted < self.slices.len() {
            let keys = &self.slices;
            let key = |number: &u32| keys.key(*number as usize);
            self.order.extend(number(sorted)..number(keys.len()));
            // Finds the part that is in order and merges the rest into it.
            self.order[sorted..].sort_unstable_by(|a, b| key(a).cmp(&key(b)));
            if sorted > 0 {
                self.order.sort_by(|a, b| key(a).cmp(&key(b)));
            }
        }
        self.order.iter().filter_map(|number| Some((*number, self.slices.key(*number as usize)?)))
    }

    /// Forgets the keys that no slice has, when they are most of all. The new number of each key, by its old
    /// one.
    pub(crate) fn renumber(&mut self) -> Option<Vec<u32>> {
        if self.used == 0 {
            *self = KeyTable::default();
            return Some(Vec::new());
        }
        if self.slices.len() <= FEW || self.used * 2 >= self.slices.len() {
            return None;
        }
        let mut next = 0..;
        let stays = self.slices.iter().map(|(_, slices)| *slices > 0);
        let numbers = stays.map(|stays| if stays { next.next() } else { None }.unwrap_or(u32::MAX)).collect();
        self.slices.retain(|slices| *slices > 0);
        self.order.clear();
        Some(numbers)
    }
}

/// `max_groups` is a u32 for each slice; 2^32 keys are out of reach of memory.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    fn ordered(keys: &mut KeyTable) -> Vec<(u32, String)> {
        keys.ordered().map(|(number, key)| (number, key.parts().flatten().collect())).collect()
    }

    #[test]
    fn keys_keep_their_number_until_most_are_unused() {
        let texts: Vec<String> = (0..100).rev().map(|number| format!("{number:02}")).collect();
        let columns: [Option<ArrayRef>; 1] = [Some(Arc::new(StringArray::from(texts)))];
        let hasher = KeyHasher::default();
        let rows = KeyRows::new(&columns, &hasher, 100);
        let mut keys = KeyTable::default();
        for row in 0..100 {
            assert_eq!(keys.find(&rows, row), None);
            let number = keys.insert(&rows, row);
            keys.hold(number);
            assert_eq!(keys.find(&rows, row), Some(number));
            assert_eq!(ordered(&mut keys).len(), row + 1);
        }
        assert!(ordered(&mut keys).is_sorted_by_key(|(_, key)| key.clone()));
        (0..50).for_each(|number| keys.release(number));
        assert_eq!((keys.renumber(), keys.used()), (None, 50), "half of them are used");
        assert_eq!(keys.find(&rows, 3), Some(3), "an unused one is still known");
        keys.release(50);
        let numbers = keys.renumber().unwrap();
        assert_eq!((numbers[50], numbers[51], numbers[99]), (u32::MAX, 0, 48));
        assert_eq!((keys.find(&rows, 3), keys.find(&rows, 99)), (None, Some(48)));
        assert_eq!(ordered(&mut keys)[0], (48, "00".to_owned()));
        (0..49).for_each(|number| keys.release(number));
        assert!(keys.renumber().is_some());
        assert_eq!(ordered(&mut keys), []);
    }
}
