//! A node that is read: its place in errors, and its scalar as serde sees it.
//!
//! Reading goes on after an error by [`Marks`]: a node that was already reported is left out of the next run.
//! Where its type cannot do without it, a [`Placeholder`] stands in for it. A run with marks is only good for
//! its errors.

use std::collections::HashMap;

use serde::de::{Expected, Unexpected, Visitor};

use super::placeholder::Placeholder;
use super::read_error::{ReadError, ValueLocation};
use crate::tree::node::{Node, Scalar, Value};
use crate::tree::path::Path;
use crate::tree::scalar::Typed;

/// How a node that was reported is treated from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The entry or item is left out.
    LeftOut,
    /// A [`Placeholder`] stands in for the value: the attempt with this index.
    Placeholder(usize),
}

/// The differences of this run to the first one.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) nodes: HashMap<Path, Mark>,
    /// Keys that are not written and that the type cannot do without, by their map. Each has a placeholder in
    /// `nodes`.
    pub(crate) missing: HashMap<Path, Vec<&'static str>>,
}

impl Marks {
    pub(super) fn is_left_out(&self, path: &Path) -> bool {
        self.nodes.get(path) == Some(&Mark::LeftOut)
    }
}

/// Reads one node.
pub(crate) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path,
    pub(super) marks: &'a Marks,
    /// The node stands for a key: always text unless a number is asked for.
    pub(super) key: bool,
}

impl<'a> Reader<'a> {
    /// A reader for `node`, which lies at `path` for the marks and in errors.
    pub(crate) fn new(node: &'a Node, path: Path, marks: &'a Marks) -> Self {
        Self { node, path, marks, key: false }
    }

    /// Runs `body`; an error without place gets this one.
    pub(super) fn placed<T>(self, body: impl FnOnce(&Self) -> Result<T, ReadError>) -> Result<T, ReadError> {
        body(&self).map_err(|mut error| {
            error.at.get_or_insert_with(|| self.place());
            error
        })
    }

    pub(super) fn place(&self) -> ValueLocation {
        ValueLocation {
            path: self.path.clone(),
            span: self.node.span,
            key: self.key,
            placeholder: self.placeholder().is_some(),
        }
    }

    /// The stand-in for the value, if it has one.
    pub(super) fn placeholder(&self) -> Option<Placeholder> {
        match self.marks.nodes.get(&self.path)? {
            Mark::Placeholder(attempt) if !self.key => Some(Placeholder::new(*attempt)),
            Mark::Placeholder(_) | Mark::LeftOut => None,
        }
    }

    pub(super) fn mismatch(&self, expected: &dyn Expected) -> ReadError {
        match &self.node.value {
            Value::Null => ReadError::wrong(&Unexpected::Unit, expected),
            Value::Sequence(_) => ReadError::wrong(&Unexpected::Seq, expected),
            Value::Map(_) => ReadError::wrong(&Unexpected::Map, expected),
            Value::Scalar(scalar) => ReadError::wrong(&unexpected(scalar), expected),
        }
    }

    pub(super) fn number<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar(scalar) => match scalar.typed() {
                Typed::Integer(value) => visit_integer(value, visitor),
                Typed::Float(value) => visitor.visit_f64(value),
                _ => Err(self.mismatch(&visitor)),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    pub(super) fn text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar(scalar) => visitor.visit_str(scalar.text()),
            _ => Err(self.mismatch(&visitor)),
        }
    }
}

pub(super) fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, ReadError> {
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
