//! Laying text columns as views into shared bytes: 16 bytes a value, no copy.
//!
//! Builders for decoders, which make views of what they have checked to be UTF-8; see [`trusted`].

use std::sync::Arc;

use arrow::array::builder::make_view;
use arrow::array::{
    ArrayRef, BinaryViewArray, ListArray, NullBufferBuilder, PrimitiveArray, StringViewArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Int32Type, UInt8Type};
use arrow::error::ArrowError;

use super::trusted;
use crate::schema;

/// The buffer that a view's bytes lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ViewBuffer {
    /// The received bytes.
    Arena = 0,
    /// Text that the decoder builds.
    Built = 1,
}

/// The longest text that is in its view.
const INLINE: usize = 12;

/// What a view has of the sixteen bytes that begin four bytes before its text, by the length of the text.
const SHOWN: [u128; INLINE + 1] = {
    let (mut shown, mut len) = ([0; INLINE + 1], 0);
    while len <= INLINE {
        shown[len] = ((1 << (8 * len)) - 1) << 32;
        len += 1;
    }
    shown
};

/// A view of the `len` bytes that lie at `offset` of `source`, which is `buffer`.
///
/// The layout is Arrow's: the length (4 bytes), then the text if it has at most 12 bytes, else its first 4
/// bytes, the number of the buffer and the offset.
#[inline]
pub(crate) fn view(buffer: &[u8], source: ViewBuffer, offset: usize, len: usize) -> u128 {
    // Four bytes before the text are where the view has its length.
    let around = offset.checked_sub(4).and_then(|begin| buffer.get(begin..)?.first_chunk::<16>());
    let Some(around) = around else {
        // Arenas and built text are kept below 2 GiB.
        let bytes = buffer.get(offset..offset + len).unwrap_or_default();
        return make_view(bytes, source as u32, u32::try_from(offset).unwrap_or(u32::MAX));
    };
    let around = u128::from_le_bytes(*around);
    match SHOWN.get(len) {
        Some(shown) => around & shown | len as u128,
        None => {
            let low = around as u64 & 0xffff_ffff_0000_0000 | len as u64;
            let high = (offset as u64) << 32 | source as u64;
            u128::from(high) << 64 | u128::from(low)
        }
    }
}

/// The buffers that views point to, in the order of [`ViewBuffer`].
#[derive(Clone, Debug)]
pub(crate) struct Buffers(Arc<[Buffer]>);

impl Buffers {
    pub(crate) fn new(arena: &Buffer, built: Vec<u8>) -> Buffers {
        Buffers(Arc::new([arena.clone(), Buffer::from_vec(built)]))
    }

    /// The texts that these views show.
    pub(crate) fn text(&self, views: Views) -> Result<StringViewArray, ArrowError> {
        let (views, nulls) = views.finish();
        trusted::text(views, self.0.clone(), nulls)
    }

    /// The bytes that these views show.
    pub(crate) fn binary(&self, views: Vec<u128>) -> Result<BinaryViewArray, ArrowError> {
        trusted::binary(ScalarBuffer::from(views), self.0.clone())
    }
}

/// A column of views that grows.
#[derive(Debug)]
pub(crate) struct Views {
    /// [`NULL`] for those that are missing.
    views: Vec<u128>,
    nulls: usize,
}

/// No view: its length is beyond any buffer's.
const NULL: u128 = u128::MAX;

impl Views {
    pub(crate) fn new() -> Views {
        Views { views: Vec::new(), nulls: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.views.len()
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.views.reserve(more);
    }

    #[inline]
    pub(crate) fn push(&mut self, view: Option<u128>) {
        self.nulls += usize::from(view.is_none());
        self.views.push(view.unwrap_or(NULL));
    }

    /// Appends some. In one go when the iterator knows how many there are.
    #[inline]
    pub(crate) fn extend(&mut self, views: impl Iterator<Item = Option<u128>>) {
        let mut nulls = 0;
        self.views.extend(views.map(|view| {
            nulls += usize::from(view.is_none());
            view.unwrap_or(NULL)
        }));
        self.nulls += nulls;
    }

    /// Appends nulls until there are `len` values.
    pub(crate) fn pad(&mut self, len: usize) {
        let missing = len.saturating_sub(self.views.len());
        self.views.resize(self.views.len() + missing, NULL);
        self.nulls += missing;
    }

    fn finish(mut self) -> (ScalarBuffer<u128>, Option<NullBuffer>) {
        if self.nulls == 0 {
            return (self.views.into(), None);
        }
        let valid = BooleanBuffer::collect_bool(self.views.len(), |at| self.views[at] != NULL);
        for view in self.views.iter_mut().filter(|view| **view == NULL) {
            *view = 0;
        }
        (self.views.into(), Some(NullBuffer::new(valid)))
    }
}

/// Attribute lists whose values are all texts.
#[derive(Debug)]
pub(crate) struct TextAttributes {
    offsets: Vec<i32>,
    keys: Vec<i32>,
    values: Vec<u128>,
}

impl TextAttributes {
    pub(crate) fn new() -> TextAttributes {
        TextAttributes { offsets: vec![0], keys: Vec::new(), values: Vec::new() }
    }

    pub(crate) fn reserve(&mut self, lists: usize, attributes: usize) {
        self.offsets.reserve(lists);
        self.keys.reserve(attributes);
        self.values.reserve(attributes);
    }

    /// Appends an attribute to the list that is not yet ended. `key` is an index in the dictionary of keys.
    #[inline]
    pub(crate) fn push(&mut self, key: i32, value: u128) {
        self.keys.push(key);
        self.values.push(value);
    }

    /// Ends a list.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.offsets.push(index(self.keys.len()));
    }

    /// How many attributes there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Appends the keys of some attributes, whose [values](Self::values) and [ends](Self::ends) follow.
    #[inline]
    pub(crate) fn keys(&mut self, keys: impl Iterator<Item = i32>) {
        self.keys.extend(keys);
    }

    /// Appends the values of attributes whose keys are there.
    #[inline]
    pub(crate) fn values(&mut self, values: impl Iterator<Item = u128>) {
        self.values.extend(values);
    }

    /// Ends lists, each after so many of all attributes.
    #[inline]
    pub(crate) fn ends(&mut self, ends: impl Iterator<Item = usize>) {
        self.offsets.extend(ends.map(index));
    }

    /// The lists, with `keys` as the dictionary of keys.
    pub(crate) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let count = self.values.len();
        // The type's number for a string is 0.
        let types = ScalarBuffer::from(vec![0u8; count]);
        attribute_lists(self.offsets, self.keys, types, buffers.binary(self.values)?, keys)
    }
}

/// Lists of attributes, of the type that [`schema::attribute_list`] names.
pub(crate) fn attribute_lists(
    offsets: Vec<i32>,
    keys: Vec<i32>,
    types: ScalarBuffer<u8>,
    values: BinaryViewArray,
    dictionary_of_keys: &ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let columns = vec![
        dictionary(keys, None, dictionary_of_keys.clone())?,
        Arc::new(PrimitiveArray::<UInt8Type>::new(types, None)) as ArrayRef,
        Arc::new(values) as ArrayRef,
    ];
    lists(schema::attribute_item(), columns, offsets, None)
}

/// Lists of structs, which are `item`.
pub(crate) fn lists(
    item: FieldRef,
    columns: Vec<ArrayRef>,
    offsets: Vec<i32>,
    nulls: Option<NullBufferBuilder>,
) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = item.data_type() else {
        return Err(ArrowError::SchemaError("the items of a list are no structs".into()));
    };
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let nulls = nulls.and_then(|mut nulls| nulls.finish());
    let lists = ListArray::try_new(item, trusted::offsets(offsets)?, Arc::new(entries), nulls)?;
    Ok(Arc::new(lists))
}

/// A dictionary column: `keys` point into `values`.
pub(crate) fn dictionary(
    keys: impl Into<ScalarBuffer<i32>>,
    nulls: Option<NullBuffer>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let keys = PrimitiveArray::<Int32Type>::try_new(keys.into(), nulls)?;
    Ok(Arc::new(trusted::dictionary(keys, values)?))
}

/// A length or position as Arrow counts it. Arenas are below 2 GiB and every entry takes bytes of the arena,
/// so it fits.
#[inline]
pub(crate) fn index(position: usize) -> i32 {
    i32::try_from(position).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_those_of_arrow() {
        let buffer: Vec<u8> = (0..100).map(|at| b'a' + at % 26).collect();
        for source in [ViewBuffer::Arena, ViewBuffer::Built] {
            for offset in 0..buffer.len() {
                for len in 0..=buffer.len() - offset {
                    let expected = make_view(&buffer[offset..offset + len], source as u32, offset as u32);
                    assert_eq!(view(&buffer, source, offset, len), expected, "{offset} {len}");
                }
            }
        }
    }

    #[test]
    fn missing_views_are_null_and_empty_ones_are_not() {
        let mut views = Views::new();
        views.push(Some(0));
        views.push(None);
        views.pad(4);
        let (values, nulls) = views.finish();
        assert_eq!(&values[..], [0; 4]);
        assert_eq!(nulls.unwrap().iter().collect::<Vec<_>>(), [true, false, false, false]);
    }
}
