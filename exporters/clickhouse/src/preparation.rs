//! The way of a batch into a block: encoded while it waits for its insert, or when the insert is made.

use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_component::{ExportError, Outgoing};
use weir_pdata::{EventBatch, Signal};

use crate::client::failure::Failure;
use crate::convert::end_times::{computes_ends, with_ends, with_table_ends};
use crate::convert::own_columns::with_own_columns;
use crate::convert::provenance::located;
use crate::convert::span_ids::with_table_ids;
use crate::convert::{InsertRows, NoMatchingColumn, convert};
use crate::dynamic::census::Census;
use crate::native::block::block;
use crate::native::decode::read;
use crate::native::scratch::ScratchPool;
use crate::schema::columns::TableColumns;
use crate::table::Table;

/// A batch that is encoded for a block.
struct PreparedRows {
    /// The columns of the table that it was made for.
    columns: Arc<TableColumns>,
    rows: Arc<InsertRows>,
}

/// Part of a block for a table with these columns; the batch itself when it fits none of them.
pub(crate) fn prepare(
    batch: EventBatch,
    columns: Arc<TableColumns>,
    pool: &ScratchPool,
    census: Option<&Census>,
) -> Outgoing {
    let Some(rows) = with_table_columns(&batch, &columns, census) else { return batch.into() };
    match pool.with(|scratch| convert(batch.signal, &[&rows], &columns, scratch)) {
        Ok(rows) => {
            let bytes = rows.encoded.memory();
            Outgoing::prepared(batch, PreparedRows { columns, rows: Arc::new(rows) }, bytes)
        }
        // The export says so.
        Err(NoMatchingColumn) => batch.into(),
    }
}

/// The batch with its columns again.
///
/// # Errors
/// It was prepared by another exporter, or its bytes cannot be read.
pub(crate) fn restore(batch: &Outgoing, pool: &ScratchPool) -> Result<EventBatch, String> {
    if let Some(events) = batch.events() {
        return Ok(events);
    }
    let prepared = batch.content::<PreparedRows>().ok_or("another exporter has prepared it")?;
    let body = pool.with(|scratch| block(&[&prepared.rows.encoded], scratch));
    let rows = read(&body, pool.compresses()).map_err(|error| error.to_string())?;
    let computed = computes_ends(batch.signal, &prepared.columns);
    Ok(batch.with_columns(if computed { with_ends(rows) } else { rows }))
}

/// The rows of one insert: those that were prepared for these columns, and together those between them that
/// were not.
pub(crate) fn insert_rows(
    table: &Table,
    batches: &[Outgoing],
    columns: &Arc<TableColumns>,
    pool: &ScratchPool,
    census: Option<&Census>,
) -> Result<Vec<Arc<InsertRows>>, ExportError> {
    let (mut all, mut others) = (Vec::new(), Vec::new());
    for batch in batches {
        let ready = batch.content::<PreparedRows>();
        if let Some(ready) = ready.filter(|ready| ready.columns == *columns) {
            all.extend(convert_batches(table, &others, columns, pool, census)?);
            others.clear();
            all.push(Arc::clone(&ready.rows));
        } else {
            others.push(restore(batch, pool).map_err(ExportError::permanent)?);
        }
    }
    all.extend(convert_batches(table, &others, columns, pool, census)?);
    Ok(all)
}

/// The rows of batches with columns, if they have any.
pub(crate) fn convert_batches(
    table: &Table,
    batches: &[EventBatch],
    columns: &TableColumns,
    pool: &ScratchPool,
    census: Option<&Census>,
) -> Result<Option<Arc<InsertRows>>, ExportError> {
    let mut rows = Vec::with_capacity(batches.len());
    for batch in batches {
        let rows_of_batch = with_table_columns(batch, columns, census);
        rows.push(rows_of_batch.ok_or_else(|| ExportError::permanent("the batch is not decoded"))?);
    }
    rows.retain(|rows| rows.num_rows() > 0);
    if rows.is_empty() {
        return Ok(None);
    }
    let rows: Vec<&RecordBatch> = rows.iter().collect();
    let converted = pool.with(|scratch| convert(table.signal, &rows, columns, scratch));
    let failed = |error: NoMatchingColumn| Failure::other(error.to_string()).of_preparation(&table.name);
    Ok(Some(Arc::new(converted.map_err(failed)?)))
}

/// The columns of a batch, with those that the table has beside: for single attributes, for where the rows
/// came from, for span ids, and for the end of spans. What is left is counted.
fn with_table_columns(
    batch: &EventBatch,
    columns: &TableColumns,
    census: Option<&Census>,
) -> Option<RecordBatch> {
    let rows = with_table_ids(batch.signal, located(batch, columns)?, columns);
    let rows = with_table_ends(batch.signal, rows, columns);
    let rows = with_own_columns(batch.signal, rows, columns);
    if let (Some(census), Signal::Traces) = (census, batch.signal) {
        census.count(&rows, columns);
    }
    Some(rows)
}
