//! `${env:NAME}`, `${env:NAME:-default}` and `$$` in scalars.
//!
//! The text of a variable is taken as it is: a `$` in it is not expanded again. The default is expanded. Keys
//! are not.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::{MAX_DIAGNOSTICS, MAX_NODES, MAX_TEXT_BYTES};
use crate::tree::node::{Node, Scalar, Value};
use crate::tree::parse::{parse, weigh};
use crate::tree::path::Path;
use crate::tree::source::Span;

/// Expands every scalar of the tree in place. Wrong and unset references are reported, all of them.
pub(crate) fn substitute(root: &mut Node, env: &dyn Fn(&str) -> Option<String>, found: &mut Diagnostics) {
    let mut expander = Expander { env, found, bytes: 0, nodes: 0 };
    expander.node(root, &Path::default());
}

struct Expander<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    found: &'a mut Diagnostics,
    /// Text made so far, against texts that name a long variable many times.
    bytes: usize,
    /// Values made so far from lists and maps in variables.
    nodes: usize,
}

/// Deepest nesting of defaults in defaults.
const MAX_NESTING: usize = 16;

/// A fault in a reference, and where it is in the text (characters).
struct Problem {
    message: String,
    help: String,
    at: usize,
    length: usize,
}

impl Expander<'_> {
    fn node(&mut self, node: &mut Node, path: &Path) {
        match &mut node.value {
            Value::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &path.index(index));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    self.node(&mut entry.value, &path.key(&entry.key.text));
                }
            }
            Value::Scalar(scalar) if scalar.text().contains('$') => {
                let span = node.span;
                let mut problems = Vec::new();
                let expanded = self.expand(scalar.text(), 0, 0, &mut problems);
                if problems.is_empty() {
                    *scalar = self.typed_result(scalar, expanded, span);
                }
                for problem in problems {
                    let at = within(span, scalar, &problem);
                    let wrong = Diagnostic::error(problem.message).with_span(at).with_path(path.to_string());
                    self.found.push(wrong.with_help(problem.help));
                }
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }

    /// Expands a text. `offset` is where it begins in the scalar, in characters.
    fn expand(&mut self, text: &str, offset: usize, depth: usize, problems: &mut Vec<Problem>) -> String {
        let mut out = String::new();
        let mut rest = text;
        let mut at = offset;
        while let Some(dollar) = rest.find('$') {
            if problems.len() >= MAX_DIAGNOSTICS {
                return out;
            }
            out.push_str(&rest[..dollar]);
            at += rest[..dollar].chars().count();
            let tail = &rest[dollar..];
            if let Some(after) = tail.strip_prefix("$$") {
                out.push('$');
                at += 2;
                rest = after;
            } else if let Some(body) = tail.strip_prefix("${") {
                let Some(end) = closing_brace(body) else {
                    problems.push(Problem {
                        message: "`${` is not closed".to_owned(),
                        help: "close it with `}`, or write `$${` for the two characters".to_owned(),
                        at,
                        length: tail.chars().count(),
                    });
                    return out;
                };
                let reference = &body[..end];
                out.push_str(&self.reference(reference, at, depth, problems));
                at += reference.chars().count() + 3;
                rest = &body[end + 1..];
            } else {
                out.push('$');
                at += 1;
                rest = &tail[1..];
            }
        }
        out.push_str(rest);
        self.bytes = self.bytes.saturating_add(out.len());
        if self.bytes > MAX_TEXT_BYTES {
            problems.push(Problem {
                message: format!("the expanded values are longer than {MAX_TEXT_BYTES} bytes together"),
                help: "use shorter variables or fewer references".to_owned(),
                at: offset,
                length: 1,
            });
            return String::new();
        }
        out
    }

    /// A value that is one reference as a whole gets its type from the expanded text, also inside quotes
    /// (flow lists need them). Otherwise quotes decide as usual.
    fn typed_result(&mut self, scalar: &Scalar, expanded: String, span: Span) -> Scalar {
        let text = scalar.text();
        let whole = text
            .strip_prefix("${env:")
            .filter(|body| closing_brace(body).is_some_and(|end| end + 1 == body.len()))
            .map(|body| body.split([':', '}']).next().unwrap_or_default().to_owned());
        let Some(variable) = whole else { return Scalar::literal(expanded, !scalar.is_quoted()) };
        let collection = collection(&expanded, span).filter(|node| {
            self.nodes = self.nodes.saturating_add(weigh(node).nodes);
            self.nodes <= MAX_NODES
        });
        Scalar::substituted(expanded, variable, collection)
    }

    /// The text for what stands between `${` and `}`.
    fn reference(&mut self, reference: &str, at: usize, depth: usize, problems: &mut Vec<Problem>) -> String {
        let length = reference.chars().count() + 3;
        let mut problem =
            |message: String, help: String| problems.push(Problem { message, help, at, length });
        let Some(body) = reference.strip_prefix("env:") else {
            let help = if is_name(reference) {
                format!(
                    "write `${{env:{reference}}}` for the environment variable, or `$${{{reference}}}` for the text itself"
                )
            } else {
                "write `${env:NAME}` or `${env:NAME:-default}`; write `$${` for the text itself".to_owned()
            };
            problem(format!("`${{{}}}` is not a known reference", crop(reference)), help);
            return String::new();
        };
        let (name, default) = match body.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (body, None),
        };
        if !is_name(name) {
            let help = "a name begins with a letter or `_` and holds letters, digits and `_`; a default follows `:-`";
            problem(format!("`{}` is not the name of an environment variable", crop(name)), help.to_owned());
            return String::new();
        }
        if depth >= MAX_NESTING {
            problem(
                format!("defaults are nested deeper than {MAX_NESTING}"),
                "simplify the default".to_owned(),
            );
            return String::new();
        }
        match ((self.env)(name), default) {
            (Some(value), _) => value,
            (None, Some(default)) => {
                let offset = at + 2 + "env:".len() + name.len() + 2;
                self.expand(default, offset, depth + 1, problems)
            }
            (None, None) => {
                let help = format!("set it, or give a default: `${{env:{name}:-default}}`");
                problem(format!("the environment variable `{name}` is not set"), help);
                String::new()
            }
        }
    }
}

/// The list or map that a text spells in flow style.
fn collection(text: &str, span: Span) -> Option<Node> {
    let trimmed = text.trim();
    if !(trimmed.starts_with('[') && trimmed.ends_with(']')
        || trimmed.starts_with('{') && trimmed.ends_with('}'))
    {
        return None;
    }
    let mut problems = Diagnostics::new();
    let mut node = parse(span.source, trimmed, &mut problems)?;
    if !problems.is_empty() || matches!(node.value, Value::Scalar(_) | Value::Null) {
        return None;
    }
    place_all(&mut node, span);
    Some(node)
}

/// Everything that came from a variable is shown where the variable is named.
fn place_all(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.value {
        Value::Null | Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| place_all(item, span)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key.span = span;
                place_all(&mut entry.value, span);
            }
        }
    }
}

/// Bytes before the `}` that closes; braces inside must pair.
fn closing_brace(body: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (index, c) in body.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(index),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The part of the scalar's span that a problem is about, when the scalar stands in the source as it is read.
fn within(span: Span, scalar: &Scalar, problem: &Problem) -> Span {
    let quotes = if scalar.is_quoted() { 2 } else { 0 };
    let written = usize::try_from(span.length).unwrap_or(0);
    if scalar.text().chars().count() + quotes != written {
        return span;
    }
    let at = u32::try_from(problem.at + quotes / 2).unwrap_or(0);
    Span {
        column: span.column.saturating_add(at),
        length: u32::try_from(problem.length).unwrap_or(1),
        ..span
    }
}

fn crop(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}
