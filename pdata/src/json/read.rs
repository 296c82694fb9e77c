//! Lines to columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use prost::Message;
use thiserror::Error;

use super::cell::{Cell, cell, column, float, is_stored_as_text};
use super::parse::parse;
use super::segment;
use super::value::Json;
use crate::otlp::{self, JsonError};
use crate::{DecodeError, Encoded, Format, Projection, Signal, decode, schema};

/// The content of some JSON lines.
#[derive(Clone, Debug, Default)]
pub struct JsonLines {
    /// Their events, at most one batch a signal in own form, then one of the spans of SkyWalking segments,
    /// then one for each kind of OTLP request. Within a batch, in the order of the lines.
    pub batches: Vec<(Signal, RecordBatch)>,
    /// The lines that are no events, in order. Nothing of them is in `batches`, but of a
    /// [line with unusable items](LineError::Items) the others.
    pub rejected: Vec<RejectedLine>,
    /// Lines that are blank, segments without spans, and requests without items.
    pub empty: usize,
    /// Spans that end before they start, or whose line gives a negative duration. Their times stay, their
    /// duration is 0.
    pub backwards: usize,
}

/// A line that is not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// The index of the line among those given, from 0.
    pub line: usize,
    /// Why.
    pub reason: LineError,
}

/// Why a line is not an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// The line is not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// The line is JSON, but not an object.
    #[error("expected an object, found {0}")]
    NotAnObject(&'static str),
    /// There is no such signal.
    #[error("`signal` is {0}: expected one of \"traces\", \"logs\", \"metrics\", \"windows\", \"alarms\"")]
    Signal(String),
    /// The object has neither a signal nor a field of a segment or a request.
    #[error(
        "neither an event (it has no `signal`) nor a SkyWalking segment nor an OTLP request (it has none of \
         their fields)"
    )]
    NotAnEvent,
    /// The OTLP request is none.
    #[error(transparent)]
    Request(#[from] JsonError),
    /// Some items of the OTLP request cannot be used.
    #[error("{items} of its items cannot be used, the first: {reason}")]
    Items {
        /// How many.
        items: usize,
        /// Why the first one cannot.
        reason: DecodeError,
    },
    /// A field has the wrong type, is unknown, or comes twice.
    #[error("`{name}`: {problem}")]
    Field {
        /// The field.
        name: String,
        /// The fault.
        problem: String,
    },
    /// The segment or the request that the line holds cannot be decoded.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// The columns do not fit together.
    #[error("cannot be made a column: {0}")]
    Columns(String),
}

impl JsonLines {
    /// Reads lines, without their line ends: each one event in Weir's own form, one SkyWalking
    /// `SegmentObject` in protobuf's JSON form, or one OTLP request in [OTLP's JSON](crate::otlp::from_json).
    ///
    /// Of traces, logs and metrics only what `projection` asks for is built; windows and alarms always whole.
    /// The columns of traces, logs, metrics and alarms depend on the projection only; those of windows on the
    /// lines too. Never fails as a whole: see [`JsonLines::rejected`].
    #[must_use]
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a [u8]>, projection: &Projection) -> JsonLines {
        let mut read = JsonLines::default();
        let mut tables = Signal::ALL.map(|signal| Table::new(signal, projection));
        let mut records = Vec::new();
        for (line, bytes) in lines.into_iter().enumerate() {
            if bytes.trim_ascii().is_empty() {
                read.empty += 1;
                continue;
            }
            if let Err(reason) = read_line(bytes, line, &mut tables, &mut records) {
                read.rejected.push(RejectedLine { line, reason });
            }
        }
        for table in tables {
            read.backwards += table.backwards;
            let (signal, lines) = (table.signal, table.lines.clone());
            match table.finish() {
                Ok(batch) if batch.num_rows() > 0 => read.batches.push((signal, batch)),
                Ok(_) => {}
                // Cells are read for their columns, so this would be a mistake in this module. Lose nothing,
                // say so.
                Err(error) => read.rejected.extend(
                    lines
                        .into_iter()
                        .map(|line| RejectedLine { line, reason: LineError::Columns(error.to_string()) }),
                ),
            }
        }
        for format in [Format::SkyWalkingSegment, Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics] {
            read.decode(format, &records, projection);
        }
        read.rejected.sort_by_key(|rejected| rejected.line);
        read
    }

    /// Decodes the records of a format.
    fn decode(&mut self, format: Format, records: &[LineRecord], projection: &Projection) {
        let records: Vec<&LineRecord> = records.iter().filter(|record| record.format == format).collect();
        if records.is_empty() {
            return;
        }
        let Ok(encoded) = Encoded::concat(format, records.iter().map(|record| &*record.bytes)) else {
            let reason = LineError::Record(DecodeError::BatchFull);
            let all = records.iter().map(|record| RejectedLine { line: record.line, reason: reason.clone() });
            self.rejected.extend(all);
            return;
        };
        let decoded = decode(&encoded, projection);
        self.empty += decoded.empty;
        self.backwards += decoded.backwards;
        let line = |at: usize| records.get(at).map(|record| record.line);
        self.rejected.extend(decoded.rejected.into_iter().filter_map(|rejected| {
            Some(RejectedLine { line: line(rejected.record)?, reason: rejected.reason.into() })
        }));
        self.rejected.extend(decoded.rejected_items.into_iter().filter_map(|part| {
            let reason = LineError::Items { items: part.items, reason: part.reason };
            Some(RejectedLine { line: line(part.record)?, reason })
        }));
        if decoded.columns.num_rows() > 0 {
            self.batches.push((format.signal(), decoded.columns));
        }
    }
}

/// The record that a line holds.
struct LineRecord {
    format: Format,
    line: usize,
    bytes: Vec<u8>,
}

fn read_line(
    bytes: &[u8],
    line: usize,
    tables: &mut [Table<'_>; 5],
    records: &mut Vec<LineRecord>,
) -> Result<(), LineError> {
    let fields = match parse(bytes).map_err(LineError::Json)? {
        Json::Object(fields) => fields,
        other => return Err(LineError::NotAnObject(other.kind())),
    };
    let signal = fields.iter().find(|(name, _)| name == "signal").map(|(_, signal)| signal);
    match signal {
        Some(Json::Text(name)) => {
            let signal = Signal::from_name(name).ok_or_else(|| LineError::Signal(format!("\"{name}\"")))?;
            tables[signal as usize].push(line, fields)
        }
        Some(other) => Err(LineError::Signal(other.kind().to_owned())),
        None if segment::is_segment(&fields) => {
            let segment =
                segment::segment(&fields).map_err(|(name, problem)| LineError::Field { name, problem })?;
            let bytes = segment.encode_to_vec();
            records.push(LineRecord { format: Format::SkyWalkingSegment, line, bytes });
            Ok(())
        }
        None => {
            let format = otlp::format_of(fields.iter().map(|(name, _)| name.as_str()));
            let format = format.ok_or(LineError::NotAnEvent)?;
            let bytes = otlp::from_tree(format, &Json::Object(fields))?;
            records.push(LineRecord { format, line, bytes });
            Ok(())
        }
    }
}

/// Columns of windows that are floats, even when a value happens to have no fraction: rates, averages,
/// percentiles.
fn is_float(measure: &str) -> bool {
    let percentile =
        measure.strip_prefix('p').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let known = ["success_rate", "traffic_rate", "value", "threshold"].contains(&measure);
    known || percentile || measure.starts_with("avg_")
}

/// Most columns that windows may have besides the fixed ones.
const MAX_FURTHER: usize = 1000;

/// The rows of one signal.
struct Table<'a> {
    signal: Signal,
    projection: &'a Projection,
    /// The line of each row.
    lines: Vec<usize>,
    columns: Vec<(FieldRef, Vec<Cell>)>,
    by_name: HashMap<String, usize>,
    wanted: Vec<Vec<Cell>>,
    backwards: usize,
}

impl<'a> Table<'a> {
    fn new(signal: Signal, projection: &'a Projection) -> Table<'a> {
        let columns: Vec<_> = schema::fixed(signal).iter().map(|field| (field.clone(), Vec::new())).collect();
        let by_name = columns.iter().enumerate().map(|(at, (field, _))| (field.name().clone(), at)).collect();
        let wanted = projection.wanted.iter().map(|_| Vec::new()).collect();
        Table { signal, projection, lines: Vec::new(), columns, by_name, wanted, backwards: 0 }
    }

    /// Whether the signal is one that receivers give, with attributes and a projection.
    fn is_event(&self) -> bool {
        matches!(self.signal, Signal::Traces | Signal::Logs | Signal::Metrics)
    }

    /// Adds a row: wholly, or not at all and an error.
    fn push(&mut self, line: usize, fields: Vec<(String, Json)>) -> Result<(), LineError> {
        let mut row: Vec<(usize, Cell)> = Vec::with_capacity(fields.len());
        let mut new: Vec<(String, Json)> = Vec::new();
        for (name, value) in fields {
            let wrong = |problem: String| LineError::Field { name: name.clone(), problem };
            if name == "signal" {
                continue;
            }
            let Some(&at) = self.by_name.get(&name) else {
                if self.signal != Signal::Windows {
                    return Err(wrong(format!(
                        "unknown field of {}: put it under `attributes`",
                        self.signal
                    )));
                }
                let further = self.columns.len() - schema::fixed(self.signal).len() + new.len();
                if further >= MAX_FURTHER {
                    return Err(wrong(format!(
                        "windows may have at most {MAX_FURTHER} different further fields"
                    )));
                }
                if new.iter().any(|(other, _)| *other == name) {
                    return Err(wrong("comes twice".to_owned()));
                }
                new.push((name, value));
                continue;
            };
            if row.iter().any(|(other, _)| *other == at) {
                return Err(wrong("comes twice".to_owned()));
            }
            self.make_room_for_floats(at, &value);
            let read = cell(self.columns[at].0.data_type(), value);
            row.push((at, read.map_err(wrong)?));
        }
        self.widen(&mut row, new)?;
        if self.signal == Signal::Traces {
            self.derive_duration(&mut row);
        }
        let wanted = self.take_wanted(&mut row);
        let rows = self.lines.len();
        for (at, cell) in row {
            let cells = &mut self.columns[at].1;
            cells.resize(rows, Cell::Null);
            cells.push(cell);
        }
        for (cells, cell) in self.wanted.iter_mut().zip(wanted) {
            cells.push(cell);
        }
        self.lines.push(line);
        Ok(())
    }

    /// Makes floats of a column of whole numbers that is not a fixed one, when a number with a fraction
    /// comes.
    fn make_room_for_floats(&mut self, at: usize, value: &Json) {
        let (field, cells) = &mut self.columns[at];
        let fixed = schema::is_fixed(self.signal, field.name());
        if fixed || *field.data_type() != DataType::Int64 || !matches!(value, Json::Float(_) | Json::Large(_))
        {
            return;
        }
        *field = Arc::new(Field::new(field.name(), DataType::Float64, true));
        for cell in cells {
            if let Cell::Int(whole) = cell {
                *cell = float(&Json::Int(*whole)).map_or(Cell::Null, Cell::Float);
            }
        }
    }

    /// Makes columns for what windows have besides the fixed columns.
    fn widen(&mut self, row: &mut Vec<(usize, Cell)>, new: Vec<(String, Json)>) -> Result<(), LineError> {
        let mut made = Vec::with_capacity(new.len());
        for (name, value) in new {
            let data_type = match &value {
                Json::Null => continue,
                _ if is_float(&name) && float(&value).is_some() => DataType::Float64,
                Json::Int(_) => DataType::Int64,
                Json::Float(_) | Json::Large(_) => DataType::Float64,
                Json::Bool(_) => DataType::Boolean,
                Json::Text(_) => DataType::Utf8View,
                Json::Array(_) | Json::Object(_) => {
                    let problem = format!("expected a number, text or boolean, found {}", value.kind());
                    return Err(LineError::Field { name, problem });
                }
            };
            let read = cell(&data_type, value);
            let read = read.map_err(|problem| LineError::Field { name: name.clone(), problem })?;
            made.push((Arc::new(Field::new(name, data_type, true)), read));
        }
        for (field, cell) in made {
            row.push((self.columns.len(), cell));
            self.by_name.insert(field.name().clone(), self.columns.len());
            self.columns.push((field, Vec::new()));
        }
        Ok(())
    }

    /// A span's duration is its end minus its start, where the line does not give it. That of a span which
    /// ends before it starts is 0.
    fn derive_duration(&mut self, row: &mut Vec<(usize, Cell)>) {
        let find = |name: &str| {
            let at = self.by_name.get(name)?;
            row.iter().find(|(other, _)| other == at).map(|(_, cell)| cell)
        };
        let Some(at) = self.by_name.get("duration_ns").copied() else { return };
        let duration = match (find("time"), find("end_time"), find("duration_ns")) {
            (_, _, Some(Cell::Int(given))) => *given,
            (Some(Cell::Int(start)), Some(Cell::Int(end)), None) => end.saturating_sub(*start),
            _ => return,
        };
        self.backwards += usize::from(duration < 0);
        match row.iter_mut().find(|(other, _)| *other == at) {
            Some((_, cell)) => *cell = Cell::Int(duration.max(0)),
            None => row.push((at, Cell::Int(duration.max(0)))),
        }
    }

    /// Takes the wanted attributes out of a row: the first of each key. Of a key that has a value other than
    /// text in the row all stay in the list, and the column has a copy: exporters store what was received,
    /// see [`without_copies`](crate::attributes::without_copies).
    fn take_wanted(&self, row: &mut [(usize, Cell)]) -> Vec<Cell> {
        if !self.is_event() {
            return Vec::new();
        }
        let mut take = |column: &str, key: &str| {
            let at = self.by_name.get(column)?;
            let Some((_, Cell::Attributes(attributes))) = row.iter_mut().find(|(other, _)| other == at)
            else {
                return None;
            };
            let found = attributes.iter().position(|(name, _)| name == key)?;
            let mut own = attributes[found..].iter().filter(|(name, _)| name == key);
            if own.all(|(_, value)| is_stored_as_text(value)) {
                return Some(attributes.remove(found).1);
            }
            Some(attributes[found].1.clone())
        };
        let text = |value: Json| match value {
            Json::Null => Cell::Null,
            Json::Text(text) => Cell::Text(text),
            other => Cell::Text(String::from_utf8_lossy(&other.to_bytes()).into_owned()),
        };
        self.projection
            .wanted
            .iter()
            .map(|wanted| {
                let (level, key) = wanted.level_and_key();
                take(level.list(), key)
            })
            .map(|value| value.map_or(Cell::Null, text))
            .collect()
    }

    fn is_built(&self, name: &str) -> bool {
        match name {
            _ if !self.is_event() => true,
            schema::ATTRIBUTES => self.projection.rest,
            name => self.projection.has_fixed(name),
        }
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.lines.len();
        let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for (field, mut cells) in std::mem::take(&mut self.columns) {
            if self.is_built(field.name()) {
                cells.resize(rows, Cell::Null);
                arrays.push(column(field.data_type(), cells)?);
                fields.push(field);
            }
        }
        if self.is_event() {
            for (wanted, mut cells) in self.projection.wanted.iter().zip(self.wanted) {
                cells.resize(rows, Cell::Null);
                let (level, key) = wanted.level_and_key();
                let field = Field::new(&wanted.column, schema::text(), true);
                fields.push(Arc::new(field.with_metadata(schema::attribute_metadata(level.name(), key))));
                arrays.push(column(&schema::text(), cells)?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }
}
