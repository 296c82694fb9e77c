//! The maps of a table: what has no column of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray};
use arrow::datatypes::Field;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, schema};

use crate::convert::batch_columns::BatchColumns;
use crate::convert::cell::{Cell, ColumnReader};
use crate::convert::map_column::{Keys, Lists, NUMBER_MAP, TEXT_MAP};
use crate::convert::value_column::Misfit;
use crate::native::encoded_rows::{Filler, Writer};
use crate::native::frames::Frames;
use crate::schema::columns::{Kind, TableColumns};

const LABELS: &str = "labels";
const ANNOTATIONS: &str = "annotations";
const RUNBOOK: &str = "runbook";
const MEASURES: &str = "measures";
/// The label of a group-by key without a value: the columns hold '' then, which is a value too.
const NO_VALUE: &str = "NULL";

/// The entries of the maps of a table.
pub(super) struct Maps<'a> {
    signal: Signal,
    table: &'a TableColumns,
    counts: &'a [usize],
    text: BTreeMap<&'static str, Vec<Entries<'a>>>,
    /// Columns for `measures`.
    numbers: Vec<(&'a str, Vec<Option<ColumnReader<'a>>>)>,
    /// Values that did not fit the column of this name.
    pub(crate) misfits: Vec<(&'a str, Misfit)>,
    pub(crate) moved: u64,
    unplaced: u64,
}

/// Entries for each row of a map, from one column of the batches.
enum Entries<'a> {
    /// Attribute lists.
    Lists(Vec<Option<Lists<'a>>>),
    /// Maps of text to text.
    Maps(Vec<Option<StringMap<'a>>>),
    /// One entry a row that has a value; the key's number once it is known.
    Values(String, Option<u32>, Vec<Option<ColumnReader<'a>>>),
}

#[derive(Clone, Copy)]
struct StringMap<'a> {
    maps: &'a MapArray,
    keys: TextColumn<'a>,
    values: TextColumn<'a>,
}

impl<'a> StringMap<'a> {
    pub(crate) fn new(array: &'a ArrayRef) -> Option<StringMap<'a>> {
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
    pub(crate) fn new(signal: Signal, table: &'a TableColumns, counts: &'a [usize]) -> Maps<'a> {
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
    pub(crate) fn take_lists(&mut self, columns: &mut BatchColumns<'a>) {
        if self.signal == Signal::Logs {
            // The same as `body`.
            columns.remove(schema::BODY_VALUE);
        }
        for name in [schema::ATTRIBUTES, schema::RESOURCE, schema::SCOPE, schema::METADATA] {
            let Some(arrays) = columns.get(name) else { continue };
            let lists: Vec<_> = arrays.iter().map(|array| array.and_then(AttributeColumn::new)).collect();
            // Something else under this name is a column like any other.
            if lists.iter().zip(arrays).all(|(list, array)| list.is_some() == array.is_some()) {
                let own = self.table.has(name, Kind::TextMap);
                let (map, prefix) = match name {
                    schema::RESOURCE if !own => (schema::ATTRIBUTES, "resource."),
                    schema::RESOURCE => (schema::RESOURCE, ""),
                    schema::SCOPE => (schema::ATTRIBUTES, "scope."),
                    schema::METADATA => (schema::ATTRIBUTES, "metadata."),
                    _ => (schema::ATTRIBUTES, ""),
                };
                let lists = lists.into_iter().map(|list| list.map(|list| Lists::new(list, prefix))).collect();
                self.text.entry(map).or_default().push(Entries::Lists(lists));
                columns.remove(name);
            }
        }
        for name in [LABELS, ANNOTATIONS] {
            let Some(arrays) = columns.get(name) else { continue };
            let maps: Vec<_> = arrays.iter().map(|array| array.and_then(StringMap::new)).collect();
            let has_a_place = name == LABELS || self.table.has(name, Kind::TextMap);
            if has_a_place && maps.iter().zip(arrays).all(|(map, array)| map.is_some() == array.is_some()) {
                self.text.entry(name).or_default().push(Entries::Maps(maps));
                columns.remove(name);
            }
        }
    }

    /// Takes a column that the table does not have.
    pub(crate) fn take_column(&mut self, name: &'a str, field: &'a Field, arrays: &[Option<&'a ArrayRef>]) {
        let sources: Vec<_> = arrays.iter().map(|array| array.map(ColumnReader::new)).collect();
        if self.signal == Signal::Alarms && matches!(name, ANNOTATIONS | RUNBOOK) {
            // Labels say what an alarm is about. This is what people read of it.
            let values = arrays.iter().flatten().map(|array| array.len() - array.logical_null_count());
            self.unplaced += values.sum::<usize>() as u64;
            return;
        }
        if self.rest() == LABELS {
            let numbers = sources.iter().flatten().all(ColumnReader::is_number);
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

    /// Marks the rows without a value for a group-by key, so that they stay apart from rows with an empty
    /// one.
    pub(crate) fn mark_missing_keys(&mut self, name: &'a str, arrays: &[Option<&ArrayRef>]) {
        let mut before = 0;
        for (array, rows) in arrays.iter().zip(self.counts) {
            if let Some(array) = array {
                let source = ColumnReader::new(array);
                let missing = (0..*rows).filter(|row| source.cell(*row) == Cell::Null);
                let marks =
                    missing.map(|row| (name, Misfit { row: before + row, value: NO_VALUE.to_owned() }));
                self.misfits.extend(marks);
            }
            before += rows;
        }
    }

    /// Writes the map columns of the table. Says how many values were moved and found no place.
    pub(crate) fn write(mut self, writer: &mut Writer<'_>) -> (u64, u64) {
        self.misfits.sort_by_key(|(_, misfit)| misfit.row);
        let rest = self.rest();
        if !self.table.has(rest, Kind::TextMap) {
            self.unplaced += self.moved;
            self.moved = 0;
            self.misfits.clear();
        }
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
            write_text_map(&column.name, &mut entries, misfits, self.counts, writer);
        }
        if let Some(column) = self.table.find(MEASURES).filter(|column| column.kind == Kind::NumberMap) {
            write_number_map(&column.name, &self.numbers, self.counts, writer);
        }
        (self.moved, self.unplaced)
    }
}

/// Writes a map of texts, unless no row has an entry.
fn write_text_map(
    name: &Arc<str>,
    entries: &mut [Entries<'_>],
    misfits: &[(&str, Misfit)],
    counts: &[usize],
    writer: &mut Writer<'_>,
) {
    let rows: usize = counts.iter().sum();
    let mut keys = Keys::new(rows, writer.take_dictionary());
    let (mut rest, mut at) = (misfits.iter().peekable(), 0);
    for (batch, rows) in counts.iter().enumerate() {
        if lists_alone(entries, misfits, batch).is_some_and(|lists| lists.all_keys(&mut keys)) {
            continue;
        }
        for row in 0..*rows {
            entries.iter_mut().for_each(|entries| entries.keys(batch, row, &mut keys));
            while let Some((name, _)) = rest.next_if(|(_, misfit)| misfit.row == at) {
                let number = keys.number(name);
                keys.push(number);
            }
            keys.end_row();
            at += 1;
        }
    }
    if keys.is_empty() {
        return;
    }
    writer.column(name, TEXT_MAP);
    keys.write(writer);
    writer.values(Filler::zeros(1), |frames| write_texts(entries, misfits, counts, frames));
}

/// Writes the values of a map of texts.
fn write_texts(
    entries: &mut [Entries<'_>],
    misfits: &[(&str, Misfit)],
    counts: &[usize],
    frames: &mut Frames,
) {
    let (mut rest, mut at) = (misfits.iter().peekable(), 0);
    for (batch, rows) in counts.iter().enumerate() {
        if lists_alone(entries, misfits, batch).is_some_and(|lists| lists.all_values(frames)) {
            continue;
        }
        for row in 0..*rows {
            entries.iter().for_each(|entries| entries.values(batch, row, frames));
            while let Some((_, misfit)) = rest.next_if(|(_, misfit)| misfit.row == at) {
                frames.text(misfit.value.as_bytes());
            }
            at += 1;
        }
    }
}

/// The attribute lists of a batch, when nothing else goes into the map. Rows need not be counted then.
fn lists_alone<'e, 'a>(
    entries: &'e mut [Entries<'a>],
    misfits: &[(&str, Misfit)],
    batch: usize,
) -> Option<&'e mut Lists<'a>> {
    match entries {
        [Entries::Lists(lists)] if misfits.is_empty() => lists[batch].as_mut(),
        _ => None,
    }
}

/// Writes a map of numbers, unless no row has an entry.
fn write_number_map(
    name: &Arc<str>,
    columns: &[(&str, Vec<Option<ColumnReader<'_>>>)],
    counts: &[usize],
    writer: &mut Writer<'_>,
) {
    let rows: usize = counts.iter().sum();
    let mut keys = Keys::new(rows, writer.take_dictionary());
    let numbers: Vec<u32> = columns.iter().map(|(name, _)| keys.number(name)).collect();
    let mut values = Vec::with_capacity(rows * columns.len());
    for (batch, row) in rows_of(counts) {
        for (key, (_, sources)) in numbers.iter().zip(columns) {
            let value = match sources[batch].as_ref().map_or(Cell::Null, |source| source.cell(row)) {
                Cell::Integer(number) => number as f64,
                Cell::Float(number) => number,
                _ => continue,
            };
            keys.push(*key);
            values.push(value);
        }
        keys.end_row();
    }
    if keys.is_empty() {
        return;
    }
    writer.column(name, NUMBER_MAP);
    keys.write(writer);
    writer.values(Filler::zeros(8), |frames| frames.fixed(&values, |value| value.to_le_bytes()));
}

/// All rows of all batches: the batch and the row in it.
fn rows_of(counts: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    counts.iter().enumerate().flat_map(|(batch, rows)| (0..*rows).map(move |row| (batch, row)))
}

impl Entries<'_> {
    /// Adds the keys of a row to the current row of the map.
    fn keys(&mut self, batch: usize, row: usize, map: &mut Keys) {
        match self {
            Entries::Lists(lists) => {
                if let Some(lists) = &mut lists[batch] {
                    lists.keys(row, map);
                }
            }
            Entries::Maps(maps) => {
                let Some(of_batch @ StringMap { keys, .. }) = maps[batch] else { return };
                for entry in of_batch.range(row) {
                    let number = map.number(keys.get(entry).unwrap_or_default());
                    map.push(number);
                }
            }
            Entries::Values(name, number, sources) => {
                if value(sources, batch, row) != Cell::Null {
                    let number = *number.get_or_insert_with(|| map.number(name));
                    map.push(number);
                }
            }
        }
    }

    /// Writes the values of a row.
    fn values(&self, batch: usize, row: usize, frames: &mut Frames) {
        match self {
            Entries::Lists(lists) => {
                if let Some(lists) = &lists[batch] {
                    lists.values(row, frames);
                }
            }
            Entries::Maps(maps) => {
                let Some(of_batch @ StringMap { values, .. }) = maps[batch] else { return };
                let texts = of_batch.range(row).map(|entry| values.get(entry).unwrap_or_default());
                texts.for_each(|text| frames.text(text.as_bytes()));
            }
            Entries::Values(_, _, sources) => match value(sources, batch, row) {
                Cell::Null => {}
                Cell::Text(text) => frames.text(text.as_bytes()),
                other => frames.display(&other),
            },
        }
    }

    /// How many entries there are in all rows.
    fn count(&self, counts: &[usize]) -> u64 {
        let of_row = |(batch, row): (usize, usize)| match self {
            Entries::Lists(lists) => lists[batch].as_ref().map_or(0, |lists| lists.count(row)),
            Entries::Maps(maps) => maps[batch].map_or(0, |map| map.range(row).len()),
            Entries::Values(_, _, sources) => usize::from(value(sources, batch, row) != Cell::Null),
        };
        rows_of(counts).map(|place| of_row(place) as u64).sum()
    }
}

fn value<'a>(sources: &[Option<ColumnReader<'a>>], batch: usize, row: usize) -> Cell<'a> {
    sources[batch].as_ref().map_or(Cell::Null, |source| source.cell(row))
}
