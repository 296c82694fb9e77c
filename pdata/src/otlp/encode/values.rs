//! Values, attributes and columns of them as protobuf.

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_proto::wire::Reader;
use weir_proto::write;

use crate::any_value::{AnyValue, Nested, field};
use crate::attributes::Value;
use crate::otlp::hex::push_bytes;
use crate::text::TextColumn;

/// Appends the fields of an `AnyValue`.
#[inline]
pub(super) fn put_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => write::bytes_field(field::STRING, text.as_bytes(), out),
        Value::Int64(number) => write::varint_field(field::INT, number.cast_unsigned(), out),
        Value::Float64(number) => write::fixed64_field(field::DOUBLE, number.to_bits(), out),
        Value::Bool(value) => write::varint_field(field::BOOL, u64::from(value), out),
        Value::Bytes(bytes) => write::bytes_field(field::BYTES, bytes, out),
        Value::Nested(nested) => put_nested(nested, out),
        Value::Null => {}
    }
}

/// Appends the fields of the `AnyValue` of an array or a map.
pub(super) fn put_nested(nested: Nested<'_>, out: &mut Vec<u8>) {
    if AnyValue::read(Reader::new(nested.bytes())).is_ok() {
        out.extend_from_slice(nested.bytes());
    } else {
        write::bytes_field(field::STRING, nested.to_string().as_bytes(), out);
    }
}

/// Appends a `KeyValue` as the field `tag`.
#[inline]
pub(super) fn put_attribute(tag: u32, key: &str, value: Value<'_>, out: &mut Vec<u8>) {
    if let Value::String(text) = value
        && let (1..60, 0..60) = (key.len(), text.len())
    {
        // Most are so short that every length takes a byte.
        let (key_len, text_len) = (key.len() as u8, text.len() as u8);
        write::varint(u64::from(tag), out);
        out.extend_from_slice(&[key_len + text_len + 6, field::KEY as u8, key_len]);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&[field::VALUE as u8, text_len + 2, field::STRING as u8, text_len]);
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let start = write::begin(tag, out);
    if !key.is_empty() {
        write::bytes_field(field::KEY, key.as_bytes(), out);
    }
    if value != Value::Null {
        let inner = write::begin(field::VALUE, out);
        put_value(value, out);
        write::end(inner, out);
    }
    write::end(start, out);
}

/// A column of any type whose values are attributes.
pub(super) struct ValueColumn<'a> {
    array: &'a ArrayRef,
    text: Option<TextColumn<'a>>,
    /// Numbers of other sizes, as 64 bits.
    wide: Option<ArrayRef>,
}

impl<'a> ValueColumn<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> ValueColumn<'a> {
        let wide = match array.data_type() {
            DataType::Int64 | DataType::Float64 | DataType::UInt64 => None,
            other if other.is_integer() => cast(array, &DataType::Int64).ok(),
            other if other.is_floating() => cast(array, &DataType::Float64).ok(),
            _ => None,
        };
        ValueColumn { array, text: TextColumn::new(array), wide }
    }

    /// Calls `with` with the value of a row, unless it is null.
    #[inline]
    pub(super) fn with(&self, row: usize, with: impl FnOnce(Value<'_>)) {
        if let Some(text) = self.text {
            if let Some(text) = text.get(row) {
                with(Value::String(text));
            }
            return;
        }
        let array = self.wide.as_ref().unwrap_or(self.array);
        if array.is_null(row) {
            return;
        }
        match array.data_type() {
            DataType::Int64 => with(Value::Int64(array.as_primitive::<Int64Type>().value(row))),
            DataType::Float64 => with(Value::Float64(array.as_primitive::<Float64Type>().value(row))),
            DataType::Boolean => with(Value::Bool(array.as_boolean().value(row))),
            DataType::BinaryView => with(Value::Bytes(array.as_binary_view().value(row))),
            _ => {
                let shown = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default());
                let shown = shown.map(|shown| shown.value(row).to_string()).unwrap_or_default();
                with(Value::String(&shown));
            }
        }
    }

    /// Whether two rows have the same value. Values of rare types may be the same and count as different.
    pub(super) fn same(&self, one: usize, other: usize) -> bool {
        match self.text {
            Some(text) => same_text(text, one, other),
            None => false,
        }
    }
}

/// Whether two rows have the same text.
#[inline]
pub(super) fn same_text(text: TextColumn<'_>, one: usize, other: usize) -> bool {
    if let Some((dictionary, _)) = text.dictionary()
        && dictionary.key(one) == dictionary.key(other)
    {
        return true;
    }
    text.get(one) == text.get(other)
}

/// The fixed columns of a batch, by name.
pub(super) struct Named<'a>(pub(super) &'a RecordBatch);

impl<'a> Named<'a> {
    pub(super) fn text(&self, name: &str) -> Text<'a> {
        Text(self.0.column_by_name(name).and_then(TextColumn::new))
    }

    pub(super) fn time(&self, name: &str) -> impl Fn(usize) -> u64 + use<'a> {
        let times = self.0.column_by_name(name);
        let times = times.and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>());
        move |row| times.filter(|times| times.is_valid(row)).map_or(0, |times| unsigned(times.value(row)))
    }

    pub(super) fn u32(&self, name: &str) -> impl Fn(usize) -> u32 + use<'a> {
        let values = self.0.column_by_name(name).and_then(|array| array.as_primitive_opt::<UInt32Type>());
        move |row| values.filter(|values| values.is_valid(row)).map_or(0, |values| values.value(row))
    }

    pub(super) fn u64(&self, name: &str) -> impl Fn(usize) -> u64 + use<'a> {
        let values = self.0.column_by_name(name).and_then(|array| array.as_primitive_opt::<UInt64Type>());
        move |row| values.filter(|values| values.is_valid(row)).map_or(0, |values| values.value(row))
    }

    pub(super) fn i32(&self, name: &str) -> impl Fn(usize) -> Option<i32> + use<'a> {
        let values = self.0.column_by_name(name).and_then(|array| array.as_primitive_opt::<Int32Type>());
        move |row| values.filter(|values| values.is_valid(row)).map(|values| values.value(row))
    }

    pub(super) fn i64(&self, name: &str) -> impl Fn(usize) -> Option<i64> + use<'a> {
        let values = self.0.column_by_name(name).and_then(|array| array.as_primitive_opt::<Int64Type>());
        move |row| values.filter(|values| values.is_valid(row)).map(|values| values.value(row))
    }

    pub(super) fn f64(&self, name: &str) -> impl Fn(usize) -> Option<f64> + use<'a> {
        let values = self.0.column_by_name(name).and_then(|array| array.as_primitive_opt::<Float64Type>());
        move |row| values.filter(|values| values.is_valid(row)).map(|values| values.value(row))
    }

    pub(super) fn flag(&self, name: &str) -> impl Fn(usize) -> bool + use<'a> {
        let values = self.0.column_by_name(name).and_then(|array| array.as_boolean_opt());
        move |row| values.is_some_and(|values| values.is_valid(row) && values.value(row))
    }
}

/// A time before 1970 has no form in OTLP: it is left out.
pub(super) fn unsigned(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(0)
}

/// A text column, when the batch has it.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub(super) Option<TextColumn<'a>>);

impl<'a> Text<'a> {
    /// The text of a row. Empty is like none.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.0.and_then(|text| text.get(row)).filter(|text| !text.is_empty())
    }

    pub(super) fn same(&self, one: usize, other: usize) -> bool {
        self.0.is_none_or(|text| same_text(text, one, other))
    }

    /// Appends the text as a field, unless it is empty.
    #[inline]
    pub(super) fn put(&self, tag: u32, row: usize, out: &mut Vec<u8>) {
        if let Some(text) = self.get(row) {
            write::bytes_field(tag, text.as_bytes(), out);
        }
    }

    /// The number of an enum's name.
    pub(super) fn code(&self, row: usize, known: &[&str]) -> i32 {
        self.get(row).map_or(0, |name| code(name, known))
    }

    /// The numbers of the names of an enum.
    pub(super) fn codes(self, known: &[&str]) -> Codes<'a> {
        let of_values = self.0.and_then(|text| text.dictionary()).and_then(|(dictionary, count)| {
            let names = TextColumn::new(dictionary.values())?;
            let codes = (0..count).map(|at| names.get(at).map_or(0, |name| code(name, known)));
            Some((dictionary, codes.collect()))
        });
        let of_rows = |rows: usize| (0..rows).map(|row| self.code(row, known)).collect();
        match of_values {
            Some((dictionary, codes)) => Codes { dictionary: Some(dictionary), codes },
            None => Codes { dictionary: None, codes: of_rows(self.0.map_or(0, |text| text.len())) },
        }
    }
}

fn code(name: &str, known: &[&str]) -> i32 {
    if let Some(number) = known.iter().position(|known| *known == name) {
        return i32::try_from(number).unwrap_or(0);
    }
    let number = name.strip_prefix("unknown(").and_then(|rest| rest.strip_suffix(')'));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The numbers of the names of an enum, by the dictionary's key or by row.
pub(super) struct Codes<'a> {
    dictionary: Option<&'a DictionaryArray<Int32Type>>,
    codes: Vec<i32>,
}

impl Codes<'_> {
    /// The number of a row; 0 where there is no name.
    #[inline]
    pub(super) fn get(&self, row: usize) -> i32 {
        let at = match self.dictionary {
            Some(dictionary) => dictionary.key(row),
            None => Some(row),
        };
        at.and_then(|at| self.codes.get(at)).copied().unwrap_or(0)
    }
}

/// Appends a number as a field, unless it is 0.
#[inline]
pub(super) fn put_varint(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        write::varint_field(tag, value, out);
    }
}

/// Appends an `int32` or an enum as a field, unless it is 0.
#[inline]
pub(super) fn put_int32(tag: u32, value: i32, out: &mut Vec<u8>) {
    // Negative numbers take ten bytes, as protobuf has it.
    put_varint(tag, i64::from(value).cast_unsigned(), out);
}

/// Appends a `sint32` as a field, unless it is 0.
pub(super) fn put_sint32(tag: u32, value: i32, out: &mut Vec<u8>) {
    put_varint(tag, u64::from((value << 1 ^ value >> 31).cast_unsigned()), out);
}

/// Appends a number as a field, unless it is 0.
#[inline]
pub(super) fn put_fixed64(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        write::fixed64_field(tag, value, out);
    }
}

/// Appends a number as a field, unless it is 0.
#[inline]
pub(super) fn put_fixed32(tag: u32, value: u32, out: &mut Vec<u8>) {
    if value != 0 {
        write::fixed32_field(tag, value, out);
    }
}

/// Appends an id that is written in hexadecimal as a field of bytes. `false`: it is not hexadecimal, and
/// nothing was appended.
#[inline]
pub(super) fn put_hex(tag: u32, id: &str, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let start = write::begin(tag, out);
    if !push_bytes(id.as_bytes(), out) {
        out.truncate(before);
        return false;
    }
    write::end(start, out);
    true
}
