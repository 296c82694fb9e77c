//! The rows that leave: `Windows` batches as in the data model.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewBuilder,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use weir_component::delivery::Shard;
use weir_pdata::expr::{Function, Measure};
use weir_pdata::{Signal, schema};

use crate::key::Key;
use crate::measure::Measured;
use crate::operator::Operator;
use crate::state::{GroupState, PERCENTILES};
use crate::window::{NANOS, Span};

/// The columns that follow the group-by columns, before the named measures.
pub const DEFAULT_MEASURES: [&str; 11] = [
    "count",
    "error_count",
    "success_rate",
    "avg_duration_ns",
    "max_duration_ns",
    "min_duration_ns",
    "p50_duration_ns",
    "p90_duration_ns",
    "p95_duration_ns",
    "p99_duration_ns",
    "traffic_rate",
];

/// Columns of `Windows` that the data model has and this operator does not write (yet).
pub const RESERVED: [&str; 2] = ["revision", "shard"];

/// One group of one window that fires.
pub struct Row {
    /// The window.
    pub span: Span,
    /// 0 for the first time it fires, then 1, 2, …
    pub firing: u32,
    /// The shard, when it is what is left of a window that other lanes have delivered.
    pub apart: Option<Shard>,
    /// The group.
    pub key: Key,
    /// Everything about it.
    pub state: GroupState,
}

impl Row {
    /// The length of the window in seconds.
    fn seconds(&self) -> f64 {
        self.span.millis() as f64 / 1000.0
    }
}

/// The columns of the results of an operator with these group-by columns and named measures.
pub fn layout(group_by: &[String], measures: &[(String, Measure)]) -> SchemaRef {
    let fixed =
        |name: &str| schema::fixed(Signal::Windows).find(name).map(|(_, field)| field.as_ref().clone());
    let mut fields: Vec<Field> =
        ["operator", "window_start", "window_end", "window_size_ms"].into_iter().filter_map(fixed).collect();
    fields.extend(group_by.iter().map(|name| Field::new(name, schema::dictionary(), true)));
    fields.extend(fixed("firing"));
    fields.extend(DEFAULT_MEASURES.map(|name| {
        let float = matches!(name, "success_rate" | "avg_duration_ns" | "traffic_rate");
        Field::new(name, if float { DataType::Float64 } else { DataType::Int64 }, true)
    }));
    fields.extend(measures.iter().map(|(name, measure)| {
        let integer = measure.function == Function::Count;
        Field::new(name, if integer { DataType::Int64 } else { DataType::Float64 }, true)
    }));
    Arc::new(Schema::new(fields))
}

/// Writes rows in the order given.
///
/// # Errors
/// When Arrow does not take the columns: more than 2^31 rows.
pub fn write(
    layout: &SchemaRef,
    operator: &Operator,
    shard: Shard,
    rows: &[Row],
) -> Result<RecordBatch, ArrowError> {
    let times = |of: fn(Span) -> i64| -> ArrayRef {
        let times = rows.iter().map(|row| of(row.span).saturating_mul(NANOS));
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let mut columns: Vec<ArrayRef> = vec![
        dictionary(rows.iter().map(|_| Some(&*operator.id)))?,
        times(|span| span.start),
        times(|span| span.end),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.span.millis()))),
    ];
    for column in 0..operator.group_by.len() {
        columns.push(dictionary(rows.iter().map(|row| row.key.parts().nth(column).flatten()))?);
    }
    let firings = rows.iter().map(|row| i32::try_from(row.firing).unwrap_or(i32::MAX));
    columns.push(Arc::new(Int32Array::from_iter_values(firings)));
    defaults(&mut columns, rows);
    for (at, (_, measure)) in operator.measures.iter().enumerate() {
        columns.push(named(at, measure.function, rows));
    }
    if shard == Shard::default() {
        return RecordBatch::try_new(layout.clone(), columns);
    }
    // Only windows of part of the input say of which.
    let mut fields = layout.fields().to_vec();
    fields.push(Arc::new(Field::new("shard", DataType::Int64, false)));
    columns.push(Arc::new(Int64Array::from_value(i64::from(shard.0), rows.len())));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The columns of [`DEFAULT_MEASURES`].
fn defaults(columns: &mut Vec<ArrayRef>, rows: &[Row]) {
    let integers = |of: &dyn Fn(&GroupState) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| of(&row.state))))
    };
    let floats = |of: &dyn Fn(&GroupState) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| of(&row.state))))
    };
    let integer = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    columns.push(integers(&|state| Some(integer(state.count))));
    columns.push(integers(&|state| (state.judged > 0).then(|| integer(state.errors))));
    columns
        .push(floats(&|state| (state.judged > 0).then(|| 1.0 - state.errors as f64 / state.judged as f64)));
    columns.push(floats(&|state| state.durations.mean()));
    columns.push(integers(&|state| state.durations.range.map(|(_, most)| most)));
    columns.push(integers(&|state| state.durations.range.map(|(least, _)| least)));
    for percent in PERCENTILES {
        columns.push(integers(&|state| state.durations.percentile(percent)));
    }
    let rates = rows.iter().map(|row| row.state.count as f64 / row.seconds());
    columns.push(Arc::new(Float64Array::from_iter_values(rates)));
}

fn named(at: usize, function: Function, rows: &[Row]) -> ArrayRef {
    let results = rows.iter().map(|row| {
        let measure = row.state.measures.get(at);
        measure.map_or(Measured::Float(None), |measure| measure.result(function, row.seconds()))
    });
    if function == Function::Count {
        return Arc::new(Int64Array::from_iter(results.map(|result| match result {
            Measured::Integer(integer) => Some(integer),
            Measured::Float(_) => None,
        })));
    }
    Arc::new(Float64Array::from_iter(results.map(|result| match result {
        Measured::Integer(integer) => Some(integer as f64),
        Measured::Float(float) => float,
    })))
}

/// A dictionary in which every text is once.
fn dictionary<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Result<ArrayRef, ArrowError> {
    let mut known: HashMap<&str, i32> = HashMap::new();
    let mut values = StringViewBuilder::new();
    let keys = texts.map(|text| {
        let text = text?;
        let next = i32::try_from(known.len()).unwrap_or(i32::MAX);
        Some(*known.entry(text).or_insert_with(|| {
            values.append_value(text);
            next
        }))
    });
    let keys = Int32Array::from_iter(keys);
    let values = Arc::new(values.finish());
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}
