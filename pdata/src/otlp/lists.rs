//! Columns that OTLP needs beside those that every decoder builds.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int32Array, PrimitiveArray, StringViewArray, TimestampNanosecondArray,
    UInt32Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

use super::scan::record::Attribute;
use crate::columns::names::Name;
use crate::columns::views::{Buffers, attribute_lists, index};
use crate::schema;

/// A column, when something reads it.
pub(super) type Built = (&'static str, Option<Result<ArrayRef, ArrowError>>);

/// Attribute lists with values of any type.
#[derive(Debug)]
pub(super) struct AttributeLists {
    offsets: Vec<i32>,
    keys: Vec<i32>,
    types: Vec<u8>,
    values: Vec<u128>,
}

impl AttributeLists {
    pub(super) fn new() -> AttributeLists {
        AttributeLists { offsets: vec![0], keys: Vec::new(), types: Vec::new(), values: Vec::new() }
    }

    pub(super) fn reserve(&mut self, lists: usize, attributes: usize) {
        self.offsets.reserve(lists);
        self.keys.reserve(attributes);
        self.types.reserve(attributes);
        self.values.reserve(attributes);
    }

    /// Appends an attribute to the list that is not yet ended. `key` is an index in the dictionary of keys.
    #[inline]
    pub(super) fn push(&mut self, key: i32, attribute: Attribute, arena: &[u8]) {
        self.keys.push(key);
        self.types.push(attribute.kind as u8);
        self.values.push(attribute.view(arena));
    }

    /// Ends a list.
    #[inline]
    pub(super) fn end(&mut self) {
        self.offsets.push(index(self.keys.len()));
    }

    /// The lists, with `keys` as the dictionary of keys.
    pub(super) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        attribute_lists(self.offsets, self.keys, self.types.into(), buffers.binary(self.values)?, keys)
    }
}

/// Numbers of which most are 0, which is null.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Up to the last one that is not 0.
    values: Vec<u32>,
}

impl Counts {
    /// The number of this row. Rows never decrease.
    #[inline]
    pub(super) fn set(&mut self, row: usize, value: u32) {
        if value != 0 {
            self.values.resize(row, 0);
            self.values.push(value);
        }
    }

    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        if self.values.is_empty() {
            return new_null_array(&DataType::UInt32, rows);
        }
        self.values.resize(rows, 0);
        let there = BooleanBuffer::collect_bool(rows, |at| self.values[at] != 0);
        Arc::new(UInt32Array::new(self.values.into(), Some(NullBuffer::new(there))))
    }
}

/// A column of times of which 0 is null.
pub(super) fn times(values: Vec<i64>) -> ArrayRef {
    let missing = values.contains(&0);
    let nulls =
        missing.then(|| NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |at| values[at] != 0)));
    Arc::new(TimestampNanosecondArray::new(values.into(), nulls).with_data_type(schema::timestamp()))
}

/// A column of numbers of which 0 is null.
pub(super) fn numbers_but_zero(numbers: Vec<i32>) -> ArrayRef {
    let there = BooleanBuffer::collect_bool(numbers.len(), |at| numbers[at] != 0);
    Arc::new(Int32Array::new(numbers.into(), Some(NullBuffer::new(there))))
}

/// The name of an enum's number.
pub(super) fn code_name(number: i32, known: &StringViewArray) -> Name {
    let is_known = usize::try_from(number).is_ok_and(|number| number < known.len());
    if is_known { Name::Fixed(number) } else { Name::Unknown(number) }
}

/// Of each row the value that its key points to.
pub(super) fn shared(of_rows: &PrimitiveArray<Int32Type>, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::try_new(of_rows.clone(), values)?))
}
