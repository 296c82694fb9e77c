//! Key paths such as `exporters.clickhouse.hosts[2]`, and the nodes they lead to.

use std::fmt;

use crate::tree::node::Node;
use crate::tree::source::Span;

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A key of a map.
    Key(String),
    /// An index of a list.
    Index(usize),
}

/// Steps from some node to one below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Path(pub(crate) Vec<Step>);

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        self.child(Step::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.child(Step::Index(index))
    }

    fn child(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Without the last step; `None` at the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// True when `other` lies strictly below.
    pub(crate) fn is_above(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// Reads `a.b[2]."c.d"`; text that is no path is one key.
    pub(crate) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for key in split(text) {
            let mut rest = key.as_str();
            let mut indexes = Vec::new();
            while let Some((head, index)) = rest.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
                let Ok(index) = index.parse() else { break };
                indexes.push(Step::Index(index));
                rest = head;
            }
            if !rest.is_empty() {
                steps.push(Step::Key(rest.to_owned()));
            }
            steps.extend(indexes.into_iter().rev());
        }
        Self(steps)
    }

    /// Follows the steps from `node` as far as they lead; gives the position of the last node found.
    pub(crate) fn find(&self, node: &Node) -> Span {
        let mut node = node;
        for step in &self.0 {
            let next = match step {
                Step::Key(name) => node.get(name),
                Step::Index(index) => node.items().and_then(|items| items.get(*index)),
            };
            let Some(next) = next else { break };
            node = next;
        }
        node.span
    }
}

/// Splits `a.b."c.d"` at dots outside double quotes. Quotes are removed.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    parts
}

/// Joins a base path and a step for people.
pub(crate) fn join(base: &str, path: &Path) -> String {
    let tail = path.to_string();
    match (base.is_empty(), tail.is_empty()) {
        (true, _) => tail,
        (_, true) => base.to_owned(),
        _ if tail.starts_with('[') => format!("{base}{tail}"),
        _ => format!("{base}.{tail}"),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    if key.contains('.') { write!(f, "\"{key}\"")? } else { f.write_str(key)? }
                }
            }
        }
        Ok(())
    }
}
