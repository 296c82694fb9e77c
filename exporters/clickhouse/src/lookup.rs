//! Which rows of an insert are in its table already.
//!
//! The server remembers a number of tokens, for no fixed time. An insert that may have been made before that
//! is looked for: a query returns the keys of those of its rows that are in the table, and how often each is
//! there. A row is missing when it is there less often than in the insert. So an insert into several
//! partitions may have been made in some of them only. Rows that are still on their way to the server are
//! left to the token.
//!
//! Times are compared in whole seconds, because a column may have any precision.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use weir_component::Outgoing;
use weir_pdata::Signal;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::schema::{OFFSET, SOURCE};
use weir_pdata::span_ids::OWN_SPAN_ID;

use crate::convert::cell::{Cell, ColumnReader};
use crate::schema::columns::{Kind, TableColumns};
use crate::schema::quoting::{literal, quoted};

/// Between the parts of a key, and between the entries of a map.
const SEPARATORS: [char; 3] = ['\u{1f}', '\u{1e}', '\u{1d}'];
const NANOS: i64 = 1_000_000_000;

/// The columns that tell the rows of a signal apart, as far as a table has them.
const fn keys(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Traces => &[
            OFFSET,
            "time",
            "end_time",
            "trace_id",
            "span_id",
            OWN_SPAN_ID,
            "segment_id",
            "segment_span_id",
            "service",
            "operation",
        ],
        Signal::Metrics => &[
            OFFSET,
            "time",
            "start_time",
            "metric",
            "metric_type",
            "service",
            "service_instance",
            "attributes",
        ],
        Signal::Logs => {
            &[OFFSET, "time", "observed_time", "trace_id", "span_id", "segment_id", "service", "endpoint"]
        }
        Signal::Windows => &[
            "operator",
            "window_start",
            "window_end",
            "window_size_ms",
            "service",
            "operation",
            "labels",
            "shard",
            "firing",
        ],
        Signal::Alarms => {
            // Not `labels`, which may have other entries when the table has got a column: they are in the
            // fingerprint.
            &["time", "rule", "severity", "state", "service", "operation", "fingerprint"]
        }
    }
}

/// Those that bound where in its table an insert is: texts and times that all of its rows are between.
const fn bounds(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Traces | Signal::Logs | Signal::Metrics => &["time"],
        Signal::Windows => &["operator", "window_start", "window_end"],
        Signal::Alarms => &["rule", "time"],
    }
}

/// A question about the rows of an insert.
#[derive(Debug)]
pub(crate) struct Question {
    /// Gives a key, and how often it is there.
    pub(crate) sql: String,
    /// The key of each row.
    keys: Vec<String>,
}

/// How an insert is found in `table`, whose columns are these: `rows` are what it would insert, as the table
/// has them. `None` when the table has too little to find them by.
pub(crate) fn question(
    table: &str,
    columns: &TableColumns,
    batches: &[Outgoing],
    rows: &RecordBatch,
) -> Option<Question> {
    let signal = batches.first()?.signal;
    let mut condition = String::new();
    if matches!(signal, Signal::Traces | Signal::Logs | Signal::Metrics) {
        let sources: Option<BTreeSet<&str>> =
            batches.iter().map(|batch| batch.origin.source.as_deref()).collect();
        let sources: Vec<String> = sources?.into_iter().map(literal).collect();
        let of_numbers = columns.find(OFFSET).is_some_and(|column| matches!(column.kind, Kind::Integer(_)));
        if !columns.has(SOURCE, Kind::Text) || !of_numbers {
            return None;
        }
        let Range { start, end } = positions(batches);
        let (source, offset) = (quoted(SOURCE), quoted(OFFSET));
        let _ = write!(
            condition,
            "{source} IN ({}) AND {offset} >= {start} AND {offset} < {end}",
            sources.join(", ")
        );
    }
    for name in bounds(signal) {
        let bound = bound(name, columns, rows);
        let needed = matches!(signal, Signal::Windows | Signal::Alarms);
        match bound {
            Some(bound) => {
                let and = if condition.is_empty() { "" } else { " AND " };
                let _ = write!(condition, "{and}{bound}");
            }
            None if needed => return None,
            None => {}
        }
    }
    let parts: Vec<(&str, Kind, &ArrayRef)> = keys(signal)
        .iter()
        .filter_map(|name| Some((*name, columns.find(name)?.kind, rows.column_by_name(name)?)))
        .filter(|(name, kind, _)| expression(name, *kind).is_some())
        .collect();
    let expressions: Vec<String> =
        parts.iter().filter_map(|(name, kind, _)| expression(name, *kind)).collect();
    let [separator, ..] = SEPARATORS;
    let sql = format!(
        "SELECT arrayStringConcat([{}], '{separator}') AS key, toString(count()) AS n FROM {table} WHERE {condition} GROUP BY key",
        expressions.join(", "),
    );
    Some(Question { sql, keys: row_keys(&parts, rows.num_rows()) })
}

impl Question {
    /// Which rows are missing, by the lines of the answer (`JSONCompactEachRow`).
    ///
    /// # Errors
    /// They are not such lines.
    pub(crate) fn missing(&self, answer: &[u8]) -> Result<BooleanArray, serde_json::Error> {
        let mut there: HashMap<String, u64> = HashMap::new();
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let (key, count): (String, String) = serde_json::from_slice(line)?;
            there.insert(key, count.parse().unwrap_or(u64::MAX));
        }
        let mut missing = |key: &String| match there.get_mut(key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        };
        Ok(self.keys.iter().map(|key| Some(missing(key))).collect())
    }
}

/// The positions of all of these.
fn positions(batches: &[Outgoing]) -> Range<i64> {
    let of = |batch: &Outgoing| batch.origin.positions.clone();
    let start = batches.iter().map(|batch| of(batch).start).min().unwrap_or_default();
    start..batches.iter().map(|batch| of(batch).end).max().unwrap_or_default()
}

/// A condition that all rows meet.
fn bound(name: &str, columns: &TableColumns, rows: &RecordBatch) -> Option<String> {
    let kind = columns.find(name)?.kind;
    let source = ColumnReader::new(rows.column_by_name(name)?);
    let cells = (0..rows.num_rows()).map(|row| source.cell(row));
    match kind {
        Kind::Text => {
            let texts: BTreeSet<String> = cells.map(|cell| cell.to_string()).collect();
            let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            Some(format!("{} IN ({})", quoted(name), texts.join(", ")))
        }
        Kind::Time(_) => {
            let seconds = |cell: Cell<'_>| match cell {
                Cell::Time(nanos) => nanos.div_euclid(NANOS),
                _ => 0,
            };
            let (least, most) = cells
                .map(seconds)
                .fold((i64::MAX, i64::MIN), |(least, most), second| (least.min(second), most.max(second)));
            let name = quoted(name);
            let from = format!("{name} >= toDateTime({least}, 'UTC')");
            // There is no second after the last. With `<` engines leave out the last partition (26.9, a
            // `DateTime64` by days).
            let last = most >= i64::from(u32::MAX);
            Some(if last { from } else { format!("{from} AND {name} <= toDateTime({}, 'UTC')", most + 1) })
        }
        _ => None,
    }
}

/// The part of a key that is made of this column.
fn expression(name: &str, kind: Kind) -> Option<String> {
    let column = quoted(name);
    let [_, between, after] = SEPARATORS;
    Some(match kind {
        Kind::Text => format!("CAST(ifNull(toString({column}), '') AS String)"),
        Kind::Integer(_) => format!("ifNull(toString({column}), '0')"),
        Kind::Time(_) => format!("ifNull(toString(toUnixTimestamp({column})), '0')"),
        Kind::TextMap => format!(
            "arrayStringConcat(arrayMap((k, v) -> concat(toString(k), '{between}', v, '{after}'), mapKeys({column}), mapValues({column})))"
        ),
        _ => return None,
    })
}

/// The keys of the rows, as the server makes them.
fn row_keys(parts: &[(&str, Kind, &ArrayRef)], rows: usize) -> Vec<String> {
    let [separator, between, after] = SEPARATORS;
    let mut keys = vec![String::new(); rows];
    for (at, (_, kind, array)) in parts.iter().enumerate() {
        let source = ColumnReader::new(array);
        let lists = AttributeColumn::new(array);
        for (row, key) in keys.iter_mut().enumerate() {
            if at > 0 {
                key.push(separator);
            }
            // Writing to a String does not fail.
            let _ = match (kind, &lists, source.cell(row)) {
                (Kind::TextMap, Some(lists), _) => {
                    lists.row(row).try_for_each(|(name, value)| write!(key, "{name}{between}{value}{after}"))
                }
                (Kind::Text | Kind::TextMap, _, Cell::Null) => Ok(()),
                (_, _, Cell::Null) => write!(key, "0"),
                (_, _, Cell::Time(nanos)) => write!(key, "{}", nanos.div_euclid(NANOS)),
                (_, _, cell) => write!(key, "{cell}"),
            };
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray, TimestampNanosecondArray};
    use std::sync::Arc;
    use weir_pdata::{Ack, EventBatch, Origin};

    const TABLE: &str = "{\"name\":\"time\",\"type\":\"DateTime64(3)\"}\n{\"name\":\"span_id\",\"type\":\"String\"}\n\
        {\"name\":\"_source\",\"type\":\"LowCardinality(String)\"}\n{\"name\":\"_offset\",\"type\":\"Int64\"}";

    fn rows() -> RecordBatch {
        let times = TimestampNanosecondArray::from(vec![1_999_999_999, 1_000_000_000, 3_000_000_000])
            .with_timezone("UTC");
        let ids = StringViewArray::from(vec![Some("a"), Some("a"), None]);
        RecordBatch::try_from_iter([
            ("time", Arc::new(times) as ArrayRef),
            ("span_id", Arc::new(ids) as ArrayRef),
            (OFFSET, Arc::new(Int64Array::from(vec![7, 7, 9])) as ArrayRef),
        ])
        .unwrap()
    }

    fn batch(source: Option<&str>) -> Outgoing {
        let mut origin = Origin::lane("kafka/t/0".into(), 7..10);
        origin.source = source.map(Into::into);
        EventBatch::columns(Signal::Traces, rows(), origin, Ack::none()).into()
    }

    fn asked(table: &str, source: Option<&str>) -> Option<Question> {
        let columns = TableColumns::parse(table.as_bytes()).unwrap();
        question("d.t", &columns, &[batch(source)], &rows())
    }

    #[test]
    fn rows_are_asked_for_by_where_they_came_from_and_within_their_times() {
        let question = asked(TABLE, Some("it's")).unwrap();
        let condition = "WHERE `_source` IN ('it\\'s') AND `_offset` >= 7 AND `_offset` < 10 \
             AND `time` >= toDateTime(1, 'UTC') AND `time` <= toDateTime(4, 'UTC') GROUP BY key";
        assert!(question.sql.contains(condition), "{}", question.sql);
        // Not the table's columns, nor the batch's source: nothing to find them by.
        assert!(asked(TABLE, None).is_none());
        assert!(asked(TABLE.split_once("\n{\"name\":\"_offset\"").unwrap().0, Some("s")).is_none());
    }

    #[test]
    fn a_row_is_missing_when_it_is_not_there_as_often_as_it_comes() {
        let question = asked(TABLE, Some("s")).unwrap();
        let missing =
            |answer: &str| question.missing(answer.as_bytes()).unwrap().iter().flatten().collect::<Vec<_>>();
        assert_eq!(missing(""), [true, true, true]);
        let twice = "[\"7\\u001f1\\u001fa\",\"2\"]\n[\"9\\u001f3\\u001f\",\"1\"]\n";
        assert_eq!(missing(twice), [false, false, false]);
        assert_eq!(
            missing("[\"7\\u001f1\\u001fa\",\"1\"]\n[\"8\\u001f1\\u001fa\",\"9\"]\n"),
            [false, true, true]
        );
        assert!(question.missing(b"Code: 1").is_err());
    }
}
