//! Segments encoded once, whose times and numbers are written over for every copy.
//!
//! Encoding a segment costs several times as much as copying its 4 KB. Values that change from segment to
//! segment have a fixed width: times are varints of six bytes (1971 to 2109), numbers in ids have 17 digits,
//! `customer.id` has 8.

use weir_proto::wire::{self, Reader, WireError};

use crate::plan::Planned;

/// A time in a template is this plus a fraction of the segment's duration.
pub(crate) const TIME: i64 = 1 << 41;
/// The fraction that is the whole duration.
pub(crate) const WHOLE: i64 = 1 << 16;
/// Digits of the number at the end of an id.
pub(crate) const NUMBER_DIGITS: usize = 17;
/// The tag whose value is written over.
pub(crate) const CUSTOMER: &str = "customer.id";
/// Digits of its value.
pub(crate) const CUSTOMER_DIGITS: usize = 8;

const TIME_BYTES: usize = 6;
/// The largest time that fits.
pub(crate) const MAX_TIME: i64 = (1 << (7 * TIME_BYTES)) - 1;

/// An encoded segment and where in it things are written over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Places of times, with the fraction of the duration.
    times: Vec<(usize, i64)>,
    /// Places of the number of the trace's first segment.
    roots: Vec<usize>,
    /// Place of the segment's own number.
    own: Option<usize>,
    /// Place of the number of the calling segment.
    parent: Option<usize>,
    /// Place of the customer.
    customer: Option<usize>,
}

const TRACE_ID: u32 = wire::bytes(1);
const SEGMENT_ID: u32 = wire::bytes(2);
const SPANS: u32 = wire::message(3);
const START: u32 = wire::varint(3);
const END: u32 = wire::varint(4);
const REFS: u32 = wire::message(5);
const TAGS: u32 = wire::message(12);
const LOGS: u32 = wire::message(13);
const REF_TRACE_ID: u32 = wire::bytes(2);
const REF_SEGMENT_ID: u32 = wire::bytes(3);
const LOG_TIME: u32 = wire::varint(1);
const KEY: u32 = wire::bytes(1);
const VALUE: u32 = wire::bytes(2);
/// Skipping takes fields of any number.
const ANY: u32 = 0;

impl Template {
    /// Finds what is to be written over in an encoded `SegmentObject` whose times are [`TIME`] plus a
    /// fraction of [`WHOLE`] and whose ids end in [`NUMBER_DIGITS`] digits.
    ///
    /// # Errors
    /// The bytes are not a segment.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Template, WireError> {
        let mut found = Template::default();
        let mut reader = Reader::new(&bytes);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                TRACE_ID => found.roots.push(number_at(&mut reader)?),
                SEGMENT_ID => found.own = Some(number_at(&mut reader)?),
                SPANS => found.find_in_span(reader.message()?)?,
                other => reader.skip_unknown(other, ANY)?,
            }
        }
        Ok(Template { bytes, ..found })
    }

    /// Its size.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the segment that `planned` says. Ids end in `base` plus the segments' numbers.
    pub(crate) fn append(&self, planned: &Planned, base: u64, arena: &mut Vec<u8>) {
        let start = arena.len();
        arena.extend_from_slice(&self.bytes);
        let Some(copy) = arena.get_mut(start..) else { return };
        for (at, fraction) in &self.times {
            let into = ((i128::from(planned.duration_ms) * i128::from(*fraction)) >> 16) as i64;
            write_time(copy, *at, planned.start_ms.saturating_add(into));
        }
        for at in &self.roots {
            write_digits::<NUMBER_DIGITS>(copy, *at, base.wrapping_add(planned.root));
        }
        if let Some(at) = self.own {
            write_digits::<NUMBER_DIGITS>(copy, at, base.wrapping_add(planned.number));
        }
        if let Some(at) = self.parent {
            write_digits::<NUMBER_DIGITS>(copy, at, base.wrapping_add(planned.number.wrapping_sub(1)));
        }
        if let Some(at) = self.customer {
            write_digits::<CUSTOMER_DIGITS>(copy, at, planned.customer);
        }
    }

    fn find_in_span(&mut self, mut reader: Reader<'_>) -> Result<(), WireError> {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                START | END => self.find_time(&mut reader)?,
                REFS => self.find_in_reference(reader.message()?)?,
                TAGS => self.find_in_tag(reader.message()?)?,
                LOGS => {
                    let mut log = reader.message()?;
                    while let Some(tag) = log.next_tag()? {
                        match tag {
                            LOG_TIME => self.find_time(&mut log)?,
                            other => log.skip_unknown(other, ANY)?,
                        }
                    }
                }
                other => reader.skip_unknown(other, ANY)?,
            }
        }
        Ok(())
    }

    fn find_time(&mut self, reader: &mut Reader<'_>) -> Result<(), WireError> {
        let at = reader.offset();
        self.times.push((at, reader.int64()? - TIME));
        Ok(())
    }

    fn find_in_reference(&mut self, mut reader: Reader<'_>) -> Result<(), WireError> {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                REF_TRACE_ID => self.roots.push(number_at(&mut reader)?),
                REF_SEGMENT_ID => self.parent = Some(number_at(&mut reader)?),
                other => reader.skip_unknown(other, ANY)?,
            }
        }
        Ok(())
    }

    fn find_in_tag(&mut self, mut reader: Reader<'_>) -> Result<(), WireError> {
        let mut is_customer = false;
        while let Some(tag) = reader.next_tag()? {
            match tag {
                KEY => is_customer = reader.bytes()? == CUSTOMER.as_bytes(),
                VALUE => {
                    let value = reader.bytes()?;
                    if is_customer && value.len() == CUSTOMER_DIGITS {
                        self.customer = Some(reader.offset() - CUSTOMER_DIGITS);
                    }
                }
                other => reader.skip_unknown(other, ANY)?,
            }
        }
        Ok(())
    }
}

/// Where the number at the end of an id begins.
fn number_at(reader: &mut Reader<'_>) -> Result<usize, WireError> {
    reader.bytes()?;
    Ok(reader.offset().saturating_sub(NUMBER_DIGITS))
}

/// Writes a varint of always [`TIME_BYTES`] bytes. Times outside of its range become its ends.
fn write_time(copy: &mut [u8], at: usize, time_ms: i64) {
    let mut rest = time_ms.clamp(0, MAX_TIME);
    let Some(place) = copy.get_mut(at..at + TIME_BYTES) else { return };
    for byte in &mut *place {
        *byte = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    place[TIME_BYTES - 1] &= 0x7f;
}

/// Writes the last `N` decimal digits of a number.
fn write_digits<const N: usize>(copy: &mut [u8], at: usize, mut number: u64) {
    let Some(place) = copy.get_mut(at..at + N) else { return };
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
