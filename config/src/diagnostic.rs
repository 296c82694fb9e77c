//! Errors and warnings for people: message, position, source line with caret, what would be right.

use std::fmt;

use crate::tree::source::{SourceText, Span};
use crate::values::secret::redact_line;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but probably does not do what its author thinks.
    Warning,
}

/// The source line that a [`Diagnostic`] points at. Values of secret keys are already redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Name of the source.
    pub source: String,
    /// The line, cropped when very long.
    pub text: String,
    /// Characters before the first caret.
    pub indent: usize,
    /// Number of carets.
    pub carets: usize,
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The fault, one line.
    pub message: String,
    /// Short text beside the carets, such as a suggestion.
    pub label: Option<String>,
    /// Where it is; `None` when it is nowhere (a file that cannot be read, a missing section).
    pub span: Option<Span>,
    /// Key path, such as `exporters.clickhouse.batch.rows`; empty at the root.
    pub path: String,
    /// The remedies, one line each.
    pub help: Vec<String>,
    /// The source line; set from `span` where the sources are known.
    pub excerpt: Option<Excerpt>,
}

impl Diagnostic {
    /// An error without position.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A warning without position.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self {
            severity,
            message,
            label: None,
            span: None,
            path: String::new(),
            help: Vec::new(),
            excerpt: None,
        }
    }

    /// Adds the key path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Adds the text beside the carets.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a line of help.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds the position; the excerpt is filled in by [`crate::Document`].
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Fills the excerpt from the sources when there is a span.
    pub(crate) fn locate(&mut self, sources: &[SourceText]) {
        let Some(span) = self.span else { return };
        let Some(source) = sources.get(span.source.index()) else { return };
        self.excerpt = Some(excerpt(source, span));
    }
}

/// Widest part of a source line that is shown, in characters.
const WIDTH: usize = 160;

fn excerpt(source: &SourceText, span: Span) -> Excerpt {
    let start = usize::try_from(span.column).unwrap_or(usize::MAX).saturating_sub(1);
    let length = usize::try_from(span.length).unwrap_or(1).max(1);
    let (line, start, length) =
        redact_line(&source.text, usize::try_from(span.line).unwrap_or(usize::MAX), start, length);
    // A tab is one column in YAML but several on a terminal, and control characters could rewrite the screen.
    let characters: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = start.min(characters.len());
    let length = length.min(characters.len() - start).max(1);
    let crop = if start + 40 > WIDTH { start - 40 } else { 0 };
    let mut text: String = characters.iter().skip(crop).take(WIDTH).collect();
    let mut indent = start - crop;
    if crop > 0 {
        text.insert_str(0, "...");
        indent += 3;
    }
    if characters.len() > crop + WIDTH {
        text.push_str("...");
    }
    Excerpt { source: source.name.clone(), text, indent, carets: length.min(WIDTH) }
}

impl fmt::Display for Diagnostic {
    /// Several lines in the style of rustc, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{kind}: {}", self.message)?;
        let margin = self.span.map_or(1, |span| span.line.to_string().len());
        if let (Some(span), Some(excerpt)) = (self.span, &self.excerpt) {
            write!(f, "\n{:margin$}--> {}:{}:{}", "", excerpt.source, span.line, span.column)?;
            write!(f, "\n{:margin$} |", "")?;
            write!(f, "\n{} | {}", span.line, excerpt.text.trim_end())?;
            write!(
                f,
                "\n{:margin$} | {:indent$}{}",
                "",
                "",
                "^".repeat(excerpt.carets),
                indent = excerpt.indent
            )?;
            if let Some(label) = &self.label {
                write!(f, " {label}")?;
            }
        } else if let Some(label) = &self.label {
            write!(f, "\n{:margin$} = {label}", "")?;
        }
        if !self.path.is_empty() {
            write!(f, "\n{:margin$} = path: {}", "", self.path)?;
        }
        for help in &self.help {
            write!(f, "\n{:margin$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Most diagnostics kept together.
const MOST: usize = 1000;

/// Several diagnostics, in the order found. As an error it holds at least one error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. Beyond 1000 only a note is kept that there are more.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        match self.items.len() {
            ..MOST => self.items.push(diagnostic),
            MOST => {
                let more = format!("there are more; only the first {MOST} are shown");
                self.items.push(Diagnostic::error(more));
            }
            _ => {}
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Diagnostics) {
        for item in other {
            self.push(item);
        }
    }

    /// True when one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// True when there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// `value` when there are no errors, else all diagnostics.
    ///
    /// # Errors
    /// Itself, when it holds an error. Warnings are dropped with `Ok`; take them before.
    pub fn into_result<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.has_errors() { Err(self) } else { Ok(value) }
    }

    pub(crate) fn locate(&mut self, sources: &[SourceText]) {
        for item in &mut self.items {
            item.locate(sources);
        }
    }

    /// Sorts by source and position; those without position come last. Keeps the order of equals.
    pub(crate) fn sort(&mut self) {
        self.items.sort_by_key(|item| {
            item.span.map_or((u32::MAX, 0, 0), |span| (span.source.0, span.line, span.column))
        });
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { items: vec![diagnostic] }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl fmt::Display for Diagnostics {
    /// Every diagnostic, a blank line between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
