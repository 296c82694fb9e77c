//! Meters to rows of the signal `metrics`, one a data point. What the data model leaves open:
//! * Meters without a service, an instance or a time have those of the element before them; the first ones
//!   those of the first element that has them. Agents write them once a collection.
//! * A record of meters that is a `MeterData` is taken for one: the Rust agent writes those.
//! * The buckets of a histogram have their lower bounds. Rows have upper ones, as elsewhere: each bound is
//!   that of the bucket before it, and a first bucket that does not begin at minus infinity follows an empty
//!   one. Negative counts are 0.

use weir_proto::wire::{self, Reader};

use super::metric_columns::{MetricColumns, MetricRow};
use super::scan::{Pair, Record, read_pairs};
use crate::columns::text::Text;
use crate::decode::result::DecodeError;

/// Reads records of one batch.
#[derive(Default)]
pub(super) struct MeterReader {
    meters: Vec<Meter>,
    labels: Vec<Pair>,
    buckets: Vec<(f64, u64)>,
}

/// A meter. Ranges are into the vectors of the reader.
#[derive(Clone, Default)]
struct Meter {
    name: Text,
    value: f64,
    labels: std::ops::Range<usize>,
    /// Of a histogram.
    buckets: Option<std::ops::Range<usize>>,
    /// It has one of both.
    is_some: bool,
    service: Text,
    instance: Text,
    time_ms: i64,
}

mod field {
    use super::wire::{bytes, fixed64, message, varint};

    pub(super) const METRICS: u32 = message(1);

    pub(super) const SINGLE: u32 = message(1);
    pub(super) const HISTOGRAM: u32 = message(2);
    pub(super) const METER_SERVICE: u32 = bytes(3);
    pub(super) const METER_INSTANCE: u32 = bytes(4);
    pub(super) const METER_TIME: u32 = varint(5);
    pub(super) const METER: u32 = 5;

    pub(super) const NAME: u32 = bytes(1);
    pub(super) const LABELS: u32 = message(2);
    pub(super) const VALUE: u32 = fixed64(3);
    pub(super) const VALUES: u32 = message(3);
    pub(super) const BUCKET: u32 = fixed64(1);
    pub(super) const COUNT: u32 = varint(2);
    pub(super) const NEGATIVE_INFINITY: u32 = varint(3);
}

impl MeterReader {
    /// Reads a `MeterDataCollection` and appends its rows: all of them, or none and an error. How many.
    pub(super) fn read(
        &mut self,
        columns: &mut MetricColumns<'_>,
        bytes: &[u8],
        base: usize,
        record: usize,
    ) -> Result<usize, DecodeError> {
        self.meters.clear();
        self.labels.clear();
        self.buckets.clear();
        let at = Record { bytes, base };
        if is_bare(bytes)? {
            self.meter(&at, Reader::new(bytes))?;
        } else {
            let mut reader = Reader::new(bytes);
            while let Some(tag) = reader.next_tag()? {
                match tag {
                    field::METRICS => self.meter(&at, reader.message()?)?,
                    other => reader.skip_unknown(other, 1)?,
                }
            }
        }
        self.inherit();
        let arena = columns.rows.bytes;
        let some: Vec<&Meter> = self.meters.iter().filter(|meter| meter.is_some).collect();
        if !some.is_empty() {
            columns.rows.begin_record(record);
        }
        for meter in &some {
            let buckets = meter.buckets.clone().and_then(|range| self.buckets.get_mut(range));
            let buckets = buckets.map(|buckets| {
                buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
                &*buckets
            });
            let labels = self.labels.get(meter.labels.clone()).unwrap_or_default();
            columns.push(
                &MetricRow {
                    name: meter.name.present(arena),
                    time_ms: meter.time_ms,
                    value: buckets.is_none().then_some(meter.value),
                    buckets,
                    service: meter.service.present(arena),
                    instance: meter.instance.present(arena),
                    ..MetricRow::default()
                },
                labels.iter().map(|label| (label.key, label.value.view(arena))),
                record,
            );
        }
        Ok(some.len())
    }

    fn meter(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        record.allows("meters", self.meters.len(), 2)?;
        let mut meter = Meter::default();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::SINGLE => {
                    let first = self.labels.len();
                    let mut single = reader.message()?;
                    (meter.is_some, meter.buckets) = (true, None);
                    while let Some(tag) = single.next_tag()? {
                        match tag {
                            field::NAME => meter.name = record.text(&mut single)?,
                            field::LABELS => {
                                read_pairs(record, &mut single, field::LABELS, &mut self.labels)?;
                            }
                            field::VALUE => meter.value = f64::from_bits(single.fixed64()?),
                            other => single.skip_unknown(other, 3)?,
                        }
                    }
                    meter.labels = first..self.labels.len();
                }
                field::HISTOGRAM => {
                    let (first, first_bucket) = (self.labels.len(), self.buckets.len());
                    let mut histogram = reader.message()?;
                    while let Some(tag) = histogram.next_tag()? {
                        match tag {
                            field::NAME => meter.name = record.text(&mut histogram)?,
                            field::LABELS => {
                                read_pairs(record, &mut histogram, field::LABELS, &mut self.labels)?;
                            }
                            field::VALUES => {
                                record.allows("buckets", self.buckets.len(), 2)?;
                                let bucket = bucket(histogram.message()?)?;
                                self.buckets.push(bucket);
                            }
                            other => histogram.skip_unknown(other, 3)?,
                        }
                    }
                    meter.labels = first..self.labels.len();
                    (meter.is_some, meter.buckets) = (true, Some(first_bucket..self.buckets.len()));
                }
                field::METER_SERVICE => meter.service = record.text(&mut reader)?,
                field::METER_INSTANCE => meter.instance = record.text(&mut reader)?,
                field::METER_TIME => meter.time_ms = reader.int64()?,
                other => reader.skip_unknown(other, field::METER)?,
            }
        }
        self.meters.push(meter);
        Ok(())
    }

    /// Gives meters what only another one of the collection says.
    fn inherit(&mut self) {
        let first = |has: fn(&Meter) -> bool| {
            self.meters.iter().find(|meter| has(meter)).cloned().unwrap_or_default()
        };
        let mut service = first(|meter| meter.service.len() > 0).service;
        let mut instance = first(|meter| meter.instance.len() > 0).instance;
        let mut time_ms = first(|meter| meter.time_ms != 0).time_ms;
        for meter in &mut self.meters {
            if meter.service.len() > 0 {
                service = meter.service;
            }
            if meter.instance.len() > 0 {
                instance = meter.instance;
            }
            if meter.time_ms != 0 {
                time_ms = meter.time_ms;
            }
            (meter.service, meter.instance, meter.time_ms) = (service, instance, time_ms);
        }
    }
}

fn bucket(mut reader: Reader<'_>) -> Result<(f64, u64), DecodeError> {
    let (mut bound, mut count, mut infinite) = (0.0, 0, false);
    while let Some(tag) = reader.next_tag()? {
        match tag {
            field::BUCKET => bound = f64::from_bits(reader.fixed64()?),
            field::COUNT => count = reader.int64()?,
            field::NEGATIVE_INFINITY => infinite = reader.varint()? != 0,
            other => reader.skip_unknown(other, 3)?,
        }
    }
    let bound = if infinite { f64::NEG_INFINITY } else { bound };
    Ok((bound, u64::try_from(count).unwrap_or(0)))
}

/// Whether a record is a `MeterData` and no collection: it has fields that only the former has.
fn is_bare(bytes: &[u8]) -> Result<bool, DecodeError> {
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.next_tag()? {
        if (2..=field::METER).contains(&(tag >> 3)) {
            return Ok(true);
        }
        reader.skip_unknown(tag, 0)?;
    }
    Ok(false)
}
