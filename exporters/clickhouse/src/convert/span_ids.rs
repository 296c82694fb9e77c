//! Span ids in the form that the table has: as texts, in [parts](weir_pdata::span_ids) from which it computes
//! them, or both.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use weir_pdata::Signal;
use weir_pdata::span_ids::{PARENT_NUMBER, as_texts, in_parts, with_texts};

use crate::schema::columns::TableColumns;

/// The rows, with the ids that the table has columns for.
pub(crate) fn with_table_ids(signal: Signal, rows: RecordBatch, table: &TableColumns) -> RecordBatch {
    if signal != Signal::Traces {
        return rows;
    }
    let has = |name: &str| table.find(name).is_some();
    let changed = match (has("span_id") || has("parent_span_id"), has(PARENT_NUMBER)) {
        (false, true) => in_parts(&rows),
        (true, true) => with_texts(&rows),
        (_, false) => as_texts(&rows),
    };
    match changed {
        Cow::Owned(changed) => changed,
        Cow::Borrowed(_) => rows,
    }
}
