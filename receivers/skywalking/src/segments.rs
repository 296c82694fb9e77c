//! The segments of a `SegmentCollection`, one after the other.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The segments, as they came. They take no memory, however many there are. The first error is the end.
pub(crate) struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    /// Those of a `SegmentCollection` in these bytes.
    pub(crate) fn of(collection: &'a [u8]) -> Segments<'a> {
        Segments(collection)
    }

    /// Reads one field: a segment, or another one, which is passed over.
    fn field(&mut self) -> Result<Option<&'a [u8]>, String> {
        let rest = &mut self.0;
        let wrong = |error: prost::DecodeError| error.to_string();
        let (tag, kind) = decode_key(rest).map_err(wrong)?;
        if tag != 1 {
            skip_field(kind, tag, rest, DecodeContext::default()).map_err(wrong)?;
            return Ok(None);
        }
        if kind != WireType::LengthDelimited {
            return Err(format!("a segment has the wire type {kind:?}"));
        }
        let length = decode_varint(rest).map_err(wrong)?;
        let all: &'a [u8] = rest;
        let segment = usize::try_from(length).ok().and_then(|length| all.get(..length));
        let segment = segment.ok_or("a segment is longer than what has come")?;
        rest.advance(segment.len());
        Ok(Some(segment))
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<&'a [u8], String>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let field = self.field();
            if field.is_err() {
                self.0 = &[];
            }
            if let Some(segment) = field.transpose() {
                return Some(segment);
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use prost::Message;
    use weir_proto::skywalking::{SegmentCollection, SegmentObject};

    use super::*;

    #[test]
    fn segments_come_as_they_were_encoded_and_other_fields_are_passed_over() {
        let segment =
            |id: &str| SegmentObject { trace_segment_id: id.to_owned(), ..SegmentObject::default() };
        let all = vec![segment("a"), SegmentObject::default(), segment(&"long".repeat(100))];
        let expected: Vec<Vec<u8>> = all.iter().map(Message::encode_to_vec).collect();
        let encoded = SegmentCollection { segments: all }.encode_to_vec();
        // Field 2 with the number 300, and field 3 with two bytes.
        let with_others = [b"\x10\xac\x02", &encoded[..], b"\x1a\x02hi"].concat();
        for bytes in [&encoded, &with_others] {
            let read: Vec<&[u8]> = Segments::of(bytes).collect::<Result<_, _>>().unwrap();
            assert_eq!(read, expected);
        }
        assert_eq!(Segments::of(b"").count(), 0);
    }

    #[test]
    fn a_collection_that_is_cut_or_wrong_ends_with_one_error() {
        let endless = b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x";
        for bytes in [&b"\x0a\x7fx"[..], b"\x0a", b"\x08\x01", b"\x12\x05a", b"\x00\x00", endless] {
            let read: Vec<_> = Segments::of(bytes).collect();
            assert!(matches!(&read[..], [Err(_)]), "{bytes:?}: {read:?}");
        }
        let behind = Segments::of(b"\x0a\x01x\x0a\x7fx").collect::<Vec<_>>();
        assert_eq!(behind[0], Ok(&b"x"[..]));
        assert!(matches!(&behind[1..], [Err(_)]), "{behind:?}");
    }
}
