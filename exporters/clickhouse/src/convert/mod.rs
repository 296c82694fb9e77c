//! Batches to the rows of one insert: one block whose columns are columns of the table.
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
//! An attribute that has a column for the sake of an expression only, and is more than text, is stored as it
//! was received.
//!
//! So do values that do not fit their column, as text under the column's name. Without a map they are
//! counted. A column that is NULL in every row is left out: the table's default applies.

mod batch_columns;
pub(crate) mod cell;
pub(crate) mod end_times;
mod map_column;
mod maps;
mod nested_column;
pub(crate) mod own_columns;
mod point_columns;
pub(crate) mod provenance;
pub(crate) mod span_ids;
mod text_column;
mod value_column;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, UInt64Type};
use weir_pdata::attributes::without_copies;
use weir_pdata::{Signal, schema};

use crate::convert::batch_columns::BatchColumns;
use crate::convert::cell::{ColumnBatch, ColumnReader};
use crate::convert::maps::Maps;
use crate::convert::nested_column::{is_list_of_structures, write_links, write_span_events};
use crate::convert::point_columns::{
    is_list_of, write_counts, write_exemplars, write_floats, write_quantiles,
};
use crate::convert::value_column::Misfit;
use crate::native::encoded_rows::{EncodedRows, Writer};
use crate::native::scratch::Scratch;
use crate::schema::columns::{Column, Kind, TableColumns};

/// The rows of one insert, and what had to be put elsewhere.
#[derive(Debug)]
pub(crate) struct InsertRows {
    pub(crate) encoded: EncodedRows,
    /// Values that did not fit their column and are in a map as text.
    pub(crate) moved: u64,
    /// Values that found no place in the table.
    pub(crate) unplaced: u64,
}

/// Why batches cannot be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table has no column for any of the values: check that it is the right table")]
pub(crate) struct NoMatchingColumn;

/// Brings batches of one signal to the columns of a table.
pub(crate) fn convert(
    signal: Signal,
    batches: &[&RecordBatch],
    table: &TableColumns,
    scratch: &mut Scratch,
) -> Result<InsertRows, NoMatchingColumn> {
    let counts: Vec<usize> = batches.iter().map(|batch| batch.num_rows()).collect();
    let received: Vec<_> =
        batches.iter().map(|batch| without_copies(batch, |name| table.find(name).is_some())).collect();
    let batches: Vec<&RecordBatch> = received.iter().map(AsRef::as_ref).collect();
    let mut columns = BatchColumns::of(&batches);
    let mut maps = Maps::new(signal, table, &counts);
    maps.take_lists(&mut columns);

    let mut writer = Writer::new(scratch);
    let mut column_batches = Vec::with_capacity(batches.len());
    for column in &table.0 {
        let Some(arrays) = columns.get(&column.name) else { continue };
        let all_null = arrays.iter().flatten().all(|array| array.logical_null_count() == array.len());
        let mut misfits = Vec::new();
        // Without any value, the table's default is what the column gets.
        if !all_null && !write(column, arrays, &counts, &mut column_batches, &mut misfits, &mut writer) {
            continue;
        }
        maps.moved += misfits.len() as u64;
        maps.misfits.extend(misfits.into_iter().map(|misfit| (&*column.name, misfit)));
        if signal == Signal::Windows && column.kind == Kind::Text && !schema::is_fixed(signal, &column.name) {
            maps.mark_missing_keys(&column.name, arrays);
        }
        columns.remove(&column.name);
    }
    for (name, (field, begin)) in columns.named {
        maps.take_column(name, field, &columns.arrays[begin..begin + batches.len()]);
    }
    let (moved, unplaced) = maps.write(&mut writer);
    let encoded = writer.finish(counts.iter().sum()).ok_or(NoMatchingColumn)?;
    Ok(InsertRows { encoded, moved, unplaced })
}

/// Writes the values of one table column. Says whether it did: not when the column cannot take values of
/// these types.
fn write<'a>(
    column: &Column,
    arrays: &[Option<&'a ArrayRef>],
    counts: &[usize],
    column_batches: &mut Vec<ColumnBatch<'a>>,
    misfits: &mut Vec<Misfit>,
    writer: &mut Writer<'_>,
) -> bool {
    let lists = || arrays.iter().flatten().all(|array| is_list_of_structures(array));
    fn numbers<T: ArrowPrimitiveType>(arrays: &[Option<&ArrayRef>]) -> bool {
        arrays.iter().flatten().all(|array| is_list_of::<T>(array))
    }
    let (name, all) = (&column.name, || arrays.iter().copied().zip(counts.iter().copied()));
    match column.kind {
        Kind::Links if lists() => write_links(name, &all().collect::<Vec<_>>(), writer),
        Kind::SpanEvents if lists() => write_span_events(name, &all().collect::<Vec<_>>(), writer),
        Kind::Quantiles if lists() => write_quantiles(name, &all().collect::<Vec<_>>(), writer),
        Kind::Exemplars if lists() => write_exemplars(name, &all().collect::<Vec<_>>(), writer),
        Kind::Floats if numbers::<Float64Type>(arrays) => write_floats(name, all(), writer),
        Kind::Counts if numbers::<UInt64Type>(arrays) => write_counts(name, all(), writer),
        _ => {
            column_batches.clear();
            column_batches.extend(all().map(|(array, rows)| (array.map(ColumnReader::new), rows)));
            return value_column::write(column, column_batches, misfits, writer);
        }
    }
    true
}

#[cfg(test)]
mod tests;
