//! Lists and structs as JSON text: the `links` and `events` of a span.
//!
//! Times are RFC 3339 text, attribute lists are objects, bytes are lower-case hex, null fields are left out.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt64Type};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use weir_pdata::attributes::{self, AttributeColumn};
use weir_pdata::text::TextColumn;

/// Each row as JSON text. Null rows and empty lists are null.
pub(crate) fn json_text(array: &ArrayRef) -> StringArray {
    let mut texts = StringBuilder::with_capacity(array.len(), 0);
    for row in 0..array.len() {
        match value(array, row) {
            Value::Null => texts.append_null(),
            Value::Array(items) if items.is_empty() => texts.append_null(),
            value => texts.append_value(value.to_string()),
        }
    }
    texts.finish()
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    if let Some(text) = TextColumn::new(array) {
        return text.get(row).map_or(Value::Null, Value::from);
    }
    if let Some(list) = AttributeColumn::new(array) {
        return object(list.row(row));
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::List(_) => items(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => items(&array.as_list::<i64>().value(row)),
        DataType::Struct(_) => fields(array.as_struct(), row),
        DataType::Timestamp(..) => {
            let nanos = cast(&array.slice(row, 1), &DataType::Timestamp(TimeUnit::Nanosecond, None)).ok();
            let nanos = nanos.filter(|nanos| nanos.is_valid(0));
            nanos.map_or(Value::Null, |nanos| time(nanos.as_primitive::<TimestampNanosecondType>().value(0)))
        }
        data_type => {
            let target = match data_type {
                other if other.is_integer() => DataType::Int64,
                other if other.is_numeric() => DataType::Float64,
                _ => DataType::Utf8,
            };
            let Ok(cell) = cast(&array.slice(row, 1), &target) else { return Value::Null };
            match target {
                _ if cell.is_null(0) => Value::Null,
                DataType::Int64 => cell.as_primitive::<Int64Type>().value(0).into(),
                DataType::Float64 => cell.as_primitive::<Float64Type>().value(0).into(),
                _ => cell.as_string::<i32>().value(0).into(),
            }
        }
    }
}

fn items(list: &ArrayRef) -> Value {
    (0..list.len()).map(|item| value(list, item)).collect()
}

fn fields(record: &StructArray, row: usize) -> Value {
    let mut fields = Map::new();
    for (name, column) in record.column_names().into_iter().zip(record.columns()) {
        let value = value(column, row);
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    }
    Value::Object(fields)
}

fn time(nanos: i64) -> Value {
    DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}

/// An array or a map. What does not survive being read (a repeated key, a long number) stays text.
fn nested(json: &str) -> Value {
    let read = serde_json::from_str::<Value>(json).ok();
    read.filter(|value| serde_json::to_string(value).is_ok_and(|written| written == json))
        .unwrap_or_else(|| json.into())
}

/// A repeated key gets a number: `key`, `key#2`.
fn object<'a>(entries: impl Iterator<Item = (&'a str, attributes::Value<'a>)>) -> Value {
    let mut object = Map::new();
    for (key, value) in entries {
        let value = match value {
            attributes::Value::String(text) => text.into(),
            attributes::Value::Int64(number) => number.into(),
            attributes::Value::Float64(number) => number.into(),
            attributes::Value::Bool(value) => value.into(),
            attributes::Value::Null => Value::Null,
            attributes::Value::Nested(value) => nested(&value.to_string()),
            bytes @ attributes::Value::Bytes(_) => bytes.to_string().into(),
        };
        let mut name = key.to_owned();
        let mut times = 1;
        while object.contains_key(&name) {
            times += 1;
            name = format!("{key}#{times}");
        }
        object.insert(name, value);
    }
    Value::Object(object)
}
