//! Texts laid end to end, as the wire has them; and the numbers of distinct ones.
//!
//! Texts are gathered out of views sixteen bytes at a time, and what is beyond a text's end is cut off again: most texts are short, and
//! a copy of a fixed length is a load and a store.

use std::hash::BuildHasher;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, DictionaryArray, PrimitiveArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{ArrowDictionaryKeyType, Int32Type, UInt8Type, UInt16Type};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// One column of one insert would hold more than an Arrow array can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than 2 GiB in one column of one insert: lower batch.max_bytes")]
pub(crate) struct TooLarge;

/// The longest text that is in its view.
const INLINE: usize = 12;
/// About what one of several distinct texts takes.
const LIKELY: usize = 32;
/// What is copied at a time.
const STEP: usize = 16;

/// Texts laid end to end, with room for 2 GiB of them.
pub(crate) struct Texts {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Texts {
    /// No texts, and room for so many of so many bytes together.
    pub fn with_room(texts: usize, bytes: usize) -> Texts {
        let mut offsets = Vec::with_capacity(texts + 1);
        offsets.push(0);
        Texts { offsets, bytes: Vec::with_capacity(bytes + STEP) }
    }

    /// Adds a text.
    pub fn push(&mut self, text: &[u8]) -> Result<(), TooLarge> {
        self.check(text.len())?;
        self.bytes.extend_from_slice(text);
        self.end();
        Ok(())
    }

    /// Adds a value as text.
    pub fn write(&mut self, value: &impl std::fmt::Display) -> Result<(), TooLarge> {
        // Writing to bytes in memory does not fail.
        let _ = write!(self.bytes, "{value}");
        self.end();
        self.check(0)
    }

    /// Adds the texts that these views of these buffers show.
    pub fn push_views(
        &mut self,
        views: impl Iterator<Item = u128>,
        buffers: &[Buffer],
    ) -> Result<(), TooLarge> {
        for view in views {
            let (len, end) = (view as u32 as usize, self.bytes.len());
            if len <= INLINE {
                self.bytes.extend_from_slice(&(view >> 32).to_le_bytes());
                self.bytes.truncate(end + len);
            } else {
                let (source, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
                self.gather(&buffers[source][offset..], len);
            }
            self.end();
        }
        self.check(0)
    }

    /// The text of this number.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        let bound = |at: usize| usize::try_from(*self.offsets.get(at)?).ok();
        self.bytes.get(bound(number)?..bound(number + 1)?)
    }

    /// The array, as the bytes that the server's `String` holds: that they are UTF-8 need not be checked again.
    pub fn finish(self, nulls: Option<NullBuffer>) -> BinaryArray {
        BinaryArray::new(OffsetBuffer::new(self.offsets.into()), self.bytes.into(), nulls)
    }

    /// Copies `len` bytes, in whole steps where there are as many.
    #[inline]
    fn gather(&mut self, from: &[u8], len: usize) {
        let end = self.bytes.len();
        match from.as_chunks::<STEP>().0.get(..len.div_ceil(STEP)) {
            Some(steps) => {
                steps.iter().for_each(|step| self.bytes.extend_from_slice(step));
                self.bytes.truncate(end + len);
            }
            None => self.bytes.extend_from_slice(&from[..len]),
        }
    }

    fn check(&self, more: usize) -> Result<(), TooLarge> {
        i32::try_from(self.bytes.len() + more).map(drop).map_err(|_| TooLarge)
    }

    /// Ends a text. Whether its end is below 2 GiB is checked before or after.
    fn end(&mut self) {
        self.offsets.push(i32::try_from(self.bytes.len()).unwrap_or(i32::MAX));
    }
}

/// Distinct texts and their numbers.
pub(crate) struct Interner {
    numbers: HashTable<i32>,
    hasher: RandomState,
    texts: Texts,
}

impl Interner {
    /// No texts, and room for about so many.
    pub fn with_room(texts: usize) -> Interner {
        Interner {
            numbers: HashTable::with_capacity(texts),
            hasher: RandomState::default(),
            texts: Texts::with_room(texts, texts * LIKELY),
        }
    }

    /// The number of this text.
    pub fn key(&mut self, text: &str) -> Result<i32, TooLarge> {
        let Interner { numbers, hasher, texts } = self;
        let text = text.as_bytes();
        let of = |number: i32| usize::try_from(number).ok().and_then(|number| texts.get(number));
        let hash = hasher.hash_one(text);
        if let Some(number) = numbers.find(hash, |number| of(*number) == Some(text)) {
            return Ok(*number);
        }
        let number = i32::try_from(numbers.len()).map_err(|_| TooLarge)?;
        numbers.insert_unique(hash, number, |number| hasher.hash_one(of(*number).unwrap_or_default()));
        self.texts.push(text)?;
        Ok(number)
    }

    /// The array of the texts that have these numbers. The numbers take as few bytes as they need.
    pub fn finish(self, numbers: &[i32], nulls: Option<NullBuffer>) -> ArrayRef {
        fn keyed<K: ArrowDictionaryKeyType>(
            numbers: &[i32],
            narrow: impl Fn(i32) -> K::Native,
            nulls: Option<NullBuffer>,
            texts: ArrayRef,
        ) -> ArrayRef {
            let keys =
                PrimitiveArray::<K>::new(numbers.iter().map(|number| narrow(*number)).collect(), nulls);
            Arc::new(DictionaryArray::new(keys, texts))
        }
        let count = self.numbers.len();
        let texts: ArrayRef = Arc::new(self.texts.finish(None));
        if count <= 1 << 8 {
            keyed::<UInt8Type>(numbers, |number| number as u8, nulls, texts)
        } else if count <= 1 << 16 {
            keyed::<UInt16Type>(numbers, |number| number as u16, nulls, texts)
        } else {
            keyed::<Int32Type>(numbers, |number| number, nulls, texts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, StringViewArray, StringViewBuilder};

    fn shown(array: &BinaryArray) -> Vec<&[u8]> {
        array.iter().flatten().collect()
    }

    /// Views of texts of every length, the last of which ends where its buffer ends.
    #[test]
    fn texts_are_gathered_whatever_their_length_and_place() {
        let texts: Vec<String> =
            (0..60).chain((0..60).rev()).map(|len| "abcdefghij".repeat(6)[..len].into()).collect();
        let mut builder = StringViewBuilder::new().with_fixed_block_size(100);
        texts.iter().for_each(|text| builder.append_value(text));
        let views: StringViewArray = builder.finish();
        assert!(views.data_buffers().len() > 1);
        let mut gathered = Texts::with_room(0, 0);
        gathered.push(b"before").unwrap();
        gathered.push_views(views.views().iter().copied(), views.data_buffers()).unwrap();
        gathered.write(&1.5).unwrap();
        let expected = ["before"].into_iter().chain(texts.iter().map(String::as_str)).chain(["1.5"]);
        assert_eq!(shown(&gathered.finish(None)), expected.map(str::as_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_are_as_wide_as_there_are_texts() {
        for (count, width) in [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let mut interner = Interner::with_room(0);
            let texts: Vec<String> = (0..count).map(|number| format!("text {number}")).collect();
            let mut numbers: Vec<i32> = texts.iter().map(|text| interner.key(text).unwrap()).collect();
            numbers.extend(texts.iter().rev().map(|text| interner.key(text).unwrap()));
            let array = interner.finish(&numbers, None);
            let dictionary = array.as_any_dictionary();
            assert_eq!(dictionary.keys().data_type().primitive_width(), Some(width), "{count} texts");
            let values = shown(dictionary.values().as_binary());
            let found = dictionary.normalized_keys().into_iter().map(|key| values[key]);
            assert!(found.eq(texts.iter().chain(texts.iter().rev()).map(String::as_bytes)), "{count} texts");
        }
    }
}
