//! The verbosities `basic`, `normal` and `detailed`.

use std::fmt::Write;

use arrow::array::RecordBatch;
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::config::Verbosity;
use crate::value::{MAX_TEXT, Value, duration, plain, shown, time};

/// The columns that decoders must build so that these signals can be shown. Windows and alarms are not
/// decoded: they need nothing.
pub(crate) fn demand(verbosity: Verbosity, signals: SignalSet) -> Demand {
    let events = [Signal::Traces, Signal::Logs, Signal::Metrics];
    let mut shown = events.into_iter().filter(|signal| signals.contains(*signal));
    match verbosity {
        Verbosity::Normal => Demand::names(shown.flat_map(main_fields).copied()),
        Verbosity::Detailed if shown.next().is_some() => Demand::everything(),
        Verbosity::Basic | Verbosity::Summary | Verbosity::Detailed => Demand::nothing(),
    }
}

/// A line for the whole batch: `traces  4096 rows  skywalking_kafka/segments/3`.
pub(crate) fn basic(batch: &EventBatch, out: &mut String) {
    let rows = batch.len();
    let plural = if rows == 1 { "" } else { "s" };
    out.push_str(batch.signal.name());
    let _ = write!(out, "  {rows} row{plural}");
    if !batch.origin.lane.is_empty() {
        let _ = write!(out, "  {}", shown(&batch.origin.lane, MAX_TEXT));
    }
    out.push('\n');
}

/// A line for each of the first `rows` rows: the signal, then `name=value` for each main field that is not
/// null.
pub(crate) fn normal(signal: Signal, columns: &RecordBatch, rows: usize, out: &mut String) {
    let named = |name: &&'static str| columns.column_by_name(name).map(|column| (*name, column));
    let fields: Vec<_> = match signal {
        // Group-by columns and measures are as the configuration says: show them all.
        Signal::Windows => {
            let schema = columns.schema_ref().fields().iter();
            schema.map(|field| field.name().as_str()).zip(columns.columns()).collect()
        }
        _ => main_fields(signal).iter().filter_map(named).collect(),
    };
    for row in 0..rows.min(columns.num_rows()) {
        out.push_str(signal.name());
        for (name, column) in &fields {
            if let Some(value) = Value::of(column, row) {
                field(name, value, out);
            }
        }
        out.push('\n');
    }
}

const fn main_fields(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Traces => {
            &["time", "service", "operation", "kind", "status", "duration_ns", "peer", "trace_id", "span_id"]
        }
        Signal::Logs => &["time", "severity_text", "service", "endpoint", "trace_id", "body"],
        Signal::Metrics => &["time", "service", "metric", "value", "value_int", "count", "sum", "unit"],
        Signal::Windows => &[],
        Signal::Alarms => &[
            "time",
            "state",
            "severity",
            "rule",
            "service",
            "operation",
            "measure",
            "value",
            "threshold",
            "message",
        ],
    }
}

fn field(name: &str, value: Value<'_>, out: &mut String) {
    let nanoseconds = name.strip_suffix("_ns");
    out.push(' ');
    out.push_str(&shown(nanoseconds.unwrap_or(name), MAX_TEXT));
    out.push('=');
    match (value, nanoseconds.and(value.number())) {
        (_, Some(number)) => {
            out.extend(duration(number).chars().filter(|c| *c != ' '));
        }
        (Value::Text(text), None) => {
            let text = shown(text, MAX_TEXT);
            if text.is_empty() || text.contains([' ', '"', '=']) {
                let _ = write!(out, "\"{}\"", text.replace('"', "\\\""));
            } else {
                out.push_str(&text);
            }
        }
        (Value::Time(nanoseconds), None) => out.push_str(&time(nanoseconds)),
        (Value::Int(number), None) => {
            let _ = write!(out, "{number}");
        }
        (Value::Float(number), None) => out.push_str(&plain(number)),
        (Value::Bool(value), None) => {
            let _ = write!(out, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampNanosecondArray};
    use weir_pdata::{Ack, Origin};

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter(values.iter().copied()))
    }

    fn span() -> RecordBatch {
        let time: ArrayRef =
            Arc::new(TimestampNanosecondArray::from(vec![1_749_088_705_070_000_000]).with_timezone("UTC"));
        let duration: ArrayRef = Arc::new(Int64Array::from(vec![70_000_000]));
        RecordBatch::try_from_iter([
            ("time", time),
            ("service", text(&[Some("pay")])),
            ("operation", text(&[Some("GET /pay\n\"now\"")])),
            ("peer", text(&[None])),
            ("duration_ns", duration),
            ("http.method", text(&[Some("GET")])),
        ])
        .unwrap()
    }

    #[test]
    fn basic_is_a_line_a_batch() {
        let origin = Origin::lane("file/events.jsonl".into(), 0..1);
        let mut out = String::new();
        basic(&EventBatch::columns(Signal::Traces, span(), origin, Ack::none()), &mut out);
        basic(
            &EventBatch::columns(Signal::Windows, span().slice(0, 0), Origin::default(), Ack::none()),
            &mut out,
        );
        assert_eq!(out, "traces  1 row  file/events.jsonl\nwindows  0 rows\n");
    }

    #[test]
    fn normal_is_the_main_fields_that_are_there() {
        let mut out = String::new();
        normal(Signal::Traces, &span(), 9, &mut out);
        assert_eq!(
            out,
            "traces time=2025-06-05T01:58:25.070Z service=pay operation=\"GET /pay\\n\\\"now\\\"\" duration=70ms\n"
        );
    }

    #[test]
    fn normal_shows_every_measure_of_a_window() {
        let columns = RecordBatch::try_from_iter([
            ("region", text(&[Some("")])),
            ("paid_total", Arc::new(Int64Array::from(vec![7])) as ArrayRef),
        ]);
        let mut out = String::new();
        normal(Signal::Windows, &columns.unwrap(), 1, &mut out);
        assert_eq!(out, "windows region=\"\" paid_total=7\n");
    }

    #[test]
    fn only_what_is_shown_is_demanded() {
        let derived = SignalSet::of(&[Signal::Windows, Signal::Alarms]);
        for verbosity in [Verbosity::Basic, Verbosity::Summary] {
            assert_eq!(demand(verbosity, SignalSet::ALL), Demand::nothing());
        }
        for verbosity in [Verbosity::Normal, Verbosity::Detailed] {
            assert_eq!(demand(verbosity, derived), Demand::nothing());
        }
        assert_eq!(demand(Verbosity::Detailed, SignalSet::ALL), Demand::everything());
        let logs = demand(Verbosity::Normal, SignalSet::of(&[Signal::Logs]));
        assert!(logs.names.contains("body") && !logs.names.contains("operation") && !logs.attributes);
    }
}
