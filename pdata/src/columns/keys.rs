//! The distinct tag keys of a batch.

use std::hash::BuildHasher;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use hashbrown::HashTable;

use super::text::Text;
use super::views::{Buffers, Views, index};
use crate::Wanted;

/// Spans and tags per span for which keys are predicted.
const PREDICTED: usize = 64;

/// A key of this batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its index in the dictionary of keys.
    pub(crate) index: i32,
    /// Its position in the projection's wanted keys.
    pub(crate) wanted: Option<usize>,
}

/// Numbers the keys of a batch in order of appearance.
///
/// Records of one kind have the same tags in the same places. So the key at (span, tag) is first compared
/// with the one that was there in the record before, and only looked up when it differs.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    arena: &'a [u8],
    wanted: &'a [Wanted],
    keys: Vec<(Text, Key)>,
    table: HashTable<usize>,
    hasher: foldhash::fast::RandomState,
    predicted: Vec<usize>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(arena: &'a [u8], wanted: &'a [Wanted]) -> Keys<'a> {
        Keys {
            arena,
            wanted,
            keys: Vec::new(),
            table: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            predicted: vec![usize::MAX; PREDICTED * PREDICTED],
        }
    }

    /// The key with this text, at this tag of this span of its record.
    #[inline]
    pub(crate) fn at(&mut self, span: usize, tag: usize, text: Text) -> Key {
        if span >= PREDICTED || tag >= PREDICTED {
            return self.of(text);
        }
        let place = span * PREDICTED + tag;
        if let Some((same, key)) = self.keys.get(self.predicted[place])
            && same.bytes(self.arena) == text.bytes(self.arena)
        {
            return *key;
        }
        let found = self.find(text);
        self.predicted[place] = found;
        self.keys[found].1
    }

    /// The key with this text.
    pub(crate) fn of(&mut self, text: Text) -> Key {
        let found = self.find(text);
        self.keys[found].1
    }

    /// The dictionary of keys.
    pub(crate) fn finish(self, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let mut views = Views::new();
        for (text, _) in &self.keys {
            views.push(Some(text.view(self.arena)));
        }
        Ok(std::sync::Arc::new(buffers.text(views)?))
    }

    fn find(&mut self, text: Text) -> usize {
        let Keys { arena, wanted, keys, table, hasher, .. } = self;
        let bytes = text.bytes(arena);
        let hash = hasher.hash_one(bytes);
        if let Some(found) = table.find(hash, |at| keys[*at].0.bytes(arena) == bytes) {
            return *found;
        }
        let at = keys.len();
        let wanted = wanted.iter().position(|wanted| wanted.key.as_bytes() == bytes);
        keys.push((text, Key { index: index(at), wanted }));
        table.insert_unique(hash, at, |at| hasher.hash_one(keys[*at].0.bytes(arena)));
        at
    }
}
