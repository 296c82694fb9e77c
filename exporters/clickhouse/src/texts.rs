//! Texts laid end to end, as the wire has them; and the numbers of distinct ones.
//!
//! Texts are gathered out of views sixteen bytes at a time: what is written beyond the end of one is overwritten by the next. That is
//! a third of the time of copies of just as many bytes as there are, of which most texts have few.

use std::fmt::Write;
use std::hash::BuildHasher;
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
/// What is copied at a time.
const STEP: usize = 16;

/// Texts laid end to end, with room for 2 GiB of them.
pub(crate) struct Texts {
    offsets: Vec<i32>,
    /// The texts, and room for more.
    bytes: Vec<u8>,
    /// Where the texts end.
    end: usize,
    /// Where values are written as text.
    written: String,
}

impl Texts {
    /// No texts, and room for so many of so many bytes together.
    pub fn with_room(texts: usize, bytes: usize) -> Texts {
        let mut offsets = Vec::with_capacity(texts + 1);
        offsets.push(0);
        Texts { offsets, bytes: vec![0; bytes + STEP], end: 0, written: String::new() }
    }

    /// Adds a text.
    pub fn push(&mut self, text: &[u8]) -> Result<(), TooLarge> {
        self.make_room(text.len())?;
        self.bytes[self.end..self.end + text.len()].copy_from_slice(text);
        self.ends(text.len());
        Ok(())
    }

    /// Adds a value as text.
    pub fn write(&mut self, value: &impl std::fmt::Display) -> Result<(), TooLarge> {
        let mut written = std::mem::take(&mut self.written);
        written.clear();
        // Writing to a text does not fail.
        let _ = write!(written, "{value}");
        let pushed = self.push(written.as_bytes());
        self.written = written;
        pushed
    }

    /// Adds the texts that these views of these buffers show.
    pub fn push_views(
        &mut self,
        views: impl Iterator<Item = u128> + Clone,
        buffers: &[Buffer],
    ) -> Result<(), TooLarge> {
        self.make_room(views.clone().map(length).sum())?;
        for view in views {
            let len = length(view);
            let room = &mut self.bytes[self.end..];
            if len <= INLINE {
                let text = (view >> 32).to_le_bytes();
                if let Some(room) = room.first_chunk_mut::<STEP>() {
                    *room = text;
                }
            } else {
                let (source, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
                gather(&buffers[source][offset..], room, len);
            }
            self.ends(len);
        }
        Ok(())
    }

    /// The text of this number.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        let bound = |at: usize| usize::try_from(*self.offsets.get(at)?).ok();
        self.bytes.get(bound(number)?..bound(number + 1)?)
    }

    /// The array, as the bytes that the server's `String` holds: that they are UTF-8 need not be checked again.
    pub fn finish(mut self, nulls: Option<NullBuffer>) -> BinaryArray {
        self.bytes.truncate(self.end);
        BinaryArray::new(OffsetBuffer::new(self.offsets.into()), self.bytes.into(), nulls)
    }

    /// Makes room for so many bytes, and a step beyond.
    fn make_room(&mut self, more: usize) -> Result<(), TooLarge> {
        let end = self.end + more;
        i32::try_from(end).map_err(|_| TooLarge)?;
        if self.bytes.len() < end + STEP {
            self.bytes.resize((end + STEP).max(2 * self.bytes.len()), 0);
        }
        Ok(())
    }

    /// Ends a text of this length. There is room for it, so its end is below 2 GiB.
    fn ends(&mut self, len: usize) {
        self.end += len;
        self.offsets.push(i32::try_from(self.end).unwrap_or(i32::MAX));
    }
}

/// The length of the text that a view shows.
fn length(view: u128) -> usize {
    view as u32 as usize
}

/// Copies `len` bytes, in whole steps where both sides have them.
#[inline]
fn gather(from: &[u8], to: &mut [u8], len: usize) {
    let steps = len.div_ceil(STEP);
    let (from_steps, to_steps) = (from.as_chunks::<STEP>().0, to.as_chunks_mut::<STEP>().0);
    if let (Some(from), Some(to)) = (from_steps.get(..steps), to_steps.get_mut(..steps)) {
        for (from, to) in from.iter().zip(to) {
            *to = *from;
        }
    } else {
        to[..len].copy_from_slice(&from[..len]);
    }
}

/// Distinct texts and their numbers.
pub(crate) struct Interner {
    numbers: HashTable<i32>,
    hasher: RandomState,
    texts: Texts,
}

impl Interner {
    /// No texts.
    pub fn new() -> Interner {
        Interner { numbers: HashTable::new(), hasher: RandomState::default(), texts: Texts::with_room(0, 0) }
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
