//! Data points, in their metrics.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray, RecordBatch, StructArray};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use weir_proto::wire::message;
use weir_proto::write;

use super::frames::{Frames, LevelColumns};
use super::traces::{entries, put_span_id, put_trace_id, structures, text};
use super::values::{
    Named, Text, put_attribute, put_fixed64, put_int32, put_sint32, put_varint, same_text, unsigned,
};
use crate::attributes::AttributeColumn;
use crate::otlp::point::MetricType;
use crate::otlp::point_fields as field;
use crate::{Level, Signal, schema};

const METRICS: u32 = message(2);
const TEMPORALITIES: [&str; 3] = ["unspecified", "delta", "cumulative"];

/// Appends the rows.
pub(super) fn encode(batch: &RecordBatch, out: &mut Vec<u8>) {
    let mut frames = Frames::new(Signal::Metrics, batch);
    let metrics = MetricTexts::new(batch);
    let points = Points::new(batch);
    // Where the open metric and its data begin, and the row that opened them.
    let mut open: Option<(usize, usize, usize)> = None;
    for row in 0..batch.num_rows() {
        let new_frame = frames.enter(row, out, |out| {
            if let Some(open) = open.take() {
                metrics.close(open, out);
            }
        });
        let same = !new_frame && open.is_some_and(|(_, _, before)| metrics.same(before, row));
        if !same {
            if let Some(open) = open.take() {
                metrics.close(open, out);
            }
            let metric = write::begin(METRICS, out);
            metrics.put(row, out);
            let data = write::begin(metrics.data(row).tag(), out);
            open = Some((metric, data, row));
        }
        let point = write::begin(field::POINTS, out);
        points.put(metrics.data(row), row, out);
        write::end(point, out);
    }
    if let Some(open) = open.take() {
        metrics.close(open, out);
    }
    frames.finish(out);
}

/// What the points of a metric have in common.
struct MetricTexts<'a> {
    name: Text<'a>,
    description: Text<'a>,
    unit: Text<'a>,
    data: Text<'a>,
    temporality: Text<'a>,
    monotonic: Box<dyn Fn(usize) -> bool + 'a>,
    metadata: Option<AttributeColumn<'a>>,
}

impl<'a> MetricTexts<'a> {
    fn new(batch: &'a RecordBatch) -> MetricTexts<'a> {
        let named = Named(batch);
        MetricTexts {
            name: named.text("metric"),
            description: named.text("description"),
            unit: named.text("unit"),
            data: named.text("metric_type"),
            temporality: named.text("temporality"),
            monotonic: Box::new(named.flag("monotonic")),
            metadata: batch.column_by_name(schema::METADATA).and_then(AttributeColumn::new),
        }
    }

    /// The type of a row's metric; a gauge where it has none.
    fn data(&self, row: usize) -> MetricType {
        let name = self.data.get(row);
        let found = MetricType::ALL.into_iter().find(|data| Some(data.name()) == name);
        found.unwrap_or(MetricType::Gauge)
    }

    fn same(&self, one: usize, other: usize) -> bool {
        let texts = [self.name, self.description, self.unit, self.data, self.temporality];
        texts.iter().all(|text| text.0.is_none_or(|text| same_text(text, one, other)))
            && (self.monotonic)(one) == (self.monotonic)(other)
            && self.metadata.is_none_or(|lists| {
                lists.range(one) == lists.range(other) || self.metadata_of(one) == self.metadata_of(other)
            })
    }

    /// The metadata of a row as it is written: floats that are no numbers are the same, too.
    fn metadata_of(&self, row: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in self.metadata.iter().flat_map(|lists| lists.row(row)) {
            put_attribute(field::METADATA, key, value, &mut out);
        }
        out
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        self.name.put(field::NAME, row, out);
        self.description.put(field::DESCRIPTION, row, out);
        self.unit.put(field::UNIT, row, out);
    }

    fn close(&self, (metric, data, row): (usize, usize, usize), out: &mut Vec<u8>) {
        match self.data(row) {
            MetricType::Gauge | MetricType::Summary => {}
            of_sum => {
                put_int32(field::TEMPORALITY, self.temporality.code(row, &TEMPORALITIES), out);
                if of_sum == MetricType::Sum {
                    put_varint(field::MONOTONIC, u64::from((self.monotonic)(row)), out);
                }
            }
        }
        write::end(data, out);
        out.extend_from_slice(&self.metadata_of(row));
        write::end(metric, out);
    }
}

/// The columns of data points.
struct Points<'a> {
    attributes: LevelColumns<'a>,
    time: Box<dyn Fn(usize) -> u64 + 'a>,
    start: Box<dyn Fn(usize) -> u64 + 'a>,
    value: Box<dyn Fn(usize) -> Option<f64> + 'a>,
    value_int: Box<dyn Fn(usize) -> Option<i64> + 'a>,
    flags: Box<dyn Fn(usize) -> u32 + 'a>,
    count: Box<dyn Fn(usize) -> u64 + 'a>,
    sum: Box<dyn Fn(usize) -> Option<f64> + 'a>,
    min: Box<dyn Fn(usize) -> Option<f64> + 'a>,
    max: Box<dyn Fn(usize) -> Option<f64> + 'a>,
    zero_threshold: Box<dyn Fn(usize) -> Option<f64> + 'a>,
    zero_count: Box<dyn Fn(usize) -> u64 + 'a>,
    scale: Box<dyn Fn(usize) -> Option<i32> + 'a>,
    positive_offset: Box<dyn Fn(usize) -> Option<i32> + 'a>,
    negative_offset: Box<dyn Fn(usize) -> Option<i32> + 'a>,
    bounds: Numbers<'a, Float64Type>,
    bucket_counts: Numbers<'a, UInt64Type>,
    positive_counts: Numbers<'a, UInt64Type>,
    negative_counts: Numbers<'a, UInt64Type>,
    quantiles: Option<(&'a ListArray, &'a StructArray)>,
    exemplars: Option<(&'a ListArray, &'a StructArray)>,
}

impl<'a> Points<'a> {
    fn new(batch: &'a RecordBatch) -> Points<'a> {
        let named = Named(batch);
        Points {
            attributes: LevelColumns::new(Signal::Metrics, batch, Level::Row),
            time: Box::new(named.time("time")),
            start: Box::new(named.time("start_time")),
            value: Box::new(named.f64("value")),
            value_int: Box::new(named.i64("value_int")),
            flags: Box::new(named.u32("flags")),
            count: Box::new(named.u64("count")),
            sum: Box::new(named.f64("sum")),
            min: Box::new(named.f64("min")),
            max: Box::new(named.f64("max")),
            zero_threshold: Box::new(named.f64("zero_threshold")),
            zero_count: Box::new(named.u64("zero_count")),
            scale: Box::new(named.i32("scale")),
            positive_offset: Box::new(named.i32("positive_offset")),
            negative_offset: Box::new(named.i32("negative_offset")),
            bounds: Numbers::new(batch, "bounds"),
            bucket_counts: Numbers::new(batch, "bucket_counts"),
            positive_counts: Numbers::new(batch, "positive_bucket_counts"),
            negative_counts: Numbers::new(batch, "negative_bucket_counts"),
            quantiles: structures(batch, "quantiles"),
            exemplars: structures(batch, "exemplars"),
        }
    }

    fn put(&self, data: MetricType, row: usize, out: &mut Vec<u8>) {
        put_fixed64(field::START, (self.start)(row), out);
        put_fixed64(field::TIME, (self.time)(row), out);
        let put_some = |tag: u32, value: Option<f64>, out: &mut Vec<u8>| {
            if let Some(value) = value {
                write::fixed64_field(tag, value.to_bits(), out);
            }
        };
        let (attributes, exemplars, flags) = match data {
            MetricType::Gauge | MetricType::Sum => {
                match ((self.value_int)(row), (self.value)(row)) {
                    (Some(number), _) => write::fixed64_field(field::AS_INT, number.cast_unsigned(), out),
                    (None, value) => put_some(field::AS_DOUBLE, value, out),
                }
                (field::NUMBER_ATTRIBUTES, Some(field::NUMBER_EXEMPLARS), field::NUMBER_FLAGS)
            }
            MetricType::Summary => {
                put_fixed64(field::COUNT, (self.count)(row), out);
                put_fixed64(field::SUM, (self.sum)(row).unwrap_or(0.0).to_bits(), out);
                self.put_quantiles(row, out);
                (field::NUMBER_ATTRIBUTES, None, field::NUMBER_FLAGS)
            }
            MetricType::Histogram => {
                put_fixed64(field::COUNT, (self.count)(row), out);
                put_some(field::SUM, (self.sum)(row), out);
                self.bucket_counts.put(field::BUCKET_COUNTS, row, out, |count, out| {
                    out.extend_from_slice(&count.to_le_bytes());
                });
                self.bounds.put(field::BOUNDS, row, out, |bound, out| {
                    out.extend_from_slice(&bound.to_le_bytes());
                });
                put_some(field::MIN, (self.min)(row), out);
                put_some(field::MAX, (self.max)(row), out);
                (field::ATTRIBUTES, Some(field::EXEMPLARS), field::FLAGS)
            }
            MetricType::ExponentialHistogram => {
                put_fixed64(field::COUNT, (self.count)(row), out);
                put_some(field::SUM, (self.sum)(row), out);
                put_sint32(field::SCALE, (self.scale)(row).unwrap_or(0), out);
                put_fixed64(field::ZERO_COUNT, (self.zero_count)(row), out);
                for (tag, offset, counts) in [
                    (field::POSITIVE, &self.positive_offset, &self.positive_counts),
                    (field::NEGATIVE, &self.negative_offset, &self.negative_counts),
                ] {
                    let offset = offset(row).unwrap_or(0);
                    if offset == 0 && counts.of(row).is_empty() {
                        continue;
                    }
                    write::message_field(tag, out, |out| {
                        put_sint32(field::OFFSET, offset, out);
                        counts.put(field::EXP_COUNTS, row, out, write::varint);
                    });
                }
                put_some(field::EXP_MIN, (self.min)(row), out);
                put_some(field::EXP_MAX, (self.max)(row), out);
                let threshold = (self.zero_threshold)(row).unwrap_or(0.0);
                put_fixed64(field::ZERO_THRESHOLD, threshold.to_bits(), out);
                (field::EXP_ATTRIBUTES, Some(field::EXP_EXEMPLARS), field::EXP_FLAGS)
            }
        };
        self.attributes.each(row, |key, value| put_attribute(attributes, key, value, out));
        if let Some(tag) = exemplars {
            self.put_exemplars(tag, row, out);
        }
        put_varint(flags, u64::from((self.flags)(row)), out);
    }

    fn put_quantiles(&self, row: usize, out: &mut Vec<u8>) {
        let Some((lists, structs)) = self.quantiles else { return };
        for at in entries(lists, row) {
            write::message_field(field::QUANTILES, out, |out| {
                for (tag, name) in [(field::QUANTILE, "quantile"), (field::QUANTILE_VALUE, "value")] {
                    let value = one::<Float64Type>(structs, name, at);
                    put_fixed64(tag, value.unwrap_or(0.0).to_bits(), out);
                }
            });
        }
    }

    fn put_exemplars(&self, tag: u32, row: usize, out: &mut Vec<u8>) {
        let Some((lists, structs)) = self.exemplars else { return };
        let attributes = structs.column_by_name("attributes").and_then(AttributeColumn::new);
        for at in entries(lists, row) {
            let start = write::begin(tag, out);
            let time = one::<TimestampNanosecondType>(structs, "time", at);
            put_fixed64(field::EXEMPLAR_TIME, unsigned(time.unwrap_or(0)), out);
            match (one::<Int64Type>(structs, "value_int", at), one::<Float64Type>(structs, "value", at)) {
                (Some(number), _) => write::fixed64_field(field::EXEMPLAR_INT, number.cast_unsigned(), out),
                (None, Some(value)) => write::fixed64_field(field::EXEMPLAR_DOUBLE, value.to_bits(), out),
                (None, None) => {}
            }
            if let Some(id) = text(structs, "span_id").get(at) {
                put_span_id(field::EXEMPLAR_SPAN_ID, id, false, out);
            }
            if let Some(id) = text(structs, "trace_id").get(at) {
                put_trace_id(field::EXEMPLAR_TRACE_ID, id, false, out);
            }
            for (key, value) in attributes.iter().flat_map(|lists| lists.row(at)) {
                put_attribute(field::EXEMPLAR_ATTRIBUTES, key, value, out);
            }
            write::end(start, out);
        }
    }
}

fn one<T: ArrowPrimitiveType>(structs: &StructArray, name: &str, at: usize) -> Option<T::Native> {
    let column = structs.column_by_name(name)?.as_primitive_opt::<T>()?;
    column.is_valid(at).then(|| column.value(at))
}

/// A column of lists of numbers.
struct Numbers<'a, T: ArrowPrimitiveType>(Option<(&'a ListArray, &'a PrimitiveArray<T>)>);

impl<'a, T: ArrowPrimitiveType> Numbers<'a, T> {
    fn new(batch: &'a RecordBatch, name: &str) -> Numbers<'a, T> {
        let read = |array: &'a ArrayRef| {
            let lists = array.as_list_opt::<i32>()?;
            Some((lists, lists.values().as_primitive_opt::<T>()?))
        };
        Numbers(batch.column_by_name(name).and_then(read))
    }

    fn of(&self, row: usize) -> &'a [T::Native] {
        let list = self.0.and_then(|(lists, values)| values.values().get(entries(lists, row)));
        list.unwrap_or_default()
    }

    /// Appends the numbers of a row as a packed field.
    fn put(&self, tag: u32, row: usize, out: &mut Vec<u8>, put: impl Fn(T::Native, &mut Vec<u8>)) {
        let numbers = self.of(row);
        if !numbers.is_empty() {
            write::message_field(tag, out, |out| numbers.iter().for_each(|number| put(*number, out)));
        }
    }
}
