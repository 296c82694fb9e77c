//! The columns of the rows that leave: `Windows` batches as in the data model.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_pdata::expr::{Function, Measure};
use weir_pdata::{Signal, schema};

/// The columns that follow the group-by columns, before the named measures.
const DEFAULT_MEASURES: [&str; 11] = [
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

/// Names that are kept free. Windows of a part of the input have a column `shard`; `revision` is not written.
pub(crate) const RESERVED: [&str; 2] = ["revision", "shard"];

/// The columns that every operator computes, before the named measures.
pub fn default_measures() -> impl Iterator<Item = Field> {
    DEFAULT_MEASURES.into_iter().map(|name| {
        let float = matches!(name, "success_rate" | "avg_duration_ns" | "traffic_rate");
        Field::new(name, if float { DataType::Float64 } else { DataType::Int64 }, true)
    })
}

/// The columns of the results of an operator with these group-by columns and named measures.
pub(crate) fn layout(group_by: &[String], measures: &[(String, Measure)]) -> SchemaRef {
    let fixed =
        |name: &str| schema::fixed(Signal::Windows).find(name).map(|(_, field)| field.as_ref().clone());
    let mut fields: Vec<Field> =
        ["operator", "window_start", "window_end", "window_size_ms"].into_iter().filter_map(fixed).collect();
    fields.extend(group_by.iter().map(|name| Field::new(name, schema::dictionary(), true)));
    fields.extend(fixed("firing"));
    fields.extend(default_measures());
    fields.extend(measures.iter().map(|(name, measure)| {
        let integer = measure.function == Function::Count;
        Field::new(name, if integer { DataType::Int64 } else { DataType::Float64 }, true)
    }));
    Arc::new(Schema::new(fields))
}

/// Whether results have this column with every configuration.
pub(crate) fn is_reserved(name: &str) -> bool {
    schema::is_fixed(Signal::Windows, name) || DEFAULT_MEASURES.contains(&name) || RESERVED.contains(&name)
}
