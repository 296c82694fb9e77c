//! The verbosity `summary`: what an operator wants to see on a terminal while data flows.
//!
//! Windows are rows of a table, in blocks of one window start, ordered by service and operation, with the
//! totals of everything else at the head. An alarm is a line when it begins and a line when it ends.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::DataType;
use weir_pdata::Signal;
use weir_pdata::text::TextColumn;

use crate::value::{
    MAX_TEXT, Value, columns, count, duration, measure_name, measure_value, percent, plain, shown,
    time_of_day,
};

/// The memory of the summary from export to export.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    colours: bool,
    spans: u64,
    log_records: u64,
    metric_points: u64,
    /// Totals have changed since they were shown.
    totals_changed: bool,
    /// Start of the window whose rows were shown last.
    block: Option<i64>,
    service_width: usize,
    operation_width: usize,
}

/// Columns stay within these widths; longer names are cut.
const SERVICE_WIDTHS: (usize, usize) = (12, 32);
const OPERATION_WIDTHS: (usize, usize) = (16, 48);
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

impl Summary {
    /// A summary that begins; `colours` when the terminal can show them.
    pub(crate) fn new(colours: bool) -> Summary {
        Summary {
            colours,
            spans: 0,
            log_records: 0,
            metric_points: 0,
            totals_changed: false,
            block: None,
            service_width: SERVICE_WIDTHS.0,
            operation_width: OPERATION_WIDTHS.0,
        }
    }

    /// Counts rows that are not shown one by one.
    pub(crate) fn add(&mut self, signal: Signal, rows: usize) {
        let total = match signal {
            Signal::Traces => &mut self.spans,
            Signal::Logs => &mut self.log_records,
            Signal::Metrics => &mut self.metric_points,
            Signal::Windows | Signal::Alarms => return,
        };
        *total += rows as u64;
        self.totals_changed |= rows > 0;
    }

    /// Writes the first `limit` of these windows, ordered by start, service and operation.
    pub(crate) fn windows<'a>(
        &mut self,
        batches: impl Iterator<Item = &'a RecordBatch>,
        limit: usize,
        out: &mut String,
    ) {
        let mut rows: Vec<WindowRow<'_>> = batches.flat_map(WindowRow::all).collect();
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        rows.truncate(limit);
        for row in &rows {
            let wider = |width: &mut usize, text: &str, most: usize| {
                *width = (*width).max(columns(text).min(most));
            };
            wider(&mut self.service_width, &shown(row.service.unwrap_or(""), MAX_TEXT), SERVICE_WIDTHS.1);
            wider(
                &mut self.operation_width,
                &shown(row.operation.unwrap_or(""), MAX_TEXT),
                OPERATION_WIDTHS.1,
            );
        }
        for row in rows {
            if self.block != Some(row.start) {
                self.block = Some(row.start);
                self.head(out);
            }
            self.line(&row.cells(), out);
        }
    }

    /// Writes an alarm's line for each of the first `limit` rows.
    pub(crate) fn alarms(&self, columns: &RecordBatch, limit: usize, out: &mut String) {
        for row in 0..limit.min(columns.num_rows()) {
            let line = alarm(columns, row);
            let resolved = matches!(columns.column_by_name("state").and_then(|state| Value::of(state, row)),
                Some(Value::Text(state)) if state == "resolved");
            if self.colours {
                let colour = if resolved { GREEN } else { RED };
                let _ = writeln!(out, "{colour}{line}{PLAIN}");
            } else {
                let _ = writeln!(out, "{line}");
            }
        }
    }

    /// The beginning of a block: totals when they have changed, then the names of the columns.
    fn head(&mut self, out: &mut String) {
        if std::mem::take(&mut self.totals_changed) {
            let totals = [
                (self.spans, "spans"),
                (self.log_records, "log records"),
                (self.metric_points, "metric points"),
            ];
            let texts: Vec<String> = totals
                .into_iter()
                .filter(|(total, _)| *total > 0)
                .map(|(total, what)| format!("{} {what}", count(total)))
                .collect();
            let _ = writeln!(out, "{} stored", texts.join(", "));
        }
        let names = ["window", "service", "operation", "count", "success", "avg", "p99", ""];
        self.line(&names.map(str::to_owned), out);
    }

    fn line(&self, cells: &[String; 8], out: &mut String) {
        let [time, service, operation, count, success, avg, p99, more] = cells;
        let right = |text: &str, width: usize| format!("{}{text}", blanks(width, text));
        let left = |text: &str, width: usize| {
            let text = shown(text, width);
            format!("{text}{}", blanks(width, &text))
        };
        let line = [
            left(time, 8),
            left(service, self.service_width),
            left(operation, self.operation_width),
            right(count, 9),
            right(success, 8),
            right(avg, 9),
            right(p99, 9),
            shown(more, MAX_TEXT),
        ]
        .join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn blanks(width: usize, text: &str) -> String {
    " ".repeat(width.saturating_sub(columns(text)))
}

/// A row of a Windows batch.
struct WindowRow<'a> {
    columns: &'a RecordBatch,
    row: usize,
    start: i64,
    service: Option<&'a str>,
    operation: Option<&'a str>,
}

impl<'a> WindowRow<'a> {
    fn all(columns: &'a RecordBatch) -> impl Iterator<Item = WindowRow<'a>> {
        let named = |name: &str| columns.column_by_name(name);
        let (starts, service, operation) = (named("window_start"), named("service"), named("operation"));
        let text = |column: Option<&'a ArrayRef>, row| match Value::of(column?, row) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        };
        (0..columns.num_rows()).map(move |row| {
            let start = match starts.and_then(|starts| Value::of(starts, row)) {
                Some(Value::Time(start)) => start,
                _ => 0,
            };
            WindowRow { columns, row, start, service: text(service, row), operation: text(operation, row) }
        })
    }

    fn order(&self) -> (i64, Option<&'a str>, Option<&'a str>) {
        (self.start, self.service, self.operation)
    }

    fn cells(&self) -> [String; 8] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let number = |name: &str| Value::of(self.columns.column_by_name(name)?, self.row)?.number();
        [
            time_of_day(self.start),
            or_dash(self.service.map(str::to_owned)),
            or_dash(self.operation.map(str::to_owned)),
            or_dash(number("count").map(plain)),
            or_dash(number("success_rate").map(percent)),
            or_dash(number("avg_duration_ns").map(duration)),
            or_dash(number("p99_duration_ns").map(duration)),
            self.more(),
        ]
    }

    /// The group-by columns that have no place in the table, and the number of a late firing.
    fn more(&self) -> String {
        let mut parts = Vec::new();
        for (field, column) in self.columns.schema_ref().fields().iter().zip(self.columns.columns()) {
            let name = field.name().as_str();
            if matches!(name, "operator" | "service" | "operation") {
                continue;
            }
            match Value::of(column, self.row) {
                Some(Value::Text(text)) => parts.push(format!("{name}={text}")),
                Some(Value::Int(firing)) if name == "firing" && firing > 0 => {
                    parts.push(format!("late firing {firing}"));
                }
                _ => {}
            }
        }
        parts.join(" ")
    }
}

/// `ALARM firing high slow  pay /pay  p90 2.31 s > 1.00 s  message`, without what is null.
fn alarm(columns: &RecordBatch, row: usize) -> String {
    let value = |name: &str| Value::of(columns.column_by_name(name)?, row);
    let text = |name: &str| match value(name) {
        Some(Value::Text(text)) => Some(shown(text, MAX_TEXT)),
        _ => None,
    };
    let words = |names: &[&str]| names.iter().filter_map(|name| text(name)).collect::<Vec<_>>().join(" ");
    let what = format!("ALARM {}", words(&["state", "severity", "rule"]));
    let mut about = words(&["service", "operation"]);
    for (key, value) in labels(columns, row) {
        if !about.is_empty() {
            about.push(' ');
        }
        let _ = write!(about, "{}={}", shown(key, MAX_TEXT), shown(value, MAX_TEXT));
    }
    let measured = compared(value("measure"), value("value"), value("threshold"));
    let parts = [what, about, measured, text("message").unwrap_or_default()];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

/// `p90 2.31 s > 1.00 s`: how the value stands to the threshold now.
fn compared(measure: Option<Value<'_>>, value: Option<Value<'_>>, threshold: Option<Value<'_>>) -> String {
    let column = match measure {
        Some(Value::Text(column)) => column,
        _ => "",
    };
    let name = shown(measure_name(column), MAX_TEXT);
    let (value, threshold) = (value.and_then(Value::number), threshold.and_then(Value::number));
    let text = match (value, threshold) {
        (Some(value), Some(threshold)) => {
            let sign = match value.total_cmp(&threshold) {
                std::cmp::Ordering::Greater => '>',
                std::cmp::Ordering::Less => '<',
                std::cmp::Ordering::Equal => '=',
            };
            format!("{name} {} {sign} {}", measure_value(column, value), measure_value(column, threshold))
        }
        (Some(value), None) => format!("{name} {}", measure_value(column, value)),
        (None, _) => name,
    };
    text.trim_start().to_owned()
}

/// The labels of an alarm other than service and operation.
fn labels(columns: &RecordBatch, row: usize) -> Vec<(&str, &str)> {
    let map = columns.column_by_name("labels").filter(|map| matches!(map.data_type(), DataType::Map(..)));
    let Some(map) = map.and_then(|map| map.as_map_opt()).filter(|map| map.is_valid(row)) else {
        return Vec::new();
    };
    let entries: &StructArray = map.entries();
    let (Some(keys), Some(values)) = (TextColumn::new(entries.column(0)), TextColumn::new(entries.column(1)))
    else {
        return Vec::new();
    };
    let bound = |at: usize| usize::try_from(map.value_offsets()[at]).unwrap_or(0);
    (bound(row)..bound(row + 1))
        .filter_map(|entry| Some((keys.get(entry)?, values.get(entry)?)))
        .filter(|(key, _)| !matches!(*key, "service" | "operation"))
        .collect()
}

#[cfg(test)]
mod tests;
