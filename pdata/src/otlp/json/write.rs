//! Protobuf to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_proto::wire::{self, Reader, WireError};

use super::messages::{Field, Kind, Message};
use crate::any_value::push_hex;
use crate::json::value::{write_float, write_text};

/// Appends a message as an object.
pub(super) fn message(message: &Message, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    put_message(message, &Reader::new(bytes), out)
}

fn put_message(message: &Message, reader: &Reader<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    out.push(b'{');
    let mut separator = None;
    for field in message.fields {
        let before = out.len();
        out.extend(separator);
        write_text(out, field.name);
        out.push(b':');
        let written = match field.repeated {
            true => put_list(field, reader.clone(), out)?,
            false => put_last(field, reader.clone(), out)?,
        };
        if written {
            separator = Some(b',');
        } else {
            out.truncate(before);
        }
    }
    out.push(b'}');
    Ok(())
}

/// Appends all values of a field as an array. `false`: there is none.
fn put_list(field: &Field, mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<bool, WireError> {
    let (own, packed) = (tag(field), wire::bytes(field.number));
    let mut separator = b'[';
    while let Some(tag) = reader.next_tag()? {
        if tag == own {
            out.push(separator);
            put_value(field, &mut reader, out)?;
            separator = b',';
        } else if tag == packed {
            let mut values = reader.message()?;
            while !values.rest().is_empty() {
                out.push(separator);
                put_value(field, &mut values, out)?;
                separator = b',';
            }
        } else {
            reader.skip_unknown(tag, 0)?;
        }
    }
    out.push(b']');
    Ok(separator == b',')
}

/// Appends the value of a field that counts, the last one. `false`: there is none.
fn put_last(field: &Field, mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<bool, WireError> {
    let own = tag(field);
    let mut last = None;
    while let Some(tag) = reader.next_tag()? {
        if tag == own {
            last = Some(reader.clone());
        }
        reader.skip_unknown(tag, 0)?;
    }
    let Some(mut at) = last else { return Ok(false) };
    put_value(field, &mut at, out)?;
    Ok(true)
}

const fn tag(field: &Field) -> u32 {
    match field.kind {
        Kind::Text | Kind::Id | Kind::Base64 | Kind::Message(_) => wire::bytes(field.number),
        Kind::Bool | Kind::Enum(_) | Kind::UInt32 | Kind::SInt32 | Kind::Int64 | Kind::UInt64 => {
            wire::varint(field.number)
        }
        Kind::Fixed64 | Kind::SFixed64 | Kind::Double => wire::fixed64(field.number),
        Kind::Fixed32 => wire::fixed32(field.number),
    }
}

fn put_value(field: &Field, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    let digits = |number: String, out: &mut Vec<u8>| out.extend_from_slice(number.as_bytes());
    // Integers of 64 bits are texts.
    let quoted = |number: String, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(number.as_bytes());
        out.push(b'"');
    };
    match field.kind {
        Kind::Text => write_text(out, &String::from_utf8_lossy(reader.bytes()?)),
        Kind::Id => {
            out.push(b'"');
            push_hex(out, reader.bytes()?);
            out.push(b'"');
        }
        Kind::Base64 => quoted(STANDARD.encode(reader.bytes()?), out),
        Kind::Bool => digits((reader.varint()? != 0).to_string(), out),
        Kind::Enum(_) => digits(reader.int32()?.to_string(), out),
        Kind::UInt32 => digits((reader.varint()? as u32).to_string(), out),
        Kind::SInt32 => {
            let bits = reader.varint()? as u32;
            digits(((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()).to_string(), out);
        }
        Kind::Int64 => quoted(reader.int64()?.to_string(), out),
        Kind::UInt64 => quoted(reader.varint()?.to_string(), out),
        Kind::Fixed64 => quoted(reader.fixed64()?.to_string(), out),
        Kind::SFixed64 => quoted(reader.fixed64()?.cast_signed().to_string(), out),
        Kind::Fixed32 => digits(reader.fixed32()?.to_string(), out),
        Kind::Double => write_float(out, f64::from_bits(reader.fixed64()?)),
        Kind::Message(message) => put_message(message, &reader.message()?, out)?,
    }
    Ok(())
}
