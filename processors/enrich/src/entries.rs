//! Changing attribute lists: the `attributes` column.
//!
//! A wanted key's first value is in its own column; repeats of the key are in the list. So what happens to a
//! column happens to its repeats too. Most batches have none, and then the list is not touched: finding that
//! out takes one look at the dictionary of keys, and, where a key is in it, one pass over the entries' key
//! numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, ListArray, PrimitiveArray, StringViewArray,
    StructArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Int32Type, UInt8Type};
use arrow::error::ArrowError;
use weir_pdata::attributes::ValueType;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

/// The changes to entries, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Entries with these keys go.
    pub removed: BTreeSet<String>,
    /// Entries with these keys get another.
    pub renamed: BTreeMap<String, String>,
}

/// A text to append to the list of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedEntry {
    /// The row.
    pub row: usize,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The lists with `changes` applied and `added` appended; `None` when there is nothing to change, or when
/// `lists` is not a column of attribute lists.
///
/// # Errors
/// The lists are larger than Arrow can count.
pub(crate) fn change(
    lists: &ArrayRef,
    changes: &Changes,
    added: &[AddedEntry],
) -> Result<Option<ArrayRef>, ArrowError> {
    let Some(old) = AttributeLists::of(lists) else { return Ok(None) };
    let fates = old.fates(changes);
    if added.is_empty() && !old.has_a_changing_entry(&fates) {
        return Ok(None);
    }
    rebuild(&old, &fates, added).map(Some)
}

/// Which rows have this key in their list; `None` when none has.
pub(crate) fn rows_with(lists: &ArrayRef, key: &str) -> Option<Vec<bool>> {
    let old = AttributeLists::of(lists)?;
    let wanted = |at: &usize| old.names.get(*at) == Some(key);
    // A dictionary may name a key twice.
    let wanted: Vec<usize> = (0..old.keys.values().len()).filter(wanted).collect();
    if wanted.is_empty() {
        return None;
    }
    let has = |row| old.range(row).any(|entry| old.keys.key(entry).is_some_and(|key| wanted.contains(&key)));
    let rows: Vec<bool> = (0..old.lists.len()).map(has).collect();
    rows.contains(&true).then_some(rows)
}

/// The parts of an attribute list column.
struct AttributeLists<'a> {
    lists: &'a ListArray,
    keys: &'a DictionaryArray<Int32Type>,
    names: TextColumn<'a>,
    types: &'a PrimitiveArray<UInt8Type>,
    values: &'a BinaryViewArray,
}

/// The change to the entries with one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate<'a> {
    Stays,
    Goes,
    Becomes(&'a str),
}

impl<'a> AttributeLists<'a> {
    fn of(lists: &'a ArrayRef) -> Option<AttributeLists<'a>> {
        let lists = lists.as_list_opt::<i32>()?;
        let entries = lists.values().as_struct_opt()?;
        let keys = entries.column_by_name("key")?.as_dictionary_opt::<Int32Type>()?;
        Some(AttributeLists {
            lists,
            keys,
            names: TextColumn::new(keys.values())?,
            types: entries.column_by_name("type")?.as_primitive_opt()?,
            values: entries.column_by_name("value")?.as_binary_view_opt()?,
        })
    }

    /// The fate of each value of the dictionary of keys.
    fn fates<'c>(&self, changes: &'c Changes) -> Vec<Fate<'c>> {
        let fate = |at| match self.names.get(at) {
            Some(name) if changes.removed.contains(name) => Fate::Goes,
            Some(name) => changes.renamed.get(name).map_or(Fate::Stays, |new| Fate::Becomes(new)),
            None => Fate::Stays,
        };
        (0..self.keys.values().len()).map(fate).collect()
    }

    fn has_a_changing_entry(&self, fates: &[Fate<'_>]) -> bool {
        let changing = |key: &i32| {
            usize::try_from(*key).ok().and_then(|at| fates.get(at)).is_some_and(|fate| *fate != Fate::Stays)
        };
        fates.iter().any(|fate| *fate != Fate::Stays)
            && (0..self.lists.len()).any(|row| {
                self.range(row).any(|entry| self.keys.keys().values().get(entry).is_some_and(changing))
            })
    }

    /// The entries of a row.
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        if self.lists.is_null(row) {
            return 0..0;
        }
        let offsets = self.lists.value_offsets();
        let bound = |at: usize| offsets.get(at).and_then(|at| usize::try_from(*at).ok()).unwrap_or(0);
        bound(row)..bound(row + 1)
    }
}

fn rebuild(
    old: &AttributeLists<'_>,
    fates: &[Fate<'_>],
    added: &[AddedEntry],
) -> Result<ArrayRef, ArrowError> {
    let mut names: Vec<&str> = (0..fates.len())
        .map(|at| match fates[at] {
            Fate::Becomes(new) => new,
            Fate::Stays | Fate::Goes => old.names.get(at).unwrap_or_default(),
        })
        .collect();
    let mut added_keys: BTreeMap<&str, i32> = BTreeMap::new();
    for one in added {
        let next = number(names.len())?;
        added_keys.entry(&one.key).or_insert_with(|| {
            names.push(&one.key);
            next
        });
    }
    let (mut offsets, mut keys, mut types, mut sources) =
        (vec![0], Vec::new(), Vec::new(), Vec::<u32>::new());
    let mut pending = added.iter().enumerate().peekable();
    let mut valid = Vec::with_capacity(old.lists.len());
    for row in 0..old.lists.len() {
        let mut is_valid = old.lists.is_valid(row);
        for entry in old.range(row) {
            let Some(key) = old.keys.key(entry) else { continue };
            if fates.get(key) == Some(&Fate::Goes) {
                continue;
            }
            keys.push(number(key)?);
            types.push(old.types.value(entry));
            sources.push(number(entry)?.cast_unsigned());
        }
        while let Some((at, one)) = pending.next_if(|(_, one)| one.row <= row) {
            keys.push(added_keys.get(&*one.key).copied().unwrap_or_default());
            types.push(ValueType::String as u8);
            sources.push(number(old.values.len() + at)?.cast_unsigned());
            is_valid = true;
        }
        valid.push(is_valid);
        offsets.push(number(keys.len())?);
    }
    let texts = BinaryViewArray::from_iter_values(added.iter().map(|one| one.value.as_bytes()));
    let all = concat(&[old.values, &texts])?;
    let values = take(&all, &UInt32Array::from(sources), None)?;
    let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(names));
    let keys = DictionaryArray::<Int32Type>::try_new(keys.into(), names)?;
    let columns: Vec<ArrayRef> =
        vec![Arc::new(keys), Arc::new(PrimitiveArray::<UInt8Type>::from(types)), values];
    let entries = StructArray::try_new(schema::attribute_entry(), columns, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(schema::attribute_entry()), true));
    let nulls = valid.contains(&false).then(|| valid.into());
    let lists = ListArray::try_new(item, OffsetBuffer::new(offsets.into()), Arc::new(entries), nulls)?;
    Ok(Arc::new(lists))
}

fn number(position: usize) -> Result<i32, ArrowError> {
    i32::try_from(position).map_err(|_| {
        ArrowError::InvalidArgumentError("a batch has more attributes than fit in a list".to_owned())
    })
}
