//! A [`serde::Deserializer`] over nodes, whose errors know the node.

use serde::de::{self, Deserializer, Visitor};

use super::access::Choice;
use super::read_error::ReadError;
use super::reader::{Reader, visit_integer};
use crate::tree::node::Value;
use crate::tree::scalar::Typed;

impl Reader<'_> {
    /// The typed value of a scalar; a list or a map as it is.
    fn any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Sequence(items) => self.list(items, visitor),
            Value::Map(entries) => self.map(entries, visitor),
            Value::Scalar(scalar) if self.key => visitor.visit_str(scalar.text()),
            Value::Scalar(scalar) => match scalar.typed() {
                Typed::Null => visitor.visit_unit(),
                Typed::Bool(value) => visitor.visit_bool(value),
                Typed::Integer(value) => visit_integer(value, visitor),
                Typed::Float(value) => visitor.visit_f64(value),
                Typed::String => visitor.visit_str(scalar.text()),
                Typed::Collection => match (self.node.items(), self.node.entries()) {
                    (Some(items), _) => self.list(items, visitor),
                    (_, Some(entries)) => self.map(entries, visitor),
                    _ => visitor.visit_str(scalar.text()),
                },
            },
        }
    }
}

macro_rules! forward {
    ($helper:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.placed(|reader| reader.$helper(visitor))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    forward! {number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
    deserialize_f64}
    forward! {text: deserialize_char deserialize_str deserialize_string deserialize_identifier}

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(|reader| reader.any(visitor))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(|reader| match &reader.node.value {
            Value::Scalar(scalar) => match scalar.typed() {
                Typed::Bool(value) => visitor.visit_bool(value),
                _ => Err(reader.mismatch(&visitor)),
            },
            _ => Err(reader.mismatch(&visitor)),
        })
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(|reader| match &reader.node.value {
            Value::Scalar(scalar) => visitor.visit_bytes(scalar.text().as_bytes()),
            _ => Err(reader.mismatch(&visitor)),
        })
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.is_null() {
            return self.placed(|_| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(
            |reader| {
                if reader.node.is_null() { visitor.visit_unit() } else { Err(reader.mismatch(&visitor)) }
            },
        )
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(|reader| reader.list_or_null(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(|reader| match reader.node.items() {
            Some(items) if items.len() != length => {
                Err(de::Error::custom(format!("expected a list of {length}, found {}", items.len())))
            }
            _ => reader.list_or_null(visitor),
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(|reader| reader.map_or_null(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.placed(|reader| reader.map_or_null(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.placed(|reader| {
            if let Some(entries) = reader.node.entries() {
                let [entry] = entries else {
                    return Err(de::Error::custom(format!(
                        "expected exactly one of the keys {}, found {}",
                        variants.join(", "),
                        entries.len()
                    )));
                };
                let content = Reader::new(&entry.value, reader.path.key(&entry.key.text), reader.marks);
                let name = &entry.key.text;
                return visitor.visit_enum(Choice {
                    name,
                    name_span: entry.key.span,
                    content: Some(content),
                    reader,
                });
            }
            match &reader.node.value {
                Value::Scalar(scalar) => visitor.visit_enum(Choice {
                    name: scalar.text(),
                    name_span: reader.node.span,
                    content: None,
                    reader,
                }),
                _ => Err(reader.mismatch(&visitor)),
            }
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }
}
