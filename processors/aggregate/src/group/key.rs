//! The keys of groups: the texts of the group-by columns.
//!
//! A NULL is a value of its own, as in SQL's GROUP BY, different from the empty text.

use std::cmp::Ordering;
use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use foldhash::fast::RandomState;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

/// The value of every group-by column of the group for events beyond `max_groups`.
pub(crate) const OVERFLOW: &str = "__overflow__";

const NULL_HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/// The key of one group, copied from the batch in which it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    text: Box<str>,
    /// Where each column's text ends, and whether it is there at all.
    ends: Box<[(u32, bool)]>,
}

impl Key {
    /// A key of these columns.
    pub(crate) fn new<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> Key {
        let mut text = String::new();
        let ends = parts
            .map(|part| {
                text.push_str(part.unwrap_or_default());
                // Texts are views into arenas below 2 GiB; a key of several such is out of reach.
                (u32::try_from(text.len()).unwrap_or(u32::MAX), part.is_some())
            })
            .collect();
        Key { text: text.into_boxed_str(), ends }
    }

    /// The key of the overflow group.
    pub(crate) fn overflow(columns: usize) -> Key {
        Key::new(std::iter::repeat_n(Some(OVERFLOW), columns))
    }

    /// The text of each column; `None` for NULL.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Option<&str>> {
        let mut start = 0;
        self.ends.iter().map(move |(end, there)| {
            let range = start..*end as usize;
            start = range.end;
            there.then(|| self.text.get(range).unwrap_or_default())
        })
    }
}

/// By the first column, then the next. NULL comes first.
impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Hashes keys. One per stage: the seed differs from stage to stage and changes no result.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(RandomState);

impl KeyHasher {
    /// The hash of a key, equal to that of the rows which have it.
    pub(crate) fn key(&self, key: &Key) -> u64 {
        key.parts().fold(0, |hash, part| combine(hash, self.part(part)))
    }

    fn part(&self, part: Option<&str>) -> u64 {
        part.map_or(NULL_HASH, |text| self.0.hash_one(text))
    }
}

fn combine(hash: u64, part: u64) -> u64 {
    (hash.rotate_left(5) ^ part).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// The group-by columns of a batch, as text. `None` where the batch lacks the column: NULL in every row.
///
/// Numbers, times and truth values are written as text, once per batch.
pub(crate) fn columns(batch: &RecordBatch, names: &[String]) -> Vec<Option<ArrayRef>> {
    let column = |name: &String| {
        let array = batch.column_by_name(name)?;
        if TextColumn::new(array).is_some() { Some(array.clone()) } else { cast(array, &schema::text()).ok() }
    };
    names.iter().map(column).collect()
}

/// Reads the keys of rows without copying them. Texts in a dictionary are hashed once per batch.
pub(crate) struct KeyRows<'a> {
    hasher: &'a KeyHasher,
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    text: Option<TextColumn<'a>>,
    /// The hash of each dictionary value.
    hashes: Vec<u64>,
}

impl<'a> KeyRows<'a> {
    /// Reads the keys from `columns`, made by [`columns`].
    pub(crate) fn new(columns: &'a [Option<ArrayRef>], hasher: &'a KeyHasher, rows: usize) -> KeyRows<'a> {
        let column = |array: &'a Option<ArrayRef>| {
            let text = array.as_ref().and_then(TextColumn::new);
            let hashes = text.map(|text| dictionary_hashes(&text, hasher, rows)).unwrap_or_default();
            Column { text, hashes }
        };
        KeyRows { hasher, columns: columns.iter().map(column).collect() }
    }

    /// The hash of a row's key.
    pub(crate) fn hash(&self, row: usize) -> u64 {
        self.columns.iter().fold(0, |hash, column| combine(hash, column.hash(row, self.hasher)))
    }

    /// Whether a row has this key.
    pub(crate) fn matches(&self, row: usize, key: &Key) -> bool {
        self.columns.iter().zip(key.parts()).all(|(column, part)| column.get(row) == part)
    }

    /// Copies a row's key.
    pub(crate) fn key(&self, row: usize) -> Key {
        Key::new(self.columns.iter().map(|column| column.get(row)))
    }
}

impl<'a> Column<'a> {
    fn get(&self, row: usize) -> Option<&'a str> {
        self.text.and_then(|text| text.get(row))
    }

    fn hash(&self, row: usize, hasher: &KeyHasher) -> u64 {
        if self.hashes.is_empty() {
            return hasher.part(self.get(row));
        }
        let dictionary = self.text.and_then(|text| text.dictionary());
        let key = dictionary.filter(|(keys, _)| keys.is_valid(row)).map(|(keys, _)| keys.keys().value(row));
        let hash = key.and_then(|key| self.hashes.get(usize::try_from(key).ok()?));
        hash.copied().unwrap_or(NULL_HASH)
    }
}

/// The hash of each value of a dictionary. Empty when there is none, or when it has more values than there
/// are rows.
fn dictionary_hashes(text: &TextColumn<'_>, hasher: &KeyHasher, rows: usize) -> Vec<u64> {
    match text {
        TextColumn::DictionaryOfViews(_, values) if values.len() <= rows => {
            values.iter().map(|value| hasher.part(value)).collect()
        }
        TextColumn::Dictionary(_, values) if values.len() <= rows => {
            values.iter().map(|value| hasher.part(value)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int32Array, Int64Array, StringArray, StringViewArray};

    #[test]
    fn a_row_and_its_key_agree_whatever_the_encoding() {
        let texts = [Some("a"), None, Some(""), Some("bc"), Some("a")];
        let keys = Int32Array::from(vec![Some(2), None, Some(1), Some(3), Some(0)]);
        let values = StringViewArray::from(vec![Some("a"), Some(""), Some("a"), Some("bc"), None]);
        let dictionary = DictionaryArray::new(keys, Arc::new(values));
        let encodings: [ArrayRef; 3] = [
            Arc::new(StringViewArray::from(texts.to_vec())),
            Arc::new(StringArray::from(texts.to_vec())),
            Arc::new(dictionary),
        ];
        let hasher = KeyHasher::default();
        for first in &encodings {
            for second in &encodings {
                let columns = [Some(first.clone()), None, Some(second.clone())];
                let rows = KeyRows::new(&columns, &hasher, 5);
                for (row, text) in texts.iter().enumerate() {
                    let key = rows.key(row);
                    assert_eq!(key.parts().collect::<Vec<_>>(), [*text, None, *text]);
                    assert_eq!(hasher.key(&key), rows.hash(row));
                    assert!(rows.matches(row, &key));
                }
                assert!(!rows.matches(1, &rows.key(2)), "NULL is not the empty text");
            }
        }
    }

    #[test]
    fn keys_sort_by_column_and_null_comes_first() {
        let key = |parts: &[Option<&'static str>]| Key::new(parts.iter().copied());
        let sorted = [
            key(&[None, Some("z")]),
            key(&[Some(""), Some("z")]),
            key(&[Some("a"), None]),
            key(&[Some("a"), Some("b")]),
            key(&[Some("ab"), Some("")]),
        ];
        assert!(sorted.is_sorted());
        assert_ne!(key(&[Some("a"), Some("bc")]), key(&[Some("ab"), Some("c")]));
    }

    #[test]
    fn numbers_become_text() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let batch = RecordBatch::try_from_iter([("code", array)]).unwrap();
        let columns = columns(&batch, &["code".to_owned(), "missing".to_owned()]);
        let hasher = KeyHasher::default();
        let rows = KeyRows::new(&columns, &hasher, 2);
        assert_eq!(rows.key(0), Key::new([Some("7"), None].into_iter()));
        assert_eq!(rows.key(1), Key::new([None, None].into_iter()));
    }
}
