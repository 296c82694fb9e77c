//! JSON to protobuf.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use thiserror::Error;
use weir_proto::{wire, write};

use super::messages::{Field, Kind, Message};
use crate::json::segment::same;
use crate::json::value::Json;
use crate::otlp::hex::digit;

/// Why a text is no request in OTLP's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// A value has the wrong type, or cannot be.
    #[error("`{field}`: expected {expected}, found {found}")]
    Field {
        /// Where it is, from the beginning of the request.
        field: String,
        /// What there should be.
        expected: &'static str,
        /// What there is.
        found: String,
    },
}

/// A request.
pub(super) fn request(message: &Message, json: &Json) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    put_message(message, json, &mut Path(Vec::new()), &mut out)?;
    Ok(out)
}

/// Where the reader is, for messages.
struct Path(Vec<(&'static str, Option<usize>)>);

impl Path {
    fn wrong<T>(&self, expected: &'static str, found: &Json) -> Result<T, JsonError> {
        let steps = self.0.iter().map(|(name, at)| match at {
            Some(at) => format!("{name}[{at}]"),
            None => (*name).to_owned(),
        });
        let found = match found {
            Json::Text(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
            Json::Int(number) => number.to_string(),
            other => other.kind().to_owned(),
        };
        Err(JsonError::Field { field: steps.collect::<Vec<_>>().join("."), expected, found })
    }
}

fn put_message(message: &Message, json: &Json, path: &mut Path, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let Json::Object(entries) = json else { return path.wrong("an object", json) };
    for field in message.fields {
        // The last of several counts.
        let found = entries.iter().rev().find(|(name, _)| same(name, field.name));
        let Some((_, value)) = found.filter(|(_, value)| *value != Json::Null) else { continue };
        path.0.push((field.name, None));
        if field.repeated {
            put_list(field, value, path, out)?;
        } else {
            put_value(field, value, path, out)?;
        }
        path.0.pop();
    }
    Ok(())
}

fn put_list(field: &Field, json: &Json, path: &mut Path, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let Json::Array(items) = json else { return path.wrong("an array", json) };
    // Numbers are packed into one field.
    let packed = match field.kind {
        Kind::Message(_) | Kind::Text | Kind::Id | Kind::Base64 => None,
        _ if items.is_empty() => return Ok(()),
        _ => Some(write::begin(wire::bytes(field.number), out)),
    };
    for (at, item) in items.iter().enumerate() {
        path.0.pop();
        path.0.push((field.name, Some(at)));
        match (packed, number(field, item, path)?) {
            (Some(_), Some(Number::Varint(bits))) => write::varint(bits, out),
            (Some(_), Some(Number::Fixed64(bits))) => out.extend_from_slice(&bits.to_le_bytes()),
            _ => put_value(field, item, path, out)?,
        }
    }
    if let Some(start) = packed {
        write::end(start, out);
    }
    Ok(())
}

/// The bits of a number, and how they are written.
enum Number {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
}

/// Reads a value that is a number; `None` where the field is none.
fn number(field: &Field, json: &Json, path: &Path) -> Result<Option<Number>, JsonError> {
    const WHOLE_64: &str = "an integer of 64 bits, as a number or a text";
    const WHOLE_32: &str = "an integer of 32 bits";
    let signed = || match whole(json).and_then(|number| i64::try_from(number).ok()) {
        Some(number) => Ok(number.cast_unsigned()),
        None => path.wrong(WHOLE_64, json),
    };
    let unsigned = || match whole(json).and_then(|number| u64::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => path.wrong(WHOLE_64, json),
    };
    let small = || match whole(json).and_then(|number| u32::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => path.wrong(WHOLE_32, json),
    };
    let signed_small = || match whole(json).and_then(|number| i32::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => path.wrong(WHOLE_32, json),
    };
    Ok(Some(match field.kind {
        Kind::Bool => match json {
            Json::Bool(value) => Number::Varint(u64::from(*value)),
            other => return path.wrong("true or false", other),
        },
        Kind::Enum(names) => match json {
            Json::Text(text) if let Some(at) = names.iter().position(|name| name == text) => {
                Number::Varint(at as u64)
            }
            _ => match whole(json).and_then(|number| i32::try_from(number).ok()) {
                Some(number) => Number::Varint(i64::from(number).cast_unsigned()),
                None => return path.wrong("a number or a known name", json),
            },
        },
        Kind::UInt32 => Number::Varint(u64::from(small()?)),
        Kind::SInt32 => {
            let number = signed_small()?;
            Number::Varint(u64::from((number << 1 ^ number >> 31).cast_unsigned()))
        }
        Kind::Int64 => Number::Varint(signed()?),
        Kind::UInt64 => Number::Varint(unsigned()?),
        Kind::Fixed64 => Number::Fixed64(unsigned()?),
        Kind::SFixed64 => Number::Fixed64(signed()?),
        Kind::Fixed32 => Number::Fixed32(small()?),
        Kind::Double => match double(json) {
            Some(number) => Number::Fixed64(number.to_bits()),
            None => return path.wrong("a number", json),
        },
        Kind::Text | Kind::Id | Kind::Base64 | Kind::Message(_) => return Ok(None),
    }))
}

fn put_value(field: &Field, json: &Json, path: &mut Path, out: &mut Vec<u8>) -> Result<(), JsonError> {
    if let Some(number) = number(field, json, path)? {
        match number {
            Number::Varint(bits) if bits != 0 || field.presence => {
                write::varint_field(wire::varint(field.number), bits, out);
            }
            Number::Fixed64(bits) if bits != 0 || field.presence => {
                write::fixed64_field(wire::fixed64(field.number), bits, out);
            }
            Number::Fixed32(bits) if bits != 0 || field.presence => {
                write::fixed32_field(wire::fixed32(field.number), bits, out);
            }
            _ => {}
        }
        return Ok(());
    }
    let tag = wire::bytes(field.number);
    let content = match (field.kind, json) {
        (Kind::Message(message), _) => {
            let start = write::begin(tag, out);
            put_message(message, json, path, out)?;
            write::end(start, out);
            return Ok(());
        }
        (_, Json::Text(text)) => match field.kind {
            Kind::Id => match hex(text) {
                Some(bytes) => bytes,
                None => return path.wrong("hexadecimal digits", json),
            },
            Kind::Base64 => match base64(text) {
                Some(bytes) => bytes,
                None => return path.wrong("base64", json),
            },
            _ => {
                if !text.is_empty() || field.presence {
                    write::bytes_field(tag, text.as_bytes(), out);
                }
                return Ok(());
            }
        },
        (_, other) => return path.wrong("a text", other),
    };
    if !content.is_empty() || field.presence {
        write::bytes_field(tag, &content, out);
    }
    Ok(())
}

/// A whole number, also as a text or as a float without fraction.
fn whole(json: &Json) -> Option<i128> {
    match json {
        Json::Int(number) => Some(i128::from(*number)),
        Json::Large(digits) => digits.parse().ok(),
        Json::Text(text) => text.parse().ok(),
        // Floats are exact integers below 2^53.
        Json::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i128),
        _ => None,
    }
}

fn double(json: &Json) -> Option<f64> {
    match json {
        Json::Text(text) => text.parse().ok(),
        other => crate::json::float(other),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Bytes in base64, of either alphabet, with padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { alphabet::URL_SAFE } else { alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, config).decode(text).ok()
}
