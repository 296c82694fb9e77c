//! Building the nested columns of spans: `links` and `events`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampNanosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, TimestampNanosecondType};
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

use crate::map_column::{Lists, TextMap};
use crate::texts::{Texts, TooLarge};
use crate::value_column::clamped;

/// The lists of one batch: the array, when the batch has the column, and the number of rows.
pub(crate) type ListPart<'a> = (Option<&'a ArrayRef>, usize);

/// About what a text of a link takes.
const LINK_TEXT: usize = 32;

/// Whether an array is a list of structures, as both columns are.
pub(crate) fn is_list_of_structures(array: &ArrayRef) -> bool {
    array.as_list_opt::<i32>().is_some_and(|list| list.values().as_struct_opt().is_some())
}

/// Builds `links` from the lists of all batches. Missing texts are empty.
pub(crate) fn links(parts: &[ListPart<'_>]) -> Result<ArrayRef, TooLarge> {
    let names = schema::link();
    let links: usize = parts.iter().filter_map(|(array, _)| Some(structures((*array)?)?.1.len())).sum();
    let mut columns: Vec<Texts> = names.iter().map(|_| Texts::with_room(links, links * LINK_TEXT)).collect();
    let mut rows = Rows::with_room(parts);
    for (array, count) in parts {
        let Some((lists, entries)) = array.and_then(structures) else {
            rows.empty(*count);
            continue;
        };
        let texts: Vec<Option<TextColumn<'_>>> =
            names.iter().map(|name| TextColumn::new(entries.column_by_name(name.name())?)).collect();
        rows.each(lists, entries, *count, |entry| {
            for (column, text) in columns.iter_mut().zip(&texts) {
                column.push(text.and_then(|text| text.get(entry)).unwrap_or_default().as_bytes())?;
            }
            Ok(())
        })?;
    }
    let fields =
        names.iter().map(|name| Field::new(name.name(), DataType::Binary, false)).collect::<Fields>();
    let arrays = columns.into_iter().map(|column| Arc::new(column.finish(None)) as ArrayRef).collect();
    Ok(rows.finish(StructArray::new(fields, arrays, None)))
}

/// Builds `events` from the lists of all batches. A time out of range is clamped, and stays among the attributes.
pub(crate) fn span_events(parts: &[ListPart<'_>]) -> Result<ArrayRef, TooLarge> {
    let (mut times, mut names, mut attributes) =
        (Vec::new(), Texts::with_room(0, 0), TextMap::with_room(0, 0, 0));
    let mut rows = Rows::with_room(parts);
    for (array, count) in parts {
        let Some((lists, entries)) = array.and_then(structures) else {
            rows.empty(*count);
            continue;
        };
        let time = entries
            .column_by_name("time")
            .and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>());
        let name = entries.column_by_name("name").and_then(TextColumn::new);
        let column = entries.column_by_name("attributes").and_then(AttributeColumn::new);
        let mut of_events = column.map(|column| Lists::new(column, ""));
        rows.each(lists, entries, *count, |entry| {
            let nanos = time.filter(|time| time.is_valid(entry)).map_or(0, |time| time.value(entry));
            times.push(clamped(nanos));
            names.push(name.and_then(|name| name.get(entry)).unwrap_or_default().as_bytes())?;
            if let Some(of_events) = &mut of_events {
                of_events.add(entry, &mut attributes)?;
            }
            if clamped(nanos) != nanos {
                let key = attributes.key("time")?;
                attributes.write(key, &nanos)?;
            }
            attributes.end_row()
        })?;
    }
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"));
    let columns: Vec<(&str, ArrayRef)> =
        vec![("time", times), ("name", Arc::new(names.finish(None))), ("attributes", attributes.finish())];
    let fields = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), false))
        .collect::<Fields>();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(rows.finish(StructArray::new(fields, arrays, None)))
}

fn structures(array: &ArrayRef) -> Option<(&ListArray, &StructArray)> {
    let lists = array.as_list_opt::<i32>()?;
    Some((lists, lists.values().as_struct_opt()?))
}

/// Where the lists of the rows end.
struct Rows {
    offsets: Vec<i32>,
    entries: usize,
}

impl Rows {
    fn with_room(parts: &[ListPart<'_>]) -> Rows {
        let mut offsets = Vec::with_capacity(parts.iter().map(|(_, rows)| rows).sum::<usize>() + 1);
        offsets.push(0);
        Rows { offsets, entries: 0 }
    }

    fn empty(&mut self, rows: usize) {
        let last = self.offsets.last().copied().unwrap_or(0);
        self.offsets.resize(self.offsets.len() + rows, last);
    }

    /// Calls `add` with the position of each entry of each row.
    fn each(
        &mut self,
        lists: &ListArray,
        entries: &StructArray,
        rows: usize,
        mut add: impl FnMut(usize) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let offsets = lists.value_offsets();
        for row in 0..rows {
            if lists.is_valid(row) {
                let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
                for entry in (bound(row)..bound(row + 1)).filter(|entry| entries.is_valid(*entry)) {
                    add(entry)?;
                    self.entries += 1;
                }
            }
            self.offsets.push(i32::try_from(self.entries).map_err(|_| TooLarge)?);
        }
        Ok(())
    }

    fn finish(self, entries: StructArray) -> ArrayRef {
        let item = Field::new("item", entries.data_type().clone(), false);
        Arc::new(ListArray::new(
            Arc::new(item),
            OffsetBuffer::new(self.offsets.into()),
            Arc::new(entries),
            None,
        ))
    }
}
