//! Reading text columns, however they are encoded.

use arrow::array::{Array, ArrayRef, DictionaryArray, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;

/// A text column of any of the encodings that [`schema`](crate::schema) allows.
#[derive(Clone, Copy, Debug)]
pub enum TextColumn<'a> {
    /// Views.
    View(&'a StringViewArray),
    /// Offsets and bytes.
    Plain(&'a StringArray),
    /// Dictionary of views.
    DictionaryOfViews(&'a DictionaryArray<Int32Type>, &'a StringViewArray),
    /// Dictionary of plain text.
    Dictionary(&'a DictionaryArray<Int32Type>, &'a StringArray),
}

impl<'a> TextColumn<'a> {
    /// Reads `array` as text; `None` when it is not a text column.
    #[must_use]
    pub fn new(array: &'a ArrayRef) -> Option<TextColumn<'a>> {
        let any = array.as_any();
        if let Some(view) = any.downcast_ref() {
            return Some(TextColumn::View(view));
        }
        if let Some(plain) = any.downcast_ref() {
            return Some(TextColumn::Plain(plain));
        }
        let dictionary: &DictionaryArray<Int32Type> = any.downcast_ref()?;
        let values = dictionary.values().as_any();
        if let Some(views) = values.downcast_ref() {
            return Some(TextColumn::DictionaryOfViews(dictionary, views));
        }
        Some(TextColumn::Dictionary(dictionary, values.downcast_ref()?))
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            TextColumn::View(array) => array.len(),
            TextColumn::Plain(array) => array.len(),
            TextColumn::DictionaryOfViews(dictionary, _) | TextColumn::Dictionary(dictionary, _) => {
                dictionary.len()
            }
        }
    }

    /// The text of a row; `None` when null or out of range.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            TextColumn::View(array) => (row < array.len() && array.is_valid(row)).then(|| array.value(row)),
            TextColumn::Plain(array) => (row < array.len() && array.is_valid(row)).then(|| array.value(row)),
            TextColumn::DictionaryOfViews(dictionary, values) => {
                let key = Self::key(dictionary, row)?;
                values.is_valid(key).then(|| values.value(key))
            }
            TextColumn::Dictionary(dictionary, values) => {
                let key = Self::key(dictionary, row)?;
                values.is_valid(key).then(|| values.value(key))
            }
        }
    }

    /// The dictionary's keys and how many values it has, when there is a dictionary.
    /// Equal keys mean equal text; different keys need not mean different text.
    #[must_use]
    pub fn dictionary(&self) -> Option<(&'a DictionaryArray<Int32Type>, usize)> {
        match self {
            TextColumn::DictionaryOfViews(dictionary, values) => Some((dictionary, values.len())),
            TextColumn::Dictionary(dictionary, values) => Some((dictionary, values.len())),
            TextColumn::View(_) | TextColumn::Plain(_) => None,
        }
    }

    fn key(dictionary: &DictionaryArray<Int32Type>, row: usize) -> Option<usize> {
        let keys = dictionary.keys();
        if row >= keys.len() || !keys.is_valid(row) {
            return None;
        }
        usize::try_from(keys.value(row)).ok().filter(|key| *key < dictionary.values().len())
    }
}
