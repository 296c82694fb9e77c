//! The error of [`crate::read::deserialize`]: what is wrong in words for people, and at which node.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::tree::path::Path;
use crate::tree::source::Span;

/// An error, and where it happened.
#[derive(Debug)]
pub(crate) struct ReadError {
    pub(crate) kind: ErrorKind,
    pub(crate) at: Option<ValueLocation>,
}

/// Where a [`ReadError`] happened.
#[derive(Debug)]
pub(crate) struct ValueLocation {
    pub(crate) path: Path,
    pub(crate) span: Span,
    /// It is about the key, not the value.
    pub(crate) key: bool,
    /// A placeholder stands there for a value that was reported, so the error means nothing.
    pub(crate) placeholder: bool,
}

/// The kind of an error.
#[derive(Debug)]
pub(crate) enum ErrorKind {
    /// A key that the type does not have.
    UnknownKey { key: String, valid: &'static [&'static str] },
    /// A choice that the type does not have.
    UnknownChoice { choice: String, valid: &'static [&'static str] },
    /// A key that the type needs.
    Missing(&'static str),
    /// A value of the wrong type or out of range. `value` is its text when it is short and known.
    Wrong { expected: String, found: &'static str, value: Option<String> },
    /// The words of the type itself.
    Custom(String),
}

impl ReadError {
    fn new(kind: ErrorKind) -> Self {
        Self { kind, at: None }
    }

    pub(crate) fn wrong(unexpected: &Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, value) = match unexpected {
            Unexpected::Bool(value) => ("the boolean", Some(value.to_string())),
            Unexpected::Unsigned(value) => ("the integer", Some(value.to_string())),
            Unexpected::Signed(value) => ("the integer", Some(value.to_string())),
            Unexpected::Float(value) => ("the number", Some(value.to_string())),
            Unexpected::Char(value) => ("the string", Some(value.to_string())),
            Unexpected::Str(value) => ("the string", Some((*value).to_owned())),
            Unexpected::Unit | Unexpected::Option => ("null", None),
            Unexpected::Seq => ("a list", None),
            Unexpected::Map => ("a map", None),
            _ => ("something else", None),
        };
        Self::new(ErrorKind::Wrong { expected: in_words(&expected.to_string()), found, value })
    }
}

/// Says what serde and Rust types call by their own names.
fn in_words(expected: &str) -> String {
    let range = |low: &str, high: &str| format!("an integer from {low} to {high}");
    let name = expected.strip_prefix("a nonzero ").unwrap_or(expected);
    let zero = if name == expected { "0" } else { "1" };
    match name {
        "u8" => range(zero, "255"),
        "u16" => range(zero, "65535"),
        "u32" => range(zero, "4294967295"),
        "u64" | "u128" | "usize" => {
            if zero == "0" { "an integer, 0 or more" } else { "an integer, 1 or more" }.to_owned()
        }
        "i8" => range("-128", "127"),
        "i16" => range("-32768", "32767"),
        "i32" => range("-2147483648", "2147483647"),
        "i64" | "i128" | "isize" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "path string" => "a path".to_owned(),
        "string or map" => "a name or a map with one key".to_owned(),
        _ if name.starts_with("struct ") => "a map".to_owned(),
        _ if name.starts_with("tuple") => "a list".to_owned(),
        _ => expected.to_owned(),
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            ErrorKind::UnknownChoice { choice, .. } => write!(f, "`{choice}` is not one of the choices"),
            ErrorKind::Missing(key) => write!(f, "missing key `{key}`"),
            ErrorKind::Wrong { expected, found, .. } => write!(f, "expected {expected}, found {found}"),
            ErrorKind::Custom(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(ErrorKind::Custom(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(&unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(&unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(ErrorKind::UnknownKey { key: field.to_owned(), valid: expected })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(ErrorKind::UnknownChoice { choice: variant.to_owned(), valid: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(ErrorKind::Missing(field))
    }
}
