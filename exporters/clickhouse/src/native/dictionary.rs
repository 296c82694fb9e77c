//! Distinct texts and their numbers.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::native::frames::{Frames, add_fixed};

/// The name of the type.
pub(crate) const LOW_CARDINALITY: &str = "LowCardinality";
/// Says that a column of texts is sent as the distinct ones of this block, and as numbers of those.
const VERSION: u64 = 1;
const DICTIONARY_OF_THE_BLOCK: u64 = 0x600;

/// Texts, each as the number of a distinct one: the values of a `LowCardinality(String)`.
#[derive(Default)]
pub(crate) struct Dictionary {
    hasher: RandomState,
    known: HashTable<u32>,
    /// The distinct texts end to end, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
    numbers: Vec<u32>,
    /// Memory for the numbers that texts of another dictionary have here.
    spare: Vec<u32>,
}

impl Dictionary {
    /// Forgets all texts and keeps the memory for as many.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.texts.clear();
        self.ends.clear();
        self.numbers.clear();
    }

    /// The number of this text.
    pub(crate) fn number(&mut self, text: &[u8]) -> u32 {
        let Dictionary { hasher, known, texts, ends, .. } = self;
        let of = |number: u32| distinct_text(texts, ends, number as usize);
        let hash = hasher.hash_one(text);
        if let Some(number) = known.find(hash, |number| of(*number) == text) {
            return *number;
        }
        // There are not as many rows in an insert.
        let number = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        known.insert_unique(hash, number, |number| hasher.hash_one(of(*number)));
        texts.extend_from_slice(text);
        ends.push(texts.len());
        number
    }

    /// Adds the text with this number.
    #[inline]
    pub(crate) fn push(&mut self, number: u32) {
        self.numbers.push(number);
    }

    /// Adds the texts with these numbers. In one go when the iterator knows how many there are.
    pub(crate) fn extend(&mut self, numbers: impl Iterator<Item = u32>) {
        self.numbers.extend(numbers);
    }

    /// How many texts were added.
    pub(crate) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Adds the texts of a dictionary among these bytes.
    pub(crate) fn add(&mut self, packed: &PackedDictionary, bytes: &[u8]) {
        let mut known = self.spare();
        known.extend(packed.distinct(bytes).map(|text| self.number(text)));
        let bytes = part(bytes, &packed.numbers);
        // Of the first rows, and where most texts are new, numbers only move. That needs no look-ups.
        let first = known.first().copied().unwrap_or_default();
        if known.iter().zip(first..).all(|(known, next)| *known == next) {
            self.add_numbers(bytes, packed.width, |number| first + number);
        } else {
            self.add_numbers(bytes, packed.width, |number| known[number as usize]);
        }
        self.keep(known);
    }

    /// Adds the numbers among these bytes, each as `number` says.
    fn add_numbers(&mut self, bytes: &[u8], width: usize, number: impl Fn(u32) -> u32) {
        let wide = |bytes: &[u8; 2]| u32::from(u16::from_le_bytes(*bytes));
        match width {
            1 => self.numbers.extend(bytes.iter().map(|byte| number(u32::from(*byte)))),
            2 => self.numbers.extend(bytes.as_chunks().0.iter().map(|bytes| number(wide(bytes)))),
            _ => {
                let wider = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
                self.numbers.extend(wider.map(number));
            }
        }
    }

    /// Memory for the numbers that texts of another dictionary have here, to be [kept](Self::keep).
    pub(crate) fn spare(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.spare)
    }

    /// Keeps the memory for the next time.
    pub(crate) fn keep(&mut self, mut spare: Vec<u32>) {
        spare.clear();
        self.spare = spare;
    }

    /// Adds empty texts.
    pub(crate) fn add_empty(&mut self, count: usize) {
        let number = self.number(b"");
        self.numbers.extend(std::iter::repeat_n(number, count));
    }

    /// Writes the dictionary into encoded rows.
    pub(crate) fn pack(&self, frames: &mut Frames) -> PackedDictionary {
        let texts = frames.plain(|bytes| {
            for text in self.distinct() {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                bytes.extend(length.to_le_bytes());
                bytes.extend(text);
            }
        });
        let width = self.width();
        let numbers = frames.plain(|bytes| match width {
            1 => add_fixed(bytes, &self.numbers, |number| [*number as u8]),
            2 => add_fixed(bytes, &self.numbers, |number| (*number as u16).to_le_bytes()),
            _ => add_fixed(bytes, &self.numbers, |number| number.to_le_bytes()),
        });
        PackedDictionary { texts, numbers, width }
    }

    /// The bytes before all other values of a column, for each `LowCardinality` in its type.
    pub(crate) fn write_version(frames: &mut Frames) {
        frames.number(VERSION);
    }

    /// Writes the dictionary into a block.
    pub(crate) fn write(&self, frames: &mut Frames) {
        // Of nothing the format has nothing.
        if self.numbers.is_empty() {
            return;
        }
        let width = self.width();
        frames.number(DICTIONARY_OF_THE_BLOCK | u64::from(width.trailing_zeros()));
        frames.number(self.ends.len() as u64);
        self.distinct().for_each(|text| frames.text(text));
        frames.number(self.numbers.len() as u64);
        match width {
            1 => frames.fixed(&self.numbers, |number| [*number as u8]),
            2 => frames.fixed(&self.numbers, |number| (*number as u16).to_le_bytes()),
            _ => frames.fixed(&self.numbers, |number| number.to_le_bytes()),
        }
    }

    /// The bytes that a number takes.
    fn width(&self) -> usize {
        match self.ends.len() {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        }
    }

    fn distinct(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| distinct_text(&self.texts, &self.ends, number))
    }
}

/// A dictionary among the bytes of encoded rows.
#[derive(Debug)]
pub(crate) struct PackedDictionary {
    /// The distinct texts, each after its length in four bytes.
    texts: Range<usize>,
    numbers: Range<usize>,
    /// The bytes that a number takes.
    width: usize,
}

impl PackedDictionary {
    /// All texts.
    pub(crate) fn texts<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let distinct: Vec<&[u8]> = self.distinct(bytes).collect();
        self.numbers(bytes).map(move |number| distinct[number])
    }

    fn distinct<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = part(bytes, &self.texts);
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(text)
        })
    }

    fn numbers<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + use<'a> {
        let width = self.width;
        part(bytes, &self.numbers).chunks_exact(width).map(move |bytes| match *bytes {
            [one] => usize::from(one),
            [one, two] => usize::from(u16::from_le_bytes([one, two])),
            _ => bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize),
        })
    }
}

fn distinct_text<'a>(texts: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let end = ends.get(number).copied().unwrap_or_default();
    let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
    texts.get(begin..end).unwrap_or_default()
}

/// A part of some bytes.
fn part<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::native::decode::BlockReader;

    #[test]
    fn numbers_are_as_wide_as_there_are_texts() {
        for (count, width) in [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let mut dictionary = Dictionary::default();
            let texts: Vec<String> = (0..count).map(|number| format!("text {number}")).collect();
            for text in texts.iter().chain(texts.iter().rev()) {
                let number = dictionary.number(text.as_bytes());
                dictionary.push(number);
            }
            let mut frames = Frames::new(false);
            dictionary.write(&mut frames);
            let sent = frames.take();
            let distinct: usize = texts.iter().map(|text| 1 + text.len()).sum();
            assert_eq!(sent.len(), 24 + distinct + 2 * count * width, "{count} texts");
            let (numbers, distinct) = BlockReader(&sent).dictionary(2 * count).unwrap();
            let found = numbers.into_iter().map(|number| &distinct[number as usize]);
            assert!(found.eq(texts.iter().chain(texts.iter().rev())), "{count} texts");
        }
    }
}
