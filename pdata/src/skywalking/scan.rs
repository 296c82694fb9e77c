//! One `SegmentObject`, from protobuf bytes to places in the arena. Nothing is copied but numbers.

use std::ops::Range;

use weir_proto::wire::{self, Reader, WireError};

use crate::columns::text::{Text, is_ascii};
use crate::decode::result::DecodeError;

/// A tag, or a field of a log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub(super) key: Text,
    pub(super) value: Text,
}

/// A span. Ranges are into the vectors of its [`Segment`].
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) id: i32,
    pub(super) parent: i32,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) operation: Text,
    pub(super) peer: Text,
    pub(super) span_type: i32,
    pub(super) layer: i32,
    pub(super) component: i32,
    pub(super) is_error: bool,
    pub(super) skip_analysis: bool,
    pub(super) refs: Range<usize>,
    pub(super) tags: Range<usize>,
    pub(super) logs: Range<usize>,
}

/// A reference to a parent in another segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reference {
    pub(super) ref_type: i32,
    pub(super) trace_id: Text,
    pub(super) segment_id: Text,
    pub(super) span_id: i32,
    pub(super) service: Text,
    pub(super) instance: Text,
    pub(super) endpoint: Text,
    pub(super) address: Text,
}

/// A log of a span. `data` is a range into [`Segment::data`].
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) time_ms: i64,
    pub(super) data: Range<usize>,
}

/// One segment. Reused from record to record, so that its vectors are allocated once.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) trace_id: Text,
    pub(super) segment_id: Text,
    pub(super) service: Text,
    pub(super) instance: Text,
    pub(super) size_limited: bool,
    pub(super) spans: Vec<Span>,
    pub(super) tags: Vec<Pair>,
    pub(super) refs: Vec<Reference>,
    pub(super) logs: Vec<Log>,
    pub(super) data: Vec<Pair>,
}

impl Segment {
    /// An empty segment, with room for what most have.
    pub(super) fn with_room() -> Segment {
        Segment {
            spans: Vec::with_capacity(32),
            tags: Vec::with_capacity(128),
            refs: Vec::with_capacity(4),
            logs: Vec::with_capacity(8),
            data: Vec::with_capacity(32),
            ..Segment::default()
        }
    }
}

mod field {
    use super::wire::{bytes, message, varint};

    pub(super) const TRACE_ID: u32 = bytes(1);
    pub(super) const SEGMENT_ID: u32 = bytes(2);
    pub(super) const SPANS: u32 = message(3);
    pub(super) const SERVICE: u32 = bytes(4);
    pub(super) const INSTANCE: u32 = bytes(5);
    pub(super) const SIZE_LIMITED: u32 = varint(6);
    pub(super) const SEGMENT: u32 = 6;

    pub(super) const SPAN_ID: u32 = varint(1);
    pub(super) const PARENT: u32 = varint(2);
    pub(super) const START: u32 = varint(3);
    pub(super) const END: u32 = varint(4);
    pub(super) const REFS: u32 = message(5);
    pub(super) const OPERATION: u32 = bytes(6);
    pub(super) const PEER: u32 = bytes(7);
    pub(super) const SPAN_TYPE: u32 = varint(8);
    pub(super) const LAYER: u32 = varint(9);
    pub(super) const COMPONENT: u32 = varint(10);
    pub(super) const IS_ERROR: u32 = varint(11);
    pub(super) const TAGS: u32 = message(12);
    pub(super) const LOGS: u32 = message(13);
    pub(super) const SKIP_ANALYSIS: u32 = varint(14);
    pub(super) const SPAN: u32 = 14;

    pub(super) const REF_TYPE: u32 = varint(1);
    pub(super) const REF_TRACE_ID: u32 = bytes(2);
    pub(super) const REF_SEGMENT_ID: u32 = bytes(3);
    pub(super) const REF_SPAN_ID: u32 = varint(4);
    pub(super) const REF_SERVICE: u32 = bytes(5);
    pub(super) const REF_INSTANCE: u32 = bytes(6);
    pub(super) const REF_ENDPOINT: u32 = bytes(7);
    pub(super) const REF_ADDRESS: u32 = bytes(8);
    pub(super) const REFERENCE: u32 = 8;

    pub(super) const LOG_TIME: u32 = varint(1);
    pub(super) const LOG_DATA: u32 = message(2);
    pub(super) const LOG: u32 = 2;

    pub(super) const KEY: u32 = bytes(1);
    pub(super) const VALUE: u32 = bytes(2);
    pub(super) const PAIR: u32 = 2;
}

/// Entries that any record may have, however small it is: a bound on memory, not on real segments.
const FREE_ENTRIES: usize = 4096;

/// The bytes of one record, and where they lie.
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8],
    /// Offset of the record in the arena.
    pub(super) base: usize,
}

impl Segment {
    /// Reads the record that lies at `range` of the arena. The last of several values of a field counts,
    /// unknown fields are skipped. After an error the content is meaningless.
    pub(super) fn read(&mut self, arena: &[u8], range: Range<usize>) -> Result<(), DecodeError> {
        self.clear();
        let base = range.start;
        let bytes = arena.get(range).ok_or(DecodeError::OutOfBounds)?;
        let record = Record { bytes, base };
        let mut reader = Reader::new(bytes);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::SPANS => self.read_span(&record, reader.message()?)?,
                field::TRACE_ID => self.trace_id = record.text(&mut reader)?,
                field::SEGMENT_ID => self.segment_id = record.text(&mut reader)?,
                field::SERVICE => self.service = record.text(&mut reader)?,
                field::INSTANCE => self.instance = record.text(&mut reader)?,
                field::SIZE_LIMITED => self.size_limited = reader.varint()? != 0,
                other => reader.skip_unknown(other, field::SEGMENT)?,
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        let none = Text::default();
        (self.trace_id, self.segment_id, self.service, self.instance) = (none, none, none, none);
        self.size_limited = false;
        self.spans.clear();
        self.tags.clear();
        self.refs.clear();
        self.logs.clear();
        self.data.clear();
    }

    fn read_span(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        record.allows("spans", self.spans.len(), 16)?;
        let first = (self.refs.len(), self.tags.len(), self.logs.len());
        let mut span = Span::default();
        // Serializers write fields in the order of their numbers: so each is looked for once.
        macro_rules! usual {
            ($($tag:ident)*) => {
                $(if reader.next_is(field::$tag) {
                    self.read_field(field::$tag, &mut span, record, &mut reader)?;
                })*
            };
        }
        usual!(SPAN_ID PARENT START END REFS OPERATION PEER SPAN_TYPE LAYER COMPONENT IS_ERROR TAGS LOGS);
        while let Some(tag) = reader.next_tag()? {
            self.read_field(tag, &mut span, record, &mut reader)?;
        }
        span.refs = first.0..self.refs.len();
        span.tags = first.1..self.tags.len();
        span.logs = first.2..self.logs.len();
        self.spans.push(span);
        Ok(())
    }

    /// Reads the value of a field of a span.
    #[inline(always)]
    fn read_field(
        &mut self,
        tag: u32,
        span: &mut Span,
        record: &Record<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        match tag {
            field::TAGS => read_pairs(record, reader, field::TAGS, &mut self.tags)?,
            field::SPAN_ID => span.id = reader.int32()?,
            field::PARENT => span.parent = reader.int32()?,
            field::START => span.start_ms = reader.int64()?,
            field::END => span.end_ms = reader.int64()?,
            field::OPERATION => span.operation = record.text(reader)?,
            field::PEER => span.peer = record.text(reader)?,
            field::SPAN_TYPE => span.span_type = reader.int32()?,
            field::LAYER => span.layer = reader.int32()?,
            field::COMPONENT => span.component = reader.int32()?,
            field::IS_ERROR => span.is_error = reader.varint()? != 0,
            field::REFS => {
                record.allows("references", self.refs.len(), 8)?;
                self.refs.push(read_reference(record, reader.message()?)?);
            }
            field::LOGS => self.read_log(record, reader.message()?)?,
            field::SKIP_ANALYSIS => span.skip_analysis = reader.varint()? != 0,
            other => reader.skip_unknown(other, field::SPAN)?,
        }
        Ok(())
    }

    fn read_log(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        record.allows("logs", self.logs.len(), 8)?;
        let first = self.data.len();
        let mut time_ms = 0;
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::LOG_TIME => time_ms = reader.int64()?,
                field::LOG_DATA => read_pairs(record, &mut reader, field::LOG_DATA, &mut self.data)?,
                other => reader.skip_unknown(other, field::LOG)?,
            }
        }
        self.logs.push(Log { time_ms, data: first..self.data.len() });
        Ok(())
    }
}

fn read_reference(record: &Record<'_>, mut reader: Reader<'_>) -> Result<Reference, DecodeError> {
    let mut reference = Reference::default();
    while let Some(tag) = reader.next_tag()? {
        match tag {
            field::REF_TYPE => reference.ref_type = reader.int32()?,
            field::REF_TRACE_ID => reference.trace_id = record.text(&mut reader)?,
            field::REF_SEGMENT_ID => reference.segment_id = record.text(&mut reader)?,
            field::REF_SPAN_ID => reference.span_id = reader.int32()?,
            field::REF_SERVICE => reference.service = record.text(&mut reader)?,
            field::REF_INSTANCE => reference.instance = record.text(&mut reader)?,
            field::REF_ENDPOINT => reference.endpoint = record.text(&mut reader)?,
            field::REF_ADDRESS => reference.address = record.text(&mut reader)?,
            other => reader.skip_unknown(other, field::REFERENCE)?,
        }
    }
    Ok(reference)
}

/// Reads the pair that `reader` is at and those that follow it directly. Short ones are checked together:
/// where all is ASCII (their lengths and the tags between them are), one look over the whole run is enough.
pub(super) fn read_pairs(
    record: &Record<'_>,
    reader: &mut Reader<'_>,
    field: u32,
    pairs: &mut Vec<Pair>,
) -> Result<(), DecodeError> {
    let (mut start, mut first) = (reader.offset(), pairs.len());
    loop {
        record.allows("tags", pairs.len(), 8)?;
        if let Some((pair, size)) = short_pair(record, reader) {
            reader.advance(size)?;
            pairs.push(pair);
        } else {
            // Its length may not be ASCII: it is checked alone, and another run begins behind it.
            record.check_run(start..reader.offset(), &pairs[first..])?;
            let pair = read_any_pair(record, reader.message()?)?;
            record.check(pair.key)?;
            record.check(pair.value)?;
            pairs.push(pair);
            (start, first) = (reader.offset(), pairs.len());
        }
        if !reader.next_is(field) {
            break;
        }
    }
    record.check_run(start..reader.offset(), &pairs[first..])
}

/// A pair as agents write it, with its length before it: the key, then the value, and nothing else, all
/// together shorter than 128 bytes. And how many bytes it takes. Its texts are not checked.
#[inline]
fn short_pair(record: &Record<'_>, reader: &Reader<'_>) -> Option<(Pair, usize)> {
    const KEY: u8 = field::KEY as u8;
    const VALUE: u8 = field::VALUE as u8;
    let (rest, start) = (reader.rest(), record.base + reader.offset());
    let [size @ 0..0x80, KEY, key, ..] = rest else { return None };
    let (size, key) = (usize::from(*size), usize::from(*key));
    let [VALUE, value, ..] = rest.get(3 + key..)? else { return None };
    let value = usize::from(*value);
    if size != 4 + key + value || size >= rest.len() {
        return None;
    }
    // Arenas are below 2 GiB.
    let text = |start: usize, len: usize| Text { start: start as u32, len: len as u32 };
    Some((Pair { key: text(start + 3, key), value: text(start + 5 + key, value) }, 1 + size))
}

fn read_any_pair(record: &Record<'_>, mut reader: Reader<'_>) -> Result<Pair, DecodeError> {
    let mut pair = Pair::default();
    while let Some(tag) = reader.next_tag()? {
        let text = match tag {
            field::KEY => &mut pair.key,
            field::VALUE => &mut pair.value,
            other => {
                reader.skip_unknown(other, field::PAIR)?;
                continue;
            }
        };
        // A text that is replaced by a later one is checked here; the one that stays, by the caller.
        record.check(*text)?;
        *text = record.unchecked(&mut reader)?;
    }
    Ok(pair)
}

impl Record<'_> {
    #[inline]
    pub(super) fn text(&self, reader: &mut Reader<'_>) -> Result<Text, DecodeError> {
        let text = self.unchecked(reader)?;
        self.check(text)?;
        Ok(text)
    }

    #[inline]
    fn unchecked(&self, reader: &mut Reader<'_>) -> Result<Text, WireError> {
        let len = reader.bytes()?.len();
        // Arenas are below 2 GiB.
        let start = u32::try_from(self.base + reader.offset() - len).unwrap_or(u32::MAX);
        Ok(Text { start, len: u32::try_from(len).unwrap_or(u32::MAX) })
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

    /// Checks the pairs that lie in `run`.
    #[inline]
    fn check_run(&self, run: Range<usize>, pairs: &[Pair]) -> Result<(), DecodeError> {
        if !self.bytes[run].is_ascii() {
            for pair in pairs {
                self.check(pair.key)?;
                self.check(pair.value)?;
            }
        }
        Ok(())
    }

    /// Whether one more entry is in proportion to the record, at `size` bytes an entry.
    #[inline]
    pub(super) fn allows(&self, what: &'static str, count: usize, size: usize) -> Result<(), DecodeError> {
        if count >= FREE_ENTRIES + self.bytes.len() / size {
            return Err(DecodeError::Swollen { what, count: count + 1, bytes: self.bytes.len() });
        }
        Ok(())
    }
}
