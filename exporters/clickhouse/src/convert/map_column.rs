//! Writing map columns: `attributes`, `resource`, `labels`, `measures`.
//!
//! Keys are in a dictionary, so a key's text is sent once an insert. Repeated keys are kept, in order: a
//! ClickHouse map holds them all, and `map['key']` gives the first.
//!
//! A map has all its keys before all its values, so whatever has entries is read twice.

use std::ops::Range;

use arrow::array::BinaryViewArray;
use weir_pdata::attributes::{AttributeColumn, Value};
use weir_pdata::text::TextColumn;

use crate::native::dictionary::Dictionary;
use crate::native::encoded_rows::Writer;
use crate::native::frames::Frames;

/// The type of a map of texts.
pub(crate) const TEXT_MAP: &str = "Map(LowCardinality(String), String)";
/// The type of a map of numbers.
pub(crate) const NUMBER_MAP: &str = "Map(LowCardinality(String), Float64)";

/// How many keys a batch has, about.
const LIKELY: usize = 64;
/// No number of a key.
const UNKNOWN: u32 = u32::MAX;

/// The keys of a map column, and where its rows end.
pub(crate) struct Keys {
    ends: Vec<u32>,
    dictionary: Dictionary,
}

impl Keys {
    /// No keys yet, with memory for those of this many rows. `dictionary` is empty.
    pub(crate) fn new(rows: usize, dictionary: Dictionary) -> Keys {
        Keys { ends: Vec::with_capacity(rows), dictionary }
    }

    /// The number of a key.
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        self.dictionary.number(name.as_bytes())
    }

    /// Adds a key to the current row.
    #[inline]
    pub(crate) fn push(&mut self, number: u32) {
        self.dictionary.push(number);
    }

    /// Ends the current row.
    pub(crate) fn end_row(&mut self) {
        self.ends.push(self.count());
    }

    /// Whether no row has an entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.dictionary.count() == 0
    }

    /// Writes everything of the map but its values.
    pub(crate) fn write(self, writer: &mut Writer<'_>) {
        writer.ends(&self.ends);
        writer.dictionary(self.dictionary);
    }

    /// How many there are. The values of as many as do not fit would not fit either.
    fn count(&self) -> u32 {
        u32::try_from(self.dictionary.count()).unwrap_or(u32::MAX)
    }
}

/// The attribute lists of one batch, on their way into one map.
pub(crate) struct Lists<'a> {
    column: AttributeColumn<'a>,
    /// The text before each key.
    prefix: &'static str,
    /// The batch's numbers of the keys, and their names.
    keys: Option<(&'a [i32], TextColumn<'a>)>,
    /// By the batch's number of a key the map's, as they are met.
    known: Vec<Option<u32>>,
    /// The values, when all are texts.
    texts: Option<&'a BinaryViewArray>,
    /// Where the lists begin and end among the values, when every row has one of its own.
    offsets: Option<&'a [i32]>,
}

impl<'a> Lists<'a> {
    /// The lists of `column`, whose keys get `prefix` before them.
    pub(crate) fn new(column: AttributeColumn<'a>, prefix: &'static str) -> Lists<'a> {
        Lists {
            column,
            prefix,
            keys: column.keys(),
            known: Vec::new(),
            texts: column.texts(),
            offsets: column.offsets(),
        }
    }

    /// How many attributes a row has.
    pub(crate) fn count(&self, row: usize) -> usize {
        self.column.range(row).len()
    }

    /// Adds the keys of a row to the current row of the map.
    pub(crate) fn keys(&mut self, row: usize, map: &mut Keys) {
        let Some((keys, names)) = self.keys else {
            for (name, _) in self.column.row(row) {
                let number = self.named(name, map);
                map.push(number);
            }
            return;
        };
        for key in &keys[self.range(row)] {
            let number = self.number(*key, names, map);
            map.push(number);
        }
    }

    /// Writes the values of a row.
    pub(crate) fn values(&self, row: usize, frames: &mut Frames) {
        if self.keys.is_none() {
            self.column.row(row).for_each(|(_, value)| write(value, frames));
            return;
        }
        let range = self.range(row);
        match self.texts {
            Some(texts) => frames.views(texts.views()[range].iter().copied(), texts.data_buffers()),
            None => range.for_each(|entry| write(self.column.value(entry), frames)),
        }
    }

    /// Adds the keys of all rows, when they can be read together. Says whether it did.
    pub(crate) fn all_keys(&mut self, map: &mut Keys) -> bool {
        let Some((offsets, _)) = self.whole() else { return false };
        let (Some((keys, names)), before) = (self.keys, map.count()) else { return false };
        let begin = bound(offsets, 0);
        map.ends.extend((1..offsets.len()).map(|at| before + (bound(offsets, at) - begin) as u32));
        let mut known = map.dictionary.spare();
        let keys = &keys[begin..bound(offsets, offsets.len() - 1)];
        known.resize(keys.iter().fold(0, |most, key| most.max(*key as usize + 1)), UNKNOWN);
        for key in keys {
            let known = &mut known[*key as usize];
            if *known == UNKNOWN {
                *known = self.named(names.get(*key as usize).unwrap_or_default(), map);
            }
        }
        map.dictionary.extend(keys.iter().map(|key| known[*key as usize]));
        map.dictionary.keep(known);
        true
    }

    /// Writes the values of all rows, when they can be read together. Says whether it did.
    pub(crate) fn all_values(&self, frames: &mut Frames) -> bool {
        let Some((offsets, texts)) = self.whole() else { return false };
        let range = bound(offsets, 0)..bound(offsets, offsets.len() - 1);
        frames.views(texts.views()[range].iter().copied(), texts.data_buffers());
        true
    }

    /// Where the lists begin and end among the values, when they are lists of texts one after the other.
    fn whole(&self) -> Option<(&'a [i32], &'a BinaryViewArray)> {
        Some((self.offsets?, self.texts?)).filter(|_| self.keys.is_some())
    }

    /// Where the attributes of a row are among the values.
    #[inline]
    fn range(&self, row: usize) -> Range<usize> {
        match self.offsets {
            Some(offsets) => bound(offsets, row)..bound(offsets, row + 1),
            None => self.column.range(row),
        }
    }

    /// The map's number of the key that has this one in the batch.
    #[inline]
    fn number(&mut self, number: i32, names: TextColumn<'a>, map: &mut Keys) -> u32 {
        let number = usize::try_from(number).unwrap_or(0);
        if let Some(Some(known)) = self.known.get(number) {
            return *known;
        }
        let found = self.named(names.get(number).unwrap_or_default(), map);
        if self.known.len() <= number {
            self.known.resize((number + 1).max(LIKELY), None);
        }
        self.known[number] = Some(found);
        found
    }

    fn named(&self, name: &str, map: &mut Keys) -> u32 {
        if self.prefix.is_empty() { map.number(name) } else { map.number(&format!("{}{name}", self.prefix)) }
    }
}

fn bound(offsets: &[i32], at: usize) -> usize {
    offsets.get(at).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0)
}

/// Writes a value as text. One that is missing is empty.
fn write(value: Value<'_>, frames: &mut Frames) {
    match value {
        Value::String(text) => frames.text(text.as_bytes()),
        other => frames.display(&other),
    }
}
