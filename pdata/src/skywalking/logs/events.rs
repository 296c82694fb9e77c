//! Snapshots of threads, events, and events attached to spans.

use weir_proto::wire::{self, Reader, WireError};

use super::super::scan::read_pairs;
use super::{FIRST_TEXT, Scan, Word};
use crate::columns::text::Text;
use crate::columns::views::{ViewBuffer, view};
use crate::decode::result::DecodeError;

/// The fields of a message; see the `.proto` texts of `weir-proto`.
mod field {
    use super::wire::{bytes, message, varint};

    /// Of the source of an event.
    pub(super) const OWN_SERVICE: u32 = bytes(1);
    pub(super) const OWN_INSTANCE: u32 = bytes(2);

    pub(super) const TASK_ID: u32 = bytes(1);
    pub(super) const TASK_SEGMENT_ID: u32 = bytes(2);
    pub(super) const TASK_TIME: u32 = varint(3);
    pub(super) const SEQUENCE: u32 = varint(4);
    pub(super) const STACK: u32 = message(5);
    pub(super) const SNAPSHOT: u32 = 5;

    pub(super) const EVENT_UUID: u32 = bytes(1);
    pub(super) const EVENT_SOURCE: u32 = message(2);
    pub(super) const EVENT_NAME: u32 = bytes(3);
    pub(super) const EVENT_TYPE: u32 = varint(4);
    pub(super) const EVENT_MESSAGE: u32 = bytes(5);
    pub(super) const EVENT_PARAMETERS: u32 = message(6);
    pub(super) const EVENT_START: u32 = varint(7);
    pub(super) const EVENT_END: u32 = varint(8);
    pub(super) const EVENT_LAYER: u32 = bytes(9);
    pub(super) const EVENT: u32 = 9;
    pub(super) const SOURCE_ENDPOINT: u32 = bytes(3);

    pub(super) const ATTACHED_START: u32 = message(1);
    pub(super) const ATTACHED_NAME: u32 = bytes(2);
    pub(super) const ATTACHED_END: u32 = message(3);
    pub(super) const ATTACHED_TAGS: u32 = message(4);
    pub(super) const ATTACHED_SUMMARY: u32 = message(5);
    pub(super) const ATTACHED_CONTEXT: u32 = message(6);
    pub(super) const ATTACHED: u32 = 6;
}

impl Scan<'_, '_, '_> {
    pub(super) fn snapshot(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let (mut task, mut sequence, mut stack) = (None, 0, None);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::TASK_ID => task = self.text(reader)?,
                field::TASK_SEGMENT_ID => self.reader.row.segment_id = self.text(reader)?,
                field::TASK_TIME => self.reader.row.time_ms = reader.int64()?,
                field::SEQUENCE => sequence = reader.int32()?,
                field::STACK => stack = Some(self.stack(reader.message()?)?),
                other => reader.skip_unknown(other, field::SNAPSHOT)?,
            }
        }
        self.reader.row.event_name = Some(self.word(Word::ThreadSnapshot));
        self.reader.row.body = stack;
        self.reader.row.body_type = stack.map(|_| self.word(Word::TextBody));
        let sequence = self.build(&sequence.to_string());
        self.attribute(Word::TaskId, task);
        self.attribute(Word::Sequence, Some(sequence));
        Ok(())
    }

    /// The frames of a stack, one a line.
    fn stack(&mut self, mut reader: Reader<'_>) -> Result<u128, DecodeError> {
        let start = self.built.len();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                FIRST_TEXT => {
                    let frame = self.record.text(&mut reader)?;
                    if self.built.len() > start {
                        self.built.push(b'\n');
                    }
                    self.built.extend_from_slice(frame.bytes(self.arena));
                }
                other => reader.skip_unknown(other, 1)?,
            }
        }
        Ok(view(self.built, ViewBuffer::Built, start, self.built.len() - start))
    }

    pub(super) fn event(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let (mut uuid, mut end, mut kind, mut layer) = (None, 0, 0, None);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::EVENT_UUID => uuid = self.text(reader)?,
                field::EVENT_SOURCE => self.source(reader.message()?)?,
                field::EVENT_NAME => self.reader.row.event_name = self.text(reader)?,
                field::EVENT_TYPE => kind = reader.int32()?,
                field::EVENT_MESSAGE => self.reader.row.body = self.text(reader)?,
                field::EVENT_PARAMETERS => {
                    read_pairs(self.record, reader, field::EVENT_PARAMETERS, &mut self.reader.pairs)?;
                }
                field::EVENT_START => self.reader.row.time_ms = reader.int64()?,
                field::EVENT_END => end = reader.int64()?,
                field::EVENT_LAYER => layer = self.text(reader)?,
                other => reader.skip_unknown(other, field::EVENT)?,
            }
        }
        self.attributes(0);
        let kind = match kind {
            0 => self.word(Word::Normal),
            1 => self.word(Word::Error),
            other => self.build(&crate::columns::names::unknown(other)),
        };
        self.attribute(Word::EventUuid, uuid);
        self.attribute(Word::EventType, Some(kind));
        self.end_time(end.saturating_mul(1_000_000));
        self.attribute(Word::Layer, layer);
        Ok(())
    }

    fn source(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::OWN_SERVICE => self.reader.row.service = self.text(&mut reader)?,
                field::OWN_INSTANCE => self.reader.row.instance = self.text(&mut reader)?,
                field::SOURCE_ENDPOINT => self.reader.row.endpoint = self.text(&mut reader)?,
                other => reader.skip_unknown(other, 3)?,
            }
        }
        Ok(())
    }

    /// The end of an event, in nanoseconds since 1970, where it has one.
    fn end_time(&mut self, nanoseconds: i64) {
        if nanoseconds != 0 {
            let end = chrono::DateTime::from_timestamp_nanos(nanoseconds);
            let end = self.build(&end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
            self.attribute(Word::EndTime, Some(end));
        }
    }

    pub(super) fn attached_event(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let (mut end, mut reference) = (None, None);
        let mut summary = Vec::new();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::ATTACHED_START => self.reader.row.time_ns = instant(reader.message()?)?,
                field::ATTACHED_NAME => self.reader.row.event_name = self.text(reader)?,
                field::ATTACHED_END => end = instant(reader.message()?)?,
                field::ATTACHED_TAGS => {
                    read_pairs(self.record, reader, field::ATTACHED_TAGS, &mut self.reader.pairs)?;
                }
                field::ATTACHED_SUMMARY => {
                    self.record.allows("summaries", summary.len(), 8)?;
                    summary.push(self.number(reader.message()?)?);
                }
                field::ATTACHED_CONTEXT => reference = Some(self.span_reference(reader.message()?)?),
                other => reader.skip_unknown(other, field::ATTACHED)?,
            }
        }
        self.attributes(0);
        for (key, value) in summary {
            let value = self.build(&value.to_string());
            self.reader.row.attributes.push((key, value));
        }
        if let Some(reference) = reference {
            let kind = match reference {
                0 => self.word(Word::SkyWalking),
                1 => self.word(Word::Zipkin),
                other => self.build(&crate::columns::names::unknown(other)),
            };
            self.attribute(Word::ReferenceType, Some(kind));
        }
        self.end_time(end.unwrap_or(0));
        Ok(())
    }

    fn number(&mut self, mut reader: Reader<'_>) -> Result<(Text, i64), DecodeError> {
        const VALUE: u32 = wire::varint(2);
        let (mut key, mut value) = (Text::default(), 0);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                FIRST_TEXT => key = self.record.text(&mut reader)?,
                VALUE => value = reader.int64()?,
                other => reader.skip_unknown(other, 2)?,
            }
        }
        Ok((key, value))
    }

    /// The span of an attached event. Returns the type of the reference.
    fn span_reference(&mut self, mut reader: Reader<'_>) -> Result<i32, DecodeError> {
        const TYPE: u32 = wire::varint(1);
        const TRACE: u32 = wire::bytes(2);
        const SEGMENT: u32 = wire::bytes(3);
        const SPAN: u32 = wire::bytes(4);
        let (mut kind, mut segment, mut span) = (0, Text::default(), Text::default());
        while let Some(tag) = reader.next_tag()? {
            match tag {
                TYPE => kind = reader.int32()?,
                TRACE => self.reader.row.trace_id = self.text(&mut reader)?,
                SEGMENT => segment = self.record.text(&mut reader)?,
                SPAN => span = self.record.text(&mut reader)?,
                other => reader.skip_unknown(other, 4)?,
            }
        }
        self.reader.row.segment_id = segment.present(self.arena);
        self.reader.row.span_id = if segment.len() > 0 && span.len() > 0 {
            let start = self.built.len();
            self.built.extend_from_slice(segment.bytes(self.arena));
            self.built.push(b'.');
            self.built.extend_from_slice(span.bytes(self.arena));
            Some(view(self.built, ViewBuffer::Built, start, self.built.len() - start))
        } else {
            span.present(self.arena)
        };
        Ok(kind)
    }
}

/// Nanoseconds since 1970. Times that nanoseconds do not reach become the first or the last that they do.
fn instant(mut reader: Reader<'_>) -> Result<Option<i64>, WireError> {
    const SECONDS: u32 = wire::varint(1);
    const NANOS: u32 = wire::varint(2);
    let (mut seconds, mut nanos) = (0_i64, 0);
    while let Some(tag) = reader.next_tag()? {
        match tag {
            SECONDS => seconds = reader.int64()?,
            NANOS => nanos = reader.int32()?,
            other => reader.skip_unknown(other, 2)?,
        }
    }
    let time = seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos));
    Ok((time != 0).then_some(time))
}
