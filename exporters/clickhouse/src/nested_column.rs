//! Writing the nested columns of spans: `links` and `events`.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::TimestampNanosecondType;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

use crate::block::Block;
use crate::map_column::{Keys, Lists};
use crate::tables::{LINKS_TYPE, SPAN_EVENTS_TYPE};
use crate::value_column::clamped;
use crate::words::Words;

/// The lists of one batch: the array, when the batch has the column, and the number of rows.
pub(crate) type ListPart<'a> = (Option<&'a ArrayRef>, usize);

/// What keeps a time among the attributes that is not the one stored.
const TIME: &str = "time";

/// Whether an array is a list of structures, as both columns are.
pub(crate) fn is_list_of_structures(array: &ArrayRef) -> bool {
    array.as_list_opt::<i32>().is_some_and(|list| list.values().as_struct_opt().is_some())
}

/// Writes `links` from the lists of all batches. Missing texts are empty.
pub(crate) fn write_links(name: &str, parts: &[ListPart<'_>], block: &mut Block) {
    let lists = RowLists::of(parts);
    let frames = block.column(name, LINKS_TYPE);
    frames.fixed(&lists.ends, |end| end.to_le_bytes());
    for field in &schema::link() {
        for (entries, numbers) in &lists.entries {
            let text = entries.column_by_name(field.name()).and_then(TextColumn::new);
            for number in numbers {
                let text = text.and_then(|text| text.get(*number));
                frames.text(text.unwrap_or_default().as_bytes());
            }
        }
    }
}

/// Writes `events` from the lists of all batches. A time out of range is clamped, and stays among the attributes.
pub(crate) fn write_span_events(name: &str, parts: &[ListPart<'_>], block: &mut Block) {
    let lists = RowLists::of(parts);
    let frames = block.column(name, SPAN_EVENTS_TYPE);
    Words::write_version(frames);
    frames.fixed(&lists.ends, |end| end.to_le_bytes());
    for (entries, numbers) in &lists.entries {
        let nanos = nanos(entries);
        numbers.iter().for_each(|number| frames.bytes(&clamped(nanos(*number)).to_le_bytes()));
    }
    for (entries, numbers) in &lists.entries {
        let text = entries.column_by_name("name").and_then(TextColumn::new);
        for number in numbers {
            let text = text.and_then(|text| text.get(*number));
            frames.text(text.unwrap_or_default().as_bytes());
        }
    }
    let mut keys = Keys::with_room(0, 0);
    let mut attributes: Vec<Option<Lists<'_>>> = Vec::new();
    for (entries, numbers) in &lists.entries {
        let nanos = nanos(entries);
        let column = entries.column_by_name("attributes").and_then(AttributeColumn::new);
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
    keys.write(frames);
    for ((entries, numbers), lists) in lists.entries.iter().zip(&attributes) {
        let nanos = nanos(entries);
        for number in numbers {
            if let Some(lists) = lists {
                lists.values(*number, frames);
            }
            if clamped(nanos(*number)) != nanos(*number) {
                frames.display(&nanos(*number));
            }
        }
    }
}

/// The times of span events, 0 where there is none.
fn nanos(entries: &StructArray) -> impl Fn(usize) -> i64 {
    let time =
        entries.column_by_name(TIME).and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>());
    move |entry| time.filter(|time| time.is_valid(entry)).map_or(0, |time| time.value(entry))
}

fn structures(array: &ArrayRef) -> Option<(&ListArray, &StructArray)> {
    let lists = array.as_list_opt::<i32>()?;
    Some((lists, lists.values().as_struct_opt()?))
}

/// Where the lists of all rows end, and what is in them.
struct RowLists<'a> {
    ends: Vec<u64>,
    /// Of each batch the entries, and which of them are in lists.
    entries: Vec<(&'a StructArray, Vec<usize>)>,
}

impl<'a> RowLists<'a> {
    fn of(parts: &[ListPart<'a>]) -> RowLists<'a> {
        let mut ends = Vec::with_capacity(parts.iter().map(|(_, rows)| rows).sum());
        let mut of_batches = Vec::with_capacity(parts.len());
        let mut end = 0;
        for (array, rows) in parts {
            let Some((lists, entries)) = array.and_then(structures) else {
                ends.resize(ends.len() + rows, end);
                continue;
            };
            let offsets = lists.value_offsets();
            let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
            let mut numbers = Vec::with_capacity(entries.len());
            for row in 0..*rows {
                let before = numbers.len();
                if lists.is_valid(row) {
                    numbers.extend((bound(row)..bound(row + 1)).filter(|entry| entries.is_valid(*entry)));
                }
                end += (numbers.len() - before) as u64;
                ends.push(end);
            }
            of_batches.push((entries, numbers));
        }
        RowLists { ends, entries: of_batches }
    }
}
