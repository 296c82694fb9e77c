//! The keys of all slices of an operator on the trunk: each is stored once and has a number.
//!
//! A key is counted for each slice that has it. One that no slice has any more stays for the next slice that brings it, until
//! such keys are most of all; then the table is made anew with the others alone ([`KeyTable::renumber`]). When no slice is left
//! nothing is kept.

use hashbrown::HashTable;

use crate::key::{Key, KeyHasher, KeyRows};

/// Keys below which unused ones are not cleaned up.
const FEW: usize = 64;

/// Keys by number.
#[derive(Default)]
pub struct KeyTable {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    /// Numbers by key. Those after `sorted` come as they came.
    order: Vec<u32>,
    sorted: usize,
    /// Keys that a slice has.
    used: usize,
}

struct Entry {
    hash: u64,
    key: Key,
    slices: u32,
}

impl KeyTable {
    /// The number of a row's key, if it has one.
    pub fn find(&self, rows: &KeyRows<'_>, row: usize) -> Option<u32> {
        let hash = rows.hash(row);
        let same = |number: &u32| {
            self.entry(*number).is_some_and(|entry| entry.hash == hash && rows.matches(row, &entry.key))
        };
        self.table.find(hash, same).copied()
    }

    /// Gives a row's key a number. It has none yet.
    pub fn insert(&mut self, rows: &KeyRows<'_>, row: usize) -> u32 {
        self.push(rows.hash(row), rows.key(row))
    }

    /// The number of the overflow group for this many group-by columns.
    pub fn overflow(&mut self, columns: usize, hasher: &KeyHasher) -> u32 {
        let key = Key::overflow(columns);
        let hash = hasher.key(&key);
        let same = |number: &u32| self.entry(*number).is_some_and(|entry| entry.key == key);
        let known = self.table.find(hash, same).copied();
        known.unwrap_or_else(|| self.push(hash, key))
    }

    fn push(&mut self, hash: u64, key: Key) -> u32 {
        // `max_groups` is a u32 for each slice; 2^32 keys are out of reach of memory.
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { hash, key, slices: 0 });
        self.order.push(number);
        let entries = &self.entries;
        let rehash = |number: &u32| entries.get(*number as usize).map_or(0, |entry| entry.hash);
        self.table.insert_unique(hash, number, rehash);
        number
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)
    }

    /// One more slice has this key.
    pub fn hold(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            self.used += usize::from(entry.slices == 0);
            entry.slices += 1;
        }
    }

    /// A slice that had this key is gone.
    pub fn release(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.slices = entry.slices.saturating_sub(1);
            self.used -= usize::from(entry.slices == 0);
        }
    }

    /// Keys that a slice has.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used
    }

    /// All keys and their numbers, ordered by key.
    pub fn ordered(&mut self) -> impl Iterator<Item = (u32, &Key)> {
        if self.sorted < self.order.len() {
            let entries = &self.entries;
            let key = |number: &u32| entries.get(*number as usize).map(|entry| &entry.key);
            // Finds the part that is in order and merges the rest into it.
            self.order[self.sorted..].sort_unstable_by(|a, b| key(a).cmp(&key(b)));
            if self.sorted > 0 {
                self.order.sort_by(|a, b| key(a).cmp(&key(b)));
            }
            self.sorted = self.order.len();
        }
        let entries = &self.entries;
        self.order.iter().filter_map(|number| Some((*number, &entries.get(*number as usize)?.key)))
    }

    /// Forgets the keys that no slice has, when they are most of all. The new number of each key, by its old one.
    pub fn renumber(&mut self) -> Option<Vec<u32>> {
        if self.used == 0 {
            *self = KeyTable::default();
            return Some(Vec::new());
        }
        if self.entries.len() <= FEW || self.used * 2 >= self.entries.len() {
            return None;
        }
        let before = std::mem::take(self);
        let mut numbers = vec![u32::MAX; before.entries.len()];
        for (old, entry) in before.entries.into_iter().enumerate() {
            if entry.slices > 0 {
                let new = self.push(entry.hash, entry.key);
                self.entries[new as usize].slices = entry.slices;
                self.used += 1;
                numbers[old] = new;
            }
        }
        Some(numbers)
    }
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
