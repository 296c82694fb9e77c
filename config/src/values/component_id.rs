//! Component ids `type` and `type/name`, by the rules of the OpenTelemetry Collector.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// `type` or `type/name`. The type says which component it is, the name tells instances apart.
///
/// Type: `[a-zA-Z][0-9a-zA-Z_]{0,62}`. Name: 1 to 1024 characters, none of them space, control or symbol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    kind: String,
    name: Option<String>,
}

/// Why a text is not a [`ComponentId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentIdError {
    /// The part before `/` breaks the rule.
    #[error(
        "`{0}` is not a component type: it must begin with a letter and hold at most 63 letters, digits and `_`"
    )]
    Kind(String),
    /// The part after `/` breaks the rule.
    #[error(
        "`{0}` is not a component name: it must be 1 to 1024 characters without spaces, control characters and symbols"
    )]
    Name(String),
}

impl ComponentId {
    /// Makes an id from its parts.
    ///
    /// # Errors
    /// A part that breaks its rule.
    pub fn new(kind: &str, name: Option<&str>) -> Result<Self, ComponentIdError> {
        if !is_kind(kind) {
            return Err(ComponentIdError::Kind(kind.to_owned()));
        }
        if let Some(name) = name
            && !is_name(name)
        {
            return Err(ComponentIdError::Name(name.to_owned()));
        }
        Ok(Self { kind: kind.to_owned(), name: name.map(str::to_owned) })
    }

    /// The type: which factory builds it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name after `/`, if any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn is_kind(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    (1..=1024).contains(&length)
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !is_symbol(c))
}

/// The symbols (Unicode class S) of ASCII and Latin-1, and the blocks that hold nothing but symbols.
fn is_symbol(c: char) -> bool {
    matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
        || matches!(c, '\u{a2}'..='\u{a6}' | '\u{a8}' | '\u{a9}' | '\u{ac}' | '\u{ae}'..='\u{b1}')
        || matches!(c, '\u{b4}' | '\u{b8}' | '\u{d7}' | '\u{f7}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{20a0}'..='\u{20cf}' | '\u{2190}'..='\u{23ff}' | '\u{2500}'..='\u{2767}')
        || matches!(c, '\u{1f000}'..='\u{1faff}')
}

impl FromStr for ComponentId {
    type Err = ComponentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((kind, name)) => Self::new(kind.trim(), Some(name.trim())),
            None => Self::new(text.trim(), None),
        }
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match &self.name {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for ComponentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ComponentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_they_were_written() {
        for text in ["kafka", "skywalking_kafka/bj-1", "a/b/c", "traces/主"] {
            assert_eq!(text.parse::<ComponentId>().unwrap().to_string(), text);
        }
        let id: ComponentId = "file/in".parse().unwrap();
        assert_eq!((id.kind(), id.name()), ("file", Some("in")));
    }

    #[test]
    fn ids_outside_the_rules_are_rejected() {
        let long = "a".repeat(64);
        for text in ["", "/x", "1a", "a-b", "a b", "kafka/", "kafka/a b", "kafka/a$b", &long] {
            assert!(text.parse::<ComponentId>().is_err(), "{text:?}");
        }
    }
}
