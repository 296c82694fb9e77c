//! Rows of the signal `metrics`.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Float64Builder, Int64Array, ListBuilder, RecordBatch, UInt64Array,
    UInt64Builder,
};
use arrow::error::ArrowError;

use super::rows::{Rows, optional_times};
use crate::columns::names::{FixedNames, Name, Names, fixed_names};
use crate::columns::text::Text;
use crate::columns::views::{Views, index};
use crate::{Encoded, Projection, Signal};

/// A metric of a JVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metrics {
    Cpu,
    TotalInit,
    TotalUsed,
    TotalMax,
    TotalCommitted,
    PoolInit,
    PoolUsed,
    PoolMax,
    PoolCommitted,
    GcCount,
    GcDuration,
    Threads,
    Classes,
    ClassesUnloaded,
    ClassesLoaded,
}

/// The names of the metrics, in their order.
static METRICS: FixedNames = LazyLock::new(|| fixed_names(OF_JVM.iter().map(|metric| metric.0)));
static TYPES: FixedNames = LazyLock::new(|| fixed_names(["gauge", "sum", "histogram"]));
static UNITS: FixedNames =
    LazyLock::new(|| fixed_names(["%", "By", "{collection}", "ms", "{thread}", "{class}"]));
static TEMPORALITIES: FixedNames = LazyLock::new(|| fixed_names(["delta", "cumulative"]));

const GAUGE: i32 = 0;
const SUM: i32 = 1;
const HISTOGRAM: i32 = 2;
const DELTA: i32 = 0;
const CUMULATIVE: i32 = 1;

/// The name, unit and type of each metric; the temporality of sums.
const OF_JVM: [(&str, i32, i32, Option<i32>); 15] = [
    ("jvm.cpu.recent_utilization", 0, GAUGE, None),
    ("sw.jvm.memory.init", 1, GAUGE, None),
    ("sw.jvm.memory.used", 1, GAUGE, None),
    ("sw.jvm.memory.max", 1, GAUGE, None),
    ("sw.jvm.memory.committed", 1, GAUGE, None),
    ("jvm.memory.init", 1, GAUGE, None),
    ("jvm.memory.used", 1, GAUGE, None),
    ("jvm.memory.max", 1, GAUGE, None),
    ("jvm.memory.committed", 1, GAUGE, None),
    ("sw.jvm.gc.count", 2, SUM, Some(DELTA)),
    ("sw.jvm.gc.duration", 3, SUM, Some(DELTA)),
    ("jvm.thread.count", 4, GAUGE, None),
    ("jvm.class.count", 5, GAUGE, None),
    ("jvm.class.unloaded", 5, SUM, Some(CUMULATIVE)),
    ("jvm.class.loaded", 5, SUM, Some(CUMULATIVE)),
];

/// A row. Texts are views; see [`Rows`].
#[derive(Debug, Default)]
pub(super) struct MetricRow<'b> {
    /// Which metric it is, of a JVM.
    pub(super) known: Option<Metrics>,
    /// The name of another metric.
    pub(super) name: Option<u128>,
    /// Milliseconds since 1970; 0: it has none.
    pub(super) time_ms: i64,
    pub(super) value: Option<f64>,
    pub(super) value_int: Option<i64>,
    /// Of a histogram: lower bounds, rising, and counts.
    pub(super) buckets: Option<&'b [(f64, u64)]>,
    pub(super) service: Option<u128>,
    pub(super) instance: Option<u128>,
}

/// The columns while they are built. `None` is a column that nothing reads.
pub(super) struct MetricColumns<'a> {
    pub(super) rows: Rows<'a>,
    time: Option<Vec<Option<i64>>>,
    known: Option<Names>,
    name: Option<Views>,
    /// Whether rows have known names or others; a format has one of both.
    is_known: bool,
    metric_type: Option<Names>,
    unit: Option<Names>,
    temporality: Option<Names>,
    monotonic: Option<Vec<Option<bool>>>,
    value: Option<Vec<Option<f64>>>,
    value_int: Option<Vec<Option<i64>>>,
    count: Option<Vec<Option<u64>>>,
    bounds: Option<ListBuilder<Float64Builder>>,
    bucket_counts: Option<ListBuilder<UInt64Builder>>,
    service: Option<Views>,
    instance: Option<Views>,
}

impl<'a> MetricColumns<'a> {
    pub(super) fn new(encoded: &'a Encoded, projection: &'a Projection, is_known: bool) -> MetricColumns<'a> {
        let has = |name: &str| projection.has_fixed(name);
        let names = |name: &str, known| has(name).then(|| Names::new(known));
        let histograms = |name: &str| has(name) && !is_known;
        MetricColumns {
            rows: Rows::new(encoded, projection),
            time: has("time").then(Vec::new),
            known: names("metric", &METRICS),
            name: has("metric").then(Views::new),
            is_known,
            metric_type: names("metric_type", &TYPES),
            unit: names("unit", &UNITS).filter(|_| is_known),
            temporality: names("temporality", &TEMPORALITIES),
            monotonic: has("monotonic").then(Vec::new),
            value: has("value").then(Vec::new),
            value_int: has("value_int").then(Vec::new),
            count: histograms("count").then(Vec::new),
            bounds: histograms("bounds").then(|| ListBuilder::new(Float64Builder::new())),
            bucket_counts: histograms("bucket_counts").then(|| ListBuilder::new(UInt64Builder::new())),
            service: has("service").then(Views::new),
            instance: has("service_instance").then(Views::new),
        }
    }

    /// Appends a row to the record that was begun last, which is this one.
    pub(super) fn push(
        &mut self,
        row: &MetricRow<'_>,
        attributes: impl IntoIterator<Item = (Text, u128)>,
        record: usize,
    ) {
        if let Some(column) = &mut self.time {
            column.push(self.rows.time(row.time_ms, record));
        }
        let known = row.known.and_then(|metric| OF_JVM.get(metric as usize));
        let (kind, temporality) = match (known, row.buckets) {
            (Some((_, _, kind, temporality)), _) => (*kind, *temporality),
            (None, Some(_)) => (HISTOGRAM, Some(CUMULATIVE)),
            (None, None) => (GAUGE, None),
        };
        let fixed = |number: Option<i32>| number.map_or(Name::Null, Name::Fixed);
        if let Some(column) = &mut self.known {
            column.push(fixed(row.known.map(|metric| index(metric as usize))));
        }
        if let Some(column) = &mut self.name {
            column.push(row.name);
        }
        if let Some(column) = &mut self.metric_type {
            column.push(Name::Fixed(kind));
        }
        if let Some(column) = &mut self.unit {
            column.push(fixed(known.map(|metric| metric.1)));
        }
        if let Some(column) = &mut self.temporality {
            column.push(fixed(temporality));
        }
        if let Some(column) = &mut self.monotonic {
            column.push((kind == SUM).then_some(true));
        }
        if let Some(column) = &mut self.value {
            column.push(row.value);
        }
        if let Some(column) = &mut self.value_int {
            column.push(row.value_int);
        }
        self.push_buckets(row.buckets);
        for (column, text) in [(&mut self.service, row.service), (&mut self.instance, row.instance)] {
            if let Some(column) = column {
                column.push(text);
            }
        }
        self.rows.push(attributes);
    }

    /// The buckets with upper bounds.
    fn push_buckets(&mut self, buckets: Option<&[(f64, u64)]>) {
        let finite = |bound: f64| bound > f64::NEG_INFINITY;
        if let Some(column) = &mut self.count {
            let sum = |buckets: &[(f64, u64)]| {
                buckets.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
            };
            column.push(buckets.map(sum));
        }
        if let Some(lists) = &mut self.bounds {
            for (bound, _) in buckets.unwrap_or_default().iter().filter(|(bound, _)| finite(*bound)) {
                lists.values().append_value(*bound);
            }
            lists.append(buckets.is_some());
        }
        if let Some(lists) = &mut self.bucket_counts {
            let of_row = buckets.unwrap_or_default();
            let below = of_row.iter().filter(|(bound, _)| !finite(*bound));
            let below = below.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
            if buckets.is_some() {
                lists.values().append_value(below);
            }
            for (_, count) in of_row.iter().filter(|(bound, _)| finite(*bound)) {
                lists.values().append_value(*count);
            }
            lists.append(buckets.is_some());
        }
    }

    pub(super) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let buffers = self.rows.buffers();
        let mut columns: Vec<(&'static str, ArrayRef)> = Vec::new();
        let mut add = |name: &'static str, array: Option<ArrayRef>| {
            if let Some(array) = array {
                columns.push((name, array));
            }
        };
        add("time", self.time.map(|times| optional_times(&times)));
        if self.is_known {
            add("metric", self.known.map(Names::finish).transpose()?);
        } else {
            add(
                "metric",
                self.name.map(|views| buffers.text(views)).transpose()?.map(|text| Arc::new(text) as _),
            );
        }
        add("metric_type", self.metric_type.map(Names::finish).transpose()?);
        add("unit", self.unit.map(Names::finish).transpose()?);
        add("temporality", self.temporality.map(Names::finish).transpose()?);
        add("monotonic", self.monotonic.map(|column| Arc::new(BooleanArray::from(column)) as _));
        add("value", self.value.map(|column| Arc::new(Float64Array::from(column)) as _));
        add("value_int", self.value_int.map(|column| Arc::new(Int64Array::from(column)) as _));
        add("count", self.count.map(|column| Arc::new(UInt64Array::from(column)) as _));
        add("bounds", self.bounds.map(|mut lists| Arc::new(lists.finish()) as _));
        add("bucket_counts", self.bucket_counts.map(|mut lists| Arc::new(lists.finish()) as _));
        let text = |column: Option<Views>| column.map(|views| buffers.text(views)).transpose();
        add("service", text(self.service)?.map(|text| Arc::new(text) as _));
        add("service_instance", text(self.instance)?.map(|text| Arc::new(text) as _));
        self.rows.finish(Signal::Metrics, &columns, &buffers)
    }
}
