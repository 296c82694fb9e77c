//! Data points to columns.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, PrimitiveArray, RecordBatch,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, Field, Float64Type, Int32Type, UInt64Type};
use arrow::error::ArrowError;

use super::base::{Base, Columns, usable};
use super::lists::{AttributeLists, Counts, code_name, shared, times};
use super::nested::Exemplars;
use super::point::{Metric, MetricType, Metrics, Number, Point};
use super::scan::Request;
use crate::columns::names::{FixedNames, Name, Names, fixed_names};
use crate::columns::views::{Views, index, lists};
use crate::decode::result::DecodeError;
use crate::{Encoded, Projection, Signal, schema};

/// Names of the types of metrics.
static TYPES: FixedNames = LazyLock::new(|| fixed_names(MetricType::ALL.map(MetricType::name)));
/// Names of temporalities, by number.
pub(super) static TEMPORALITIES: FixedNames =
    LazyLock::new(|| fixed_names(["unspecified", "delta", "cumulative"]));

/// The columns of metrics while they are decoded. `None` is a column that nothing reads.
pub(super) struct MetricColumns<'a> {
    base: Base<'a>,
    /// For each row the index of its metric's values in the columns below.
    of_rows: Vec<i32>,
    count_of_metrics: usize,
    metric: Option<Views>,
    unit: Option<Views>,
    description: Option<Views>,
    metadata: Option<AttributeLists>,
    metric_type: Option<Names>,
    temporality: Option<Names>,
    monotonic: Option<Vec<Option<bool>>>,
    time: Option<Vec<i64>>,
    start_time: Option<Vec<i64>>,
    value: Option<Vec<Option<f64>>>,
    value_int: Option<Vec<Option<i64>>>,
    count: Option<Vec<Option<u64>>>,
    sum: Option<Vec<Option<f64>>>,
    min: Option<Vec<Option<f64>>>,
    max: Option<Vec<Option<f64>>>,
    scale: Option<Vec<Option<i32>>>,
    zero_count: Option<Vec<Option<u64>>>,
    zero_threshold: Option<Vec<Option<f64>>>,
    positive_offset: Option<Vec<Option<i32>>>,
    negative_offset: Option<Vec<Option<i32>>>,
    bounds: Option<Numbers<f64>>,
    bucket_counts: Option<Numbers<u64>>,
    positive_counts: Option<Numbers<u64>>,
    negative_counts: Option<Numbers<u64>>,
    quantiles: Option<Quantiles>,
    exemplars: Option<Exemplars>,
    flags: Option<Counts>,
}

impl<'a> Columns<'a> for MetricColumns<'a> {
    type Items = Metrics;

    fn new(encoded: &'a Encoded, projection: &'a Projection) -> MetricColumns<'a> {
        let has = |name: &str| projection.has_fixed(name);
        let views = |name: &str| has(name).then(Views::new);
        let floats = |name: &str| has(name).then(Vec::<Option<f64>>::new);
        let ints = |name: &str| has(name).then(Vec::<Option<i32>>::new);
        let counts = |name: &str| has(name).then(Numbers::<u64>::new);
        MetricColumns {
            base: Base::new(encoded, projection),
            of_rows: Vec::new(),
            count_of_metrics: 0,
            metric: views("metric"),
            unit: views("unit"),
            description: views("description"),
            metadata: has(schema::METADATA).then(AttributeLists::new),
            metric_type: has("metric_type").then(|| Names::new(&TYPES)),
            temporality: has("temporality").then(|| Names::new(&TEMPORALITIES)),
            monotonic: has("monotonic").then(Vec::new),
            time: has("time").then(Vec::new),
            start_time: has("start_time").then(Vec::new),
            value: floats("value"),
            value_int: has("value_int").then(Vec::new),
            count: has("count").then(Vec::new),
            sum: floats("sum"),
            min: floats("min"),
            max: floats("max"),
            scale: ints("scale"),
            zero_count: has("zero_count").then(Vec::new),
            zero_threshold: floats("zero_threshold"),
            positive_offset: ints("positive_offset"),
            negative_offset: ints("negative_offset"),
            bounds: has("bounds").then(Numbers::new),
            bucket_counts: counts("bucket_counts"),
            positive_counts: counts("positive_bucket_counts"),
            negative_counts: counts("negative_bucket_counts"),
            quantiles: has("quantiles").then(Quantiles::new),
            exemplars: has("exemplars").then(Exemplars::new),
            flags: has("flags").then(Counts::default),
        }
    }

    fn append(&mut self, request: &Request<Metrics>, size: usize, record: usize) -> Result<(), DecodeError> {
        self.base.make_room(size)?;
        let metrics = &request.items;
        self.base.reserve(metrics.points.len(), metrics.attributes.len());
        for (resource, scopes) in usable(request) {
            self.base.begin_resource(request, resource);
            for (scope, items) in scopes {
                self.base.begin_scope(request, scope);
                for metric in &metrics.metrics[items] {
                    self.begin_metric(metrics, metric);
                    for point in &metrics.points[metric.points.clone()] {
                        self.append_point(metrics, metric, point, record);
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let rows = self.base.rows;
        let of_rows = PrimitiveArray::<Int32Type>::new(self.of_rows.into(), None);
        self.base.finish(Signal::Metrics, |buffers, keys| {
            let text = |column: Option<Views>| {
                column.map(|column| shared(&of_rows, Arc::new(buffers.text(column)?)))
            };
            let floats = |column: Option<Vec<Option<f64>>>| {
                column.map(|column| Ok(Arc::new(Float64Array::from(column)) as ArrayRef))
            };
            let ints = |column: Option<Vec<Option<i32>>>| {
                column.map(|column| Ok(Arc::new(Int32Array::from(column)) as ArrayRef))
            };
            let whole = |column: Option<Vec<Option<u64>>>| {
                column.map(|column| Ok(Arc::new(UInt64Array::from(column)) as ArrayRef))
            };
            let counts = |column: Option<Numbers<u64>>| column.map(Numbers::finish::<UInt64Type>);
            vec![
                ("time", self.time.map(|column| Ok(times(column)))),
                ("start_time", self.start_time.map(|column| Ok(times(column)))),
                ("metric", text(self.metric)),
                ("metric_type", self.metric_type.map(Names::finish)),
                ("unit", text(self.unit)),
                ("description", text(self.description)),
                (schema::METADATA, self.metadata.map(|lists| shared(&of_rows, lists.finish(keys, buffers)?))),
                ("temporality", self.temporality.map(Names::finish)),
                ("monotonic", self.monotonic.map(|column| Ok(Arc::new(BooleanArray::from(column)) as _))),
                ("value", floats(self.value)),
                ("value_int", self.value_int.map(|column| Ok(Arc::new(Int64Array::from(column)) as _))),
                ("count", whole(self.count)),
                ("sum", floats(self.sum)),
                ("min", floats(self.min)),
                ("max", floats(self.max)),
                ("bounds", self.bounds.map(Numbers::finish::<Float64Type>)),
                ("bucket_counts", counts(self.bucket_counts)),
                ("scale", ints(self.scale)),
                ("zero_count", whole(self.zero_count)),
                ("zero_threshold", floats(self.zero_threshold)),
                ("positive_offset", ints(self.positive_offset)),
                ("positive_bucket_counts", counts(self.positive_counts)),
                ("negative_offset", ints(self.negative_offset)),
                ("negative_bucket_counts", counts(self.negative_counts)),
                ("quantiles", self.quantiles.map(Quantiles::finish)),
                ("exemplars", self.exemplars.map(|exemplars| exemplars.finish(keys, buffers))),
                ("flags", self.flags.map(|column| Ok(column.finish(rows)))),
            ]
        })
    }
}

impl MetricColumns<'_> {
    fn begin_metric(&mut self, metrics: &Metrics, metric: &Metric) {
        self.count_of_metrics += 1;
        let bytes = self.base.bytes;
        for (column, text) in [
            (&mut self.metric, metric.name),
            (&mut self.unit, metric.unit),
            (&mut self.description, metric.description),
        ] {
            if let Some(column) = column {
                column.push(text.present(bytes));
            }
        }
        if let Some(lists) = &mut self.metadata {
            for attribute in &metrics.metadata[metric.metadata.clone()] {
                lists.push(self.base.keys.of(attribute.key).index, *attribute, bytes);
            }
            lists.end();
        }
    }

    fn append_point(&mut self, metrics: &Metrics, metric: &Metric, point: &Point, record: usize) {
        let row = self.base.rows;
        self.base.begin_row(record);
        self.of_rows.push(index(self.count_of_metrics - 1));
        // A metric with points has a type.
        let data = metric.data.unwrap_or(MetricType::Gauge);
        let histogram = data == MetricType::Histogram;
        let exponential = data == MetricType::ExponentialHistogram;
        let counted = histogram || exponential || data == MetricType::Summary;
        if let Some(column) = &mut self.metric_type {
            column.push(Name::Fixed(data as i32));
        }
        if let Some(column) = &mut self.temporality {
            let has_one = data == MetricType::Sum || histogram || exponential;
            column.push(if has_one { code_name(metric.temporality, &TEMPORALITIES) } else { Name::Null });
        }
        if let Some(column) = &mut self.monotonic {
            column.push((data == MetricType::Sum).then_some(metric.monotonic));
        }
        for (column, time) in [(&mut self.time, point.time), (&mut self.start_time, point.start)] {
            if let Some(column) = column {
                column.push(time);
            }
        }
        if let Some(column) = &mut self.value {
            column.push(match point.value {
                Number::Float(value) => Some(value),
                Number::Int(value) => Some(value as f64),
                Number::None => None,
            });
        }
        if let Some(column) = &mut self.value_int {
            column.push(if let Number::Int(value) = point.value { Some(value) } else { None });
        }
        for (column, value) in [
            (&mut self.sum, point.sum),
            (&mut self.min, point.min),
            (&mut self.max, point.max),
            (&mut self.zero_threshold, exponential.then_some(point.zero_threshold)),
        ] {
            if let Some(column) = column {
                column.push(value);
            }
        }
        for (column, value) in [
            (&mut self.count, counted.then_some(point.count)),
            (&mut self.zero_count, exponential.then_some(point.zero_count)),
        ] {
            if let Some(column) = column {
                column.push(value);
            }
        }
        for (column, value) in [
            (&mut self.scale, point.scale),
            (&mut self.positive_offset, point.positive.offset),
            (&mut self.negative_offset, point.negative.offset),
        ] {
            if let Some(column) = column {
                column.push(exponential.then_some(value));
            }
        }
        if let Some(column) = &mut self.bounds {
            column.push(histogram.then(|| &metrics.bounds[point.bounds.clone()]));
        }
        let counts = |range: &Range<usize>| &metrics.counts[range.clone()];
        for (column, is_there, buckets) in [
            (&mut self.bucket_counts, histogram, &point.positive),
            (&mut self.positive_counts, exponential, &point.positive),
            (&mut self.negative_counts, exponential, &point.negative),
        ] {
            if let Some(column) = column {
                column.push(is_there.then(|| counts(&buckets.counts)));
            }
        }
        if let Some(column) = &mut self.quantiles {
            column.append(&metrics.quantiles[point.quantiles.clone()]);
        }
        if let Some(column) = &mut self.exemplars {
            let exemplars = &metrics.exemplars[point.exemplars.clone()];
            column.append(exemplars, &metrics.nested, &mut self.base);
        }
        if let Some(column) = &mut self.flags {
            column.set(row, point.flags);
        }
        self.base.end_row(&metrics.attributes[point.attributes.clone()], |_, _| {});
    }
}

/// A column of lists of numbers.
struct Numbers<T> {
    offsets: Vec<i32>,
    there: Vec<bool>,
    values: Vec<T>,
}

impl<T: ArrowNativeType> Numbers<T> {
    fn new() -> Numbers<T> {
        Numbers { offsets: vec![0], there: Vec::new(), values: Vec::new() }
    }

    fn push(&mut self, list: Option<&[T]>) {
        self.there.push(list.is_some());
        self.values.extend_from_slice(list.unwrap_or_default());
        self.offsets.push(index(self.values.len()));
    }

    fn finish<A: ArrowPrimitiveType<Native = T>>(self) -> Result<ArrayRef, ArrowError> {
        let item = Arc::new(Field::new("item", A::DATA_TYPE, true));
        let values = PrimitiveArray::<A>::new(self.values.into(), None);
        let offsets = OffsetBuffer::new(self.offsets.into());
        let nulls = NullBuffer::from(self.there);
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(values), Some(nulls))?))
    }
}

/// The `quantiles` column.
struct Quantiles {
    offsets: Vec<i32>,
    quantile: Vec<f64>,
    value: Vec<f64>,
}

impl Quantiles {
    fn new() -> Quantiles {
        Quantiles { offsets: vec![0], quantile: Vec::new(), value: Vec::new() }
    }

    fn append(&mut self, quantiles: &[(f64, f64)]) {
        self.quantile.extend(quantiles.iter().map(|(quantile, _)| quantile));
        self.value.extend(quantiles.iter().map(|(_, value)| value));
        self.offsets.push(index(self.value.len()));
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(self.quantile)), Arc::new(Float64Array::from(self.value))];
        lists(schema::item(schema::quantile()), columns, self.offsets, None)
    }
}
