//! Building map columns: `attributes`, `resource`, `labels`, `measures`.
//!
//! Keys are a dictionary, so a key's text is sent once an insert. Repeated keys are kept, in order: a ClickHouse map
//! holds them all, and `map['key']` gives the first.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewArray, Float64Builder, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use weir_pdata::attributes::{AttributeColumn, Value};
use weir_pdata::text::TextColumn;

use crate::texts::{Interner, Texts, TooLarge};

/// Keys that a map has room for from the beginning.
const KEYS: usize = 64;

/// A map of text to text, built row by row.
pub(crate) struct TextMap {
    entries: Entries,
    values: Texts,
}

/// A map of text to Float64, built row by row.
pub(crate) struct NumberMap {
    entries: Entries,
    values: Float64Builder,
}

/// The number of a key in a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(i32);

impl TextMap {
    /// An empty map column, with room for so many rows and entries with so many bytes of values.
    pub fn with_room(rows: usize, entries: usize, bytes: usize) -> TextMap {
        TextMap { entries: Entries::with_room(rows, entries), values: Texts::with_room(entries, bytes) }
    }

    /// The number of a key.
    pub fn key(&mut self, name: &str) -> Result<Key, TooLarge> {
        self.entries.names.key(name).map(Key)
    }

    /// Adds an entry to the current row.
    pub fn push(&mut self, key: Key, value: &str) -> Result<(), TooLarge> {
        self.entries.keys.push(key.0);
        self.values.push(value.as_bytes())
    }

    /// Adds an entry whose value is written as text.
    pub fn write(&mut self, key: Key, value: &impl std::fmt::Display) -> Result<(), TooLarge> {
        self.entries.keys.push(key.0);
        self.values.write(value)
    }

    /// Ends the current row.
    pub fn end_row(&mut self) -> Result<(), TooLarge> {
        self.entries.end_row()
    }

    /// Whether no row has an entry.
    pub fn is_empty(&self) -> bool {
        self.entries.keys.is_empty()
    }

    /// The column.
    pub fn finish(self) -> ArrayRef {
        self.entries.finish(Arc::new(self.values.finish(None)))
    }
}

impl NumberMap {
    /// An empty map column, with room for so many rows and entries.
    pub fn with_room(rows: usize, entries: usize) -> NumberMap {
        NumberMap {
            entries: Entries::with_room(rows, entries),
            values: Float64Builder::with_capacity(entries),
        }
    }

    /// The number of a key.
    pub fn key(&mut self, name: &str) -> Result<Key, TooLarge> {
        self.entries.names.key(name).map(Key)
    }

    /// Adds an entry to the current row.
    pub fn push(&mut self, key: Key, value: f64) {
        self.entries.keys.push(key.0);
        self.values.append_value(value);
    }

    /// Ends the current row.
    pub fn end_row(&mut self) -> Result<(), TooLarge> {
        self.entries.end_row()
    }

    /// Whether no row has an entry.
    pub fn is_empty(&self) -> bool {
        self.entries.keys.is_empty()
    }

    /// The column.
    pub fn finish(mut self) -> ArrayRef {
        let values = Arc::new(self.values.finish());
        self.entries.finish(values)
    }
}

/// The keys of a map column, and where its rows end.
struct Entries {
    offsets: Vec<i32>,
    keys: Vec<i32>,
    names: Interner,
}

impl Entries {
    fn with_room(rows: usize, entries: usize) -> Entries {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Entries { offsets, keys: Vec::with_capacity(entries), names: Interner::with_room(KEYS) }
    }

    fn end_row(&mut self) -> Result<(), TooLarge> {
        self.offsets.push(i32::try_from(self.keys.len()).map_err(|_| TooLarge)?);
        Ok(())
    }

    fn finish(self, values: ArrayRef) -> ArrayRef {
        let keys = self.names.finish(&self.keys, None);
        let key = Field::new("key", keys.data_type().clone(), false);
        let value = Field::new("value", values.data_type().clone(), false);
        let entries = StructArray::new(Fields::from(vec![key, value]), vec![keys, values], None);
        let entry = Field::new("entries", DataType::Struct(entries.fields().clone()), false);
        Arc::new(MapArray::new(Arc::new(entry), OffsetBuffer::new(self.offsets.into()), entries, None, false))
    }
}

/// The attribute lists of one batch, on their way into one map.
pub(crate) struct Lists<'a> {
    column: AttributeColumn<'a>,
    /// What goes before each key.
    prefix: &'static str,
    /// The batch's numbers of the keys, and their names.
    keys: Option<(&'a [i32], TextColumn<'a>)>,
    /// By the batch's number of a key the map's, as they are met.
    known: Vec<Option<Key>>,
    /// The values, when all are texts.
    texts: Option<&'a BinaryViewArray>,
}

impl<'a> Lists<'a> {
    /// The lists of `column`, whose keys get `prefix` before them.
    pub fn new(column: AttributeColumn<'a>, prefix: &'static str) -> Lists<'a> {
        Lists { column, prefix, keys: column.keys(), known: Vec::new(), texts: column.texts() }
    }

    /// How many attributes there are, and the bytes of their values together.
    pub fn size(&self) -> (usize, usize) {
        (self.column.len(), self.column.bytes())
    }

    /// How many attributes a row has.
    pub fn count(&self, row: usize) -> usize {
        self.column.range(row).len()
    }

    /// Adds the attributes of a row to the current row of the map.
    pub fn add(&mut self, row: usize, map: &mut TextMap) -> Result<(), TooLarge> {
        let Some((keys, names)) = self.keys else {
            for (name, value) in self.column.row(row) {
                let key = self.named(name, map)?;
                push(map, key, value)?;
            }
            return Ok(());
        };
        let range = self.column.range(row);
        if let Some(texts) = self.texts {
            for key in &keys[range.clone()] {
                let key = self.key(*key, names, map)?;
                map.entries.keys.push(key.0);
            }
            return map.values.push_views(texts.views()[range].iter().copied(), texts.data_buffers());
        }
        for entry in range {
            let key = self.key(keys[entry], names, map)?;
            push(map, key, self.column.value(entry))?;
        }
        Ok(())
    }

    /// The map's number of the key that has this one in the batch.
    #[inline]
    fn key(&mut self, number: i32, names: TextColumn<'a>, map: &mut TextMap) -> Result<Key, TooLarge> {
        let number = usize::try_from(number).unwrap_or(0);
        if let Some(Some(key)) = self.known.get(number) {
            return Ok(*key);
        }
        let key = self.named(names.get(number).unwrap_or_default(), map)?;
        if self.known.len() <= number {
            self.known.resize(number + 1, None);
        }
        self.known[number] = Some(key);
        Ok(key)
    }

    fn named(&self, name: &str, map: &mut TextMap) -> Result<Key, TooLarge> {
        if self.prefix.is_empty() { map.key(name) } else { map.key(&format!("{}{name}", self.prefix)) }
    }
}

/// Adds an entry. A value that is missing is empty.
fn push(map: &mut TextMap, key: Key, value: Value<'_>) -> Result<(), TooLarge> {
    match value {
        Value::String(text) => map.push(key, text),
        other => map.write(key, &other),
    }
}
