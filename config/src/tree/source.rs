//! Where configuration text comes from, and positions in it.

use std::fmt;

/// One text that takes part in a configuration: a file, a `--set` option, a string in a test. `Debug` does
/// not show the text: it may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceText {
    /// Name shown in diagnostics, usually the path as the user gave it.
    pub name: String,
    /// The YAML text.
    pub text: String,
}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceText({:?}, {} bytes)", self.name, self.text.len())
    }
}

impl SourceText {
    /// A source with a name for diagnostics and its YAML text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// Index of a [`SourceText`] in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceId(pub(crate) u32);

impl SourceId {
    pub(crate) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A stretch of characters on one line of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The source.
    pub source: SourceId,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters covered on this line, at least 1.
    pub length: u32,
}
