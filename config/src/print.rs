//! Prints a document as YAML that loads to the same document.

use crate::document::Document;
use crate::tree::node::{Entry, Node, Scalar, Value};
use crate::tree::scalar::{Typed, typed};
use crate::values::secret::{REDACTED, is_address_key, is_secret_key, redact_address, redact_text};

/// The merged and expanded configuration as YAML in block style. `$` is written as `$$`, so the text can be
/// loaded again.
///
/// With `redacted`, every scalar below a key that [`is_secret_key`] knows is `[REDACTED]`, whether it was
/// written there or came from the environment; so are the password in `scheme://user:password@host`, query
/// parameters with such a name (`?access_token=...`), and below keys that end in `url` what stands behind the
/// host. A secret below a key of another name is not recognised.
#[must_use]
pub fn print_config(document: &Document, redacted: bool) -> String {
    let mut printer = Printer { out: String::new(), redacted };
    printer.node(document.root(), 0, Kind::Plain);
    printer.out
}

struct Printer {
    out: String,
    redacted: bool,
}

/// The meaning that the keys above give to a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Address,
    Secret,
}

impl Printer {
    /// Prints a value; the cursor stands behind `key:` or `-` or at the start of the text.
    fn node(&mut self, node: &Node, indent: usize, kind: Kind) {
        if let Some(entries) = node.entries() {
            if entries.is_empty() {
                self.inline("{}", indent);
                return;
            }
            self.break_line(indent);
            self.entries(entries, indent, kind, false);
        } else if let Some(items) = node.items() {
            if items.is_empty() {
                self.inline("[]", indent);
                return;
            }
            self.break_line(indent);
            for item in items {
                self.indent(indent);
                self.out.push('-');
                match item.entries() {
                    Some(entries) if !entries.is_empty() => {
                        self.out.push(' ');
                        self.entries(entries, indent + 1, kind, true);
                    }
                    _ => self.node(item, indent + 1, kind),
                }
            }
        } else {
            let text = match &node.value {
                Value::Scalar(scalar) if self.redacted && kind == Kind::Secret => {
                    quoted(if scalar.text().is_empty() { "" } else { REDACTED })
                }
                Value::Scalar(scalar) => self.scalar(scalar, kind),
                _ => "null".to_owned(),
            };
            self.inline(&text, indent);
        }
    }

    /// The entries of a map, one a line; the first one where the cursor stands when it is `started`.
    fn entries(&mut self, entries: &[Entry], indent: usize, kind: Kind, started: bool) {
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 || !started {
                self.indent(indent);
            }
            self.out.push_str(&key(&entry.key.text));
            self.out.push(':');
            // Keys of the second level are component ids, which may well be named `token`.
            let kind = match kind {
                Kind::Plain if indent != 1 && is_secret_key(&entry.key.text) => Kind::Secret,
                Kind::Plain if indent != 1 && is_address_key(&entry.key.text) => Kind::Address,
                kind => kind,
            };
            self.node(&entry.value, indent + 1, kind);
        }
    }

    fn scalar(&self, scalar: &Scalar, kind: Kind) -> String {
        let text = match kind {
            _ if !self.redacted => scalar.text().to_owned(),
            Kind::Address => redact_address(scalar.text()),
            Kind::Plain | Kind::Secret => redact_text(scalar.text()),
        };
        let text = text.replace('$', "$$");
        match scalar.typed() {
            Typed::Null => "null".to_owned(),
            Typed::Bool(_) | Typed::Integer(_) | Typed::Float(_) => text,
            Typed::String | Typed::Collection if is_plain(&text) => text,
            Typed::String | Typed::Collection => quoted(&text),
        }
    }

    /// A value on the same line.
    fn inline(&mut self, text: &str, indent: usize) {
        if indent > 0 {
            self.out.push(' ');
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn break_line(&mut self, indent: usize) {
        if indent > 0 {
            self.out.push('\n');
        }
    }

    fn indent(&mut self, indent: usize) {
        for _ in 0..indent {
            self.out.push_str("  ");
        }
    }
}

/// A key. Keys are not expanded, so `$` stays.
fn key(text: &str) -> String {
    if is_plain(text) && !text.contains(':') { text.to_owned() } else { quoted(text) }
}

/// True when a string needs no quotes and no reader takes it for anything else.
fn is_plain(text: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '+' | '@');
    let colons = text.split(':').skip(1).all(|part| !part.is_empty());
    text.len() <= 256
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'))
        && text.chars().all(|c| safe(c) || c == ':')
        && colons
        && typed(text) == Typed::String
        && !matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off")
}

/// A double-quoted YAML string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
