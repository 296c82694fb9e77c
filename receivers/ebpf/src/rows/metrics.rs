//! One row for each data point.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Float64Builder, Int64Array, ListBuilder, RecordBatch,
    StringViewArray, TimestampNanosecondArray, UInt64Array, UInt64Builder,
};
use arrow::error::ArrowError;
use weir_pdata::{Projection, Signal, schema};

use super::attributes::Value;
use super::table::{Table, names};
use crate::kernel::event::Role;
use crate::process::Identity;
use crate::tcp::{Peer, Point, PointKind, SECONDS};

/// Rows of data points.
pub(crate) struct MetricRows {
    table: Table,
    /// The time that the points cover.
    period: (i64, i64),
    metric: Vec<&'static str>,
    unit: Vec<&'static str>,
    kind: Vec<i32>,
    whole: Vec<Option<i64>>,
    count: Vec<Option<u64>>,
    sum: Vec<Option<f64>>,
    min: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    bounds: ListBuilder<Float64Builder>,
    buckets: ListBuilder<UInt64Builder>,
}

const GAUGE: i32 = 0;
const SUM: i32 = 1;
const HISTOGRAM: i32 = 2;

impl MetricRows {
    /// Points of the time from the first to the second, in nanoseconds since 1970.
    pub(crate) fn new(projection: Arc<Projection>, period: (i64, i64)) -> MetricRows {
        MetricRows {
            table: Table::new(Signal::Metrics, projection),
            period,
            metric: Vec::new(),
            unit: Vec::new(),
            kind: Vec::new(),
            whole: Vec::new(),
            count: Vec::new(),
            sum: Vec::new(),
            min: Vec::new(),
            max: Vec::new(),
            bounds: ListBuilder::new(Float64Builder::new()),
            buckets: ListBuilder::new(UInt64Builder::new()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn push(&mut self, process: &Arc<Identity>, peer: &Peer, point: &Point) {
        let whole = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        let (kind, value, times) = match &point.kind {
            PointKind::Gauge(value) => (GAUGE, whole(*value), None),
            PointKind::Sum(value) => (SUM, whole(*value), None),
            PointKind::Times(times) => (HISTOGRAM, None, Some(times)),
        };
        self.metric.push(point.metric);
        self.unit.push(point.unit);
        self.kind.push(kind);
        self.whole.push(value);
        self.count.push(times.map(|times| times.count));
        self.sum.push(times.map(|times| times.sum));
        self.min.push(times.map(|times| times.min));
        self.max.push(times.map(|times| times.max));
        if let Some(times) = times {
            self.bounds.values().append_slice(&SECONDS);
            self.buckets.values().append_slice(&times.counts);
        }
        self.bounds.append(times.is_some());
        self.buckets.append(times.is_some());
        let role = match peer.role {
            Role::Client => "client",
            Role::Server => "server",
            Role::Unknown => "unknown",
        };
        self.table.attribute("tcp.role", Value::Text(role));
        match peer.address {
            Some(address) => self.table.attribute("network.peer.address", Value::Text(&address.to_string())),
            None => self.table.attribute("network.peer.address", Value::Text("other")),
        }
        if peer.port > 0 {
            self.table.attribute("server.port", Value::Int(peer.port.into()));
        }
        if let Some(port) = peer.own_port {
            self.table.attribute("client.port", Value::Int(port.into()));
        }
        if let Some(error) = point.error {
            self.table.attribute("error.type", Value::Text(error));
        }
        self.table.end(process);
    }

    pub(crate) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.table.len();
        let times = |time: i64| {
            let times = TimestampNanosecondArray::from_value(time, rows);
            Arc::new(times.with_data_type(schema::timestamp())) as ArrayRef
        };
        let texts = |texts: &[&str]| Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef;
        let is_sum = |kind: &i32| *kind == SUM;
        let delta = self.kind.iter().map(|kind| (*kind != GAUGE).then_some("delta"));
        let values = self.whole.iter().map(|value| value.map(|value| value as f64));
        let columns = HashMap::from([
            ("temporality", Arc::new(StringViewArray::from_iter(delta)) as ArrayRef),
            (
                "monotonic",
                Arc::new(BooleanArray::from_iter(self.kind.iter().map(|kind| is_sum(kind).then_some(true)))),
            ),
            ("time", times(self.period.1)),
            ("start_time", times(self.period.0)),
            ("metric", texts(&self.metric)),
            ("unit", texts(&self.unit)),
            ("value", Arc::new(Float64Array::from_iter(values))),
            ("metric_type", names(&["gauge", "sum", "histogram"], self.kind)?),
            ("value_int", Arc::new(Int64Array::from(self.whole))),
            ("count", Arc::new(UInt64Array::from(self.count))),
            ("sum", Arc::new(Float64Array::from(self.sum))),
            ("min", Arc::new(Float64Array::from(self.min))),
            ("max", Arc::new(Float64Array::from(self.max))),
            ("bounds", Arc::new(self.bounds.finish())),
            ("bucket_counts", Arc::new(self.buckets.finish())),
        ]);
        self.table.finish(columns)
    }
}
