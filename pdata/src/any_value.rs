//! Arrays and maps among attributes: the bytes of an OTLP `AnyValue`.

use std::fmt;

use weir_proto::wire::{self, Reader, WireError};

use crate::json::value::{write_float, write_text};

/// The fields of `AnyValue`, of the two lists, and of `KeyValue`.
pub(crate) mod field {
    use super::wire::{bytes, fixed64, message, varint};

    pub(crate) const STRING: u32 = bytes(1);
    pub(crate) const BOOL: u32 = varint(2);
    pub(crate) const INT: u32 = varint(3);
    pub(crate) const DOUBLE: u32 = fixed64(4);
    pub(crate) const ARRAY: u32 = message(5);
    pub(crate) const MAP: u32 = message(6);
    pub(crate) const BYTES: u32 = bytes(7);
    pub(crate) const ANY_VALUE: u32 = 7;

    pub(crate) const VALUES: u32 = message(1);
    pub(crate) const LIST: u32 = 1;

    pub(crate) const KEY: u32 = bytes(1);
    pub(crate) const VALUE: u32 = message(2);
    pub(crate) const KEY_VALUE: u32 = 2;
}

/// An array or a map: the received bytes of its `AnyValue`. Shown, it is JSON without white space: order and
/// repeated keys stay, bytes are lower-case hexadecimal, a float that JSON has no number for is the text
/// `NaN`, `Infinity` or `-Infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nested<'a>(&'a [u8]);

impl<'a> Nested<'a> {
    /// The value that these bytes are. What is no `AnyValue` is shown as the text that it is.
    #[must_use]
    pub const fn new(any_value: &'a [u8]) -> Nested<'a> {
        Nested(any_value)
    }

    /// The bytes of its `AnyValue`.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Appends it as JSON. `false`: the bytes are no `AnyValue`, and nothing was appended.
    pub fn write_json(self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let written = write_value(Reader::new(self.0), out).is_ok();
        if !written {
            out.truncate(before);
        }
        written
    }
}

impl fmt::Display for Nested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut json = Vec::new();
        let shown = if self.write_json(&mut json) { &*json } else { self.0 };
        f.write_str(&String::from_utf8_lossy(shown))
    }
}

/// The value of an `AnyValue`, one level deep.
#[derive(Clone, Debug)]
pub(crate) enum AnyValue<'a> {
    None,
    String(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Reader<'a>),
    Map(Reader<'a>),
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// Reads the value that counts, the last one. Texts, arrays and maps are not looked into.
    #[inline]
    pub(crate) fn read(mut reader: Reader<'a>) -> Result<AnyValue<'a>, WireError> {
        let mut value = AnyValue::None;
        while let Some(tag) = reader.next_tag()? {
            value = match tag {
                field::STRING => AnyValue::String(reader.bytes()?),
                field::BOOL => AnyValue::Bool(reader.varint()? != 0),
                field::INT => AnyValue::Int(reader.int64()?),
                field::DOUBLE => AnyValue::Double(f64::from_bits(reader.fixed64()?)),
                field::ARRAY => AnyValue::Array(reader.message()?),
                field::MAP => AnyValue::Map(reader.message()?),
                field::BYTES => AnyValue::Bytes(reader.bytes()?),
                other => {
                    reader.skip_unknown(other, field::ANY_VALUE)?;
                    continue;
                }
            };
        }
        Ok(value)
    }
}

/// Reads a `KeyValue`: its key, and a reader of its `AnyValue` when it has one.
pub(crate) fn key_value<'a>(mut reader: Reader<'a>) -> Result<(&'a [u8], Option<Reader<'a>>), WireError> {
    let (mut key, mut value): (&[u8], _) = (&[], None);
    while let Some(tag) = reader.next_tag()? {
        match tag {
            field::KEY => key = reader.bytes()?,
            field::VALUE => value = Some(reader.message()?),
            other => reader.skip_unknown(other, field::KEY_VALUE)?,
        }
    }
    Ok((key, value))
}

/// The next message of a list: of an `ArrayValue`'s values, or of a `KeyValueList`'s.
pub(crate) fn next_item<'a>(list: &mut Reader<'a>) -> Result<Option<Reader<'a>>, WireError> {
    while let Some(tag) = list.next_tag()? {
        if tag == field::VALUES {
            return list.message().map(Some);
        }
        list.skip_unknown(tag, field::LIST)?;
    }
    Ok(None)
}

fn write_value(reader: Reader<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    match AnyValue::read(reader)? {
        AnyValue::None => out.extend_from_slice(b"null"),
        AnyValue::String(text) => write_text(out, &String::from_utf8_lossy(text)),
        AnyValue::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        AnyValue::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        AnyValue::Double(number) => write_float(out, number),
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            push_hex(out, bytes);
            out.push(b'"');
        }
        AnyValue::Array(mut items) => {
            out.push(b'[');
            let mut separator = None;
            while let Some(item) = next_item(&mut items)? {
                out.extend(separator.replace(b','));
                write_value(item, out)?;
            }
            out.push(b']');
        }
        AnyValue::Map(mut entries) => {
            out.push(b'{');
            let mut separator = None;
            while let Some(entry) = next_item(&mut entries)? {
                let (key, value) = key_value(entry)?;
                out.extend(separator.replace(b','));
                write_text(out, &String::from_utf8_lossy(key));
                out.push(b':');
                match value {
                    Some(value) => write_value(value, out)?,
                    None => out.extend_from_slice(b"null"),
                }
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends bytes as lower-case hexadecimal.
#[inline]
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use prost::Message;

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Option<AnyValue>) -> KeyValue {
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    }

    #[test]
    fn a_nested_value_is_shown_as_json() {
        let map = KeyValueList {
            values: vec![
                pair("k", None),
                pair("k", Some(any(Value::BytesValue(vec![0x0f, 0xa0])))),
                pair("", Some(any(Value::DoubleValue(1.0)))),
            ],
        };
        let values = vec![
            any(Value::IntValue(1)),
            any(Value::StringValue("ä\"".to_owned())),
            any(Value::KvlistValue(map)),
            any(Value::DoubleValue(f64::NEG_INFINITY)),
            any(Value::BoolValue(true)),
            any(Value::ArrayValue(ArrayValue::default())),
            AnyValue::default(),
        ];
        let bytes = any(Value::ArrayValue(ArrayValue { values })).encode_to_vec();
        let shown = Nested::new(&bytes).to_string();
        assert_eq!(shown, r#"[1,"ä\"",{"k":null,"k":"0fa0","":1.0},"-Infinity",true,[],null]"#);
    }

    #[test]
    fn what_is_no_value_is_shown_as_its_text() {
        assert_eq!(Nested::new(b"[1,2]").to_string(), "[1,2]");
        assert_eq!(Nested::new(b"{\"a\":\xff}").to_string(), "{\"a\":\u{fffd}}");
        let mut deep = AnyValue::default();
        for _ in 0..60 {
            deep = any(Value::ArrayValue(ArrayValue { values: vec![deep] }));
        }
        assert!(!Nested::new(&deep.encode_to_vec()).write_json(&mut Vec::new()));
    }
}
