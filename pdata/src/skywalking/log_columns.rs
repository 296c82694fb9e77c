//! Rows of the signal `logs`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::error::ArrowError;

use super::rows::{Rows, optional_times};
use crate::columns::text::Text;
use crate::columns::views::Views;
use crate::{Encoded, Projection, Signal};

/// A row. Texts are views; see [`Rows`].
#[derive(Debug, Default)]
pub(super) struct LogRow {
    /// Milliseconds since 1970; 0: it has none.
    pub(super) time_ms: i64,
    /// More exactly, where that is known: nanoseconds since 1970.
    pub(super) time_ns: Option<i64>,
    pub(super) severity: Option<u128>,
    pub(super) severity_number: Option<i32>,
    pub(super) body: Option<u128>,
    pub(super) body_type: Option<u128>,
    pub(super) event_name: Option<u128>,
    pub(super) trace_id: Option<u128>,
    pub(super) span_id: Option<u128>,
    pub(super) segment_id: Option<u128>,
    pub(super) service: Option<u128>,
    pub(super) instance: Option<u128>,
    pub(super) endpoint: Option<u128>,
    pub(super) attributes: Vec<(Text, u128)>,
}

impl LogRow {
    /// An empty row, which keeps its room for attributes.
    pub(super) fn clear(&mut self) {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        *self = LogRow { attributes, ..LogRow::default() };
    }
}

/// The names of columns of text, in the order of [`LogRow::texts`].
const TEXTS: [&str; 10] = [
    "severity_text",
    "body",
    "body_type",
    "event_name",
    "trace_id",
    "span_id",
    "segment_id",
    "service",
    "service_instance",
    "endpoint",
];

impl LogRow {
    fn texts(&self) -> [Option<u128>; 10] {
        [
            self.severity,
            self.body,
            self.body_type,
            self.event_name,
            self.trace_id,
            self.span_id,
            self.segment_id,
            self.service,
            self.instance,
            self.endpoint,
        ]
    }
}

/// The columns while they are built. `None` is a column that nothing reads.
pub(super) struct LogColumns<'a> {
    pub(super) rows: Rows<'a>,
    time: Option<Vec<Option<i64>>>,
    severity_number: Option<Vec<Option<i32>>>,
    texts: [Option<Views>; 10],
}

impl<'a> LogColumns<'a> {
    pub(super) fn new(encoded: &'a Encoded, projection: &'a Projection) -> LogColumns<'a> {
        let has = |name: &str| projection.has_fixed(name);
        LogColumns {
            rows: Rows::new(encoded, projection),
            time: has("time").then(Vec::new),
            severity_number: has("severity_number").then(Vec::new),
            texts: TEXTS.map(|name| has(name).then(Views::new)),
        }
    }

    /// Appends a row of this record, which has no other.
    pub(super) fn push(&mut self, row: &LogRow, record: usize) {
        self.rows.begin_record(record);
        if let Some(column) = &mut self.time {
            column.push(row.time_ns.or_else(|| self.rows.time(row.time_ms, record)));
        }
        if let Some(column) = &mut self.severity_number {
            column.push(row.severity_number);
        }
        for (column, text) in self.texts.iter_mut().zip(row.texts()) {
            if let Some(column) = column {
                column.push(text);
            }
        }
        self.rows.push(row.attributes.iter().copied());
    }

    pub(super) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let buffers = self.rows.buffers();
        let mut columns: Vec<(&'static str, ArrayRef)> = Vec::new();
        if let Some(times) = self.time {
            columns.push(("time", optional_times(&times)));
        }
        if let Some(numbers) = self.severity_number {
            columns.push(("severity_number", Arc::new(Int32Array::from(numbers))));
        }
        for (name, column) in TEXTS.into_iter().zip(self.texts) {
            if let Some(views) = column {
                columns.push((name, Arc::new(buffers.text(views)?)));
            }
        }
        self.rows.finish(Signal::Logs, &columns, &buffers)
    }
}
