//! The rows of lines in Weir's own form, as they become columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::cell::{Cell, cell, column, float, is_stored_as_text};
use super::line_error::LineError;
use super::value::Json;
use crate::{Projection, Signal, schema};

/// Most columns that windows may have besides the fixed ones.
const MAX_FURTHER: usize = 1000;

/// The rows of one signal.
pub(super) struct Table<'a> {
    pub(super) signal: Signal,
    projection: &'a Projection,
    /// The line of each row.
    pub(super) lines: Vec<usize>,
    columns: Vec<(FieldRef, Vec<Cell>)>,
    by_name: HashMap<String, usize>,
    wanted: Vec<Vec<Cell>>,
    pub(super) backwards: usize,
}

impl<'a> Table<'a> {
    /// No row yet.
    pub(super) fn new(signal: Signal, projection: &'a Projection) -> Table<'a> {
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
    pub(super) fn push(&mut self, line: usize, fields: Vec<(String, Json)>) -> Result<(), LineError> {
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

    /// The columns that the projection asks for.
    pub(super) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
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

/// Columns of windows that are floats, even when a value happens to have no fraction: rates, averages,
/// percentiles.
fn is_float(measure: &str) -> bool {
    let percentile =
        measure.strip_prefix('p').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let known = ["success_rate", "traffic_rate", "value", "threshold"].contains(&measure);
    known || percentile || measure.starts_with("avg_")
}
