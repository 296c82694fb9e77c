//! Expressions that give NULL where an expression of a table fails.
//!
//! Functions that fail on some values are replaced by functions that give NULL for them. A new expression is
//! `exact` when it gives NULL for no other values: then the table's expression fails for exactly the rows
//! where the new one is NULL.

/// Functions that fail on a text that they cannot read, and have a sister `…OrNull` that may be stricter than
/// they are.
const READING: [&str; 14] = [
    "parseDateTime",
    "parseDateTime64BestEffort",
    "parseDateTimeBestEffort",
    "toDate",
    "toDate32",
    "toDateTime",
    "toDateTime64",
    "toDecimal128",
    "toDecimal256",
    "toDecimal32",
    "toDecimal64",
    "toIPv4",
    "toIPv6",
    "toUUID",
];

/// Integer types. A number in a text that is too large for one wraps around, and `…OrNull` gives NULL for it;
/// so it is read as the largest type first.
const INTEGERS: [&str; 12] = [
    "Int8", "Int16", "Int32", "Int64", "Int128", "Int256", "UInt8", "UInt16", "UInt32", "UInt64", "UInt128",
    "UInt256",
];

/// An expression that gives NULL where another fails.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lenient {
    pub(crate) expression: String,
    pub(crate) exact: bool,
}

/// The lenient form of an expression. `None`: nothing in it is known to fail.
pub(crate) fn lenient(expression: &str) -> Option<Lenient> {
    let mut rewriting = Rewriting { changed: false, exact: !may_be_null(expression) };
    let expression = rewriting.rewrite(expression)?;
    rewriting.changed.then_some(Lenient { expression, exact: rewriting.exact })
}

/// Whether an expression may be NULL of itself, without failing.
fn may_be_null(expression: &str) -> bool {
    expression.to_ascii_lowercase().contains("null")
}

struct Rewriting {
    changed: bool,
    exact: bool,
}

impl Rewriting {
    /// `None`: the text is no expression.
    fn rewrite(&mut self, expression: &str) -> Option<String> {
        let mut written = String::with_capacity(expression.len() + 16);
        let mut rest = expression;
        while !rest.is_empty() {
            let (token, after) = rest.split_at(token(rest)?);
            if token == "%" {
                let length = term(after)?;
                let by = self.rewrite(after[..length].trim())?;
                written += &format!("% nullIf({by}, 0)");
                self.changed = true;
                rest = &after[length..];
                continue;
            }
            let is_name = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
            if !is_name || !after.starts_with('(') {
                written += token;
                rest = after;
                continue;
            }
            let (inner, after) = bracketed(after)?;
            let arguments =
                split(inner)?.into_iter().map(|part| self.rewrite(part)).collect::<Option<Vec<_>>>()?;
            written += &self.call(token, &arguments);
            rest = after;
        }
        Some(written)
    }

    /// A call of a function, or of one that gives NULL instead.
    fn call(&mut self, name: &str, arguments: &[String]) -> String {
        let replaced = match (name, arguments) {
            ("throwIf", [condition, ..]) => Some(format!("if(({condition}) != 0, NULL, 0)")),
            ("intDiv" | "modulo", [of, by]) => Some(format!("{name}({of}, nullIf({by}, 0))")),
            ("CAST", [of, kind]) => {
                let kind = kind.trim().trim_matches('\'');
                self.reading(&format!("to{kind}"), std::slice::from_ref(of))
            }
            _ => self.reading(name, arguments),
        };
        self.changed |= replaced.is_some();
        replaced.unwrap_or_else(|| format!("{name}({})", arguments.join(", ")))
    }

    /// A call that reads a value from a text.
    fn reading(&mut self, name: &str, arguments: &[String]) -> Option<String> {
        let kind = name.strip_prefix("to");
        match (kind, arguments) {
            (Some(kind), [of]) if INTEGERS.contains(&kind) => {
                let largest = if kind.starts_with('U') { "toUInt256OrNull" } else { "toInt256OrNull" };
                Some(format!("{name}({largest}({of}))"))
            }
            (Some(kind), [of]) if ["Float32", "Float64"].contains(&kind) => {
                Some(format!("{name}OrNull({of})"))
            }
            _ if READING.binary_search(&name).is_ok() => {
                self.exact = false;
                Some(format!("{name}OrNull({})", arguments.join(", ")))
            }
            _ => None,
        }
    }
}

/// How long the first token of a text is. `None`: it is a quoted text that does not end.
fn token(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    Some(match first {
        '\'' | '`' | '"' => quoted(text, first)?,
        c if c.is_alphanumeric() || c == '_' => {
            text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
        }
        c => c.len_utf8(),
    })
}

/// How long the operand at the beginning of a text is: a name, a number, a call, or something in brackets.
fn term(text: &str) -> Option<usize> {
    let space = text.len() - text.trim_start().len();
    let operand = &text[space..];
    let first = if operand.starts_with(['(', '[']) { 0 } else { token(operand)? };
    let rest = &operand[first..];
    let after = if rest.starts_with(['(', '[']) { bracketed(rest)?.1 } else { rest };
    Some(text.len() - after.len())
}

/// How long the quoted text at the beginning is. `None`: it does not end.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The text within the brackets at the beginning of a text, and the text after them.
pub(crate) fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let length = token(&text[at..])?;
        match &text[at..at + length] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += length;
        if depth == 0 {
            return Some((text.get(1..at - 1)?, &text[at..]));
        }
    }
    None
}

/// The parts of a list: what stands between its commas.
pub(crate) fn split(list: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut begin, mut at) = (Vec::new(), 0_usize, 0, 0);
    while at < list.len() {
        let length = token(&list[at..])?;
        match &list[at..at + length] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            "," if depth == 0 => {
                parts.push(list[begin..at].trim());
                begin = at + length;
            }
            _ => {}
        }
        at += length;
    }
    let last = list[begin..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_fail_are_replaced_and_nothing_else() {
        assert!(READING.is_sorted());
        for (expression, expected) in [
            ("toUInt16(attributes['code'])", Some(("toUInt16(toUInt256OrNull(attributes['code']))", true))),
            ("CAST(a, 'Int8') + 1", Some(("toInt8(toInt256OrNull(a)) + 1", true))),
            ("toFloat32(a)", Some(("toFloat32OrNull(a)", true))),
            (
                "if(a = 'toInt8(\\'', toDate(`toInt8(`), toString(b))",
                Some(("if(a = 'toInt8(\\'', toDateOrNull(`toInt8(`), toString(b))", false)),
            ),
            ("throwIf(a = ',', 'bad, (x')", Some(("if((a = ',') != 0, NULL, 0)", true))),
            (
                "intDiv(f(1, 2), toInt8(a))",
                Some(("intDiv(f(1, 2), nullIf(toInt8(toInt256OrNull(a)), 0))", true)),
            ),
            ("1 % f(a) + 2 % (b + 1)", Some(("1 % nullIf(f(a), 0) + 2 % nullIf((b + 1), 0)", true))),
            ("CAST(nullIf(a, ''), 'UInt8')", Some(("toUInt8(toUInt256OrNull(nullIf(a, '')))", false))),
            ("CAST(a, 'Enum8(\\'a\\' = 1)')", None),
            ("lower(name)", None),
            ("toUInt8OrZero(name)", None),
            ("mytoInt8(toInt8)", None),
            ("toInt8('", None),
        ] {
            let found = lenient(expression);
            let found = found.as_ref().map(|found| (found.expression.as_str(), found.exact));
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn lists_are_split_at_their_own_commas() {
        let (inner, after) = bracketed("(a, f(b, ','), [c, d]) AS x").unwrap();
        assert_eq!(split(inner), Some(vec!["a", "f(b, ',')", "[c, d]"]));
        assert_eq!(after, " AS x");
        assert_eq!(bracketed("(a"), None);
        assert_eq!(split(""), Some(vec![]));
    }
}
