//! Building map columns: `attributes`, `resource`, `labels`, `measures`.
//!
//! Keys are a dictionary, so a key's text is sent once an insert. Repeated keys are kept, in order: a ClickHouse map
//! holds them all, and `map['key']` gives the first.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, Int32Array, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use crate::value_column::{Interner, Texts, TooLarge};

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

impl TextMap {
    /// An empty map column, with room for so many bytes of values.
    pub fn with_room(bytes: usize) -> TextMap {
        TextMap { entries: Entries::new(), values: Texts::with_room(bytes) }
    }

    /// Adds an entry to the current row.
    pub fn push(&mut self, key: &str, value: &str) -> Result<(), TooLarge> {
        self.values.push(value)?;
        self.entries.push(key)
    }

    /// Adds an entry whose value is written as text.
    pub fn write(&mut self, key: &str, value: &impl std::fmt::Display) -> Result<(), TooLarge> {
        self.values.write(value)?;
        self.entries.push(key)
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

impl NumberMap {
    /// An empty map column.
    pub fn new() -> NumberMap {
        NumberMap { entries: Entries::new(), values: Float64Builder::new() }
    }

    /// Adds an entry to the current row.
    pub fn push(&mut self, key: &str, value: f64) -> Result<(), TooLarge> {
        self.values.append_value(value);
        self.entries.push(key)
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
    /// Where the current row begins.
    row: usize,
    /// By place in a row, the key that was there last: rows of one kind have the same keys in the same places.
    predicted: Vec<i32>,
}

impl Entries {
    fn new() -> Entries {
        Entries {
            offsets: vec![0],
            keys: Vec::new(),
            names: Interner::default(),
            row: 0,
            predicted: Vec::new(),
        }
    }

    fn push(&mut self, key: &str) -> Result<(), TooLarge> {
        let place = self.keys.len() - self.row;
        if let Some(same) = self.predicted.get(place).filter(|same| self.names.is(**same, key)) {
            self.keys.push(*same);
            return Ok(());
        }
        let key = self.names.key(key)?;
        self.keys.push(key);
        match self.predicted.get_mut(place) {
            Some(last) => *last = key,
            None => self.predicted.push(key),
        }
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), TooLarge> {
        self.offsets.push(i32::try_from(self.keys.len()).map_err(|_| TooLarge)?);
        self.row = self.keys.len();
        Ok(())
    }

    fn finish(self, values: ArrayRef) -> ArrayRef {
        let keys = Arc::new(self.names.finish(Int32Array::from(self.keys)));
        let key = Field::new("key", keys.data_type().clone(), false);
        let value = Field::new("value", values.data_type().clone(), false);
        let entries = StructArray::new(Fields::from(vec![key, value]), vec![keys, values], None);
        let entry = Field::new("entries", DataType::Struct(entries.fields().clone()), false);
        Arc::new(MapArray::new(Arc::new(entry), OffsetBuffer::new(self.offsets.into()), entries, None, false))
    }
}
