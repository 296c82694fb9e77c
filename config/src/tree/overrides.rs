//! `--set key.path=value`: one value laid over the configuration from the command line.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::MAX_DEPTH;
use crate::tree::merge::merge;
use crate::tree::node::{Entry, Key, Node, Value};
use crate::tree::parse::parse;
use crate::tree::path::split;
use crate::tree::source::{SourceId, Span};

/// Applies one option to the tree. The value is YAML: a map is merged, everything else replaces, also null.
/// In the path dots separate keys, double quotes protect dots inside a key, a number selects an item of a
/// list (its length appends).
pub(crate) fn apply(root: &mut Node, source: SourceId, text: &str, found: &mut Diagnostics) {
    let span = |column: usize, length: usize| Span {
        source,
        line: 1,
        column: number(column).saturating_add(1),
        length: number(length.max(1)),
    };
    let Some((path, value)) = text.split_once('=') else {
        let wrong =
            Diagnostic::error("--set needs `key.path=value`").with_span(span(0, text.chars().count()));
        found.push(wrong.with_help("for example `--set service.shutdown_timeout=10s`"));
        return;
    };
    let columns = path.chars().count();
    let keys = split(path);
    if keys.iter().any(String::is_empty) {
        let wrong = Diagnostic::error("the path of --set has an empty key").with_span(span(0, columns));
        found.push(wrong.with_help(
            "write keys with single dots between them; put a key that holds dots into double quotes",
        ));
        return;
    }
    if keys.len() >= MAX_DEPTH {
        found.push(
            Diagnostic::error(format!("the path of --set is deeper than {MAX_DEPTH}"))
                .with_span(span(0, columns)),
        );
        return;
    }
    let mut problems = Diagnostics::new();
    let parsed = parse(source, value, &mut problems);
    for mut problem in problems {
        problem.span = problem.span.map(|span| shifted(span, columns + 1));
        found.push(problem);
    }
    let Some(mut value) = parsed else { return };
    shift(&mut value, columns + 1);
    let whole = span(0, columns);
    if !matches!(value.value, Value::Scalar(_)) {
        value.span = whole;
    }
    if let Err(wrong) = place(root, &keys, whole, value) {
        found.push(wrong.with_span(whole));
    }
}

/// Walks to the place and puts the value there; missing maps are made on the way.
fn place(root: &mut Node, keys: &[String], span: Span, value: Node) -> Result<(), Box<Diagnostic>> {
    let mut node = root;
    for (depth, key) in keys.iter().enumerate() {
        if matches!(node.value, Value::Null) {
            node.value = Value::Map(Vec::new());
        }
        let kind = node.describe();
        node = match &mut node.value {
            Value::Map(entries) => {
                let position = entries.iter().position(|entry| entry.key.text == *key).unwrap_or_else(|| {
                    let key = Key { text: key.clone(), span };
                    entries.push(Entry { key, value: Node::new(span, Value::Null) });
                    entries.len() - 1
                });
                &mut entries[position].value
            }
            Value::Sequence(items) => {
                let length = items.len();
                let index = key.parse::<usize>().ok().filter(|index| *index <= length).ok_or_else(|| {
                    let parent = keys[..depth].join(".");
                    let wrong = format!("`{parent}` is a list of {length}; `{key}` is not a position in it");
                    let help = format!("use a number from 0 to {length} ({length} appends)");
                    Box::new(Diagnostic::error(wrong).with_help(help))
                })?;
                if index == length {
                    items.push(Node::new(span, Value::Null));
                }
                &mut items[index]
            }
            _ => {
                let parent = keys[..depth].join(".");
                let help = format!("replace it as a whole: --set '{parent}={{{key}: ...}}'");
                let wrong = Diagnostic::error(format!("`{parent}` is {kind}, so it has no key `{key}`"));
                return Err(Box::new(wrong.with_help(help)));
            }
        };
    }
    if matches!(value.value, Value::Map(_)) {
        merge(node, value);
    } else {
        *node = value;
    }
    Ok(())
}

fn shift(node: &mut Node, columns: usize) {
    node.span = shifted(node.span, columns);
    match &mut node.value {
        Value::Null | Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| shift(item, columns)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key.span = shifted(entry.key.span, columns);
                shift(&mut entry.value, columns);
            }
        }
    }
}

/// The value begins behind `key.path=`, so what stands on its first line moves to the right.
fn shifted(span: Span, columns: usize) -> Span {
    if span.line == 1 { Span { column: span.column.saturating_add(number(columns)), ..span } } else { span }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
