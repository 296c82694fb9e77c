//! Attributes for which the table has a column: they move from the lists of attributes into columns, like
//! attributes that something in the pipeline reads. The first value of a key moves; further values of the key
//! stay in the list.
//!
//! A batch whose lists have none of these keys is left as it is. The dictionary of its keys shows that.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray,
    RecordBatch, StringViewArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Int32Type, Schema};
use arrow::error::ArrowError;
use weir_pdata::attributes::{AttributeColumn, Value};
use weir_pdata::{Signal, schema};

use crate::schema::columns::TableColumns;
use crate::schema::layouts::BEFORE;

/// The lists of a batch, what a column's name begins with for each, and the level of its keys.
const LISTS: [(&str, &str, &str); 3] = [
    (schema::ATTRIBUTES, "", "span"),
    (schema::RESOURCE, "resource.", "resource"),
    (schema::SCOPE, "scope.", "scope"),
];

/// The rows, with a column for each key in their lists that the table has a column for.
pub(crate) fn with_own_columns(signal: Signal, rows: RecordBatch, table: &TableColumns) -> RecordBatch {
    if matches!(signal, Signal::Windows | Signal::Alarms) {
        return rows;
    }
    let mut rows = rows;
    for (list, prefix, level) in LISTS {
        let taken = take(signal, &rows, table, list, prefix, level);
        // Columns that do not fit together would be a mistake here: then all stays in the lists.
        if let Ok(Some(taken)) = taken {
            rows = taken;
        }
    }
    rows
}

/// Takes the keys of one list.
fn take(
    signal: Signal,
    rows: &RecordBatch,
    table: &TableColumns,
    list: &str,
    prefix: &str,
    level: &str,
) -> Result<Option<RecordBatch>, ArrowError> {
    let Some(array) = rows.column_by_name(list) else { return Ok(None) };
    let dictionary = array.as_dictionary_opt::<Int32Type>();
    // Of a dictionary, each list once.
    let values = dictionary.map_or(array, |dictionary| dictionary.values());
    let Some(attributes) = AttributeColumn::new(values) else { return Ok(None) };
    let Some((numbers, names)) = attributes.keys() else { return Ok(None) };
    let wanted = wanted(signal, rows, table, prefix);
    if wanted.is_empty() {
        return Ok(None);
    }
    let known = numbers.iter().copied().max().map_or(0, |most| usize::try_from(most).unwrap_or(0) + 1);
    // For each word, the column that it has.
    let columns: Vec<Option<usize>> =
        (0..known).map(|word| wanted.get(names.get(word).unwrap_or_default()).map(|(at, _)| *at)).collect();
    if columns.iter().all(Option::is_none) {
        return Ok(None);
    }
    let column_of =
        |entry: usize| columns.get(usize::try_from(*numbers.get(entry)?).ok()?).copied().flatten();

    let mut found: Vec<Vec<Option<usize>>> = vec![vec![None; values.len()]; wanted.len()];
    let mut stays = vec![true; attributes.count()];
    let mut lengths = Vec::with_capacity(values.len());
    for row in 0..values.len() {
        let range = attributes.range(row);
        let mut length = range.len();
        for entry in range {
            let place = column_of(entry).and_then(|column| found.get_mut(column)).map(|rows| &mut rows[row]);
            if let Some(place @ None) = place {
                *place = Some(entry);
                stays[entry] = false;
                length -= 1;
            }
        }
        lengths.push(length);
    }
    let lists = without(values, &attributes, &stays, lengths)?;
    let again = |values: ArrayRef| -> Result<ArrayRef, ArrowError> {
        Ok(match dictionary {
            Some(dictionary) => Arc::new(DictionaryArray::try_new(dictionary.keys().clone(), values)?),
            None => values,
        })
    };
    let (mut fields, mut arrays) = (rows.schema_ref().fields().to_vec(), rows.columns().to_vec());
    let at = rows.schema_ref().index_of(list)?;
    arrays[at] = again(lists)?;
    for (key, (at, name)) in &wanted {
        let Some(entries) = found.get(*at).filter(|entries| entries.iter().any(Option::is_some)) else {
            continue;
        };
        let column = again(column(&attributes, entries))?;
        let field = Field::new(*name, column.data_type().clone(), true);
        fields.push(Arc::new(field.with_metadata(schema::attribute_metadata(level, key))));
        arrays.push(column);
    }
    let schema = Schema::new_with_metadata(fields, rows.schema_ref().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), arrays).map(Some)
}

/// The keys that the table has columns for and the batch does not: a number and the column's name.
fn wanted<'a>(
    signal: Signal,
    rows: &RecordBatch,
    table: &'a TableColumns,
    prefix: &str,
) -> HashMap<&'a str, (usize, &'a str)> {
    let mut wanted = HashMap::new();
    for column in &table.0 {
        let name = &*column.name;
        if !column.kind.is_single()
            || schema::is_fixed(signal, name)
            || schema::is_of_record(name)
            || name == BEFORE
        {
            continue;
        }
        let Some(key) = name.strip_prefix(prefix) else { continue };
        // A key that is named like a fixed column.
        let key = key.strip_prefix("attr.").filter(|key| schema::is_fixed_anywhere(key)).unwrap_or(key);
        if rows.column_by_name(name).is_none() {
            let number = wanted.len();
            wanted.entry(key).or_insert((number, name));
        }
    }
    wanted
}

/// The lists, with those entries that stay.
fn without(
    values: &ArrayRef,
    attributes: &AttributeColumn<'_>,
    stays: &[bool],
    lengths: Vec<usize>,
) -> Result<ArrayRef, ArrowError> {
    let lists = values.as_list::<i32>();
    debug_assert_eq!(attributes.count(), lists.values().len());
    // Entries that no list has are gone too.
    let mut listed = vec![false; stays.len()];
    for row in 0..values.len() {
        attributes.range(row).for_each(|entry| listed[entry] = stays[entry]);
    }
    let entries = arrow::compute::filter(lists.values(), &BooleanArray::from(listed))?;
    let arrow::datatypes::DataType::List(item) = values.data_type() else {
        return Err(ArrowError::SchemaError("no list".to_owned()));
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, entries, lists.nulls().cloned())?))
}

/// The values of these entries: of the type that all have, else as text.
fn column(attributes: &AttributeColumn<'_>, entries: &[Option<usize>]) -> ArrayRef {
    let values: Vec<Value<'_>> =
        entries.iter().map(|entry| entry.map_or(Value::Null, |entry| attributes.value(entry))).collect();
    let all = |is: fn(&Value<'_>) -> bool| values.iter().all(|value| *value == Value::Null || is(value));
    if all(|value| matches!(value, Value::Int64(_))) {
        let number = |value: &Value<'_>| if let Value::Int64(number) = value { Some(*number) } else { None };
        return Arc::new(values.iter().map(number).collect::<Int64Array>());
    }
    if all(|value| matches!(value, Value::Float64(_))) {
        let number =
            |value: &Value<'_>| if let Value::Float64(number) = value { Some(*number) } else { None };
        return Arc::new(values.iter().map(number).collect::<Float64Array>());
    }
    if all(|value| matches!(value, Value::Bool(_))) {
        let flag = |value: &Value<'_>| if let Value::Bool(flag) = value { Some(*flag) } else { None };
        return Arc::new(values.iter().map(flag).collect::<BooleanArray>());
    }
    let text = |value: &Value<'_>| (*value != Value::Null).then(|| value.to_string());
    Arc::new(values.iter().map(text).collect::<StringViewArray>())
}
