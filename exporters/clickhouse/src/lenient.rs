//! Expressions of a table that give NULL where the table's own fail.

/// Functions that fail on a text that they cannot read, and have a sister `…OrNull`.
const READING: [&str; 27] = [
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
    "toFloat32",
    "toFloat64",
    "toIPv4",
    "toIPv6",
    "toInt128",
    "toInt16",
    "toInt256",
    "toInt32",
    "toInt64",
    "toInt8",
    "toUInt128",
    "toUInt16",
    "toUInt256",
    "toUInt32",
    "toUInt64",
    "toUInt8",
    "toUUID",
];

/// The expression with the sisters of such functions. `None`: it has none.
pub(crate) fn lenient(expression: &str) -> Option<String> {
    let (mut written, mut changed) = (String::with_capacity(expression.len() + 16), false);
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '`' => quoted(rest, first)?,
            c if c.is_alphabetic() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        written += token;
        if after.starts_with('(') && READING.binary_search(&token).is_ok() {
            written += "OrNull";
            changed = true;
        }
        rest = after;
    }
    changed.then_some(written)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_read_texts_are_replaced_and_nothing_else() {
        assert!(READING.is_sorted());
        for (expression, expected) in [
            ("toUInt16(attributes['code'])", Some("toUInt16OrNull(attributes['code'])")),
            (
                "if(a = 'toInt8(\\'', toDate(`toInt8(`), toString(b))",
                Some("if(a = 'toInt8(\\'', toDateOrNull(`toInt8(`), toString(b))"),
            ),
            ("lower(name)", None),
            ("toUInt8OrZero(name)", None),
            ("mytoInt8(toInt8)", None),
            ("toInt8('", None),
        ] {
            assert_eq!(lenient(expression).as_deref(), expected, "{expression}");
        }
    }
}
