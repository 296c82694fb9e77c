//! Records with texts that are not UTF-8, rewritten with these texts escaped. Rare, and not on the usual
//! path.
//!
//! Agents cut texts in the middle of a character, or tag raw bytes. A segment is not lost for that. It is
//! rejected only when one of its own names (trace, segment, service, instance) is not text.

use std::fmt::Write;
use std::ops::Range;

use weir_proto::wire::{self, Reader, WireError};

use crate::Format;

/// The messages that have texts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Segment,
    Span,
    Reference,
    Log,
    Pair,
    LogData,
    LogBody,
    LogContent,
    TraceContext,
    LogTags,
    Properties,
    Meters,
    Meter,
    MeterValue,
    Snapshot,
    Stack,
    Event,
    AttachedEvent,
    /// One without texts that may be escaped.
    Other,
}

/// What a field is.
enum Field {
    /// A text, and its name; a pair's own key names its value.
    Text(&'static str),
    Nested(Message),
    Other,
}

impl Message {
    fn field(self, tag: u32) -> Field {
        if tag & 7 != wire::bytes(0) {
            return Field::Other;
        }
        match (self, tag >> 3) {
            (Message::LogData, 5) => Field::Nested(Message::LogBody),
            (Message::LogData, 6) => Field::Nested(Message::TraceContext),
            (Message::LogData, 7) => Field::Nested(Message::LogTags),
            (Message::LogData, 4) => Field::Text("endpoint"),
            (Message::LogBody, 1) => Field::Text("body.type"),
            (Message::LogBody, 2..=4) => Field::Nested(Message::LogContent),
            (Message::LogContent, 1) => Field::Text("body"),
            (Message::TraceContext, 1 | 2) => Field::Text("traceContext"),
            (Message::LogTags, 1)
            | (Message::Properties, 3)
            | (Message::MeterValue | Message::Log, 2)
            | (Message::Event, 6)
            | (Message::AttachedEvent, 4)
            | (Message::Span, 12) => Field::Nested(Message::Pair),
            (Message::Meters, 1) => Field::Nested(Message::Meter),
            (Message::Meter, 1 | 2) => Field::Nested(Message::MeterValue),
            (Message::MeterValue, 1) => Field::Text("name"),
            (Message::Snapshot, 5) => Field::Nested(Message::Stack),
            (Message::Stack, 1) => Field::Text("stack"),
            (Message::Event, 3 | 5) | (Message::AttachedEvent, 2) => Field::Text("event"),
            (Message::Segment, 3) => Field::Nested(Message::Span),
            (Message::Span, 5) => Field::Nested(Message::Reference),
            (Message::Span, 13) => Field::Nested(Message::Log),
            (Message::Span, 6) => Field::Text("operationName"),
            (Message::Span, 7) => Field::Text("peer"),
            (Message::Reference, 2 | 3 | 5..=8) => Field::Text("refs"),
            (Message::Pair, 1) => Field::Text("key"),
            (Message::Pair, 2) => Field::Text("value"),
            _ => Field::Other,
        }
    }
}

/// Writes the record `bytes` behind what `out` has, with its texts escaped where they are not UTF-8; not
/// those that say whose record it is. Returns where it is, and the keys of these texts.
///
/// # Errors
/// It is no protobuf.
pub(super) fn rewrite(
    format: Format,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(Range<usize>, Vec<String>), WireError> {
    let kind = match format {
        Format::SkyWalkingSegment => Message::Segment,
        Format::SkyWalkingLog => Message::LogData,
        Format::SkyWalkingInstance => Message::Properties,
        Format::SkyWalkingMeters => Message::Meters,
        Format::SkyWalkingSnapshot => Message::Snapshot,
        Format::SkyWalkingEvent => Message::Event,
        Format::SkyWalkingAttachedEvent => Message::AttachedEvent,
        _ => Message::Other,
    };
    let (start, mut keys) = (out.len(), Vec::new());
    message(bytes, kind, out, &mut keys)?;
    Ok((start..out.len(), keys))
}

fn message(bytes: &[u8], kind: Message, out: &mut Vec<u8>, keys: &mut Vec<String>) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    let mut start = 0;
    // A pair's key, which names its value.
    let (mut key, mut odd) = (String::new(), false);
    while let Some(tag) = reader.next_tag()? {
        match kind.field(tag) {
            Field::Nested(nested) => {
                let mut content = Vec::new();
                message(reader.bytes()?, nested, &mut content, keys)?;
                length_delimited(tag, &content, out);
            }
            Field::Text(name) => {
                let text = reader.bytes()?;
                let whole = std::str::from_utf8(text).is_ok();
                let escaped = escape(text);
                length_delimited(tag, escaped.as_bytes(), out);
                if kind != Message::Pair {
                    keys.extend((!whole).then(|| name.to_owned()));
                } else {
                    odd |= !whole;
                    if name == "key" {
                        key = escaped;
                    }
                }
            }
            Field::Other => {
                reader.skip_unknown(tag, 0)?;
                out.extend_from_slice(bytes.get(start..reader.offset()).unwrap_or_default());
            }
        }
        start = reader.offset();
    }
    keys.extend(odd.then_some(key));
    Ok(())
}

fn length_delimited(tag: u32, content: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(tag), out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// The text, with each byte that is not part of a character as `\xHH`.
fn escape(text: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        escaped.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing into a `String` cannot fail.
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_character_are_escaped_and_the_rest_stays() {
        assert_eq!(escape(b"caf\xe9 \\ \xc3\xa4"), "caf\\xe9 \\ ä");
        assert_eq!(escape("ä".as_bytes()), "ä");
        // A character cut in two.
        assert_eq!(escape(b"ab\xe4\xb8"), "ab\\xe4\\xb8");
    }

    #[test]
    fn a_record_without_such_texts_stays_as_it_is() {
        let record = [0x0a, 1, b't', 0x1a, 8, 0x08, 5, 0x62, 4, 0x0a, 2, 0xc3, 0xa4, 0x30, 1];
        let mut out = vec![9];
        assert_eq!(
            rewrite(Format::SkyWalkingSegment, &record, &mut out).unwrap(),
            (1..1 + record.len(), Vec::new())
        );
        assert_eq!(out[1..], record);
    }
}
