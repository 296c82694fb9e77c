//! A [`serde::Deserializer`] over [`Node`]s whose errors know the node, and which can go on after an error.
//!
//! Going on works by [`Marks`]: a node that was already reported is left out of the next run. Where its type
//! cannot do without it, a [`Placeholder`] stands in for it. A run with marks is only good for its errors.

use std::collections::HashMap;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::placeholder::Placeholder;
use super::read_error::{ReadError, ValueLocation};
use crate::tree::node::{Entry, Node, Scalar, Value};
use crate::tree::path::Path;
use crate::tree::scalar::Typed;
use crate::tree::source::Span;

/// What became of a node that was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The entry or item is left out.
    LeftOut,
    /// A [`Placeholder`] stands in for the value: the attempt with this index.
    Placeholder(usize),
}

/// What to do differently in this run.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) nodes: HashMap<Path, Mark>,
    /// Keys that are not written and that the type cannot do without, by their map. Each has a placeholder in
    /// `nodes`.
    pub(crate) missing: HashMap<Path, Vec<&'static str>>,
}

impl Marks {
    fn is_left_out(&self, path: &Path) -> bool {
        self.nodes.get(path) == Some(&Mark::LeftOut)
    }
}

/// Reads one node.
pub(crate) struct Reader<'a> {
    node: &'a Node,
    path: Path,
    marks: &'a Marks,
    /// The node stands for a key: always text unless a number is asked for.
    key: bool,
}

impl<'a> Reader<'a> {
    /// A reader for `node`, which lies at `path` for the marks and in errors.
    pub(crate) fn new(node: &'a Node, path: Path, marks: &'a Marks) -> Self {
        Self { node, path, marks, key: false }
    }

    /// Runs `body`; an error without place gets this one.
    fn placed<T>(self, body: impl FnOnce(&Self) -> Result<T, ReadError>) -> Result<T, ReadError> {
        body(&self).map_err(|mut error| {
            error.at.get_or_insert_with(|| self.place());
            error
        })
    }

    fn place(&self) -> ValueLocation {
        ValueLocation {
            path: self.path.clone(),
            span: self.node.span,
            key: self.key,
            placeholder: self.placeholder().is_some(),
        }
    }

    /// What stands in for the value, if something does.
    fn placeholder(&self) -> Option<Placeholder> {
        match self.marks.nodes.get(&self.path)? {
            Mark::Placeholder(attempt) if !self.key => Some(Placeholder::new(*attempt)),
            Mark::Placeholder(_) | Mark::LeftOut => None,
        }
    }

    /// Lets `seed` read this. An error without place gets this one: types that check after reading
    /// (`try_from`) or read from a buffer (`flatten`, tagged choices) raise it outside of the methods below.
    fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        let place = self.place();
        let read = match self.placeholder() {
            Some(placeholder) => seed.deserialize(placeholder),
            None => seed.deserialize(self),
        };
        read.map_err(|mut error| {
            error.at.get_or_insert(place);
            error
        })
    }

    fn mismatch(&self, expected: &dyn Expected) -> ReadError {
        match &self.node.value {
            Value::Null => ReadError::wrong(&Unexpected::Unit, expected),
            Value::Sequence(_) => ReadError::wrong(&Unexpected::Seq, expected),
            Value::Map(_) => ReadError::wrong(&Unexpected::Map, expected),
            Value::Scalar(scalar) => ReadError::wrong(&unexpected(scalar), expected),
        }
    }

    /// The typed value of a scalar, or what `deserialize_any` gives for the rest.
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

    fn number<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar(scalar) => match scalar.typed() {
                Typed::Integer(value) => visit_integer(value, visitor),
                Typed::Float(value) => visitor.visit_f64(value),
                _ => Err(self.mismatch(&visitor)),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar(scalar) => visitor.visit_str(scalar.text()),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn list<'de, V: Visitor<'de>>(&self, items: &[Node], visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items { items: items.iter().enumerate(), path: &self.path, marks: self.marks })
    }

    /// A list; null is an empty one.
    fn list_or_null<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.items() {
            Some(items) => self.list(items, visitor),
            None if self.node.is_null() => self.list(&[], visitor),
            None => Err(self.mismatch(&visitor)),
        }
    }

    fn map<'de, V: Visitor<'de>>(&self, entries: &[Entry], visitor: V) -> Result<V::Value, ReadError> {
        let missing = self.marks.missing.get(&self.path).map(Vec::as_slice).unwrap_or_default();
        visitor.visit_map(Entries {
            entries: entries.iter(),
            missing: missing.iter(),
            value: None,
            map: self.node,
            path: &self.path,
            marks: self.marks,
        })
    }

    /// A map; null is an empty one.
    fn map_or_null<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.entries() {
            Some(entries) => self.map(entries, visitor),
            None if self.node.is_null() => self.map(&[], visitor),
            None => Err(self.mismatch(&visitor)),
        }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, ReadError> {
    match (u64::try_from(value), i64::try_from(value)) {
        (Ok(value), _) => visitor.visit_u64(value),
        (_, Ok(value)) => visitor.visit_i64(value),
        _ => visitor.visit_i128(value),
    }
}

fn unexpected(scalar: &Scalar) -> Unexpected<'_> {
    match scalar.typed() {
        Typed::Null => Unexpected::Unit,
        Typed::Bool(value) => Unexpected::Bool(value),
        Typed::Float(value) => Unexpected::Float(value),
        Typed::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => Unexpected::Unsigned(value),
            (_, Ok(value)) => Unexpected::Signed(value),
            _ => Unexpected::Str(scalar.text()),
        },
        Typed::String => Unexpected::Str(scalar.text()),
        Typed::Collection if scalar.collection().is_some_and(|node| node.items().is_some()) => {
            Unexpected::Seq
        }
        Typed::Collection => Unexpected::Map,
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

/// The items of a list.
struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    path: &'a Path,
    marks: &'a Marks,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        for (index, item) in self.items.by_ref() {
            let path = self.path.index(index);
            if !self.marks.is_left_out(&path) {
                return Reader::new(item, path, self.marks).seed(seed).map(Some);
            }
        }
        Ok(None)
    }
}

/// The entries of a map without those that are left out, then the missing ones.
struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    missing: std::slice::Iter<'a, &'static str>,
    value: Option<(&'a Node, Path)>,
    map: &'a Node,
    path: &'a Path,
    marks: &'a Marks,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let (text, path, span, value) = loop {
            let (text, span, value) = match self.entries.next() {
                Some(entry) => (entry.key.text.as_str(), entry.key.span, &entry.value),
                None => match self.missing.next() {
                    Some(key) => (*key, self.map.span, self.map),
                    None => return Ok(None),
                },
            };
            let path = self.path.key(text);
            if !self.marks.is_left_out(&path) {
                break (text, path, span, value);
            }
        };
        self.value = Some((value, path.clone()));
        let key = Node::new(span, Value::Scalar(Scalar::literal(text.to_owned(), true)));
        Reader { node: &key, path, marks: self.marks, key: true }.seed(seed).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((node, path)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        Reader::new(node, path, self.marks).seed(seed)
    }
}

/// A choice: a name, and what stands below it.
struct Choice<'r, 'a> {
    name: &'r str,
    name_span: Span,
    content: Option<Reader<'r>>,
    reader: &'r Reader<'a>,
}

impl<'de, 'r> EnumAccess<'de> for Choice<'r, '_> {
    type Error = ReadError;
    type Variant = Content<'r>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'r>), ReadError> {
        let name = Node::new(self.name_span, Value::Scalar(Scalar::literal(self.name.to_owned(), false)));
        let reader =
            Reader { node: &name, path: self.reader.path.clone(), marks: self.reader.marks, key: false };
        let value = reader.seed(seed)?;
        Ok((value, Content { name: self.name.to_owned(), content: self.content }))
    }
}

/// What stands below the name of a choice.
struct Content<'r> {
    name: String,
    content: Option<Reader<'r>>,
}

impl<'r> Content<'r> {
    fn required(self) -> Result<Reader<'r>, ReadError> {
        let name = self.name;
        self.content.ok_or_else(|| de::Error::custom(format!("`{name}` needs a value: write `{name}: ...`")))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.content {
            Some(reader) if reader.placeholder().is_none() => de::Deserialize::deserialize(reader),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        self.required()?.seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, ReadError> {
        let reader = self.required()?;
        match reader.placeholder() {
            Some(placeholder) => reader.placed(|_| placeholder.deserialize_tuple(length, visitor)),
            None => reader.deserialize_tuple(length, visitor),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let reader = self.required()?;
        match reader.placeholder() {
            Some(placeholder) => reader.placed(|_| placeholder.deserialize_struct("", fields, visitor)),
            None => reader.deserialize_struct("", fields, visitor),
        }
    }
}
