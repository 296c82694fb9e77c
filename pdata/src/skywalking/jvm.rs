//! JVM metrics to rows of the signal `metrics`, one a data point. The data model names the metrics.

use weir_proto::wire::{self, Reader};

use super::metric_columns::{MetricColumns, MetricRow, Metrics};
use super::scan::Record;
use super::words::{Word, Words};
use crate::columns::names::unknown;
use crate::columns::text::Text;
use crate::columns::views::{ViewBuffer, view};
use crate::decode::result::DecodeError;

/// Reads records of one batch.
pub(super) struct JvmReader<'w> {
    words: &'w Words,
    points: Vec<Point>,
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
}

impl<'w> JvmReader<'w> {
    pub(super) fn new(words: &'w Words) -> JvmReader<'w> {
        JvmReader { words, points: Vec::new() }
    }

    /// Reads a `JVMMetricCollection` and appends its rows: all of them, or none and an error. How many.
    pub(super) fn read(
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
