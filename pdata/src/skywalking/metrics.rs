//! JVM metrics and meters to rows of the signal `metrics`, one a data point.
//!
//! The data model names the metrics. What it leaves open:
//! * Meters without a service, an instance or a time have those of the element before them; the first ones
//!   those of the first element that has them. Agents write them once a collection.
//! * A record of meters that is a `MeterData` is taken for one: the Rust agent writes those.
//! * The buckets of a histogram have their lower bounds. Rows have upper ones, as elsewhere: each bound is
//!   that of the bucket before it, and a first bucket that does not begin at minus infinity follows an empty
//!   one. Negative counts are 0.

use weir_proto::wire::{self, Reader};

use super::metric_columns::{MetricColumns, MetricRow, Metrics};
use super::scan::{Pair, Record, read_pairs};
use super::words::{Word, Words};
use crate::columns::names::unknown;
use crate::columns::text::Text;
use crate::columns::views::{ViewBuffer, view};
use crate::decode::result::DecodeError;

/// Reads records of one batch.
pub(super) struct MetricReader<'w> {
    words: &'w Words,
    points: Vec<Point>,
    meters: Vec<Meter>,
    labels: Vec<Pair>,
    buckets: Vec<(f64, u64)>,
}

/// A data point of a JVM.
#[derive(Clone, Copy)]
struct Point {
    metric: Metrics,
    time_ms: i64,
    value: Number,
    attributes: [Option<(Word, u128)>; 2],
}

#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
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
    pub(super) const SERVICE: u32 = bytes(2);
    pub(super) const INSTANCE: u32 = bytes(3);

    pub(super) const TIME: u32 = varint(1);
    pub(super) const CPU: u32 = message(2);
    pub(super) const MEMORY: u32 = message(3);
    pub(super) const POOL: u32 = message(4);
    pub(super) const GC: u32 = message(5);
    pub(super) const THREAD: u32 = message(6);
    pub(super) const CLASS: u32 = message(7);
    pub(super) const JVM: u32 = 7;
    pub(super) const USAGE: u32 = fixed64(2);

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

/// The numbers of a message whose fields are all whole numbers, by field.
fn whole_numbers<const FIELDS: usize>(mut reader: Reader<'_>) -> Result<[i64; FIELDS], DecodeError> {
    let mut numbers = [0; FIELDS];
    while let Some(tag) = reader.next_tag()? {
        let at = usize::try_from(tag >> 3).unwrap_or(0).wrapping_sub(1);
        match numbers.get_mut(at) {
            Some(number) if tag & 7 == wire::varint(0) => *number = reader.int64()?,
            _ => reader.skip_unknown(tag, u32::try_from(FIELDS).unwrap_or(0))?,
        }
    }
    Ok(numbers)
}

impl<'w> MetricReader<'w> {
    pub(super) fn new(words: &'w Words) -> MetricReader<'w> {
        let (points, meters, labels, buckets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        MetricReader { words, points, meters, labels, buckets }
    }

    /// Reads a `JVMMetricCollection` and appends its rows: all of them, or none and an error. How many.
    pub(super) fn read_jvm(
        &mut self,
        columns: &mut MetricColumns<'_>,
        bytes: &[u8],
        base: usize,
        record: usize,
    ) -> Result<usize, DecodeError> {
        self.points.clear();
        let at = Record { bytes, base };
        let built = columns.rows.built.len();
        let mut reader = Reader::new(bytes);
        let (mut service, mut instance) = (Text::default(), Text::default());
        let read = (|| {
            while let Some(tag) = reader.next_tag()? {
                match tag {
                    field::METRICS => self.jvm(&at, columns, reader.message()?)?,
                    field::SERVICE => service = at.text(&mut reader)?,
                    field::INSTANCE => instance = at.text(&mut reader)?,
                    other => reader.skip_unknown(other, 3)?,
                }
            }
            Ok(())
        })();
        if let Err(error) = read {
            columns.rows.built.truncate(built);
            return Err(error);
        }
        if !self.points.is_empty() {
            columns.rows.begin_record(record);
        }
        let arena = columns.rows.bytes;
        for point in &self.points {
            let (value, value_int) = match point.value {
                Number::Int(number) => (number as f64, Some(number)),
                Number::Float(number) => (number, None),
            };
            let attributes = point.attributes.iter().flatten();
            let attributes: [Option<(Text, u128)>; 2] = {
                let mut each = attributes.map(|(key, value)| (self.words.text(*key), *value));
                [each.next(), each.next()]
            };
            columns.push(
                &MetricRow {
                    known: Some(point.metric),
                    time_ms: point.time_ms,
                    value: Some(value),
                    value_int,
                    service: service.present(arena),
                    instance: instance.present(arena),
                    ..MetricRow::default()
                },
                attributes.into_iter().flatten(),
                record,
            );
        }
        Ok(self.points.len())
    }

    fn jvm(
        &mut self,
        record: &Record<'_>,
        columns: &mut MetricColumns<'_>,
        mut reader: Reader<'_>,
    ) -> Result<(), DecodeError> {
        let first = self.points.len();
        let mut time_ms = 0;
        let arena = columns.rows.bytes;
        let word = |words: &Words, word: Word| words.text(word).view(arena);
        while let Some(tag) = reader.next_tag()? {
            record.allows("data points", self.points.len(), 2)?;
            match tag {
                field::TIME => time_ms = reader.int64()?,
                field::CPU => {
                    let mut cpu = reader.message()?;
                    let mut usage = 0.0;
                    while let Some(tag) = cpu.next_tag()? {
                        match tag {
                            field::USAGE => usage = f64::from_bits(cpu.fixed64()?),
                            other if other >> 3 == 1 => cpu.skip_unknown(other, 0)?,
                            other => cpu.skip_unknown(other, 2)?,
                        }
                    }
                    self.point(Metrics::Cpu, Number::Float(usage), [None, None]);
                }
                field::MEMORY => {
                    let [is_heap, init, max, used, committed] = whole_numbers(reader.message()?)?;
                    let kind = if is_heap != 0 { Word::Heap } else { Word::NonHeap };
                    let kind = Some((Word::MemoryType, word(self.words, kind)));
                    let of = [
                        (Metrics::TotalInit, init),
                        (Metrics::TotalUsed, used),
                        (Metrics::TotalMax, max),
                        (Metrics::TotalCommitted, committed),
                    ];
                    of.into_iter()
                        .for_each(|(metric, value)| self.point(metric, Number::Int(value), [kind, None]));
                }
                field::POOL => {
                    let [pool, init, max, used, committed] = whole_numbers(reader.message()?)?;
                    let (name, kind) = pool_words(pool);
                    let name = match name {
                        Some(name) => word(self.words, name),
                        None => build(columns, &unknown(truncated(pool))),
                    };
                    let name = Some((Word::PoolName, name));
                    let kind = kind.map(|kind| (Word::MemoryType, word(self.words, kind)));
                    let of = [
                        (Metrics::PoolInit, init),
                        (Metrics::PoolUsed, used),
                        (Metrics::PoolMax, max),
                        (Metrics::PoolCommitted, committed),
                    ];
                    of.into_iter()
                        .for_each(|(metric, value)| self.point(metric, Number::Int(value), [name, kind]));
                }
                field::GC => {
                    let [phase, count, time] = whole_numbers(reader.message()?)?;
                    let name = match phase {
                        0 => word(self.words, Word::GcNew),
                        1 => word(self.words, Word::GcOld),
                        2 => word(self.words, Word::GcNormal),
                        other => build(columns, &unknown(truncated(other))),
                    };
                    let name = Some((Word::GcName, name));
                    self.point(Metrics::GcCount, Number::Int(count), [name, None]);
                    self.point(Metrics::GcDuration, Number::Int(time), [name, None]);
                }
                field::THREAD => {
                    let counts: [i64; 7] = whole_numbers(reader.message()?)?;
                    let states = [
                        Word::Live,
                        Word::Daemon,
                        Word::Peak,
                        Word::Runnable,
                        Word::Blocked,
                        Word::Waiting,
                        Word::TimedWaiting,
                    ];
                    for (state, count) in states.into_iter().zip(counts) {
                        let state = Some((Word::ThreadState, word(self.words, state)));
                        self.point(Metrics::Threads, Number::Int(count), [state, None]);
                    }
                }
                field::CLASS => {
                    let [count, unloaded, loaded] = whole_numbers(reader.message()?)?;
                    self.point(Metrics::Classes, Number::Int(count), [None, None]);
                    self.point(Metrics::ClassesUnloaded, Number::Int(unloaded), [None, None]);
                    self.point(Metrics::ClassesLoaded, Number::Int(loaded), [None, None]);
                }
                other => reader.skip_unknown(other, field::JVM)?,
            }
        }
        self.points.iter_mut().skip(first).for_each(|point| point.time_ms = time_ms);
        Ok(())
    }

    fn point(&mut self, metric: Metrics, value: Number, attributes: [Option<(Word, u128)>; 2]) {
        self.points.push(Point { metric, time_ms: 0, value, attributes });
    }

    /// Reads a `MeterDataCollection` and appends its rows: all of them, or none and an error. How many.
    pub(super) fn read_meters(
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

/// The name and the type of a pool.
fn pool_words(pool: i64) -> (Option<Word>, Option<Word>) {
    let (heap, non_heap) = (Some(Word::Heap), Some(Word::NonHeap));
    match pool {
        0 => (Some(Word::CodeCache), non_heap),
        1 => (Some(Word::NewGen), heap),
        2 => (Some(Word::OldGen), heap),
        3 => (Some(Word::Survivor), heap),
        4 => (Some(Word::PermGen), non_heap),
        5 => (Some(Word::Metaspace), non_heap),
        6 => (Some(Word::ZHeap), heap),
        7 => (Some(Word::CompressedClassSpace), non_heap),
        8 => (Some(Word::CodeHeapNonNmethods), non_heap),
        9 => (Some(Word::CodeHeapProfiled), non_heap),
        10 => (Some(Word::CodeHeapNonProfiled), non_heap),
        _ => (None, None),
    }
}

/// Enum numbers have 32 bits.
#[allow(clippy::cast_possible_truncation)]
fn truncated(number: i64) -> i32 {
    number as i32
}

fn build(columns: &mut MetricColumns<'_>, text: &str) -> u128 {
    let built = &mut columns.rows.built;
    let start = built.len();
    built.extend_from_slice(text.as_bytes());
    view(built, ViewBuffer::Built, start, text.len())
}
