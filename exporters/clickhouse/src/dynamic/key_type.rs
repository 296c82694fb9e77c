//! The type that all values of a key fit.

use weir_pdata::attributes::Value;

use crate::convert::cell::Cell;

/// The types that all values seen so far fit, beside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fits(u8);

/// The type of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyType {
    Text,
    Integer,
    Float,
    Boolean,
}

const INTEGER: u8 = 1;
const FLOAT: u8 = 2;
const BOOLEAN: u8 = 4;

/// Floats of at least this size have the same text in ClickHouse as here, if they are below the other.
const LEAST: f64 = 1e-6;
const MOST: f64 = 1e15;

impl Fits {
    /// No value was seen.
    pub(crate) const ANY: Fits = Fits(INTEGER | FLOAT | BOOLEAN);

    /// Whether only text is left.
    pub(crate) const fn is_text(self) -> bool {
        self.0 == 0
    }

    /// What fits both.
    pub(crate) const fn and(self, other: Fits) -> Fits {
        Fits(self.0 & other.0)
    }

    /// The types that a value fits.
    pub(crate) fn of(value: &Value<'_>) -> Fits {
        match value {
            Value::String(text) => Fits::of_text(text),
            Value::Int64(number) => Fits::of_integer(*number),
            Value::Float64(number) => Fits::of_float(*number),
            Value::Bool(_) => Fits(BOOLEAN),
            Value::Null => Fits::ANY,
            Value::Bytes(_) | Value::Nested(_) => Fits(0),
        }
    }

    /// The types that a value of a column fits.
    pub(crate) fn of_cell(cell: &Cell<'_>) -> Fits {
        match cell {
            Cell::Null => Fits::ANY,
            Cell::Text(text) => Fits::of_text(text),
            Cell::Integer(number) => i64::try_from(*number).map_or(Fits(0), Fits::of_integer),
            Cell::Float(number) => Fits::of_float(*number),
            Cell::Bool(_) => Fits(BOOLEAN),
            Cell::Time(_) | Cell::Other(_) => Fits(0),
        }
    }

    /// A float has them exactly, and as the same text, below that.
    fn of_integer(number: i64) -> Fits {
        Fits(if number.unsigned_abs() < MOST as u64 { INTEGER | FLOAT } else { INTEGER })
    }

    fn of_float(number: f64) -> Fits {
        Fits(if number.is_finite() { FLOAT } else { 0 })
    }

    /// A text is a number where the number is written as that text: `007` and `1.50` are none.
    fn of_text(text: &str) -> Fits {
        if matches!(text, "true" | "false") {
            return Fits(BOOLEAN);
        }
        let bytes = text.as_bytes();
        let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let canonical = match digits {
            [b'0'] => digits.len() == bytes.len(),
            [b'0', b'.', ..] => true,
            [first, ..] => first.is_ascii_digit() && *first != b'0',
            [] => false,
        };
        if !canonical {
            return Fits(0);
        }
        if digits.iter().all(u8::is_ascii_digit) {
            return text.parse().map_or(Fits(0), Fits::of_integer);
        }
        let plain =
            digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') && !text.ends_with(['.', '0']);
        let number = text.parse::<f64>().ok().filter(|number| (LEAST..MOST).contains(&number.abs()));
        // Seventeen digits may be more than a float has.
        let exact = plain && digits.len() <= 16 && number.is_some();
        Fits(if exact { FLOAT } else { 0 })
    }

    /// Whether this type is among them.
    pub(crate) const fn has(self, kind: KeyType) -> bool {
        match kind {
            KeyType::Text => true,
            KeyType::Integer => self.0 & INTEGER != 0,
            KeyType::Float => self.0 & FLOAT != 0,
            KeyType::Boolean => self.0 & BOOLEAN != 0,
        }
    }

    /// The narrowest type.
    pub(crate) const fn key_type(self) -> KeyType {
        if self.0 & INTEGER != 0 {
            KeyType::Integer
        } else if self.0 & FLOAT != 0 {
            KeyType::Float
        } else if self.0 & BOOLEAN != 0 {
            KeyType::Boolean
        } else {
            KeyType::Text
        }
    }
}

impl KeyType {
    /// As it is written in `keys` and `new_key`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            KeyType::Text => "text",
            KeyType::Integer => "integer",
            KeyType::Float => "float",
            KeyType::Boolean => "boolean",
        }
    }

    /// The type of its column. NULL is a row without the key.
    pub(crate) const fn column(self) -> &'static str {
        match self {
            KeyType::Text => "LowCardinality(Nullable(String)) CODEC(ZSTD(1))",
            KeyType::Integer => "Nullable(Int64) CODEC(ZSTD(1))",
            KeyType::Float => "Nullable(Float64) CODEC(ZSTD(1))",
            KeyType::Boolean => "Nullable(Bool)",
        }
    }

    /// The type of which all values are that were of these types by themselves.
    pub(crate) fn common<'a>(names: impl IntoIterator<Item = &'a str>) -> KeyType {
        let fits = |name: &str| match name {
            "integer" => Fits(INTEGER | FLOAT),
            "float" => Fits(FLOAT),
            "boolean" => Fits(BOOLEAN),
            _ => Fits(0),
        };
        names.into_iter().fold(Fits::ANY, |all, name| all.and(fits(name))).key_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> KeyType {
        texts.iter().fold(Fits::ANY, |all, text| all.and(Fits::of(&Value::String(text)))).key_type()
    }

    #[test]
    fn a_type_is_that_of_every_value() {
        assert_eq!(of(&["0", "-17", "9223372036854775807"]), KeyType::Integer);
        assert_eq!(of(&["0", "1.5", "-0.25"]), KeyType::Float);
        assert_eq!(of(&["true", "false"]), KeyType::Boolean);
        for texts in [
            &["1", "x"][..],
            &["true", "1"],
            &["007"],
            &["+5"],
            &["-0"],
            &["1.50"],
            &[""],
            &["-"],
            &["1e5"],
            &["NaN"],
            &["9223372036854775808"],
            &["0.0000001"],
            &[".5"],
            &["5."],
            &["1.2.3"],
            &["True"],
            &["1.23456789012345678"],
        ] {
            assert_eq!(of(texts), KeyType::Text, "{texts:?}");
        }
        let typed = [Value::Int64(1), Value::Float64(0.5)];
        assert_eq!(
            typed.iter().fold(Fits::ANY, |all, value| all.and(Fits::of(value))).key_type(),
            KeyType::Float
        );
        assert_eq!(Fits::of(&Value::Float64(f64::NAN)).key_type(), KeyType::Text);
        assert_eq!(of(&["9007199254740993", "0.5"]), KeyType::Text, "no float has that");
    }

    #[test]
    fn types_of_several_gateways_have_one_in_common() {
        assert_eq!(KeyType::common(["integer"]), KeyType::Integer);
        assert_eq!(KeyType::common(["integer", "float"]), KeyType::Float);
        assert_eq!(KeyType::common(["boolean", "boolean"]), KeyType::Boolean);
        assert_eq!(KeyType::common(["boolean", "integer"]), KeyType::Text);
        assert_eq!(KeyType::common(["float", "text"]), KeyType::Text);
    }
}
