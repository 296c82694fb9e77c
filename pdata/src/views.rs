//! Laying text columns as views into shared bytes: 16 bytes a value, no copy.
//!
//! Builders for decoders. Arrays are checked by Arrow when they are made: a view that reached outside of its buffer,
//! or to bytes that are not UTF-8, gives an error, never undefined behaviour.

use std::sync::Arc;

use arrow::array::builder::make_view;
use arrow::array::{
    ArrayRef, BinaryViewArray, DictionaryArray, ListArray, NullBufferBuilder, PrimitiveArray,
    StringViewArray, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, UInt8Type};
use arrow::error::ArrowError;

use crate::schema;

/// The buffer that a view's bytes lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The received bytes.
    Arena = 0,
    /// Text that the decoder builds.
    Built = 1,
}

/// A view of `bytes`, which lie at `offset` of `source`.
#[inline]
pub(crate) fn view(bytes: &[u8], source: Source, offset: usize) -> u128 {
    // Arenas and built text are kept below 2 GiB.
    make_view(bytes, source as u32, u32::try_from(offset).unwrap_or(u32::MAX))
}

/// The buffers that views point to, in the order of [`Source`].
#[derive(Clone, Debug)]
pub(crate) struct Buffers(Arc<[Buffer]>);

impl Buffers {
    pub(crate) fn new(arena: &Buffer, built: Vec<u8>) -> Buffers {
        Buffers(Arc::new([arena.clone(), Buffer::from_vec(built)]))
    }

    /// The texts that these views show.
    pub(crate) fn text(&self, views: Views) -> Result<StringViewArray, ArrowError> {
        let Views { views, mut nulls } = views;
        StringViewArray::try_new(ScalarBuffer::from(views), self.0.clone(), nulls.finish())
    }

    fn binary(&self, views: Vec<u128>) -> Result<BinaryViewArray, ArrowError> {
        BinaryViewArray::try_new(ScalarBuffer::from(views), self.0.clone(), None)
    }
}

/// A column of views that grows.
#[derive(Debug)]
pub(crate) struct Views {
    views: Vec<u128>,
    nulls: NullBufferBuilder,
}

impl Views {
    pub(crate) fn new() -> Views {
        Views { views: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.views.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, view: Option<u128>) {
        self.views.push(view.unwrap_or(0));
        self.nulls.append(view.is_some());
    }

    /// Appends nulls until there are `len` values.
    pub(crate) fn pad(&mut self, len: usize) {
        let missing = len.saturating_sub(self.views.len());
        self.views.resize(self.views.len() + missing, 0);
        self.nulls.append_n_nulls(missing);
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
    lists(schema::attribute_entry(), columns, offsets, None)
}

/// Lists of structs.
pub(crate) fn lists(
    fields: Fields,
    columns: Vec<ArrayRef>,
    offsets: Vec<i32>,
    nulls: Option<NullBufferBuilder>,
) -> Result<ArrayRef, ArrowError> {
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
    let nulls = nulls.and_then(|mut nulls| nulls.finish());
    let lists = ListArray::try_new(item, OffsetBuffer::new(offsets.into()), Arc::new(entries), nulls)?;
    Ok(Arc::new(lists))
}

/// A dictionary column: `keys` point into `values`.
pub(crate) fn dictionary(
    keys: Vec<i32>,
    nulls: Option<NullBufferBuilder>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let nulls = nulls.and_then(|mut nulls| nulls.finish());
    let keys = PrimitiveArray::<Int32Type>::try_new(keys.into(), nulls)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}

/// A length or position as Arrow counts it. Arenas are below 2 GiB and every entry takes bytes of the arena, so it fits.
#[inline]
pub(crate) fn index(position: usize) -> i32 {
    i32::try_from(position).unwrap_or(i32::MAX)
}
