//! Arrays and maps of JSON as the bytes of an OTLP `AnyValue`.

use weir_proto::write;

use super::parse::parse;
use super::value::Json;
use crate::any_value::field;

/// How deep arrays and maps may be nested in one another: a map takes three of the levels that
/// [readers](weir_proto::wire::MAX_DEPTH) of protobuf allow.
const MAX_NESTED: usize = 30;

/// The bytes of an `AnyValue`. A float that is written as text stays a text.
pub(super) fn any_value(json: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    put(json, 0, &mut out);
    out
}

/// The bytes of the `AnyValue` that this text is. `None`: it is no JSON.
pub(crate) fn any_value_of(json: &str) -> Option<Vec<u8>> {
    parse(json.as_bytes()).ok().map(|json| any_value(&json))
}

fn put(json: &Json, depth: usize, out: &mut Vec<u8>) {
    match json {
        Json::Null => {}
        Json::Bool(value) => write::varint_field(field::BOOL, u64::from(*value), out),
        Json::Int(number) => write::varint_field(field::INT, number.cast_unsigned(), out),
        Json::Float(number) => write::fixed64_field(field::DOUBLE, number.to_bits(), out),
        Json::Large(text) | Json::Text(text) => write::bytes_field(field::STRING, text.as_bytes(), out),
        Json::Array(_) | Json::Object(_) if depth >= MAX_NESTED => {
            write::bytes_field(field::STRING, &json.to_bytes(), out);
        }
        Json::Array(items) => write::message_field(field::ARRAY, out, |out| {
            for item in items {
                write::message_field(field::VALUES, out, |out| put(item, depth + 1, out));
            }
        }),
        Json::Object(entries) => write::message_field(field::MAP, out, |out| {
            for (key, value) in entries {
                write::message_field(field::VALUES, out, |out| {
                    if !key.is_empty() {
                        write::bytes_field(field::KEY, key.as_bytes(), out);
                    }
                    if *value != Json::Null {
                        write::message_field(field::VALUE, out, |out| put(value, depth + 1, out));
                    }
                });
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any_value::Nested;

    fn shown(text: &str) -> String {
        Nested::new(&any_value(&parse(text.as_bytes()).unwrap())).to_string()
    }

    #[test]
    fn json_is_shown_as_it_was_read() {
        let long = format!(r#"["{}",{{"a":[{{}}]}}]"#, "x".repeat(20_000));
        for text in
            [r#"{"b":1,"a":1.0,"":[null,true,"ä",-3,{}],"b":-9223372036854775808}"#, "[]", "{}", &long]
        {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("[18446744073709551616]"), r#"["18446744073709551616"]"#);
    }

    #[test]
    fn what_is_nested_too_deep_is_a_text() {
        let nested = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth), "1") + &"}".repeat(depth);
        assert_eq!(shown(&nested(30)), nested(30));
        let text = nested(31);
        assert!(shown(&text).contains(r#""a":"{\"a\":1}""#), "{}", shown(&text));
    }
}
