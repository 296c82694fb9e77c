//! What becomes rows of the signal `logs`: logs, properties of instances, pings, snapshots of threads,
//! events.
//!
//! The data model says which field becomes which column. What it leaves open:
//! * Empty texts are null, but for keys and values of attributes.
//! * The level of a log is its first tag `level`; the tag stays among the attributes.
//! * A body without a type has the type of its content.
//! * A record of a log that is an `InstancePingPkg` is a ping: the Rust agent sends them to the wrong topic.
//!   (Its first field is a text; that of a log is a number.)

mod events;

use weir_proto::wire::{self, Reader};

use super::log_columns::{LogColumns, LogRow};
use super::scan::{Pair, Record, read_pairs};
use super::words::{Word, Words};
use crate::columns::text::Text;
use crate::columns::views::{ViewBuffer, view};
use crate::decode::result::DecodeError;
use crate::{Encoded, Format};

/// Reads records of one batch.
pub(super) struct LogReader<'w> {
    words: &'w Words,
    row: LogRow,
    pairs: Vec<Pair>,
}

/// A field 1 that is a text.
const FIRST_TEXT: u32 = wire::bytes(1);

/// The fields of a message; see the `.proto` texts of `weir-proto`.
mod field {
    use super::wire::{bytes, message, varint};

    pub(super) const TIMESTAMP: u32 = varint(1);
    pub(super) const SERVICE: u32 = bytes(2);
    pub(super) const INSTANCE: u32 = bytes(3);
    pub(super) const ENDPOINT: u32 = bytes(4);
    pub(super) const BODY: u32 = message(5);
    pub(super) const TRACE_CONTEXT: u32 = message(6);
    pub(super) const TAGS: u32 = message(7);
    pub(super) const LAYER: u32 = bytes(8);
    pub(super) const LOG: u32 = 8;

    pub(super) const BODY_TYPE: u32 = bytes(1);
    pub(super) const TEXT: u32 = message(2);
    pub(super) const JSON: u32 = message(3);
    pub(super) const YAML: u32 = message(4);
    pub(super) const LOG_BODY: u32 = 4;

    pub(super) const TRACE_ID: u32 = bytes(1);
    pub(super) const SEGMENT_ID: u32 = bytes(2);
    pub(super) const SPAN_ID: u32 = varint(3);
    pub(super) const CONTEXT: u32 = 3;

    /// Of properties and pings.
    pub(super) const OWN_SERVICE: u32 = bytes(1);
    pub(super) const OWN_INSTANCE: u32 = bytes(2);
    pub(super) const PROPERTIES: u32 = message(3);
    pub(super) const PROPERTIES_LAYER: u32 = bytes(4);
    pub(super) const PING_LAYER: u32 = bytes(3);
}

impl<'w> LogReader<'w> {
    pub(super) fn new(words: &'w Words) -> LogReader<'w> {
        LogReader { words, row: LogRow::default(), pairs: Vec::new() }
    }

    /// Reads one record and appends its row. After an error nothing is appended.
    pub(super) fn read(
        &mut self,
        encoded: &Encoded,
        columns: &mut LogColumns<'_>,
        bytes: &[u8],
        base: usize,
        record: usize,
    ) -> Result<(), DecodeError> {
        self.row.clear();
        self.pairs.clear();
        let at = Record { bytes, base };
        let built = columns.rows.built.len();
        let mut scan =
            Scan { record: &at, arena: columns.rows.bytes, built: &mut columns.rows.built, reader: self };
        let mut reader = Reader::new(bytes);
        let read = match encoded.format {
            Format::SkyWalkingInstance => scan.instance(&mut reader),
            Format::SkyWalkingPing => scan.ping(&mut reader),
            Format::SkyWalkingSnapshot => scan.snapshot(&mut reader),
            Format::SkyWalkingEvent => scan.event(&mut reader),
            Format::SkyWalkingAttachedEvent => scan.attached_event(&mut reader),
            _ if bytes.first().is_some_and(|tag| u32::from(*tag) == field::OWN_SERVICE) => {
                scan.ping(&mut reader)
            }
            _ => scan.log(&mut reader),
        };
        if let Err(error) = read {
            columns.rows.built.truncate(built);
            return Err(error);
        }
        columns.push(&self.row, record);
        Ok(())
    }
}

/// One record while it is read.
struct Scan<'s, 'r, 'w> {
    record: &'s Record<'r>,
    arena: &'s [u8],
    built: &'s mut Vec<u8>,
    reader: &'s mut LogReader<'w>,
}

impl Scan<'_, '_, '_> {
    fn text(&self, reader: &mut Reader<'_>) -> Result<Option<u128>, DecodeError> {
        Ok(self.record.text(reader)?.present(self.arena))
    }

    fn word(&self, word: Word) -> u128 {
        self.reader.words.text(word).view(self.arena)
    }

    /// Text that is not in the arena.
    fn build(&mut self, text: &str) -> u128 {
        let start = self.built.len();
        self.built.extend_from_slice(text.as_bytes());
        view(self.built, ViewBuffer::Built, start, text.len())
    }

    fn attribute(&mut self, key: Word, value: Option<u128>) {
        if let Some(value) = value {
            let key = self.reader.words.text(key);
            self.reader.row.attributes.push((key, value));
        }
    }

    /// The pairs from `first` on become attributes.
    fn attributes(&mut self, first: usize) {
        let LogReader { row, pairs, .. } = &mut *self.reader;
        let more = pairs.get(first..).unwrap_or_default();
        row.attributes.extend(more.iter().map(|pair| (pair.key, pair.value.view(self.arena))));
    }

    fn log(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut layer = None;
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::TIMESTAMP => self.reader.row.time_ms = reader.int64()?,
                field::SERVICE => self.reader.row.service = self.text(reader)?,
                field::INSTANCE => self.reader.row.instance = self.text(reader)?,
                field::ENDPOINT => self.reader.row.endpoint = self.text(reader)?,
                field::BODY => self.body(reader.message()?)?,
                field::TRACE_CONTEXT => self.trace_context(reader.message()?)?,
                field::TAGS => self.tags(reader.message()?)?,
                field::LAYER => layer = self.text(reader)?,
                other => reader.skip_unknown(other, field::LOG)?,
            }
        }
        self.attributes(0);
        self.level();
        self.attribute(Word::Layer, layer);
        Ok(())
    }

    fn body(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        let (mut kind, mut content) = (None, None);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::BODY_TYPE => kind = self.text(&mut reader)?,
                field::TEXT | field::JSON | field::YAML => {
                    content = Some(match tag {
                        field::TEXT => Word::TextBody,
                        field::JSON => Word::JsonBody,
                        _ => Word::YamlBody,
                    });
                    let mut inner = reader.message()?;
                    self.reader.row.body = Some(Text::default().view(self.arena));
                    while let Some(tag) = inner.next_tag()? {
                        match tag {
                            FIRST_TEXT => {
                                let text = self.record.text(&mut inner)?;
                                self.reader.row.body = Some(text.view(self.arena));
                            }
                            other => inner.skip_unknown(other, 1)?,
                        }
                    }
                }
                other => reader.skip_unknown(other, field::LOG_BODY)?,
            }
        }
        self.reader.row.body_type = kind.or(content.map(|word| self.word(word)));
        Ok(())
    }

    fn trace_context(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        let (mut segment, mut number) = (Text::default(), 0);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::TRACE_ID => self.reader.row.trace_id = self.text(&mut reader)?,
                field::SEGMENT_ID => segment = self.record.text(&mut reader)?,
                field::SPAN_ID => number = reader.int32()?,
                other => reader.skip_unknown(other, field::CONTEXT)?,
            }
        }
        self.reader.row.segment_id = segment.present(self.arena);
        // The agent's word for "in no span".
        if number >= 0 {
            self.reader.row.span_id = super::ids::span_id(self.built, self.arena, segment, number);
        }
        Ok(())
    }

    fn tags(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        const DATA: u32 = wire::message(1);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                DATA => read_pairs(self.record, &mut reader, DATA, &mut self.reader.pairs)?,
                other => reader.skip_unknown(other, 1)?,
            }
        }
        Ok(())
    }

    /// The severity, from the tag `level`.
    fn level(&mut self) {
        let bytes = self.arena;
        let level = self.reader.pairs.iter().find(|pair| pair.key.bytes(bytes) == b"level");
        let Some(value) = level.map(|pair| pair.value) else { return };
        self.reader.row.severity = value.present(bytes);
        let is = |names: &[&str]| {
            names.iter().any(|name| value.bytes(bytes).eq_ignore_ascii_case(name.as_bytes()))
        };
        // The numbers of OpenTelemetry.
        self.reader.row.severity_number = match () {
            () if is(&["TRACE"]) => Some(1),
            () if is(&["DEBUG"]) => Some(5),
            () if is(&["INFO"]) => Some(9),
            () if is(&["WARN", "WARNING"]) => Some(13),
            () if is(&["ERROR"]) => Some(17),
            () if is(&["FATAL", "CRITICAL"]) => Some(21),
            () => None,
        };
    }

    fn instance(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut layer = None;
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::OWN_SERVICE => self.reader.row.service = self.text(reader)?,
                field::OWN_INSTANCE => self.reader.row.instance = self.text(reader)?,
                field::PROPERTIES => {
                    read_pairs(self.record, reader, field::PROPERTIES, &mut self.reader.pairs)?;
                }
                field::PROPERTIES_LAYER => layer = self.text(reader)?,
                other => reader.skip_unknown(other, 4)?,
            }
        }
        self.reader.row.event_name = Some(self.word(Word::InstanceProperties));
        self.attributes(0);
        self.attribute(Word::Layer, layer);
        Ok(())
    }

    fn ping(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut layer = None;
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::OWN_SERVICE => self.reader.row.service = self.text(reader)?,
                field::OWN_INSTANCE => self.reader.row.instance = self.text(reader)?,
                field::PING_LAYER => layer = self.text(reader)?,
                other => reader.skip_unknown(other, 3)?,
            }
        }
        self.reader.row.event_name = Some(self.word(Word::InstancePing));
        self.attribute(Word::Layer, layer);
        Ok(())
    }
}
