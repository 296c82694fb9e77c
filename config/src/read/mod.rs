//! Deserialises one section and reports all its errors, not only the first.
//!
//! serde stops at the first error. So the section is read again and again, each time without the nodes
//! already reported (see [`Marks`]), until it succeeds or nothing new is found. Errors that follow from what
//! was left out are not shown.

mod access;
mod deserialize;
mod placeholder;
mod read_error;
mod reader;

use serde::de::DeserializeOwned;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::MAX_DIAGNOSTICS;
use crate::suggest::nearest;
use crate::tree::node::{Node, Value};
use crate::tree::path::{Path, Step, join, split};
use crate::tree::source::Span;
use crate::values::secret::{is_secret_key, redact_text};
use placeholder::ATTEMPTS;
use read_error::{ErrorKind, ReadError, ValueLocation};
use reader::{Mark, Marks, Reader};

/// Most runs over one section.
const MAX_RUNS: usize = 2000;
/// Longest value shown in a message, in characters.
const SHOWN: usize = 60;

/// Deserialises `node`, which lies at `base` in the document.
pub(crate) fn read<T: DeserializeOwned>(node: &Node, base: &str) -> Result<T, Diagnostics> {
    let mut report = Report { root: node, base, marks: Marks::default(), found: Diagnostics::new() };
    for _ in 0..MAX_RUNS {
        let error = match T::deserialize(Reader::new(node, Path::default(), &report.marks)) {
            Ok(value) if report.found.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        if !report.take(error) || report.found.len() >= MAX_DIAGNOSTICS {
            break;
        }
    }
    report.found.sort();
    Err(report.found)
}

struct Report<'a> {
    root: &'a Node,
    base: &'a str,
    marks: Marks,
    found: Diagnostics,
}

impl Report<'_> {
    /// Reports an error and marks its node. False when there is no way on.
    fn take(&mut self, error: ReadError) -> bool {
        let place = error.at.unwrap_or_else(|| ValueLocation {
            path: Path::default(),
            span: self.root.span,
            key: false,
            placeholder: false,
        });
        let ValueLocation { path, span, key, placeholder } = place;
        match error.kind {
            ErrorKind::UnknownKey { key: name, valid } => {
                // Buffered by serde (flatten, tagged choices): the place is the map, not the key.
                let (path, span) =
                    if key { (path, span) } else { self.key_in(&path, &name).unwrap_or((path, span)) };
                if placeholder {
                    return self.go_on(&path);
                }
                let message = format!("unknown key `{}`", crop(&name));
                self.push(&path, span, choices(Diagnostic::error(message), &name, valid, "valid keys"));
                self.leave_out(path)
            }
            ErrorKind::Missing(name) => {
                let missing = path.key(name);
                if placeholder {
                    return self.go_on(&path);
                }
                if self.marks.nodes.contains_key(&missing) {
                    // It was reported and left out, and the type cannot do without it.
                    return self.go_on(&missing);
                }
                let place = if self.base.is_empty() && path.0.is_empty() {
                    "here".to_owned()
                } else {
                    format!("in `{}`", join(self.base, &path))
                };
                self.push(&missing, span, Diagnostic::error(format!("missing key `{name}` {place}")));
                self.marks.missing.entry(path).or_default().push(name);
                self.marks.nodes.insert(missing, Mark::Placeholder(0));
                true
            }
            kind => {
                let known = self.marks.nodes.contains_key(&path);
                if !placeholder && !known && !self.is_consequence(&path) {
                    let diagnostic = self.explain(&path, kind);
                    self.push(&path, span, diagnostic);
                }
                if key { self.leave_out(path) } else { self.go_on(&path) }
            }
        }
    }

    fn explain(&self, path: &Path, kind: ErrorKind) -> Diagnostic {
        let secret = self.is_secret(path);
        let variable = self.node(path).and_then(|node| match &node.value {
            Value::Scalar(scalar) => scalar.variable(),
            _ => None,
        });
        let diagnostic = match kind {
            ErrorKind::UnknownChoice { choice, valid } => {
                let message = if secret {
                    "unknown choice".to_owned()
                } else {
                    format!("unknown choice `{}`", crop(&choice))
                };
                choices(Diagnostic::error(message), &choice, valid, "choices")
            }
            ErrorKind::Wrong { expected, found, value } => {
                let shown = value
                    .as_deref()
                    .filter(|_| !secret)
                    .map_or(String::new(), |value| format!(" `{}`", crop(&redact_text(value))));
                let found = if shown.is_empty() {
                    found.replace("the i", "an i").replace("the ", "a ")
                } else {
                    found.to_owned()
                };
                let diagnostic = Diagnostic::error(format!("expected {expected}, found {found}{shown}"));
                match value.as_deref() {
                    Some("yes" | "no" | "on" | "off") if expected.starts_with("`true`") => {
                        diagnostic.with_help("YAML 1.2 knows only `true` and `false`")
                    }
                    Some(value) if expected.starts_with("a list") && !secret => {
                        diagnostic.with_help(format!("write `[{}]`", crop(&redact_text(value))))
                    }
                    Some(value)
                        if found.ends_with("string")
                            && expected.contains("integer")
                            && value.parse::<i64>().is_ok() =>
                    {
                        diagnostic.with_help("remove the quotes")
                    }
                    _ => diagnostic,
                }
            }
            ErrorKind::Custom(_) if secret => Diagnostic::error("this value is not valid")
                .with_help("the reason may hold the secret, so it is not shown"),
            ErrorKind::Custom(message) => Diagnostic::error(message),
            ErrorKind::UnknownKey { key, .. } => Diagnostic::error(format!("unknown key `{}`", crop(&key))),
            ErrorKind::Missing(key) => Diagnostic::error(format!("missing key `{key}`")),
        };
        match variable {
            Some(name) => {
                diagnostic.with_help(format!("the value comes from the environment variable `{name}`"))
            }
            None => diagnostic,
        }
    }

    fn push(&mut self, path: &Path, span: Span, diagnostic: Diagnostic) {
        self.found.push(diagnostic.with_span(span).with_path(join(self.base, path)));
    }

    /// Leaves a node out. False when that was tried.
    fn leave_out(&mut self, path: Path) -> bool {
        self.marks.nodes.insert(path, Mark::LeftOut) != Some(Mark::LeftOut)
    }

    /// Marks a node so that the next run gets past it: leaves it out; when that does not help, puts a
    /// placeholder there; when its type accepts none, goes on with the node above it. False at the root.
    fn go_on(&mut self, path: &Path) -> bool {
        let Some(parent) = path.parent() else { return false };
        let mark = match self.marks.nodes.get(path) {
            None => Mark::LeftOut,
            Some(Mark::LeftOut) => Mark::Placeholder(0),
            Some(Mark::Placeholder(attempt)) if attempt + 1 < ATTEMPTS => Mark::Placeholder(attempt + 1),
            Some(Mark::Placeholder(_)) => return self.go_on(&parent),
        };
        self.marks.nodes.insert(path.clone(), mark);
        true
    }

    /// True when something below is marked: what the type says about the whole may come from that.
    fn is_consequence(&self, path: &Path) -> bool {
        self.marks.nodes.keys().any(|marked| path.is_above(marked))
    }

    fn is_secret(&self, path: &Path) -> bool {
        // The first two keys are the kind and id of a component.
        split(self.base).iter().skip(2).any(|key| is_secret_key(key))
            || path.0.iter().any(|step| matches!(step, Step::Key(key) if is_secret_key(key)))
    }

    fn node(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(self.root, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items()?.get(*index),
        })
    }

    fn key_in(&self, map: &Path, key: &str) -> Option<(Path, Span)> {
        let entry = self.node(map)?.entry(key)?;
        Some((map.key(key), entry.key.span))
    }
}

/// Adds the nearest and all valid names.
fn choices(diagnostic: Diagnostic, name: &str, valid: &[&str], title: &str) -> Diagnostic {
    let diagnostic = match nearest(name, valid.iter().copied()) {
        Some(near) => diagnostic.with_label(format!("did you mean `{near}`?")),
        None => diagnostic,
    };
    if valid.is_empty() {
        return diagnostic.with_help("no keys are valid here");
    }
    diagnostic.with_help(format!("{title}: {}", valid.join(", ")))
}

fn crop(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > SHOWN {
        short.push_str("...");
    }
    short
}
