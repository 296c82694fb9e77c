//! Batches to the rows of one insert: one record batch whose columns are columns of the table.
//!
//! Columns are matched by name. What the table has no column for goes into its maps:
//!
//! | signal | values | map | key |
//! |---|---|---|---|
//! | traces, logs | attributes, fixed columns that the table lacks | `attributes` | the attribute's key, the column's name |
//! | traces, logs | resource attributes | `resource`, else `attributes` with `resource.` before the key | the attribute's key |
//! | windows | numbers | `measures`, else `labels` | the column's name |
//! | windows, alarms | anything else | `labels` | the column's name |
//!
//! So do values that do not fit their column, as text under the column's name. Without a map they are counted.
//! A column that is NULL in every row is left out: the table's default applies.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, schema};

use crate::columns::{Column, Kind, TableColumns};
use crate::map_column::{Key, Lists, NumberMap, TextMap};
use crate::nested_column::{self, is_list_of_structures};
use crate::source::{Cell, Source};
use crate::texts::TooLarge;
use crate::value_column::{self, Misfit};

const LABELS: &str = "labels";
const MEASURES: &str = "measures";
/// What a group-by key without a value has among the labels: the columns hold '' then, which is a value too.
const NO_VALUE: &str = "NULL";

/// The rows of one insert, and what had to be put elsewhere.
#[derive(Debug)]
pub(crate) struct InsertRows {
    pub rows: RecordBatch,
    /// Values that did not fit their column and are in a map as text.
    pub moved: u64,
    /// Values that found no place in the table.
    pub unplaced: u64,
}

/// Why batches cannot be inserted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("the table has no column for any of the values: check that it is the right table")]
    NothingInCommon,
    #[error("the columns do not fit together: {0}")]
    Columns(String),
}

/// The columns of one name, an array a batch.
struct Named<'a> {
    field: &'a Field,
    arrays: Vec<Option<&'a ArrayRef>>,
}

/// Brings batches of one signal to the columns of a table.
pub(crate) fn convert(
    signal: Signal,
    batches: &[&RecordBatch],
    table: &TableColumns,
) -> Result<InsertRows, ConvertError> {
    let counts: Vec<usize> = batches.iter().map(|batch| batch.num_rows()).collect();
    let mut named = by_name(batches);
    let mut maps = Maps::new(signal, table, &counts);
    maps.take_lists(&mut named);

    let mut columns: Vec<(&Column, ArrayRef)> = Vec::new();
    for column in &table.0 {
        let Some(Named { arrays, .. }) = named.get(column.name.as_str()) else { continue };
        let mut misfits = Vec::new();
        let Some(array) = build(column, arrays, &counts, &mut misfits)? else { continue };
        let Some(Named { arrays, .. }) = named.remove(column.name.as_str()) else { continue };
        maps.moved += misfits.len() as u64;
        maps.misfits.extend(misfits.into_iter().map(|misfit| (column.name.as_str(), misfit)));
        if signal == Signal::Windows && column.kind == Kind::Text && !schema::is_fixed(signal, &column.name) {
            maps.mark_missing_keys(&column.name, &arrays);
        }
        let all_null = arrays.iter().flatten().all(|array| array.logical_null_count() == array.len());
        if !all_null {
            columns.push((column, array));
        }
    }
    for (name, Named { field, arrays }) in named {
        maps.take_column(name, field, arrays);
    }
    let (built, moved, unplaced) = maps.build()?;
    columns.extend(built);
    if columns.is_empty() {
        return Err(ConvertError::NothingInCommon);
    }
    let rows = record_batch(columns, counts.iter().sum())?;
    Ok(InsertRows { rows, moved, unplaced })
}

fn by_name<'a>(batches: &[&'a RecordBatch]) -> BTreeMap<&'a str, Named<'a>> {
    let mut named: BTreeMap<&str, Named<'_>> = BTreeMap::new();
    for (at, batch) in batches.iter().enumerate() {
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let of_name = named
                .entry(field.name())
                .or_insert_with(|| Named { field, arrays: vec![None; batches.len()] });
            of_name.arrays[at] = Some(array);
        }
    }
    named
}

/// The values of one table column; `None` when the column cannot take values of these types.
fn build(
    column: &Column,
    arrays: &[Option<&ArrayRef>],
    counts: &[usize],
    misfits: &mut Vec<Misfit>,
) -> Result<Option<ArrayRef>, TooLarge> {
    let lists = || arrays.iter().flatten().all(|array| is_list_of_structures(array));
    let parts = || arrays.iter().copied().zip(counts.iter().copied());
    match column.kind {
        Kind::Links if lists() => nested_column::links(&parts().collect::<Vec<_>>()).map(Some),
        Kind::SpanEvents if lists() => nested_column::span_events(&parts().collect::<Vec<_>>()).map(Some),
        _ => {
            let parts: Vec<_> = parts().map(|(array, rows)| (array.map(Source::new), rows)).collect();
            value_column::build(column, &parts, misfits)
        }
    }
}

fn record_batch(columns: Vec<(&Column, ArrayRef)>, rows: usize) -> Result<RecordBatch, ConvertError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(column, array)| Field::new(&column.name, array.data_type().clone(), column.nullable))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| ConvertError::Columns(error.to_string()))
}

/// What goes into the maps of a table.
struct Maps<'a> {
    signal: Signal,
    table: &'a TableColumns,
    counts: &'a [usize],
    text: BTreeMap<&'static str, Vec<Entries<'a>>>,
    /// Columns for `measures`.
    numbers: Vec<(&'a str, Vec<Option<Source<'a>>>)>,
    /// Values that did not fit the column of this name.
    misfits: Vec<(&'a str, Misfit)>,
    moved: u64,
    unplaced: u64,
}

/// Entries for each row of a map, from one column of the batches.
enum Entries<'a> {
    /// Attribute lists.
    Lists(Vec<Option<Lists<'a>>>),
    /// Maps of text to text.
    Maps(Vec<Option<StringMap<'a>>>),
    /// One entry a row that has a value; the key's number once it is known.
    Values(String, Option<Key>, Vec<Option<Source<'a>>>),
}

#[derive(Clone, Copy)]
struct StringMap<'a> {
    maps: &'a MapArray,
    keys: TextColumn<'a>,
    values: TextColumn<'a>,
}

impl<'a> StringMap<'a> {
    fn new(array: &'a ArrayRef) -> Option<StringMap<'a>> {
        let maps = array.as_map_opt()?;
        Some(StringMap { maps, keys: TextColumn::new(maps.keys())?, values: TextColumn::new(maps.values())? })
    }

    /// Where the entries of a row are among those of all rows.
    fn range(&self, row: usize) -> Range<usize> {
        let bound = |at: usize| usize::try_from(self.maps.value_offsets()[at]).unwrap_or(0);
        if self.maps.is_valid(row) { bound(row)..bound(row + 1) } else { 0..0 }
    }
}

impl<'a> Maps<'a> {
    fn new(signal: Signal, table: &'a TableColumns, counts: &'a [usize]) -> Maps<'a> {
        let (text, numbers, misfits) = (BTreeMap::new(), Vec::new(), Vec::new());
        Maps { signal, table, counts, text, numbers, misfits, moved: 0, unplaced: 0 }
    }

    /// The map that takes what has no other place.
    fn rest(&self) -> &'static str {
        match self.signal {
            Signal::Windows | Signal::Alarms => LABELS,
            Signal::Traces | Signal::Logs | Signal::Metrics => schema::ATTRIBUTES,
        }
    }

    /// Takes the columns that are maps themselves.
    fn take_lists(&mut self, named: &mut BTreeMap<&'a str, Named<'a>>) {
        for name in [schema::ATTRIBUTES, schema::RESOURCE] {
            let Some(Named { arrays, .. }) = named.get(name) else { continue };
            let lists: Vec<_> = arrays.iter().map(|array| array.and_then(AttributeColumn::new)).collect();
            // Something else under this name is a column like any other.
            if lists.iter().zip(arrays).all(|(list, array)| list.is_some() == array.is_some()) {
                let own = self.table.has(name, Kind::TextMap);
                let (map, prefix) = match name {
                    schema::RESOURCE if !own => (schema::ATTRIBUTES, "resource."),
                    schema::RESOURCE => (schema::RESOURCE, ""),
                    _ => (schema::ATTRIBUTES, ""),
                };
                let lists = lists.into_iter().map(|list| list.map(|list| Lists::new(list, prefix))).collect();
                self.text.entry(map).or_default().push(Entries::Lists(lists));
                named.remove(name);
            }
        }
        if let Some(Named { arrays, .. }) = named.get(LABELS) {
            let maps: Vec<_> = arrays.iter().map(|array| array.and_then(StringMap::new)).collect();
            if maps.iter().zip(arrays).all(|(map, array)| map.is_some() == array.is_some()) {
                self.text.entry(LABELS).or_default().push(Entries::Maps(maps));
                named.remove(LABELS);
            }
        }
    }

    /// Takes a column that the table does not have.
    fn take_column(&mut self, name: &'a str, field: &'a Field, arrays: Vec<Option<&'a ArrayRef>>) {
        let sources: Vec<_> = arrays.into_iter().map(|array| array.map(Source::new)).collect();
        if self.rest() == LABELS {
            let numbers = sources.iter().flatten().all(Source::is_number);
            if self.signal == Signal::Windows && numbers && self.table.has(MEASURES, Kind::NumberMap) {
                self.numbers.push((name, sources));
            } else {
                self.text.entry(LABELS).or_default().push(Entries::Values(name.to_owned(), None, sources));
            }
            return;
        }
        let (map, key) = self.attribute(name, field);
        self.text.entry(map).or_default().push(Entries::Values(key, None, sources));
    }

    /// The map and the key of an attribute that has a column in the batch and none in the table.
    fn attribute(&self, name: &str, field: &Field) -> (&'static str, String) {
        if schema::is_fixed(self.signal, name) {
            return (schema::ATTRIBUTES, name.to_owned());
        }
        let key = field.metadata().get(schema::ATTRIBUTE_KEY).map(String::as_str);
        let level = field.metadata().get(schema::ATTRIBUTE_LEVEL).map(String::as_str);
        let resource = level == Some("resource") || (level.is_none() && name.starts_with("resource."));
        let scope = level == Some("scope") || (level.is_none() && name.starts_with("scope."));
        if resource {
            let key = key.unwrap_or_else(|| name.strip_prefix("resource.").unwrap_or(name));
            return if self.table.has(schema::RESOURCE, Kind::TextMap) {
                (schema::RESOURCE, key.to_owned())
            } else {
                (schema::ATTRIBUTES, format!("resource.{key}"))
            };
        }
        let key = key.unwrap_or_else(|| name.strip_prefix("attr.").unwrap_or(name));
        let scoped = scope && !key.starts_with("scope.");
        (schema::ATTRIBUTES, if scoped { format!("scope.{key}") } else { key.to_owned() })
    }

    /// Marks the rows without a value for a group-by key, so that they stay apart from rows with an empty one.
    fn mark_missing_keys(&mut self, name: &'a str, arrays: &[Option<&ArrayRef>]) {
        let mut before = 0;
        for (array, rows) in arrays.iter().zip(self.counts) {
            if let Some(array) = array {
                let source = Source::new(array);
                let missing = (0..*rows).filter(|row| source.cell(*row) == Cell::Null);
                let marks =
                    missing.map(|row| (name, Misfit { row: before + row, value: NO_VALUE.to_owned() }));
                self.misfits.extend(marks);
            }
            before += rows;
        }
    }

    /// The map columns of the table, and how many values were moved and found no place.
    #[allow(clippy::type_complexity, reason = "used once, right here")]
    fn build(mut self) -> Result<(Vec<(&'a Column, ArrayRef)>, u64, u64), TooLarge> {
        self.misfits.sort_by_key(|(_, misfit)| misfit.row);
        let rest = self.rest();
        if !self.table.has(rest, Kind::TextMap) {
            self.unplaced += self.moved;
            self.moved = 0;
            self.misfits.clear();
        }
        let mut columns = Vec::new();
        let mut text = std::mem::take(&mut self.text);
        if !self.misfits.is_empty() {
            text.entry(rest).or_default();
        }
        for (name, mut entries) in text {
            let Some(column) = self.table.find(name).filter(|column| column.kind == Kind::TextMap) else {
                self.unplaced += entries.iter().map(|entries| entries.count(self.counts)).sum::<u64>();
                continue;
            };
            let misfits: &[_] = if name == rest { &self.misfits } else { &[] };
            let map = text_map(&mut entries, misfits, self.counts)?;
            if !map.is_empty() {
                columns.push((column, map.finish()));
            }
        }
        if let Some(column) = self.table.find(MEASURES).filter(|_| !self.numbers.is_empty()) {
            let map = number_map(&self.numbers, self.counts)?;
            if !map.is_empty() {
                columns.push((column, map.finish()));
            }
        }
        Ok((columns, self.moved, self.unplaced))
    }
}

fn text_map(
    entries: &mut [Entries<'_>],
    misfits: &[(&str, Misfit)],
    counts: &[usize],
) -> Result<TextMap, TooLarge> {
    let rows = counts.iter().sum();
    let (count, bytes) = total(entries.iter().map(|entries| entries.size(rows)));
    let mut map = TextMap::with_room(rows, count, bytes);
    let mut misfits = misfits.iter().peekable();
    let mut at = 0;
    for (batch, rows) in counts.iter().enumerate() {
        for row in 0..*rows {
            for entries in &mut *entries {
                entries.add(batch, row, &mut map)?;
            }
            while let Some((name, misfit)) = misfits.next_if(|(_, misfit)| misfit.row == at) {
                let key = map.key(name)?;
                map.push(key, &misfit.value)?;
            }
            map.end_row()?;
            at += 1;
        }
    }
    Ok(map)
}

fn number_map(columns: &[(&str, Vec<Option<Source<'_>>>)], counts: &[usize]) -> Result<NumberMap, TooLarge> {
    let rows: usize = counts.iter().sum();
    let mut map = NumberMap::with_room(rows, rows * columns.len());
    let keys = columns.iter().map(|(name, _)| map.key(name)).collect::<Result<Vec<Key>, _>>()?;
    for (batch, rows) in counts.iter().enumerate() {
        for row in 0..*rows {
            for (key, (_, sources)) in keys.iter().zip(columns) {
                match sources[batch].as_ref().map_or(Cell::Null, |source| source.cell(row)) {
                    Cell::Integer(number) => map.push(*key, number as f64),
                    Cell::Float(number) => map.push(*key, number),
                    _ => {}
                }
            }
            map.end_row()?;
        }
    }
    Ok(map)
}

/// The sum of counts and of bytes.
fn total(sizes: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    sizes.fold((0, 0), |(count, bytes), (more, size)| (count + more, bytes + size))
}

impl Entries<'_> {
    /// Adds the entries of a row to the current row of the map.
    fn add(&mut self, batch: usize, row: usize, map: &mut TextMap) -> Result<(), TooLarge> {
        match self {
            Entries::Lists(lists) => lists[batch].as_mut().map_or(Ok(()), |lists| lists.add(row, map)),
            Entries::Maps(maps) => {
                let Some(of_batch @ StringMap { keys, values, .. }) = maps[batch] else { return Ok(()) };
                for entry in of_batch.range(row) {
                    let key = map.key(keys.get(entry).unwrap_or_default())?;
                    map.push(key, values.get(entry).unwrap_or_default())?;
                }
                Ok(())
            }
            Entries::Values(name, key, sources) => {
                let value = sources[batch].as_ref().map_or(Cell::Null, |source| source.cell(row));
                if value == Cell::Null {
                    return Ok(());
                }
                let key = match *key {
                    Some(known) => known,
                    None => *key.insert(map.key(name)?),
                };
                match value {
                    Cell::Text(text) => map.push(key, text),
                    value => map.write(key, &value),
                }
            }
        }
    }

    /// About how many entries so many rows have, and bytes: enough for attribute lists, which are most.
    fn size(&self, rows: usize) -> (usize, usize) {
        match self {
            Entries::Lists(lists) => total(lists.iter().flatten().map(Lists::size)),
            Entries::Maps(_) => (0, 0),
            Entries::Values(..) => (rows, 8 * rows),
        }
    }

    /// How many entries there are in all rows.
    fn count(&self, counts: &[usize]) -> u64 {
        let of_row = |batch: usize, row: usize| match self {
            Entries::Lists(lists) => lists[batch].as_ref().map_or(0, |lists| lists.count(row)),
            Entries::Maps(maps) => maps[batch].map_or(0, |map| map.range(row).len()),
            Entries::Values(_, _, sources) => {
                usize::from(sources[batch].as_ref().is_some_and(|source| source.cell(row) != Cell::Null))
            }
        };
        let rows =
            counts.iter().enumerate().flat_map(|(batch, rows)| (0..*rows).map(move |row| (batch, row)));
        rows.map(|(batch, row)| of_row(batch, row) as u64).sum()
    }
}

#[cfg(test)]
#[path = "insert_rows_tests.rs"]
mod tests;
