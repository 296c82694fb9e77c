//! Reading attribute lists: the `attributes` and `resource` columns.
//!
//! An entry is `{key, type, value}`. `value` holds the bytes of a string, the bytes of the OTLP `AnyValue` of
//! an array or map, and 8 little-endian bytes of an integer or float, 1 byte of a boolean.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, ListArray, UInt8Array};
use arrow::datatypes::{Int32Type, UInt8Type};

pub use crate::any_value::Nested;
pub use crate::attribute_copies::{without_copies, without_originals};
use crate::text::TextColumn;

/// The type of an attribute's value, as stored in the `type` field of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ValueType {
    /// UTF-8 text.
    String = 0,
    /// Signed 64-bit integer.
    Int64 = 1,
    /// 64-bit float.
    Float64 = 2,
    /// Boolean.
    Bool = 3,
    /// Bytes.
    Bytes = 4,
    /// An array, as an OTLP `AnyValue`.
    Array = 5,
    /// A map, as an OTLP `AnyValue`.
    Map = 6,
    /// No value.
    Null = 7,
}

impl ValueType {
    /// The type with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<ValueType> {
        Some(match number {
            0 => ValueType::String,
            1 => ValueType::Int64,
            2 => ValueType::Float64,
            3 => ValueType::Bool,
            4 => ValueType::Bytes,
            5 => ValueType::Array,
            6 => ValueType::Map,
            7 => ValueType::Null,
            _ => return None,
        })
    }
}

/// The value of one attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    String(&'a str),
    /// Integer.
    Int64(i64),
    /// Float.
    Float64(f64),
    /// Boolean.
    Bool(bool),
    /// Bytes. As text they are lower-case hexadecimal.
    Bytes(&'a [u8]),
    /// An array or a map. As text it is JSON.
    Nested(Nested<'a>),
    /// No value.
    Null,
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::String(text) => f.write_str(text),
            Value::Int64(number) => write!(f, "{number}"),
            Value::Float64(number) => write!(f, "{number}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Nested(nested) => write!(f, "{nested}"),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::Null => Ok(()),
        }
    }
}

/// A column of attribute lists: plain, or a dictionary of lists.
#[derive(Clone, Copy, Debug)]
pub struct AttributeColumn<'a> {
    dictionary: Option<&'a DictionaryArray<Int32Type>>,
    lists: &'a ListArray,
    keys: TextColumn<'a>,
    types: &'a UInt8Array,
    values: &'a BinaryViewArray,
}

impl<'a> AttributeColumn<'a> {
    /// Reads `array` as attribute lists; `None` when it is something else.
    #[must_use]
    pub fn new(array: &'a ArrayRef) -> Option<AttributeColumn<'a>> {
        let dictionary = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>();
        let lists = match dictionary {
            Some(dictionary) => dictionary.values().as_list_opt::<i32>()?,
            None => array.as_list_opt::<i32>()?,
        };
        let entries = lists.values().as_struct_opt()?;
        Some(AttributeColumn {
            dictionary,
            lists,
            keys: TextColumn::new(entries.column_by_name("key")?)?,
            types: entries.column_by_name("type")?.as_primitive_opt::<UInt8Type>()?,
            values: entries.column_by_name("value")?.as_binary_view_opt()?,
        })
    }

    /// How many attributes all rows have together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The attributes of a row, in wire order. Empty when null.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let this = *self;
        self.range(row).filter_map(move |entry| Some((this.keys.get(entry)?, this.value(entry))))
    }

    /// Where the attributes of a row are among those of all rows. Empty when null.
    #[must_use]
    pub fn range(&self, row: usize) -> Range<usize> {
        let list = match self.dictionary {
            None => Some(row),
            Some(dictionary) => dictionary.key(row),
        };
        list.filter(|list| *list < self.lists.len() && self.lists.is_valid(*list)).map_or(0..0, |list| {
            let offsets = self.lists.value_offsets();
            let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
            bound(list)..bound(list + 1)
        })
    }

    /// Where the attributes of each row begin among those of all rows, and where the last ends; when every
    /// row has a list of its own.
    #[must_use]
    pub fn offsets(&self) -> Option<&'a [i32]> {
        let own = self.dictionary.is_none() && self.lists.null_count() == 0;
        own.then(|| self.lists.value_offsets())
    }

    /// The keys of all rows' attributes as numbers of names, when all of them have one.
    #[must_use]
    pub fn keys(&self) -> Option<(&'a [i32], TextColumn<'a>)> {
        let (dictionary, _) = self.keys.dictionary()?;
        let names = TextColumn::new(dictionary.values())?;
        let complete = dictionary.null_count() == 0 && dictionary.values().null_count() == 0;
        complete.then(|| (&**dictionary.keys().values(), names))
    }

    /// The values of all rows' attributes, when all of them are texts.
    #[must_use]
    pub fn texts(&self) -> Option<&'a BinaryViewArray> {
        // Of a string the type's number is 0: all are looked at together.
        const { assert!(ValueType::String as u8 == 0) };
        let none_other = || self.types.values().iter().fold(0, |all, number| all | number) == 0;
        (self.values.null_count() == 0 && none_other()).then_some(self.values)
    }

    /// The key of one of all rows' attributes.
    pub(crate) fn key(&self, entry: usize) -> Option<&'a str> {
        self.keys.get(entry)
    }

    /// The types and the bytes of all rows' attributes.
    pub(crate) fn types_and_values(&self) -> (&'a UInt8Array, &'a BinaryViewArray) {
        (self.types, self.values)
    }

    /// The value of one of all rows' attributes.
    #[must_use]
    pub fn value(&self, entry: usize) -> Value<'a> {
        if self.values.is_null(entry) {
            return Value::Null;
        }
        let bytes: &'a [u8] = self.values.value(entry);
        let number = || bytes.try_into().map(u64::from_le_bytes).ok();
        let read = match ValueType::from_number(self.types.value(entry)) {
            Some(ValueType::String) => std::str::from_utf8(bytes).ok().map(Value::String),
            Some(ValueType::Int64) => number().map(|bits| Value::Int64(bits.cast_signed())),
            Some(ValueType::Float64) => number().map(|bits| Value::Float64(f64::from_bits(bits))),
            Some(ValueType::Bool) => bytes.first().map(|byte| Value::Bool(*byte != 0)),
            Some(ValueType::Null) => Some(Value::Null),
            Some(ValueType::Array | ValueType::Map) => Some(Value::Nested(Nested::new(bytes))),
            Some(ValueType::Bytes) | None => None,
        };
        read.unwrap_or(Value::Bytes(bytes))
    }
}
