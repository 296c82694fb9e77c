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
    predicted: Vec<u32>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(arena: &'a [u8], wanted: &'a [Wanted]) -> Keys<'a> {
        Keys {
            arena,
            wanted,
            keys: Vec::new(),
            table: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            predicted: vec![u32::MAX; PREDICTED * PREDICTED],
        }
    }

    /// The key with this text, at this tag of this span of its record.
    #[inline]
    pub(crate) fn at(&mut self, span: usize, tag: usize, text: Text) -> Key {
        if span >= PREDICTED || tag >= PREDICTED {
            return self.of(text);
        }
        let place = span * PREDICTED + tag;
        if let Some((known, key)) = self.keys.get(self.predicted[place] as usize)
            && same(self.arena, *known, text)
        {
            return *key;
        }
        let found = self.find(text);
        self.predicted[place] = u32::try_from(found).unwrap_or(u32::MAX);
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

/// Whether two texts are the same. Short ones, which most keys are, are compared in registers.
#[inline]
fn same(arena: &[u8], one: Text, other: Text) -> bool {
    let (one, other) = (one.bytes(arena), other.bytes(arena));
    if one.len() != other.len() {
        return false;
    }
    // The first and the last bytes, of which some may be the same ones.
    match one.len() {
        4..=7 => ends::<4>(one) == ends::<4>(other),
        8..=16 => ends::<8>(one) == ends::<8>(other),
        17..=32 => ends::<16>(one) == ends::<16>(other),
        _ => one == other,
    }
}

#[inline]
fn ends<const N: usize>(text: &[u8]) -> (Option<&[u8; N]>, Option<&[u8; N]>) {
    (text.first_chunk(), text.last_chunk())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_when_all_bytes_are() {
        for len in 0..40_u32 {
            // Behind the second text is nothing, behind the first is something else.
            let mut arena: Vec<u8> = (0..len as u8).chain([200]).chain(0..len as u8).collect();
            let (one, other) = (Text { start: 0, len }, Text { start: len + 1, len });
            assert!(same(&arena, one, other), "{len}");
            assert_eq!(same(&arena, one, Text { len: len / 2, ..other }), len == 0, "{len}");
            for at in 0..len as usize {
                arena[at] ^= 0x80;
                assert!(!same(&arena, one, other), "{at} of {len}");
                arena[at] ^= 0x80;
            }
        }
    }
}
