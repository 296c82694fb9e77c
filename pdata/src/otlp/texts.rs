//! Texts that are not in the request: of values that are none, and of references to entities.

use std::io::Write;

use super::scan::Entity;
use super::scan::record::Attribute;
use crate::any_value::{Nested, push_hex};
use crate::attributes::ValueType;
use crate::columns::text::Text;
use crate::columns::views::{ViewBuffer, view};
use crate::json::value::write_text;

/// A view of a value as text: its own bytes when it is one; `None` when there is no value.
pub(super) fn text_of(value: Attribute, arena: &[u8], built: &mut Vec<u8>) -> Option<u128> {
    match value.kind {
        ValueType::String => Some(value.place().view(arena)),
        ValueType::Null => None,
        _ => {
            let start = built.len();
            put_text(value, arena, built);
            Some(view(built, ViewBuffer::Built, start, built.len() - start))
        }
    }
}

/// Appends a value as text.
pub(super) fn put_text(value: Attribute, arena: &[u8], built: &mut Vec<u8>) {
    let bytes = value.place().bytes(arena);
    let bits = value.bits();
    // Writing to a Vec does not fail.
    let _ = match value.kind {
        ValueType::Int64 => write!(built, "{}", bits.cast_signed()),
        ValueType::Float64 => write!(built, "{}", f64::from_bits(bits)),
        ValueType::Bool => write!(built, "{}", bits != 0),
        ValueType::String => built.write_all(bytes),
        ValueType::Null => Ok(()),
        ValueType::Bytes => {
            push_hex(built, bytes);
            Ok(())
        }
        ValueType::Array | ValueType::Map => {
            Nested::new(bytes).write_json(built);
            Ok(())
        }
    };
}

/// References to entities as JSON.
pub(super) fn entity_refs(entities: &[Entity], arena: &[u8], built: &mut Vec<u8>) -> u128 {
    let text = |text: Text, built: &mut Vec<u8>| {
        write_text(built, std::str::from_utf8(text.bytes(arena)).unwrap_or_default());
    };
    let texts = |texts: &[Text], built: &mut Vec<u8>| {
        let mut separator = b'[';
        for one in texts {
            built.push(separator);
            text(*one, built);
            separator = b',';
        }
        built.extend_from_slice(if separator == b'[' { b"[]" } else { b"]" });
    };
    let start = built.len();
    let mut separator = b'[';
    for entity in entities {
        built.push(separator);
        built.extend_from_slice(b"{\"schema_url\":");
        text(entity.schema_url, built);
        built.extend_from_slice(b",\"type\":");
        text(entity.kind, built);
        built.extend_from_slice(b",\"id_keys\":");
        texts(&entity.id_keys, built);
        built.extend_from_slice(b",\"description_keys\":");
        texts(&entity.description_keys, built);
        built.push(b'}');
        separator = b',';
    }
    built.push(b']');
    view(built, ViewBuffer::Built, start, built.len() - start)
}
