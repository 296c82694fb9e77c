//! The bytes of one request, and the values that lie in them.

use weir_proto::wire::{Reader, WireError};

use crate::any_value::field;
use crate::attributes::ValueType;
use crate::columns::text::{Text, is_ascii};
use crate::columns::views::{ViewBuffer, view};
use crate::decode::result::DecodeError;

/// Entries that any record may have, however small it is: a bound on memory, not on real requests.
const FREE_ENTRIES: usize = 4096;

/// The bytes of one record, and where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of the record in the arena.
    pub(crate) base: usize,
}

/// An attribute where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) key: Text,
    pub(crate) kind: ValueType,
    /// A number's bits; of the other types, where the bytes are.
    bits: u64,
}

impl Attribute {
    /// Where the bytes of a text, of bytes, or of the `AnyValue` of an array or a map are.
    #[inline]
    pub(crate) fn place(self) -> Text {
        Text { start: (self.bits >> 32) as u32, len: self.bits as u32 }
    }

    /// The bits of a number, 1 for true.
    pub(crate) fn bits(self) -> u64 {
        self.bits
    }

    /// A view of the value as lists of attributes hold it.
    #[inline]
    pub(crate) fn view(self, arena: &[u8]) -> u128 {
        match self.kind {
            ValueType::Int64 | ValueType::Float64 => u128::from(self.bits) << 32 | 8,
            ValueType::Bool => u128::from(self.bits & 1) << 32 | 1,
            ValueType::Null => 0,
            ValueType::String | ValueType::Bytes | ValueType::Array | ValueType::Map => {
                let Text { start, len } = self.place();
                view(arena, ViewBuffer::Arena, start as usize, len as usize)
            }
        }
    }
}

const fn at(place: Text) -> u64 {
    (place.start as u64) << 32 | place.len as u64
}

impl<'a> Record<'a> {
    /// A text value.
    #[inline]
    pub(crate) fn text(&self, reader: &mut Reader<'_>) -> Result<Text, DecodeError> {
        let text = self.bytes(reader)?;
        self.check(text)?;
        Ok(text)
    }

    /// Where a `bytes` value is, or a text that is checked later.
    #[inline]
    pub(crate) fn bytes(&self, reader: &mut Reader<'_>) -> Result<Text, WireError> {
        let len = reader.bytes()?.len();
        Ok(self.before(reader, len))
    }

    /// Where all fields of a message are.
    pub(crate) fn content(&self, message: &Reader<'_>) -> Text {
        let start = u32::try_from(self.base + message.offset()).unwrap_or(u32::MAX);
        Text { start, len: u32::try_from(message.rest().len()).unwrap_or(u32::MAX) }
    }

    /// The `len` bytes before the reader's place.
    #[inline]
    fn before(&self, reader: &Reader<'_>, len: usize) -> Text {
        // Arenas are below 2 GiB.
        let start = u32::try_from(self.base + reader.offset() - len).unwrap_or(u32::MAX);
        Text { start, len: u32::try_from(len).unwrap_or(u32::MAX) }
    }

    #[inline]
    fn check(&self, text: Text) -> Result<(), DecodeError> {
        if text.len == 0 {
            return Ok(());
        }
        let offset = text.start as usize - self.base;
        let bytes = &self.bytes[offset..offset + text.len as usize];
        if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() {
            Ok(())
        } else {
            Err(DecodeError::Utf8 { offset })
        }
    }

    /// Whether one more entry is in proportion to the record, at `size` bytes an entry.
    #[inline]
    pub(crate) fn allows(&self, what: &'static str, count: usize, size: usize) -> Result<(), DecodeError> {
        if count >= FREE_ENTRIES + self.bytes.len() / size {
            return Err(DecodeError::Swollen { what, count: count + 1, bytes: self.bytes.len() });
        }
        Ok(())
    }

    /// Reads a `KeyValue` behind what the list has.
    #[inline]
    pub(crate) fn attribute(&self, reader: Reader<'_>, list: &mut Vec<Attribute>) -> Result<(), DecodeError> {
        self.allows("attributes", list.len(), 4)?;
        list.push(match self.usual_attribute(&reader) {
            Some(attribute) => attribute,
            None => self.any_attribute(reader)?,
        });
        Ok(())
    }

    /// Reads an attribute as most are: the key, then a value that is a text or a number, both short, all
    /// texts ASCII, and nothing else.
    #[inline]
    fn usual_attribute(&self, reader: &Reader<'_>) -> Option<Attribute> {
        const KEY: u8 = field::KEY as u8;
        const VALUE: u8 = field::VALUE as u8;
        const STRING: u8 = field::STRING as u8;
        const INT: u8 = field::INT as u8;
        let start = u32::try_from(self.base + reader.offset()).ok()?;
        let [KEY, key_len @ 0..0x80, rest @ ..] = reader.rest() else { return None };
        let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
        let [VALUE, value_len @ 0..0x80, rest @ ..] = rest else { return None };
        if rest.len() != usize::from(*value_len) || !is_ascii(key) {
            return None;
        }
        let key = Text { start: start + 2, len: u32::from(*key_len) };
        let (kind, bits) = match rest {
            [STRING, len @ 0..0x80, text @ ..] if text.len() == usize::from(*len) && is_ascii(text) => {
                let start = key.start + key.len + 4;
                (ValueType::String, at(Text { start, len: u32::from(*len) }))
            }
            [INT, number @ 0..0x80] => (ValueType::Int64, u64::from(*number)),
            [INT, low @ 0x80..=0xff, high @ 0..0x80] => {
                (ValueType::Int64, u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => return None,
        };
        Some(Attribute { key, kind, bits })
    }

    fn any_attribute(&self, mut reader: Reader<'_>) -> Result<Attribute, DecodeError> {
        let mut attribute = Attribute { key: Text::default(), kind: ValueType::Null, bits: 0 };
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::KEY => attribute.key = self.text(&mut reader)?,
                field::VALUE => (attribute.kind, attribute.bits) = self.value(reader.message()?)?,
                other => reader.skip_unknown(other, field::KEY_VALUE)?,
            }
        }
        Ok(attribute)
    }

    /// Reads an `AnyValue` that has no key.
    pub(crate) fn keyless(&self, reader: Reader<'_>) -> Result<Attribute, DecodeError> {
        let (kind, bits) = self.value(reader)?;
        Ok(Attribute { key: Text::default(), kind, bits })
    }

    fn value(&self, mut reader: Reader<'_>) -> Result<(ValueType, u64), DecodeError> {
        let whole = at(self.content(&reader));
        let mut value = (ValueType::Null, 0);
        while let Some(tag) = reader.next_tag()? {
            value = match tag {
                field::STRING => (ValueType::String, at(self.text(&mut reader)?)),
                field::BOOL => (ValueType::Bool, u64::from(reader.varint()? != 0)),
                field::INT => (ValueType::Int64, reader.varint()?),
                field::DOUBLE => (ValueType::Float64, reader.fixed64()?),
                field::ARRAY => {
                    self.check_array(reader.message()?)?;
                    (ValueType::Array, whole)
                }
                field::MAP => {
                    self.check_map(reader.message()?)?;
                    (ValueType::Map, whole)
                }
                field::BYTES => (ValueType::Bytes, at(self.bytes(&mut reader)?)),
                other => {
                    reader.skip_unknown(other, field::ANY_VALUE)?;
                    continue;
                }
            };
        }
        Ok(value)
    }

    /// Whether all that is nested in an array can be read. Readers bound the depth.
    fn check_array(&self, mut items: Reader<'_>) -> Result<(), DecodeError> {
        while let Some(tag) = items.next_tag()? {
            match tag {
                field::VALUES => self.value(items.message()?).map(drop)?,
                other => items.skip_unknown(other, field::LIST)?,
            }
        }
        Ok(())
    }

    fn check_map(&self, mut entries: Reader<'_>) -> Result<(), DecodeError> {
        while let Some(tag) = entries.next_tag()? {
            match tag {
                field::VALUES => self.any_attribute(entries.message()?).map(drop)?,
                other => entries.skip_unknown(other, field::LIST)?,
            }
        }
        Ok(())
    }
}

/// A time; 0 where there is none.
#[inline]
pub(crate) fn time(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let nanoseconds = reader.fixed64()?;
    let offset = reader.offset();
    i64::try_from(nanoseconds).map_err(|_| DecodeError::Time { nanoseconds, offset })
}
