//! Reading protobuf bytes in place, without copying and without types.
//!
//! [`Reader`] walks the fields of one message. It accepts and rejects exactly what prost does, reads nothing
//! outside its bytes, and never recurses deeper than [`MAX_DEPTH`]. Fields are matched by whole tags (number
//! and wire type in one integer, see [`varint`], [`message`]), so that one comparison tells both.
//!
//! ```
//! use weir_proto::wire::{self, Reader};
//!
//! const NAME: u32 = wire::bytes(1);
//! const SIZE: u32 = wire::varint(2);
//! let mut reader = Reader::new(&[0x0a, 2, b'h', b'i', 0x10, 7]);
//! while let Some(tag) = reader.next_tag()? {
//!     match tag {
//!         NAME => assert_eq!(reader.bytes()?, b"hi"),
//!         SIZE => assert_eq!(reader.varint()?, 7),
//!         other => reader.skip_unknown(other, 2)?,
//!     }
//! }
//! # Ok::<(), wire::WireError>(())
//! ```

use thiserror::Error;

/// How deep messages and unknown groups may be nested.
pub const MAX_DEPTH: u8 = 100;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const GROUP_START: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED32: u32 = 5;

/// The tag of a field of type `int32`, `int64`, `bool` or an enum.
#[must_use]
pub const fn varint(number: u32) -> u32 {
    number << 3 | VARINT
}

/// The tag of a field of type `string` or `bytes`.
#[must_use]
pub const fn bytes(number: u32) -> u32 {
    number << 3 | LENGTH_DELIMITED
}

/// The tag of a field of type `fixed64`, `sfixed64` or `double`.
#[must_use]
pub const fn fixed64(number: u32) -> u32 {
    number << 3 | FIXED64
}

/// The tag of a field of type `fixed32`, `sfixed32` or `float`.
#[must_use]
pub const fn fixed32(number: u32) -> u32 {
    number << 3 | FIXED32
}

/// The tag of a field that is a message.
#[must_use]
pub const fn message(number: u32) -> u32 {
    bytes(number)
}

/// Why bytes are not a protobuf message, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("byte {offset}: {what}")]
pub struct WireError {
    /// Offset in the bytes that the outermost reader was given.
    pub offset: usize,
    /// The fault.
    pub what: Malformed,
}

/// A fault in protobuf bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A varint has no end within its message, or is longer than 64 bits.
    #[error("a varint does not end")]
    Varint,
    /// A tag has field number 0, a wire type that does not exist, or more than 32 bits.
    #[error("invalid field tag {0}")]
    Tag(u64),
    /// A length or fixed-size value reaches beyond the end of its message.
    #[error("a value of {0} bytes reaches beyond the end of its message")]
    Length(u64),
    /// A known field has another wire type than its declared one.
    #[error("field {0} has wire type {1}, which is not the declared one")]
    WireType(u32, u32),
    /// A group ends that was not begun, or another one than was begun.
    #[error("unexpected end of group {0}")]
    GroupEnd(u32),
    /// Messages and groups are nested too deep.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

/// Reads the fields of one message, in wire order.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Reads a message that takes all of `bytes`.
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, depth: MAX_DEPTH }
    }

    /// Where the next field, or the value of the field just begun, starts. Offsets of nested readers count
    /// from the beginning of the outermost message.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// The bytes from [`offset`](Self::offset) to the end of the message.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The tag of the next field; `None` at the end of the message. The caller reads or skips the value next.
    ///
    /// # Errors
    /// The tag is malformed.
    #[inline]
    pub fn next_tag(&mut self) -> Result<Option<u32>, WireError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        match u32::try_from(key) {
            Ok(tag) if tag >> 3 != 0 && tag & 7 <= FIXED32 => Ok(Some(tag)),
            _ => Err(WireError { offset: start, what: Malformed::Tag(key) }),
        }
    }

    /// Whether the next field has this tag; if so, goes to its value. `tag` must be below 128.
    #[inline]
    pub fn next_is(&mut self, tag: u32) -> bool {
        let found = self.bytes.get(self.at).is_some_and(|byte| *byte < 0x80 && u32::from(*byte) == tag);
        self.at += usize::from(found);
        found
    }

    /// A varint value. Narrower types take its low bits; a `bool` is true when it is not 0.
    ///
    /// # Errors
    /// It does not end in the message, or has more than 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    /// An `int64` value.
    ///
    /// # Errors
    /// As for [`varint`](Self::varint).
    #[inline]
    pub fn int64(&mut self) -> Result<i64, WireError> {
        Ok(self.varint()?.cast_signed())
    }

    /// An `int32` or enum value: the low 32 bits.
    ///
    /// # Errors
    /// As for [`varint`](Self::varint).
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub fn int32(&mut self) -> Result<i32, WireError> {
        Ok((self.varint()? as u32).cast_signed())
    }

    /// A `fixed64` value, or the bits of an `sfixed64` or a `double`.
    ///
    /// # Errors
    /// It reaches beyond the end of the message.
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, WireError> {
        let Some(eight) = self.rest().first_chunk::<8>() else {
            return Err(self.error(Malformed::Length(8)));
        };
        self.at += 8;
        Ok(u64::from_le_bytes(*eight))
    }

    /// A `fixed32` value, or the bits of an `sfixed32` or a `float`.
    ///
    /// # Errors
    /// It reaches beyond the end of the message.
    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, WireError> {
        let Some(four) = self.rest().first_chunk::<4>() else {
            return Err(self.error(Malformed::Length(4)));
        };
        self.at += 4;
        Ok(u32::from_le_bytes(*four))
    }

    /// A `string` or `bytes` value. Whether it is UTF-8 is for the caller to check.
    ///
    /// # Errors
    /// It reaches beyond the end of the message.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let end = self.end_of_value()?;
        let value = &self.bytes[self.at..end];
        self.at = end;
        Ok(value)
    }

    /// A reader of the nested message that is the value.
    ///
    /// # Errors
    /// It reaches beyond the end of this message, or is nested too deep.
    #[inline]
    pub fn message(&mut self) -> Result<Reader<'a>, WireError> {
        if self.depth == 0 {
            return Err(self.error(Malformed::Depth));
        }
        let end = self.end_of_value()?;
        let nested = Reader { bytes: &self.bytes[..end], at: self.at, depth: self.depth - 1 };
        self.at = end;
        Ok(nested)
    }

    /// Skips the value of a field that the message's type does not have. The type's own fields are numbered 1
    /// to `known`: to come here with one of them means that its wire type is wrong.
    ///
    /// # Errors
    /// The field is a known one, or its value is malformed.
    pub fn skip_unknown(&mut self, tag: u32, known: u32) -> Result<(), WireError> {
        if tag >> 3 <= known {
            return Err(self.error(Malformed::WireType(tag >> 3, tag & 7)));
        }
        self.skip(tag, self.depth)
    }

    fn skip(&mut self, tag: u32, depth: u8) -> Result<(), WireError> {
        if depth == 0 {
            return Err(self.error(Malformed::Depth));
        }
        match tag & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.advance(8),
            FIXED32 => self.advance(4),
            LENGTH_DELIMITED => self.bytes().map(drop),
            GROUP_START => loop {
                match self.next_tag()? {
                    Some(end) if end & 7 == GROUP_END && end >> 3 == tag >> 3 => return Ok(()),
                    Some(end) if end & 7 == GROUP_END => {
                        return Err(self.error(Malformed::GroupEnd(end >> 3)));
                    }
                    Some(inner) => self.skip(inner, depth - 1)?,
                    None => return Err(self.error(Malformed::Varint)),
                }
            },
            _ => Err(self.error(Malformed::GroupEnd(tag >> 3))),
        }
    }

    /// Goes on behind so many bytes, which the caller has read in [`rest`](Self::rest).
    ///
    /// # Errors
    /// There are not as many left.
    #[inline]
    pub fn advance(&mut self, bytes: usize) -> Result<(), WireError> {
        if bytes > self.bytes.len() - self.at {
            return Err(self.error(Malformed::Length(bytes as u64)));
        }
        self.at += bytes;
        Ok(())
    }

    /// Reads a length and gives where the value ends. `at` is where it starts.
    #[inline]
    fn end_of_value(&mut self) -> Result<usize, WireError> {
        let length = self.varint()?;
        // Never underflows: `at` does not pass the end.
        let left = self.bytes.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => Ok(self.at + length),
            _ => Err(self.error(Malformed::Length(length))),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        if let [low @ 0x80..=0xff, high @ 0..0x80, ..] = self.rest() {
            self.at += 2;
            return Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7);
        }
        // Up to 8 bytes at once, where so many are left.
        if let Some(eight) = self.rest().first_chunk::<8>() {
            let eight = u64::from_le_bytes(*eight);
            // The highest bit of every byte that ends a varint.
            let ends = !eight & 0x8080_8080_8080_8080;
            if ends != 0 {
                let bytes = ends.trailing_zeros() / 8 + 1;
                let bits = eight & (u64::MAX >> (64 - 8 * bytes)) & 0x7f7f_7f7f_7f7f_7f7f;
                let bits = (bits & 0x007f_007f_007f_007f) | (bits & 0x7f00_7f00_7f00_7f00) >> 1;
                let bits = (bits & 0x0000_3fff_0000_3fff) | (bits & 0x3fff_0000_3fff_0000) >> 2;
                self.at += bytes as usize;
                return Ok((bits & 0x0fff_ffff) | (bits & 0x0fff_ffff_0000_0000) >> 4);
            }
        }
        let mut value = 0;
        for (index, byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.error(Malformed::Varint))
    }

    #[inline]
    const fn error(&self, what: Malformed) -> WireError {
        WireError { offset: self.at, what }
    }
}

#[cfg(test)]
mod tests;
