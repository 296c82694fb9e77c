//! Writing the nested columns of spans: `links` and `events`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::TimestampNanosecondType;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

use crate::convert::map_column::{Keys, Lists};
use crate::convert::value_column::clamped;
use crate::native::encoded_rows::{Filler, Writer};
use crate::native::frames::Frames;
use crate::schema::layouts::{LINKS_TYPE, SPAN_EVENTS_TYPE};

/// The lists of one batch: the array, when the batch has the column, and the number of rows.
pub(crate) type ListBatch<'a> = (Option<&'a ArrayRef>, usize);

/// A text that is not there.
const TEXT: Filler = Filler::zeros(1);
/// The attribute for a time that is not the one stored.
const TIME: &str = "time";

/// Whether an array is a list of structures, as both columns are.
pub(crate) fn is_list_of_structures(array: &ArrayRef) -> bool {
    array.as_list_opt::<i32>().is_some_and(|list| list.values().as_struct_opt().is_some())
}

/// Writes `links` from the lists of all batches. Missing texts are empty.
pub(crate) fn write_links(name: &Arc<str>, batches: &[ListBatch<'_>], writer: &mut Writer<'_>) {
    let RowLists { ends, entries } = RowLists::of(batches);
    writer.column(name, LINKS_TYPE);
    writer.ends(&ends);
    for field in &schema::link() {
        writer.values(TEXT, |frames| texts(field.name(), &entries, frames));
    }
}

/// Writes `events` from the lists of all batches. A time out of range is clamped, and stays among the
/// attributes.
pub(crate) fn write_span_events(name: &Arc<str>, batches: &[ListBatch<'_>], writer: &mut Writer<'_>) {
    let RowLists { ends, entries } = RowLists::of(batches);
    writer.column(name, SPAN_EVENTS_TYPE);
    writer.ends(&ends);
    writer.values(Filler::zeros(8), |frames| {
        for (structs, numbers) in &entries {
            let nanos = nanos(structs);
            numbers.iter().for_each(|number| frames.bytes(&clamped(nanos(*number)).to_le_bytes()));
        }
    });
    writer.values(TEXT, |frames| texts("name", &entries, frames));
    write_attributes(&entries, writer);
}

/// Writes the attributes of these entries. A time out of range is among them, too.
pub(super) fn write_attributes(entries: &[(&StructArray, Vec<usize>)], writer: &mut Writer<'_>) {
    let mut keys = Keys::new(0, writer.take_dictionary());
    let mut attributes: Vec<Option<Lists<'_>>> = Vec::new();
    for (structs, numbers) in entries {
        let nanos = nanos(structs);
        let column = structs.column_by_name("attributes").and_then(AttributeColumn::new);
        let mut lists = column.map(|column| Lists::new(column, ""));
        for number in numbers {
            if let Some(lists) = &mut lists {
                lists.keys(*number, &mut keys);
            }
            if clamped(nanos(*number)) != nanos(*number) {
                let time = keys.number(TIME);
                keys.push(time);
            }
            keys.end_row();
        }
        attributes.push(lists);
    }
    keys.write(writer);
    writer.values(TEXT, |frames| {
        for ((structs, numbers), lists) in entries.iter().zip(&attributes) {
            let nanos = nanos(structs);
            for number in numbers {
                if let Some(lists) = lists {
                    lists.values(*number, frames);
                }
                if clamped(nanos(*number)) != nanos(*number) {
                    frames.display(&nanos(*number));
                }
            }
        }
    });
}

/// Writes the texts of one field of these entries. Missing ones are empty.
pub(super) fn texts(field: &str, entries: &[(&StructArray, Vec<usize>)], frames: &mut Frames) {
    for (structs, numbers) in entries {
        let text = structs.column_by_name(field).and_then(TextColumn::new);
        for number in numbers {
            let text = text.and_then(|text| text.get(*number));
            frames.text(text.unwrap_or_default().as_bytes());
        }
    }
}

/// The times of entries, 0 where there is none.
pub(super) fn nanos(entries: &StructArray) -> impl Fn(usize) -> i64 {
    let time =
        entries.column_by_name(TIME).and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>());
    move |entry| time.filter(|time| time.is_valid(entry)).map_or(0, |time| time.value(entry))
}

fn structures(array: &ArrayRef) -> Option<(&ListArray, &StructArray)> {
    let lists = array.as_list_opt::<i32>()?;
    Some((lists, lists.values().as_struct_opt()?))
}

/// Where the lists of all rows end, and what is in them.
pub(super) struct RowLists<'a> {
    pub(super) ends: Vec<u32>,
    /// Of each batch the entries, and which of them are in lists.
    pub(super) entries: Vec<(&'a StructArray, Vec<usize>)>,
}

impl<'a> RowLists<'a> {
    pub(super) fn of(batches: &[ListBatch<'a>]) -> RowLists<'a> {
        let mut ends = Vec::with_capacity(batches.iter().map(|(_, rows)| rows).sum());
        let mut of_batches = Vec::with_capacity(batches.len());
        let mut end = 0_u32;
        for (array, rows) in batches {
            let Some((lists, entries)) = array.and_then(structures) else {
                ends.resize(ends.len() + rows, end);
                continue;
            };
            let offsets = lists.value_offsets();
            if lists.null_count() == 0 && entries.null_count() == 0 {
                // Lists lie one after the other.
                let (first, before) = (offsets[0], end);
                let ends_here = |offset: &i32| before.saturating_add((offset - first).cast_unsigned());
                ends.extend(offsets[1..=*rows].iter().map(ends_here));
                end = ends_here(&offsets[*rows]);
                of_batches.push((entries, (first as usize..offsets[*rows] as usize).collect()));
                continue;
            }
            let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
            let mut numbers = Vec::with_capacity(entries.len());
            for row in 0..*rows {
                let before = numbers.len();
                if lists.is_valid(row) {
                    numbers.extend((bound(row)..bound(row + 1)).filter(|entry| entries.is_valid(*entry)));
                }
                end = end.saturating_add(u32::try_from(numbers.len() - before).unwrap_or(u32::MAX));
                ends.push(end);
            }
            of_batches.push((entries, numbers));
        }
        RowLists { ends, entries: of_batches }
    }
}
