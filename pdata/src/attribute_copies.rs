//! Attributes that are both in a list and in a column of their own.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{FieldRef, Int32Type, Schema};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use crate::attributes::{AttributeColumn, ValueType};
use crate::columns::views::{attribute_lists, dictionary, index};
use crate::text::TextColumn;
use crate::{Level, schema};

/// The batch without columns that are copies of attribute values other than text.
///
/// A wanted key's first value is in its column alone when all values of the key in the row are texts.
/// Otherwise all of them are in the list, with their types, and the column has a copy of the first as text,
/// for expressions. Here such a column is removed, and its texts return to the list. For keys that `own`
/// names, the column stays and its originals are removed from the list. So naming a key in an expression does
/// not change how it is stored.
///
/// A batch without such copies, such as every batch from SkyWalking, comes back as it is. So does one whose
/// lists would be larger than Arrow can count.
#[must_use]
pub fn without_copies<'a>(batch: &'a RecordBatch, own: impl Fn(&str) -> bool) -> Cow<'a, RecordBatch> {
    change(batch, |name| if own(name) { Fate::OriginalRemoved } else { Fate::CopyRemoved })
}

/// The batch without the list entries that the named columns are copies of. Then only the columns have these
/// values, and can be changed.
#[must_use]
pub fn without_originals<'a>(batch: &'a RecordBatch, named: impl Fn(&str) -> bool) -> Cow<'a, RecordBatch> {
    change(batch, |name| if named(name) { Fate::OriginalRemoved } else { Fate::Unchanged })
}

/// The treatment of a column that is a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The column is removed, and its texts return to the list.
    CopyRemoved,
    /// The column stays, and its originals are removed from the list.
    OriginalRemoved,
    Unchanged,
}

fn change<'a>(batch: &'a RecordBatch, fate: impl Fn(&str) -> Fate) -> Cow<'a, RecordBatch> {
    let mut changed = Cow::Borrowed(batch);
    for level in [Level::Row, Level::Resource, Level::Scope] {
        match restore(&changed, level.list(), level.name(), &fate) {
            Ok(None) => {}
            Ok(Some(restored)) => changed = Cow::Owned(restored),
            Err(_) => return Cow::Borrowed(batch),
        }
    }
    changed
}

/// A text column of a key of which the list has other values than texts.
struct CopyColumn<'a> {
    /// Its place in the batch.
    at: usize,
    key: &'a str,
    texts: TextColumn<'a>,
    /// The lists that have a value of the key that is no text: there the column has a copy.
    lists: Vec<bool>,
    /// The copy stays.
    own: bool,
}

impl<'a> CopyColumn<'a> {
    /// The text that goes back to this list of a row.
    fn returns(&self, list: usize, row: usize) -> Option<&'a str> {
        if self.own || self.lists[list] { None } else { self.texts.get(row) }
    }
}

fn restore(
    batch: &RecordBatch,
    list: &str,
    level: &str,
    fate: &impl Fn(&str) -> Fate,
) -> Result<Option<RecordBatch>, ArrowError> {
    let schema = batch.schema_ref();
    let Some((place, _)) = schema.column_with_name(list) else { return Ok(None) };
    let array = batch.column(place);
    let rows_of_lists = array.as_dictionary_opt::<Int32Type>();
    let lists = rows_of_lists.map_or(array, |dictionary| dictionary.values());
    let Some(column) = AttributeColumn::new(lists) else { return Ok(None) };
    let mut copied = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        let metadata = field.metadata();
        let fate = fate(field.name());
        if fate == Fate::Unchanged
            || metadata.get(schema::ATTRIBUTE_LEVEL).map_or("span", String::as_str) != level
        {
            continue;
        }
        if let (Some(key), Some(texts)) =
            (metadata.get(schema::ATTRIBUTE_KEY), TextColumn::new(batch.column(at)))
        {
            copied.push(CopyColumn {
                at,
                key,
                texts,
                lists: vec![false; lists.len()],
                own: fate == Fate::OriginalRemoved,
            });
        }
    }
    if copied.is_empty() || column.texts().is_some() {
        return Ok(None);
    }
    mark(&mut copied, column, lists.len(), level);
    copied.retain(|one| one.lists.contains(&true));
    if copied.is_empty() {
        return Ok(None);
    }
    let rebuilt = match rows_of_lists {
        None => {
            let rows: Vec<(usize, usize)> = (0..batch.num_rows()).map(|row| (row, row)).collect();
            rebuild(column, &copied, &rows, level)?
        }
        // Rows that share a list may differ in what was taken out of it.
        Some(shared) => {
            let mut known: HashMap<(usize, Vec<Option<&str>>), i32> = HashMap::new();
            let mut different = Vec::new();
            let mut keys = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                let Some(list) = shared.key(row) else {
                    keys.push(0);
                    continue;
                };
                let texts = copied.iter().map(|one| one.returns(list, row)).collect();
                keys.push(*known.entry((list, texts)).or_insert_with(|| {
                    different.push((list, row));
                    index(different.len() - 1)
                }));
            }
            dictionary(keys, shared.keys().nulls().cloned(), rebuild(column, &copied, &different, level)?)?
        }
    };
    let goes = |at: usize| copied.iter().any(|one| one.at == at && !one.own);
    let columns = schema.fields().iter().zip(batch.columns()).enumerate();
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = columns
        .filter(|(at, _)| !goes(*at))
        .map(|(at, (field, array))| match at == place {
            true => (Arc::clone(field), Arc::clone(&rebuilt)),
            false => (Arc::clone(field), Arc::clone(array)),
        })
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let fields = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new_with_options(Arc::new(fields), arrays, &options).map(Some)
}

/// The key in the list of a column's key: keys of resources and scopes may have their prefix in the column's
/// metadata.
fn in_list<'a>(key: &'a str, level: &str) -> &'a str {
    let prefixed = if level == "span" { None } else { key.strip_prefix(level) };
    prefixed.and_then(|rest| rest.strip_prefix('.')).unwrap_or(key)
}

fn mark(copied: &mut [CopyColumn<'_>], column: AttributeColumn<'_>, lists: usize, level: &str) {
    let by_key: HashMap<&str, usize> =
        copied.iter().enumerate().map(|(at, one)| (in_list(one.key, level), at)).collect();
    let (types, values) = column.types_and_values();
    // By the number of a key, which copy it has.
    let numbered = column.keys().map(|(keys, names)| {
        let found = |name| names.get(name).and_then(|name| by_key.get(name).copied());
        (keys, (0..names.len()).map(found).collect::<Vec<_>>())
    });
    for list in 0..lists {
        for entry in column.range(list) {
            if types.value(entry) == ValueType::String as u8 && values.is_valid(entry) {
                continue;
            }
            let found = match &numbered {
                Some((keys, found)) => usize::try_from(keys[entry]).ok().and_then(|key| *found.get(key)?),
                None => column.key(entry).and_then(|key| by_key.get(key).copied()),
            };
            if let Some(at) = found {
                copied[at].lists[list] = true;
            }
        }
    }
}

/// The lists of these rows: each the place of the list and of the row.
fn rebuild(
    column: AttributeColumn<'_>,
    copied: &[CopyColumn<'_>],
    rows: &[(usize, usize)],
    level: &str,
) -> Result<ArrayRef, ArrowError> {
    let (types, values) = column.types_and_values();
    let mut names: Vec<&str> = Vec::new();
    let mut known: HashMap<&str, i32> = HashMap::new();
    let (mut offsets, mut keys, mut new_types, mut sources) =
        (vec![0], Vec::new(), Vec::new(), Vec::<u32>::new());
    let mut texts: Vec<&str> = Vec::new();
    let mut number = |name| {
        *known.entry(name).or_insert_with(|| {
            names.push(name);
            index(names.len() - 1)
        })
    };
    for (list, row) in rows.iter().copied() {
        for one in copied {
            if let Some(text) = one.returns(list, row) {
                keys.push(number(in_list(one.key, level)));
                new_types.push(ValueType::String as u8);
                sources.push(index(values.len() + texts.len()).unsigned_abs());
                texts.push(text);
            }
        }
        let mut taken: Vec<&str> = Vec::new();
        for entry in column.range(list) {
            let Some(key) = column.key(entry) else { continue };
            let is_copied =
                copied.iter().any(|one| one.own && one.lists[list] && in_list(one.key, level) == key);
            if is_copied && !taken.contains(&key) {
                taken.push(key);
                continue;
            }
            keys.push(number(key));
            new_types.push(types.value(entry));
            sources.push(index(entry).unsigned_abs());
        }
        offsets.push(index(keys.len()));
    }
    let texts = BinaryViewArray::from_iter_values(texts.iter().map(|text| text.as_bytes()));
    let all = concat(&[values, &texts])?;
    let taken = take(&all, &UInt32Array::from(sources), None)?;
    let names: ArrayRef = Arc::new(arrow::array::StringViewArray::from_iter_values(names));
    attribute_lists(offsets, keys, new_types.into(), taken.as_binary_view().clone(), &names)
}
