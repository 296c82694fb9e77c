//! The spans of a request, where they lie.

use std::ops::Range;

use weir_proto::wire::Reader;

use super::scan::record::{Attribute, Record, time};
use super::scan::{Items, Read, Refused, uint32};
use crate::columns::text::Text;

/// A span. Ids are bytes. Ranges are into the vectors of its [`Spans`].
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) trace_id: Text,
    pub(super) span_id: Text,
    pub(super) parent_span_id: Text,
    pub(super) trace_state: Text,
    pub(super) flags: u32,
    pub(super) name: Text,
    pub(super) kind: i32,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) status: i32,
    pub(super) status_message: Text,
    pub(super) dropped_attributes: u32,
    pub(super) dropped_events: u32,
    pub(super) dropped_links: u32,
    pub(super) attributes: Range<usize>,
    pub(super) events: Range<usize>,
    pub(super) links: Range<usize>,
}

/// An event of a span. The range is into [`Spans::nested`].
#[derive(Clone, Debug, Default)]
pub(super) struct Event {
    pub(super) time: i64,
    pub(super) name: Text,
    pub(super) attributes: Range<usize>,
    pub(super) dropped_attributes: u32,
}

/// A link of a span. The range is into [`Spans::nested`].
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) trace_id: Text,
    pub(super) span_id: Text,
    pub(super) trace_state: Text,
    pub(super) attributes: Range<usize>,
    pub(super) dropped_attributes: u32,
    pub(super) flags: u32,
}

/// The spans of a request.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) spans: Vec<Span>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) events: Vec<Event>,
    pub(super) links: Vec<Link>,
    /// The attributes of events and links.
    pub(super) nested: Vec<Attribute>,
}

pub(super) mod field {
    use weir_proto::wire::{bytes, fixed32, fixed64, message, varint};

    pub(crate) const TRACE_ID: u32 = bytes(1);
    pub(crate) const SPAN_ID: u32 = bytes(2);
    pub(crate) const TRACE_STATE: u32 = bytes(3);
    pub(crate) const PARENT_SPAN_ID: u32 = bytes(4);
    pub(crate) const NAME: u32 = bytes(5);
    pub(crate) const KIND: u32 = varint(6);
    pub(crate) const START: u32 = fixed64(7);
    pub(crate) const END: u32 = fixed64(8);
    pub(crate) const ATTRIBUTES: u32 = message(9);
    pub(crate) const DROPPED_ATTRIBUTES: u32 = varint(10);
    pub(crate) const EVENTS: u32 = message(11);
    pub(crate) const DROPPED_EVENTS: u32 = varint(12);
    pub(crate) const LINKS: u32 = message(13);
    pub(crate) const DROPPED_LINKS: u32 = varint(14);
    pub(crate) const STATUS: u32 = message(15);
    pub(crate) const FLAGS: u32 = fixed32(16);
    pub(crate) const SPAN: u32 = 16;

    pub(crate) const STATUS_MESSAGE: u32 = bytes(2);
    pub(crate) const STATUS_CODE: u32 = varint(3);
    pub(crate) const STATUS_FIELDS: u32 = 3;

    pub(crate) const EVENT_TIME: u32 = fixed64(1);
    pub(crate) const EVENT_NAME: u32 = bytes(2);
    pub(crate) const EVENT_ATTRIBUTES: u32 = message(3);
    pub(crate) const EVENT_DROPPED: u32 = varint(4);
    pub(crate) const EVENT: u32 = 4;

    pub(crate) const LINK_TRACE_ID: u32 = bytes(1);
    pub(crate) const LINK_SPAN_ID: u32 = bytes(2);
    pub(crate) const LINK_TRACE_STATE: u32 = bytes(3);
    pub(crate) const LINK_ATTRIBUTES: u32 = message(4);
    pub(crate) const LINK_DROPPED: u32 = varint(5);
    pub(crate) const LINK_FLAGS: u32 = fixed32(6);
    pub(crate) const LINK: u32 = 6;
}

impl Items for Spans {
    type Lengths = [usize; 5];

    fn read(&mut self, record: &Record<'_>, reader: Reader<'_>, refused: &mut Refused) -> Read {
        record.allows("spans", self.spans.len() + refused.rows, 16)?;
        self.read_row(refused, |spans| spans.read_span(record, reader))
    }

    fn lengths(&self) -> [usize; 5] {
        let Spans { spans, attributes, events, links, nested } = self;
        [spans.len(), attributes.len(), events.len(), links.len(), nested.len()]
    }

    fn truncate(&mut self, [spans, attributes, events, links, nested]: [usize; 5]) {
        self.spans.truncate(spans);
        self.attributes.truncate(attributes);
        self.events.truncate(events);
        self.links.truncate(links);
        self.nested.truncate(nested);
    }

    fn len(&self) -> usize {
        self.spans.len()
    }
}

impl Spans {
    fn read_span(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        let first = (self.attributes.len(), self.events.len(), self.links.len());
        let mut span = Span::default();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::TRACE_ID => span.trace_id = record.bytes(&mut reader)?,
                field::SPAN_ID => span.span_id = record.bytes(&mut reader)?,
                field::PARENT_SPAN_ID => span.parent_span_id = record.bytes(&mut reader)?,
                field::TRACE_STATE => span.trace_state = record.text(&mut reader)?,
                field::NAME => span.name = record.text(&mut reader)?,
                field::KIND => span.kind = reader.int32()?,
                field::START => span.start = time(&mut reader)?,
                field::END => span.end = time(&mut reader)?,
                field::EVENTS => self.read_event(record, reader.message()?)?,
                field::LINKS => self.read_link(record, reader.message()?)?,
                field::STATUS => read_status(record, reader.message()?, &mut span)?,
                field::FLAGS => span.flags = reader.fixed32()?,
                field::DROPPED_ATTRIBUTES => span.dropped_attributes = uint32(&mut reader)?,
                field::DROPPED_EVENTS => span.dropped_events = uint32(&mut reader)?,
                field::DROPPED_LINKS => span.dropped_links = uint32(&mut reader)?,
                other => reader.skip_unknown(other, field::SPAN)?,
            }
        }
        span.attributes = first.0..self.attributes.len();
        span.events = first.1..self.events.len();
        span.links = first.2..self.links.len();
        self.spans.push(span);
        Ok(())
    }

    fn read_event(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        record.allows("events", self.events.len(), 8)?;
        let first = self.nested.len();
        let mut event = Event::default();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::EVENT_TIME => event.time = time(&mut reader)?,
                field::EVENT_NAME => event.name = record.text(&mut reader)?,
                field::EVENT_ATTRIBUTES => record.attribute(reader.message()?, &mut self.nested)?,
                field::EVENT_DROPPED => event.dropped_attributes = uint32(&mut reader)?,
                other => reader.skip_unknown(other, field::EVENT)?,
            }
        }
        event.attributes = first..self.nested.len();
        self.events.push(event);
        Ok(())
    }

    fn read_link(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        record.allows("links", self.links.len(), 8)?;
        let first = self.nested.len();
        let mut link = Link::default();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::LINK_TRACE_ID => link.trace_id = record.bytes(&mut reader)?,
                field::LINK_SPAN_ID => link.span_id = record.bytes(&mut reader)?,
                field::LINK_TRACE_STATE => link.trace_state = record.text(&mut reader)?,
                field::LINK_ATTRIBUTES => record.attribute(reader.message()?, &mut self.nested)?,
                field::LINK_DROPPED => link.dropped_attributes = uint32(&mut reader)?,
                field::LINK_FLAGS => link.flags = reader.fixed32()?,
                other => reader.skip_unknown(other, field::LINK)?,
            }
        }
        link.attributes = first..self.nested.len();
        self.links.push(link);
        Ok(())
    }
}

fn read_status(record: &Record<'_>, mut reader: Reader<'_>, span: &mut Span) -> Read {
    while let Some(tag) = reader.next_tag()? {
        match tag {
            field::STATUS_MESSAGE => span.status_message = record.text(&mut reader)?,
            field::STATUS_CODE => span.status = reader.int32()?,
            other => reader.skip_unknown(other, field::STATUS_FIELDS)?,
        }
    }
    Ok(())
}
