//! Columns to lines.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, MapArray, RecordBatch, StructArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat};

use super::parse::parse;
use super::value::{Json, write_float, write_text};
use crate::attributes::{AttributeColumn, Nested, Value, without_copies};
use crate::span_ids::as_texts;
use crate::text::TextColumn;
use crate::{Signal, schema};

/// Appends each row of `columns` to `out` as one line: a JSON object and a line feed.
///
/// An attribute that has a column of its own is written as it was received, and span ids that came in parts
/// as texts. Fields come in the order of the columns, then the objects of attributes. Nulls and empty lists
/// are left out.
pub fn write_rows(columns: &RecordBatch, signal: Signal, out: &mut Vec<u8>) {
    let texts = if signal == Signal::Traces { as_texts(columns) } else { Cow::Borrowed(columns) };
    let columns = &*texts;
    let columns = &*without_copies(columns, |_| false);
    let row = Row::new(columns, signal);
    for index in 0..columns.num_rows() {
        row.write(index, out);
        out.push(b'\n');
    }
}

/// Appends one value of a column, a list of structures for instance.
pub fn write_value(values: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    Values::new(values).write(row, out);
}

/// Where the columns of a batch go.
struct Row<'a> {
    /// The beginning of every line.
    start: Vec<u8>,
    fields: Vec<Field<'a>>,
    /// Of [`OBJECTS`].
    objects: [Attributes<'a>; 4],
}

/// The objects of attributes, and the levels of the keys that have a column of their own.
const OBJECTS: [(&str, &str); 4] = [
    (schema::ATTRIBUTES, "span"),
    (schema::RESOURCE, "resource"),
    (schema::SCOPE, "scope"),
    (schema::METADATA, "metadata"),
];

/// A column, and its name in quotes with a colon.
struct Field<'a> {
    name: Vec<u8>,
    values: Values<'a>,
}

/// The entries of an object of attributes.
#[derive(Default)]
struct Attributes<'a> {
    columns: Vec<Field<'a>>,
    list: Option<AttributeColumn<'a>>,
}

impl<'a> Row<'a> {
    fn new(batch: &'a RecordBatch, signal: Signal) -> Row<'a> {
        let mut start = b"{\"signal\":".to_vec();
        write_text(&mut start, signal.name());
        let mut row = Row { start, fields: Vec::new(), objects: Default::default() };
        let has_attributes = !matches!(signal, Signal::Windows | Signal::Alarms);
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if schema::is_of_record(field.name()) {
                // No part of the event: read again, it would be an attribute.
                continue;
            }
            let name = field.name().as_str();
            let metadata = field.metadata();
            let key = metadata.get(schema::ATTRIBUTE_KEY);
            let level = metadata.get(schema::ATTRIBUTE_LEVEL).map(String::as_str);
            if !has_attributes {
                row.fields.push(Field::new(name, array));
                continue;
            }
            let list = OBJECTS.iter().position(|(list, _)| *list == name && level.is_none());
            if let (Some(at), Some(column)) = (list, AttributeColumn::new(array)) {
                row.objects[at].list = Some(column);
                continue;
            }
            let own = OBJECTS.iter().position(|(_, own)| level == Some(own));
            match (own, key) {
                (Some(at), Some(key)) => row.objects[at].columns.push(Field::new(key, array)),
                _ if level.is_some() || !schema::is_fixed(signal, name) => {
                    row.objects[0].columns.push(Field::new(name, array));
                }
                _ => row.fields.push(Field::new(name, array)),
            }
        }
        row
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start);
        for field in &self.fields {
            if field.values.is_present(row) {
                out.push(b',');
                out.extend_from_slice(&field.name);
                field.values.write(row, out);
            }
        }
        for ((name, _), attributes) in OBJECTS.iter().zip(&self.objects) {
            let before = out.len();
            out.push(b',');
            write_text(out, name);
            out.push(b':');
            if !attributes.write(row, out) {
                out.truncate(before);
            }
        }
        out.push(b'}');
    }
}

impl<'a> Field<'a> {
    fn new(name: &str, array: &'a ArrayRef) -> Field<'a> {
        let mut quoted = Vec::new();
        write_text(&mut quoted, name);
        quoted.push(b':');
        Field { name: quoted, values: Values::new(array) }
    }
}

impl Attributes<'_> {
    /// Writes the object; `false` when there is nothing in it.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let mut separator = b'{';
        for column in self.columns.iter().filter(|column| column.values.is_present(row)) {
            out.push(separator);
            out.extend_from_slice(&column.name);
            column.values.write(row, out);
            separator = b',';
        }
        if let Some(list) = self.list {
            write_attributes(list, row, &mut separator, out);
        }
        out.push(b'}');
        separator == b','
    }
}

/// Writes the attributes of a list, each after a separator, which becomes a comma.
fn write_attributes(list: AttributeColumn<'_>, row: usize, separator: &mut u8, out: &mut Vec<u8>) {
    for (key, value) in list.row(row) {
        out.push(*separator);
        write_text(out, key);
        out.push(b':');
        match value {
            Value::String(text) => write_text(out, text),
            Value::Int64(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Float64(number) => write_float(out, number),
            Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Null => out.extend_from_slice(b"null"),
            Value::Nested(nested) => write_nested(nested, out),
            Value::Bytes(_) => write_text(out, &value.to_string()),
        }
        *separator = b',';
    }
}

/// Writes an array or map. One that an older version kept on disk is JSON; what is neither becomes text.
fn write_nested(nested: Nested<'_>, out: &mut Vec<u8>) {
    if nested.write_json(out) {
        return;
    }
    match parse(nested.bytes()) {
        Ok(json @ (Json::Array(_) | Json::Object(_))) => json.write(out),
        _ => write_text(out, &nested.to_string()),
    }
}

/// The values of a column.
enum Values<'a> {
    Text(TextColumn<'a>),
    Time(&'a TimestampNanosecondArray),
    Int64(&'a Int64Array),
    Int32(&'a Int32Array),
    UInt32(&'a UInt32Array),
    UInt64(&'a UInt64Array),
    Float64(&'a Float64Array),
    /// The bytes of an `AnyValue` each.
    AnyValue(&'a BinaryViewArray),
    Bool(&'a BooleanArray),
    Attributes(AttributeColumn<'a>),
    Dictionary(&'a DictionaryArray<Int32Type>, Box<Values<'a>>),
    List(&'a ListArray, Box<Values<'a>>),
    Struct(&'a StructArray, Vec<Field<'a>>),
    Map(&'a MapArray, TextColumn<'a>, Box<Values<'a>>),
    /// Any other type: integers as they are, the rest as text.
    Other(&'a ArrayRef),
}

impl<'a> Values<'a> {
    fn new(array: &'a ArrayRef) -> Values<'a> {
        if let Some(text) = TextColumn::new(array) {
            return Values::Text(text);
        }
        if let Some(attributes) = AttributeColumn::new(array) {
            return Values::Attributes(attributes);
        }
        match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Values::Time(array.as_primitive::<TimestampNanosecondType>())
            }
            DataType::Int64 => Values::Int64(array.as_primitive::<Int64Type>()),
            DataType::Int32 => Values::Int32(array.as_primitive::<Int32Type>()),
            DataType::UInt32 => Values::UInt32(array.as_primitive::<UInt32Type>()),
            DataType::UInt64 => Values::UInt64(array.as_primitive::<UInt64Type>()),
            DataType::Float64 => Values::Float64(array.as_primitive::<Float64Type>()),
            DataType::BinaryView => Values::AnyValue(array.as_binary_view()),
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                let dictionary = array.as_dictionary::<Int32Type>();
                Values::Dictionary(dictionary, Box::new(Values::new(dictionary.values())))
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list, Box::new(Values::new(list.values())))
            }
            DataType::Struct(_) => {
                let structs = array.as_struct();
                let fields = structs.fields().iter().zip(structs.columns());
                Values::Struct(
                    structs,
                    fields.map(|(field, array)| Field::new(field.name(), array)).collect(),
                )
            }
            DataType::Map(..) => {
                let map = array.as_map();
                match TextColumn::new(map.keys()) {
                    Some(keys) => Values::Map(map, keys, Box::new(Values::new(map.values()))),
                    None => Values::Other(array),
                }
            }
            _ => Values::Other(array),
        }
    }

    /// Whether there is something to write: a value that is not null, or a list that is not empty.
    fn is_present(&self, row: usize) -> bool {
        match self {
            Values::Text(text) => text.get(row).is_some(),
            Values::Time(array) => array.is_valid(row),
            Values::Int64(array) => array.is_valid(row),
            Values::Int32(array) => array.is_valid(row),
            Values::UInt32(array) => array.is_valid(row),
            Values::UInt64(array) => array.is_valid(row),
            Values::Float64(array) => array.is_valid(row),
            Values::AnyValue(array) => array.is_valid(row),
            Values::Bool(array) => array.is_valid(row),
            Values::Attributes(lists) => lists.row(row).next().is_some(),
            Values::Dictionary(array, values) => array.key(row).is_some_and(|key| values.is_present(key)),
            Values::List(array, _) => array.is_valid(row) && array.value_length(row) > 0,
            Values::Struct(array, _) => array.is_valid(row),
            Values::Map(array, ..) => array.is_valid(row) && array.value_length(row) > 0,
            Values::Other(array) => array.is_valid(row),
        }
    }

    /// Writes a value; null when there is none.
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if !self.is_present(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Values::Text(text) => write_text(out, text.get(row).unwrap_or_default()),
            Values::Time(array) => write_time(array.value(row), out),
            Values::Int64(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
            Values::Int32(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
            Values::UInt32(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
            Values::UInt64(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
            Values::Float64(array) => write_float(out, array.value(row)),
            Values::AnyValue(array) => write_nested(Nested::new(array.value(row)), out),
            Values::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Values::Attributes(lists) => {
                let mut separator = b'{';
                write_attributes(*lists, row, &mut separator, out);
                out.push(b'}');
            }
            Values::Dictionary(array, values) => values.write(array.key(row).unwrap_or_default(), out),
            Values::List(array, items) => {
                out.push(b'[');
                separated(array.value_offsets(), row, out, |item, out| items.write(item, out));
                out.push(b']');
            }
            Values::Struct(_, fields) => {
                out.push(b'{');
                let present = fields.iter().filter(|field| field.values.is_present(row));
                for (at, field) in present.enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&field.name);
                    field.values.write(row, out);
                }
                out.push(b'}');
            }
            Values::Map(array, keys, values) => {
                out.push(b'{');
                separated(array.value_offsets(), row, out, |entry, out| {
                    write_text(out, keys.get(entry).unwrap_or_default());
                    out.push(b':');
                    values.write(entry, out);
                });
                out.push(b'}');
            }
            Values::Other(array) => {
                let formatted = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default());
                let text = formatted.map(|text| text.value(row).to_string()).unwrap_or_default();
                if array.data_type().is_integer() {
                    out.extend_from_slice(text.as_bytes());
                } else {
                    write_text(out, &text);
                }
            }
        }
    }
}

/// Writes the entries of a list, with commas between them.
fn separated(offsets: &[i32], row: usize, out: &mut Vec<u8>, mut write: impl FnMut(usize, &mut Vec<u8>)) {
    let offset = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
    for (at, entry) in (offset(row)..offset(row + 1)).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(entry, out);
    }
}

fn write_time(nanoseconds: i64, out: &mut Vec<u8>) {
    if nanoseconds % 1_000_000 == 0 {
        out.extend_from_slice((nanoseconds / 1_000_000).to_string().as_bytes());
    } else {
        let time = DateTime::from_timestamp_nanos(nanoseconds);
        write_text(out, &time.to_rfc3339_opts(SecondsFormat::Nanos, true));
    }
}
