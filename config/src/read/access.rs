//! The parts of a list, a map and a choice, each read by a [`Reader`] of its own.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::read_error::ReadError;
use super::reader::{Marks, Reader};
use crate::tree::node::{Entry, Node, Scalar, Value};
use crate::tree::path::Path;
use crate::tree::source::Span;

impl Reader<'_> {
    /// Lets `seed` read this. An error without place gets this one: types that check after reading
    /// (`try_from`) or read from a buffer (`flatten`, tagged choices) raise it outside of the methods below.
    pub(super) fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
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

    pub(super) fn list<'de, V: Visitor<'de>>(
        &self,
        items: &[Node],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items { items: items.iter().enumerate(), path: &self.path, marks: self.marks })
    }

    /// A list; null is an empty one.
    pub(super) fn list_or_null<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.items() {
            Some(items) => self.list(items, visitor),
            None if self.node.is_null() => self.list(&[], visitor),
            None => Err(self.mismatch(&visitor)),
        }
    }

    pub(super) fn map<'de, V: Visitor<'de>>(
        &self,
        entries: &[Entry],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
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
    pub(super) fn map_or_null<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.entries() {
            Some(entries) => self.map(entries, visitor),
            None if self.node.is_null() => self.map(&[], visitor),
            None => Err(self.mismatch(&visitor)),
        }
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
pub(super) struct Choice<'r, 'a> {
    pub(super) name: &'r str,
    pub(super) name_span: Span,
    pub(super) content: Option<Reader<'r>>,
    pub(super) reader: &'r Reader<'a>,
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

/// The node below the name of a choice, if there is one.
pub(super) struct Content<'r> {
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
