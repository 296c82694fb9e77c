//! JSON values to columns, by the column's Arrow type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BinaryViewBuilder, BooleanArray, Float64Array, Int32Array, Int64Array,
    ListArray, MapArray, NullBufferBuilder, StringArray, StringViewArray, StructArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields, TimeUnit};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::nested::any_value;
use super::value::Json;
use crate::attributes::ValueType;
use crate::columns::views::{attribute_lists, dictionary, index};
use crate::schema;

/// A value that fits the column it is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    /// An integer, or a time in nanoseconds.
    Int(i64),
    UInt(u64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// The bytes of an `AnyValue`.
    AnyValue(Vec<u8>),
    /// Items of a list, or fields of a struct in the order of its type.
    Cells(Vec<Cell>),
    /// Attributes, or entries of a map, in order.
    Attributes(Vec<(String, Json)>),
}

/// Whether a type is one of attribute lists, and whether it is a dictionary of them.
fn attributes(data_type: &DataType) -> Option<bool> {
    if *data_type == schema::attribute_list() {
        return Some(false);
    }
    (*data_type == schema::resource_dictionary()).then_some(true)
}

/// Reads a value for a column of this type. The error says what was expected.
pub(super) fn cell(data_type: &DataType, json: Json) -> Result<Cell, String> {
    if json == Json::Null {
        return Ok(Cell::Null);
    }
    let expected = |what: &str, found: &Json| Err(format!("expected {what}, found {}", found.kind()));
    if attributes(data_type).is_some() {
        return match json {
            Json::Object(fields) => Ok(Cell::Attributes(fields)),
            other => expected("an object", &other),
        };
    }
    match (data_type, json) {
        (DataType::Timestamp(TimeUnit::Nanosecond, _), json) => time(&json).map(Cell::Int),
        (DataType::Int64, Json::Int(value)) => Ok(Cell::Int(value)),
        (DataType::Int32, Json::Int(value)) if i32::try_from(value).is_ok() => Ok(Cell::Int(value)),
        (DataType::UInt32, Json::Int(value)) if u32::try_from(value).is_ok() => Ok(Cell::Int(value)),
        (DataType::Int32 | DataType::UInt32, Json::Int(value)) => {
            Err(format!("{value} does not fit {data_type}"))
        }
        (DataType::UInt64, Json::Int(value)) => match u64::try_from(value) {
            Ok(value) => Ok(Cell::UInt(value)),
            Err(_) => Err(format!("{value} does not fit {data_type}")),
        },
        (DataType::UInt64, Json::Large(digits)) => match digits.parse() {
            Ok(value) => Ok(Cell::UInt(value)),
            Err(_) => Err(format!("{digits} does not fit {data_type}")),
        },
        (DataType::Int64 | DataType::Int32 | DataType::UInt32, Json::Large(digits)) => {
            Err(format!("{digits} does not fit {data_type}"))
        }
        (DataType::Int64 | DataType::Int32 | DataType::UInt32 | DataType::UInt64, other) => {
            expected("an integer", &other)
        }
        (DataType::BinaryView, json) => Ok(Cell::AnyValue(any_value(&json))),
        (DataType::Float64, json) => match float(&json) {
            Some(value) => Ok(Cell::Float(value)),
            None => expected("a number", &json),
        },
        (DataType::Boolean, Json::Bool(value)) => Ok(Cell::Bool(value)),
        (DataType::Boolean, other) => expected("true or false", &other),
        (DataType::Utf8View | DataType::Dictionary(..), Json::Text(text)) => Ok(Cell::Text(text)),
        (DataType::Utf8View | DataType::Dictionary(..), other) => expected("a text", &other),
        (DataType::List(item), Json::Array(items)) => {
            let cells =
                items.into_iter().map(|json| cell(item.data_type(), json)).collect::<Result<_, _>>()?;
            Ok(Cell::Cells(cells))
        }
        (DataType::List(_), other) => expected("an array", &other),
        (DataType::Struct(fields), Json::Object(values)) => structure(fields, values),
        (DataType::Map(..), Json::Object(entries)) => {
            match entries.iter().find(|(_, value)| !matches!(value, Json::Text(_) | Json::Null)) {
                Some((_, other)) => expected("texts only", other),
                None => Ok(Cell::Attributes(entries)),
            }
        }
        (DataType::Struct(_) | DataType::Map(..), other) => expected("an object", &other),
        (other, _) => Err(format!("columns of type {other} cannot be read from JSON")),
    }
}

fn structure(fields: &Fields, values: Vec<(String, Json)>) -> Result<Cell, String> {
    let mut cells = vec![Cell::Null; fields.len()];
    for (name, value) in values {
        let Some((at, field)) = fields.find(&name) else {
            return Err(format!("unknown field `{name}`"));
        };
        cells[at] = cell(field.data_type(), value).map_err(|problem| format!("`{name}`: {problem}"))?;
    }
    Ok(Cell::Cells(cells))
}

/// A time: integer milliseconds, or RFC 3339 text. Milliseconds beyond what nanoseconds reach are saturated.
fn time(json: &Json) -> Result<i64, String> {
    match json {
        Json::Int(milliseconds) => Ok(milliseconds.saturating_mul(1_000_000)),
        Json::Text(text) => chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|error| format!("`{text}` is not an RFC 3339 time: {error}"))?
            .timestamp_nanos_opt()
            .ok_or_else(|| format!("`{text}` is not between the years 1677 and 2262")),
        other => Err(format!("expected integer milliseconds or an RFC 3339 text, found {}", other.kind())),
    }
}

/// Whether an attribute with this value is a text in its list.
pub(super) fn is_stored_as_text(value: &Json) -> bool {
    matches!(value, Json::Text(_) | Json::Large(_))
}

/// A float, including what is written as text.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn float(json: &Json) -> Option<f64> {
    match json {
        Json::Float(value) => Some(*value),
        Json::Int(value) => Some(*value as f64),
        Json::Large(digits) => digits.parse().ok().filter(|value: &f64| value.is_finite()),
        Json::Text(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A column of these values, which [`cell`] read for this type.
pub(super) fn column(data_type: &DataType, cells: Vec<Cell>) -> Result<ArrayRef, ArrowError> {
    let ints = || cells.iter().map(int);
    match attributes(data_type) {
        Some(false) => return attribute_column(cells),
        Some(true) => return resource_column(cells),
        None => {}
    }
    Ok(match data_type {
        DataType::Timestamp(..) => Arc::new(TimestampNanosecondArray::from_iter(ints()).with_timezone("UTC")),
        DataType::Int64 => Arc::new(Int64Array::from_iter(ints())),
        DataType::Int32 => {
            Arc::new(Int32Array::from_iter(ints().map(|value| value.and_then(|value| value.try_into().ok()))))
        }
        DataType::UInt32 => Arc::new(UInt32Array::from_iter(
            ints().map(|value| value.and_then(|value| value.try_into().ok())),
        )),
        DataType::UInt64 => Arc::new(UInt64Array::from_iter(cells.iter().map(|cell| match cell {
            Cell::UInt(value) => Some(*value),
            _ => None,
        }))),
        DataType::BinaryView => Arc::new(BinaryViewArray::from_iter(cells.iter().map(|cell| match cell {
            Cell::AnyValue(bytes) => Some(bytes),
            _ => None,
        }))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(cells.iter().map(|cell| match cell {
            Cell::Float(value) => Some(*value),
            _ => None,
        }))),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(cells.iter().map(|cell| match cell {
            Cell::Bool(value) => Some(*value),
            _ => None,
        }))),
        DataType::Utf8View => Arc::new(StringViewArray::from_iter(cells.iter().map(text))),
        DataType::Dictionary(..) => text_dictionary(&cells)?,
        DataType::List(item) => {
            let (offsets, nulls, items) = flatten(cells);
            let items = column(item.data_type(), items)?;
            let mut nulls = nulls;
            Arc::new(ListArray::try_new(
                item.clone(),
                OffsetBuffer::new(offsets.into()),
                items,
                nulls.finish(),
            )?)
        }
        DataType::Struct(fields) => structs(fields, cells)?,
        DataType::Map(entries, _) => {
            let (offsets, mut nulls, keys, values) = entries_of(cells);
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError("a map without entries".to_owned()));
            };
            let columns: Vec<ArrayRef> =
                vec![Arc::new(StringArray::from(keys)), Arc::new(StringArray::from(values))];
            let content = StructArray::try_new(fields.clone(), columns, None)?;
            let offsets = OffsetBuffer::new(offsets.into());
            Arc::new(MapArray::try_new(entries.clone(), offsets, content, nulls.finish(), false)?)
        }
        other => return Err(ArrowError::NotYetImplemented(format!("{other} from JSON"))),
    })
}

fn int(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(value) => Some(*value),
        _ => None,
    }
}

fn text(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

fn text_dictionary(cells: &[Cell]) -> Result<ArrayRef, ArrowError> {
    let mut nulls = NullBufferBuilder::new(cells.len());
    let mut known: HashMap<&str, i32> = HashMap::new();
    let mut values = Vec::new();
    let mut keys = Vec::with_capacity(cells.len());
    for cell in cells {
        nulls.append(text(cell).is_some());
        keys.push(text(cell).map_or(0, |text| {
            *known.entry(text).or_insert_with(|| {
                values.push(text);
                index(values.len() - 1)
            })
        }));
    }
    dictionary(keys, nulls.finish(), Arc::new(StringViewArray::from_iter_values(values)))
}

fn flatten(cells: Vec<Cell>) -> (Vec<i32>, NullBufferBuilder, Vec<Cell>) {
    let (mut offsets, mut nulls, mut items) = (vec![0], NullBufferBuilder::new(cells.len()), Vec::new());
    for cell in cells {
        nulls.append(cell != Cell::Null);
        if let Cell::Cells(more) = cell {
            items.extend(more);
        }
        offsets.push(index(items.len()));
    }
    (offsets, nulls, items)
}

fn structs(fields: &Fields, cells: Vec<Cell>) -> Result<ArrayRef, ArrowError> {
    let mut nulls = NullBufferBuilder::new(cells.len());
    let mut columns: Vec<Vec<Cell>> = vec![Vec::with_capacity(cells.len()); fields.len()];
    for cell in cells {
        nulls.append(cell != Cell::Null);
        let mut values = if let Cell::Cells(values) = cell { values } else { Vec::new() }.into_iter();
        for column in &mut columns {
            column.push(values.next().unwrap_or(Cell::Null));
        }
    }
    let columns = fields
        .iter()
        .zip(columns)
        .map(|(field, cells)| column(field.data_type(), cells))
        .collect::<Result<_, _>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, nulls.finish())?))
}

type Entries = (Vec<i32>, NullBufferBuilder, Vec<String>, Vec<Option<String>>);

fn entries_of(cells: Vec<Cell>) -> Entries {
    let (mut offsets, mut nulls) = (vec![0], NullBufferBuilder::new(cells.len()));
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for cell in cells {
        nulls.append(cell != Cell::Null);
        if let Cell::Attributes(entries) = cell {
            for (key, value) in entries {
                keys.push(key);
                values.push(if let Json::Text(text) = value { Some(text) } else { None });
            }
        }
        offsets.push(index(keys.len()));
    }
    (offsets, nulls, keys, values)
}

/// Attribute lists. A row without attributes has an empty list.
fn attribute_column(cells: Vec<Cell>) -> Result<ArrayRef, ArrowError> {
    let mut known: HashMap<String, i32> = HashMap::new();
    let mut names = Vec::new();
    let (mut offsets, mut keys, mut types) = (vec![0], Vec::new(), Vec::new());
    let mut values = BinaryViewBuilder::new();
    for cell in cells {
        let attributes = if let Cell::Attributes(attributes) = cell { attributes } else { Vec::new() };
        for (key, value) in attributes {
            keys.push(*known.entry(key).or_insert_with_key(|key| {
                names.push(key.clone());
                index(names.len() - 1)
            }));
            types.push(push_value(&mut values, value) as u8);
        }
        offsets.push(index(keys.len()));
    }
    let names = Arc::new(StringViewArray::from_iter_values(names)) as ArrayRef;
    attribute_lists(offsets, keys, types.into(), values.finish(), &names)
}

fn push_value(values: &mut BinaryViewBuilder, value: Json) -> ValueType {
    let value_type = match &value {
        Json::Null => ValueType::Null,
        Json::Bool(_) => ValueType::Bool,
        Json::Int(_) => ValueType::Int64,
        Json::Float(_) => ValueType::Float64,
        // As text the digits stay.
        Json::Text(_) | Json::Large(_) => ValueType::String,
        Json::Array(_) => ValueType::Array,
        Json::Object(_) => ValueType::Map,
    };
    match value {
        Json::Null => values.append_null(),
        Json::Bool(value) => values.append_value([u8::from(value)]),
        Json::Int(value) => values.append_value(value.to_le_bytes()),
        Json::Float(value) => values.append_value(value.to_le_bytes()),
        Json::Text(text) | Json::Large(text) => values.append_value(text),
        nested => values.append_value(any_value(&nested)),
    }
    value_type
}

/// Resources: each different one once.
fn resource_column(cells: Vec<Cell>) -> Result<ArrayRef, ArrowError> {
    let mut nulls = NullBufferBuilder::new(cells.len());
    let mut known: HashMap<Vec<u8>, i32> = HashMap::new();
    let (mut keys, mut resources) = (Vec::new(), Vec::new());
    for cell in cells {
        nulls.append(cell != Cell::Null);
        let Cell::Attributes(attributes) = cell else {
            keys.push(0);
            continue;
        };
        let resource = Json::Object(attributes);
        keys.push(*known.entry(resource.to_bytes()).or_insert_with(|| {
            if let Json::Object(attributes) = resource {
                resources.push(Cell::Attributes(attributes));
            }
            index(resources.len() - 1)
        }));
    }
    dictionary(keys, nulls.finish(), attribute_column(resources)?)
}
