//! The log records of a request, where they lie.

use std::ops::Range;

use weir_proto::wire::Reader;

use super::scan::record::{Attribute, Record, time};
use super::scan::{Items, Read, Refused, uint32};
use crate::columns::text::Text;

/// A log record. Ids are bytes. The range is into [`Records::attributes`].
#[derive(Clone, Debug, Default)]
pub(super) struct LogRecord {
    pub(super) time: i64,
    pub(super) observed_time: i64,
    pub(super) severity_number: i32,
    pub(super) severity_text: Text,
    /// The value, and where its `AnyValue` is.
    pub(super) body: Option<(Attribute, Text)>,
    pub(super) attributes: Range<usize>,
    pub(super) dropped_attributes: u32,
    pub(super) flags: u32,
    pub(super) trace_id: Text,
    pub(super) span_id: Text,
    pub(super) event_name: Text,
}

/// The log records of a request.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) records: Vec<LogRecord>,
    pub(super) attributes: Vec<Attribute>,
}

pub(super) mod field {
    use weir_proto::wire::{bytes, fixed32, fixed64, message, varint};

    pub(crate) const TIME: u32 = fixed64(1);
    pub(crate) const SEVERITY_NUMBER: u32 = varint(2);
    pub(crate) const SEVERITY_TEXT: u32 = bytes(3);
    pub(crate) const BODY: u32 = message(5);
    pub(crate) const ATTRIBUTES: u32 = message(6);
    pub(crate) const DROPPED_ATTRIBUTES: u32 = varint(7);
    pub(crate) const FLAGS: u32 = fixed32(8);
    pub(crate) const TRACE_ID: u32 = bytes(9);
    pub(crate) const SPAN_ID: u32 = bytes(10);
    pub(crate) const OBSERVED_TIME: u32 = fixed64(11);
    pub(crate) const EVENT_NAME: u32 = bytes(12);
    /// Field 4 is reserved: it is skipped.
    pub(crate) const RESERVED: u32 = 4;
    pub(crate) const LOG_RECORD: u32 = 12;
}

impl Items for Records {
    type Lengths = [usize; 2];

    fn read(&mut self, record: &Record<'_>, reader: Reader<'_>, refused: &mut Refused) -> Read {
        record.allows("log records", self.records.len() + refused.rows, 8)?;
        self.read_row(refused, |records| records.read_record(record, reader))
    }

    fn lengths(&self) -> [usize; 2] {
        [self.records.len(), self.attributes.len()]
    }

    fn truncate(&mut self, [records, attributes]: [usize; 2]) {
        self.records.truncate(records);
        self.attributes.truncate(attributes);
    }

    fn len(&self) -> usize {
        self.records.len()
    }
}

impl Records {
    fn read_record(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        let first = self.attributes.len();
        let mut log = LogRecord::default();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::TIME => log.time = time(&mut reader)?,
                field::OBSERVED_TIME => log.observed_time = time(&mut reader)?,
                field::SEVERITY_NUMBER => log.severity_number = reader.int32()?,
                field::SEVERITY_TEXT => log.severity_text = record.text(&mut reader)?,
                field::BODY => {
                    let body = reader.message()?;
                    log.body = Some((record.keyless(body.clone())?, record.content(&body)));
                }
                field::FLAGS => log.flags = reader.fixed32()?,
                field::TRACE_ID => log.trace_id = record.bytes(&mut reader)?,
                field::SPAN_ID => log.span_id = record.bytes(&mut reader)?,
                field::EVENT_NAME => log.event_name = record.text(&mut reader)?,
                field::DROPPED_ATTRIBUTES => log.dropped_attributes = uint32(&mut reader)?,
                other if other >> 3 == field::RESERVED => reader.skip_unknown(other, 0)?,
                other => reader.skip_unknown(other, field::LOG_RECORD)?,
            }
        }
        log.attributes = first..self.attributes.len();
        self.records.push(log);
        Ok(())
    }
}
