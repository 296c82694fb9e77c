//! Distinct texts and their numbers.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::frames::Frames;

/// About what one of several distinct texts takes.
const LIKELY: usize = 32;

/// Says that a column of texts is sent as the distinct ones of this block, and as numbers of those.
const VERSION: u64 = 1;
const WORDS_OF_THE_BLOCK: u64 = 0x600;

/// Texts, each as the number of a distinct one: the values of a `LowCardinality(String)`.
pub(crate) struct Words {
    hasher: RandomState,
    known: HashTable<u32>,
    /// The distinct texts end to end, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
    numbers: Vec<u32>,
}

impl Words {
    /// No texts, and room for so many, of which about so many are distinct.
    pub fn with_room(texts: usize, distinct: usize) -> Words {
        Words {
            hasher: RandomState::default(),
            known: HashTable::with_capacity(distinct),
            texts: Vec::with_capacity(distinct * LIKELY),
            ends: Vec::with_capacity(distinct),
            numbers: Vec::with_capacity(texts),
        }
    }

    /// The number of this text.
    pub fn number(&mut self, text: &str) -> u32 {
        let Words { hasher, known, texts, ends, .. } = self;
        let text = text.as_bytes();
        let of = |number: u32| word(texts, ends, number as usize);
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
    pub fn push(&mut self, number: u32) {
        self.numbers.push(number);
    }

    /// Adds the texts with these numbers.
    pub fn extend(&mut self, numbers: impl Iterator<Item = u32>) {
        self.numbers.extend(numbers);
    }

    /// How many texts were added.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// What comes before all other values of a column that has words anywhere in it.
    pub fn write_version(frames: &mut Frames) {
        frames.number(VERSION);
    }

    /// The values. The numbers take as few bytes as they need.
    pub fn write(&self, frames: &mut Frames) {
        // Of nothing the format has nothing.
        if self.numbers.is_empty() {
            return;
        }
        let width = match self.ends.len() {
            0..=0x100 => 0,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        frames.number(WORDS_OF_THE_BLOCK | width);
        frames.number(self.ends.len() as u64);
        (0..self.ends.len()).for_each(|number| frames.text(word(&self.texts, &self.ends, number)));
        frames.number(self.numbers.len() as u64);
        match width {
            0 => frames.fixed(&self.numbers, |number| [*number as u8]),
            1 => frames.fixed(&self.numbers, |number| (*number as u16).to_le_bytes()),
            _ => frames.fixed(&self.numbers, |number| number.to_le_bytes()),
        }
    }
}

fn word<'a>(texts: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let end = ends.get(number).copied().unwrap_or_default();
    let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
    texts.get(begin..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::reading::Reading;

    #[test]
    fn numbers_are_as_wide_as_there_are_texts() {
        for (count, width) in [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let mut words = Words::with_room(0, 0);
            let texts: Vec<String> = (0..count).map(|number| format!("text {number}")).collect();
            for text in texts.iter().chain(texts.iter().rev()) {
                let number = words.number(text);
                words.push(number);
            }
            let mut frames = Frames::new(false);
            words.write(&mut frames);
            let sent = frames.take();
            let distinct: usize = texts.iter().map(|text| 1 + text.len()).sum();
            assert_eq!(sent.len(), 24 + distinct + 2 * count * width, "{count} texts");
            let found = Reading(&sent).words();
            assert!(found.iter().eq(texts.iter().chain(texts.iter().rev())), "{count} texts");
        }
    }
}
