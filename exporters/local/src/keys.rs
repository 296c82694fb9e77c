//! Which attribute keys of an export get a column of their own, and what those columns are called.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::{Signal, schema};

/// The prefix of the columns of resource keys.
pub(crate) const RESOURCE_PREFIX: &str = "resource.";

/// Keys that get a column, each with the column's name, in alphabetical order of the names.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Of the attributes of rows.
    pub(crate) attributes: Vec<(String, String)>,
    /// Of resources.
    pub(crate) resource: Vec<(String, String)>,
}

impl Keys {
    /// The most frequent keys of some batches: at most `max` of each kind. Names in `taken` are other
    /// columns.
    pub(crate) fn of(signal: Signal, batches: &[RecordBatch], max: usize, taken: &HashSet<String>) -> Keys {
        let mut attributes = HashMap::new();
        let mut resource = HashMap::new();
        for batch in batches {
            if let Some(column) = batch.column_by_name(schema::ATTRIBUTES).and_then(AttributeColumn::new) {
                count(&column, batch.num_rows(), &mut attributes);
            }
            if let Some(array) = batch.column_by_name(schema::RESOURCE) {
                let (lists, rows) = distinct(array);
                if let Some(column) = AttributeColumn::new(lists) {
                    count(&column, rows, &mut resource);
                }
            }
        }
        let resource = chosen(resource, max, |key| format!("{RESOURCE_PREFIX}{key}"), taken);
        let mut taken = taken.clone();
        taken.extend(resource.iter().map(|(_, name)| name.clone()));
        let attributes = chosen(attributes, max, |key| attribute_column(signal, key), &taken);
        Keys { attributes, resource }
    }
}

/// The name of the column of an attribute key.
pub(crate) fn attribute_column(signal: Signal, key: &str) -> String {
    let clashes = schema::is_fixed(signal, key)
        || schema::is_fixed_anywhere(key)
        || key.starts_with(RESOURCE_PREFIX)
        || key.starts_with("attr.");
    if clashes { format!("attr.{key}") } else { key.to_owned() }
}

/// The different resources of a column, and how many there are.
pub(crate) fn distinct(array: &ArrayRef) -> (&ArrayRef, usize) {
    let lists = array.as_dictionary_opt::<Int32Type>().map_or(array, |dictionary| dictionary.values());
    (lists, lists.len())
}

fn count<'a>(column: &AttributeColumn<'a>, rows: usize, counts: &mut HashMap<&'a str, usize>) {
    for row in 0..rows {
        for (key, _) in column.row(row) {
            *counts.entry(key).or_default() += 1;
        }
    }
}

fn chosen(
    counts: HashMap<&str, usize>,
    max: usize,
    name: impl Fn(&str) -> String,
    taken: &HashSet<String>,
) -> Vec<(String, String)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(key, count)| (Reverse(*count), *key));
    let mut keys: Vec<_> = counts.into_iter().map(|(key, _)| (key.to_owned(), name(key))).collect();
    keys.retain(|(_, name)| !taken.contains(name));
    keys.truncate(max);
    keys.sort_unstable_by(|left, right| left.1.cmp(&right.1));
    keys
}
