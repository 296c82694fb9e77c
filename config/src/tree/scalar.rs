//! The type of a scalar, which its text gets only when it is read, by the rules of YAML 1.2 (core schema).

/// The type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Typed {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`. Not `yes`, `no`, `on`, `off`.
    Bool(bool),
    /// Decimal, `0x` or `0o`, between `i64::MIN` and `u64::MAX`.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Everything else, and everything in quotes.
    String,
    /// A substituted value that spells a list or map.
    Collection,
}

/// Types the text of a plain scalar.
pub(crate) fn typed(text: &str) -> Typed {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Typed::Null,
        "true" | "True" | "TRUE" => return Typed::Bool(true),
        "false" | "False" | "FALSE" => return Typed::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Typed::Float(f64::NAN),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Typed::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if let Some(value) = integer(text, digits, negative) {
        return value;
    }
    let looks_numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().any(|c| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if looks_numeric && let Ok(value) = text.parse::<f64>() {
        return Typed::Float(value);
    }
    Typed::String
}

/// An integer, or a float when it is too large for 64 bits; `None` when the text is not an integer.
fn integer(text: &str, digits: &str, negative: bool) -> Option<Typed> {
    let (radix, body) = match text.get(..2) {
        Some("0x") => (16, text.get(2..)?),
        Some("0o") => (8, text.get(2..)?),
        _ => (10, digits),
    };
    if body.is_empty() || !body.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(body, radix).ok();
    let value = magnitude.map(|value| if negative { -value } else { value });
    match value {
        Some(value) if value >= i128::from(i64::MIN) && value <= i128::from(u64::MAX) => {
            Some(Typed::Integer(value))
        }
        _ if radix == 10 => text.parse().ok().map(Typed::Float),
        _ => None,
    }
}
