//! The configuration as a tree in which every node and key has a position.

use std::fmt;

use crate::tree::scalar::{Typed, typed};
use crate::tree::source::Span;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Position to point at: a scalar's own; for null, lists and maps that of the key before them, if there
    /// is one.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// The content of a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, not yet typed.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A map in the order written; keys are unique.
    Map(Vec<Entry>),
}

/// A scalar: its text after expansion, and how it was written. `Debug` does not show the text: it may be a
/// secret.
#[derive(Clone, PartialEq)]
pub struct Scalar {
    text: String,
    plain: bool,
    origin: Origin,
}

/// Where the text of a scalar comes from.
#[derive(Clone, PartialEq)]
enum Origin {
    /// Written in the source.
    Literal,
    /// The whole value was one `${env:...}`. `collection` is the list or map it spells in flow style, if it
    /// does.
    Substituted { variable: String, collection: Option<Box<Node>> },
}

/// A key of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The text of the key.
    pub text: String,
    /// Where it was written.
    pub span: Span,
}

impl Node {
    pub(crate) fn new(span: Span, value: Value) -> Self {
        Self { span, value }
    }

    /// True for null, and for a substituted value that expanded to nothing or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar(scalar) => scalar.typed() == Typed::Null,
            _ => false,
        }
    }

    /// The text of a scalar; `None` for null, lists and maps.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar.text()),
            _ => None,
        }
    }

    /// The entries of a map (also of one that came from the environment); `None` for everything else.
    #[must_use]
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Scalar(scalar) => scalar.collection().and_then(Node::entries),
            _ => None,
        }
    }

    /// The items of a list (also of one that came from the environment); `None` for everything else.
    #[must_use]
    pub fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            Value::Scalar(scalar) => scalar.collection().and_then(Node::items),
            _ => None,
        }
    }

    /// The entry of a map with this key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key.text == key)
    }

    /// The value of a map under this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Words for messages: what kind of value this is.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Sequence(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar(scalar) => match scalar.typed() {
                Typed::Null => "null",
                Typed::Bool(_) => "a boolean",
                Typed::Integer(_) => "an integer",
                Typed::Float(_) => "a number",
                Typed::String => "a string",
                Typed::Collection => "a list or map",
            },
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scalar({} bytes)", self.text.len())
    }
}

impl Scalar {
    pub(crate) fn literal(text: String, plain: bool) -> Self {
        Self { text, plain, origin: Origin::Literal }
    }

    pub(crate) fn substituted(text: String, variable: String, collection: Option<Node>) -> Self {
        Self {
            text,
            plain: true,
            origin: Origin::Substituted { variable, collection: collection.map(Box::new) },
        }
    }

    /// The text, after expansion and without quotes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True when quotes or a block style make it a string whatever it looks like.
    #[must_use]
    pub fn is_quoted(&self) -> bool {
        !self.plain
    }

    /// The variable when the whole value came from one `${env:NAME}`.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        match &self.origin {
            Origin::Literal => None,
            Origin::Substituted { variable, .. } => Some(variable),
        }
    }

    /// The list or map that a substituted value spells.
    pub(crate) fn collection(&self) -> Option<&Node> {
        match &self.origin {
            Origin::Literal => None,
            Origin::Substituted { collection, .. } => collection.as_deref(),
        }
    }

    /// The type of this scalar.
    #[must_use]
    pub fn typed(&self) -> Typed {
        if self.collection().is_some() {
            Typed::Collection
        } else if self.plain {
            typed(&self.text)
        } else {
            Typed::String
        }
    }
}
