//! The groups of one window: a hash table from key to state.

use hashbrown::HashTable;

use crate::group::key::{Key, KeyHasher, KeyRows};

/// Groups in the order in which they were first seen, with a table to find them.
#[derive(Debug)]
pub(crate) struct Groups<S> {
    table: HashTable<u32>,
    entries: Vec<Entry<S>>,
}

#[derive(Debug)]
struct Entry<S> {
    hash: u64,
    key: Key,
    state: S,
}

/// Whether a group may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupLimit {
    /// One more may be added.
    Below,
    /// Only the overflow group may be added, for this many group-by columns.
    Reached(usize),
}

/// Where a row belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The group with the row's key, which was there.
    Existing(usize),
    /// A new group with the row's key.
    New(usize),
    /// The overflow group.
    Overflow(usize),
}

impl<S> Default for Groups<S> {
    fn default() -> Groups<S> {
        Groups { table: HashTable::new(), entries: Vec::new() }
    }
}

impl<S> Groups<S> {
    /// The number of groups.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The keys and states, in order of arrival.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &S)> + Clone {
        self.entries.iter().map(|entry| (&entry.key, &entry.state))
    }

    /// The key of a group by its index.
    pub(crate) fn key(&self, index: usize) -> Option<&Key> {
        self.entries.get(index).map(|entry| &entry.key)
    }

    /// Removes the groups for which `keep` is false. The indices of the others change.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&S) -> bool) {
        let entries = std::mem::take(&mut self.entries);
        self.table = HashTable::new();
        for entry in entries {
            if keep(&entry.state) {
                self.insert(entry.hash, entry.key, entry.state);
            }
        }
    }

    /// The state of a group by its index.
    pub(crate) fn state(&mut self, index: usize) -> Option<&mut S> {
        self.entries.get_mut(index).map(|entry| &mut entry.state)
    }

    /// Finds the group of a row, or makes it when there may be one more. Copies the key only when the group
    /// is new.
    pub(crate) fn slot(
        &mut self,
        rows: &KeyRows<'_>,
        row: usize,
        hasher: &KeyHasher,
        limit: GroupLimit,
        new: impl FnOnce() -> S,
    ) -> Slot {
        if let Some(index) = self.find(rows, row) {
            return Slot::Existing(index);
        }
        match limit {
            GroupLimit::Below => Slot::New(self.add(rows, row, new())),
            GroupLimit::Reached(columns) => Slot::Overflow(self.overflow(columns, hasher, new)),
        }
    }

    /// The group of a row, if it is there.
    pub(crate) fn find(&self, rows: &KeyRows<'_>, row: usize) -> Option<usize> {
        let hash = rows.hash(row);
        let entries = &self.entries;
        let same = |index: &u32| {
            entries
                .get(*index as usize)
                .is_some_and(|entry| entry.hash == hash && rows.matches(row, &entry.key))
        };
        self.table.find(hash, same).map(|index| *index as usize)
    }

    /// Makes the group of a row, which is not there.
    pub(crate) fn add(&mut self, rows: &KeyRows<'_>, row: usize, state: S) -> usize {
        self.insert(rows.hash(row), rows.key(row), state)
    }

    /// The overflow group for this many group-by columns; it is made when it is not there.
    pub(crate) fn overflow(&mut self, columns: usize, hasher: &KeyHasher, new: impl FnOnce() -> S) -> usize {
        let key = Key::overflow(columns);
        let hash = hasher.key(&key);
        let entries = &self.entries;
        let same = |index: &u32| entries.get(*index as usize).is_some_and(|entry| entry.key == key);
        let known = self.table.find(hash, same).map(|index| *index as usize);
        known.unwrap_or_else(|| self.insert(hash, key, new()))
    }

    fn insert(&mut self, hash: u64, key: Key, state: S) -> usize {
        let index = self.entries.len();
        self.entries.push(Entry { hash, key, state });
        let entries = &self.entries;
        let rehash = |index: &u32| entries.get(*index as usize).map_or(0, |entry| entry.hash);
        // `max_groups` is a u32, and an overflow group comes on top.
        self.table.insert_unique(hash, u32::try_from(index).unwrap_or(u32::MAX), rehash);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    #[test]
    fn rows_find_their_group_and_fold_when_there_is_no_room() {
        let array: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), None, Some("c")]));
        let columns = [Some(array)];
        let hasher = KeyHasher::default();
        let rows = KeyRows::new(&columns, &hasher, 5);
        let mut groups: Groups<()> = Groups::default();
        let mut slot = |row, limit| groups.slot(&rows, row, &hasher, limit, || ());
        assert_eq!(slot(0, GroupLimit::Below), Slot::New(0));
        assert_eq!(slot(1, GroupLimit::Below), Slot::New(1));
        assert_eq!(slot(2, GroupLimit::Reached(1)), Slot::Existing(0));
        assert_eq!(slot(3, GroupLimit::Reached(1)), Slot::Overflow(2));
        assert_eq!(slot(4, GroupLimit::Reached(1)), Slot::Overflow(2));
        assert_eq!(slot(3, GroupLimit::Below), Slot::New(3));
        let keys: Vec<_> =
            groups.iter().map(|(key, ())| key.parts().next().flatten().map(str::to_owned)).collect();
        assert_eq!(keys, [Some("a".to_owned()), Some("b".to_owned()), Some("__overflow__".to_owned()), None]);
    }
}
