//! The tree of a trace's spans, as text.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use serde_json::Value;

use crate::commands::printable::printable;

/// Texts of a tree are not wider.
const WIDEST: usize = 72;
/// Spans that are deeper are shown at this depth.
const DEEPEST: usize = 20;

/// A span of the trace.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) kind: String,
    pub(super) failed: bool,
    pub(super) message: String,
    pub(super) peer: String,
    /// Nanoseconds.
    pub(super) start: i64,
    pub(super) duration: i64,
}

impl Span {
    /// Reads a row.
    pub(super) fn of(row: &Value) -> Span {
        // Anybody may have said it.
        let text = |name: &str| printable(row[name].as_str().unwrap_or_default());
        let first_line = |name: &str| row[name].as_str().unwrap_or_default().lines().next().map(printable);
        // Servers write whole numbers of 64 bits as texts.
        let number =
            |name: &str| row[name].as_i64().or_else(|| row[name].as_str()?.parse().ok()).unwrap_or(0);
        Span {
            id: text("span_id"),
            parent: text("parent_span_id"),
            service: text("service"),
            operation: text("operation"),
            kind: text("kind"),
            failed: row["status"] == "error",
            message: first_line("status_message").unwrap_or_default(),
            peer: text("peer"),
            start: number("start"),
            duration: number("duration_ns").max(0),
        }
    }

    fn end(&self) -> i64 {
        self.start.saturating_add(self.duration)
    }
}

/// The tree: a head, the way of the services, and a line for each span below its parent.
pub(super) fn draw(id: &str, mut spans: Vec<Span>) -> String {
    spans.sort_by(|one, other| (one.start, &one.id).cmp(&(other.start, &other.id)));
    // A span that was stored twice is shown once.
    let mut known = HashSet::new();
    spans.retain(|span| span.id.is_empty() || known.insert(span.id.clone()));
    let lines = Tree::of(&spans).lines();
    let begin = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let end = spans.iter().map(Span::end).max().unwrap_or(0);
    let failed = spans.iter().filter(|span| span.failed).count();
    let mut services: Vec<&str> = Vec::new();
    for line in &lines {
        let service = spans[line.span].service.as_str();
        if !service.is_empty() && !services.contains(&service) {
            services.push(service);
        }
    }
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut text = format!(
        "trace {id}: {}, {}, {}, {}\n{}\n\n",
        plural(spans.len(), "span"),
        plural(services.len(), "service"),
        plural(failed, "error"),
        shown(end.saturating_sub(begin)),
        services.join(" → ")
    );
    let name = |line: &Line| {
        let span = &spans[line.span];
        let peer = if span.peer.is_empty() { String::new() } else { format!(" → {}", span.peer) };
        let name = format!("{}{} {}{peer}", line.branch, span.service, span.operation);
        if name.chars().count() > WIDEST {
            name.chars().take(WIDEST - 1).chain(['…']).collect()
        } else {
            name
        }
    };
    let names: Vec<String> = lines.iter().map(name).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (line, name) in lines.iter().zip(&names) {
        let span = &spans[line.span];
        let room = " ".repeat(width - name.chars().count());
        let error = match (span.failed, span.message.as_str()) {
            (false, _) => String::new(),
            (true, "") => "  ERROR".to_owned(),
            (true, message) => format!("  ERROR {}", message.lines().next().unwrap_or_default()),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{name}{room}  {:8}  +{:>9}  {:>9}  self {:>9}{error}",
            span.kind,
            shown(span.start.saturating_sub(begin)),
            shown(span.duration),
            shown(line.own),
        );
    }
    text
}

/// A line of the tree.
struct Line {
    span: usize,
    /// What is before the name.
    branch: String,
    /// The span's own time.
    own: i64,
}

/// The children of each span.
struct Tree<'a> {
    spans: &'a [Span],
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn of(spans: &'a [Span]) -> Tree<'a> {
        let by_id: HashMap<&str, usize> =
            spans.iter().enumerate().map(|(at, span)| (span.id.as_str(), at)).collect();
        let (mut children, mut roots) = (vec![Vec::new(); spans.len()], Vec::new());
        for (at, span) in spans.iter().enumerate() {
            match by_id.get(span.parent.as_str()).filter(|_| !span.parent.is_empty()) {
                Some(parent) if *parent != at => children[*parent].push(at),
                // Its parent is not there, or it is one.
                _ => roots.push(at),
            }
        }
        Tree { spans, children, roots }
    }

    /// All spans once, each below its parent. Those that are their own ancestors come at the end.
    fn lines(&self) -> Vec<Line> {
        let (mut lines, mut drawn) = (Vec::new(), vec![false; self.spans.len()]);
        for root in self.roots.iter().copied().chain(0..self.spans.len()) {
            self.below(root, &mut lines, &mut drawn);
        }
        lines
    }

    fn below(&self, root: usize, lines: &mut Vec<Line>, drawn: &mut [bool]) {
        // The next one last: a trace may be deeper than a thread's stack.
        let mut todo = vec![(root, String::new(), String::new(), 0)];
        while let Some((at, branch, indent, depth)) = todo.pop() {
            if std::mem::replace(&mut drawn[at], true) {
                continue;
            }
            lines.push(Line { span: at, branch, own: self.own(at) });
            for (number, child) in self.children[at].iter().enumerate().rev() {
                let (corner, below) = match number + 1 == self.children[at].len() {
                    _ if depth >= DEEPEST => ("… ", ""),
                    true => ("└─ ", "   "),
                    false => ("├─ ", "│  "),
                };
                todo.push((*child, format!("{indent}{corner}"), format!("{indent}{below}"), depth + 1));
            }
        }
    }

    /// The time of a span in which none of its children runs.
    fn own(&self, at: usize) -> i64 {
        let span = &self.spans[at];
        let (mut covered, mut until) = (0, span.start);
        // They are in the order of their beginnings.
        for child in self.children[at].iter().map(|child| &self.spans[*child]) {
            let (from, to) = (child.start.max(until), child.end().min(span.end()));
            covered += to.saturating_sub(from).max(0);
            until = until.max(to);
        }
        span.duration - covered
    }
}

/// A time, in a unit that fits it.
fn shown(nanos: i64) -> String {
    let nanos = nanos as f64;
    match nanos {
        ..1e6 => format!("{:.0} µs", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}
