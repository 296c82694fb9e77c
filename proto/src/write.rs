//! Writing protobuf bytes, field by field, without types.
//!
//! Tags are those of [`wire`](crate::wire). Lengths are written as short as they can be.
//!
//! ```
//! use weir_proto::{wire, write};
//!
//! let mut out = Vec::new();
//! write::message_field(wire::message(1), &mut out, |out| write::varint_field(wire::varint(2), 300, out));
//! assert_eq!(out, [0x0a, 3, 0x10, 0xac, 0x02]);
//! ```

/// Appends a varint.
#[inline]
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of type `int32`, `int64`, `uint32`, `uint64`, `bool` or an enum.
#[inline]
pub fn varint_field(tag: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(tag), out);
    varint(value, out);
}

/// Appends a field of type `fixed64`, or of the bits of an `sfixed64` or a `double`.
#[inline]
pub fn fixed64_field(tag: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(tag), out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of type `fixed32`.
#[inline]
pub fn fixed32_field(tag: u32, value: u32, out: &mut Vec<u8>) {
    varint(u64::from(tag), out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of type `string` or `bytes`, or a message that is encoded already.
#[inline]
pub fn bytes_field(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(tag), out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Appends a message, of which `content` appends the fields.
#[inline]
pub fn message_field(tag: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(tag, out);
    content(out);
    end(start, out);
}

/// Begins a message whose fields are appended next. The result is for [`end`].
#[inline]
#[must_use]
pub fn begin(tag: u32, out: &mut Vec<u8>) -> usize {
    varint(u64::from(tag), out);
    // The length, which most messages have in one byte.
    out.push(0);
    out.len()
}

/// Ends the message that [`begin`] began at `start`.
#[inline]
pub fn end(start: usize, out: &mut Vec<u8>) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let mut bytes = [0; 10];
    let (mut count, mut left) = (0, length as u64);
    while left >= 0x80 {
        bytes[count] = (left & 0x7f) as u8 | 0x80;
        left >>= 7;
        count += 1;
    }
    bytes[count] = left as u8;
    // The content moves to make room for the rest of the length.
    out.resize(out.len() + count, 0);
    out.copy_within(start..start + length, start + count);
    out[start - 1..start + count].copy_from_slice(&bytes[..=count]);
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::skywalking::KeyStringValuePair;
    use crate::wire::bytes;

    #[test]
    fn messages_of_any_length_are_those_of_prost() {
        for length in [0, 1, 100, 125, 126, 127, 128, 200, 16_380, 16_384, 40_000, 2_100_000] {
            let pair = KeyStringValuePair { key: "k".to_owned(), value: "v".repeat(length) };
            let encoded = pair.encode_to_vec();
            let mut expected = vec![9, 0x0a];
            prost::encoding::encode_varint(encoded.len() as u64, &mut expected);
            expected.extend(&encoded);
            let mut out = vec![9];
            message_field(bytes(1), &mut out, |out| {
                bytes_field(bytes(1), b"k", out);
                if length > 0 {
                    bytes_field(bytes(2), pair.value.as_bytes(), out);
                }
            });
            assert_eq!(out, expected, "{length}");
        }
    }
}
