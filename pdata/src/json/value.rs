//! JSON as a tree that keeps the order of fields, repeated fields, and the difference between 1 and 1.0.

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// The digits of an integer beyond 64 bits with sign.
    Large(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The kind of value, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Int(_) => "an integer",
            Json::Float(_) => "a number with a fraction",
            Json::Large(_) => "an integer beyond 64 bits",
            Json::Text(_) => "a text",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// Writes it without white space.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Json::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Json::Float(value) => write_float(out, *value),
            Json::Large(digits) => out.extend_from_slice(digits.as_bytes()),
            Json::Text(text) => write_text(out, text),
            Json::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Json::Object(fields) => {
                out.push(b'{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_text(out, name);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The value as bytes, see [`write`](Self::write).
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

/// Writes a text in quotes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing text to a Vec does not fail.
    let _ = serde_json::to_writer(&mut *out, text);
}

/// Writes a number so that it reads back as the same float. What JSON has no number for is written as text.
pub(crate) fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // Writing a finite number to a Vec does not fail.
        let _ = serde_json::to_writer(&mut *out, &value);
    } else {
        write_text(
            out,
            if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;

    #[test]
    fn order_repetition_and_the_types_of_numbers_are_kept() {
        let text = r#"{"b":1,"a":1.0,"b":[null,true,"ä\n",-3,1e300,{}]}"#;
        let json = parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(json.to_bytes()).unwrap(), text.replace("1e300", "1e+300"));
    }

    #[test]
    fn deep_nesting_is_an_error() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
