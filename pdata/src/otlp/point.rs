//! A metric and its data points, where they lie in a request.

use std::ops::Range;

use weir_proto::wire;

use super::scan::record::Attribute;
use crate::columns::text::Text;
use crate::decode::result::DecodeError;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricType {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl MetricType {
    pub(super) const ALL: [MetricType; 5] = [
        MetricType::Gauge,
        MetricType::Sum,
        MetricType::Histogram,
        MetricType::ExponentialHistogram,
        MetricType::Summary,
    ];

    /// The name that the column has.
    pub(super) const fn name(self) -> &'static str {
        match self {
            MetricType::Gauge => "gauge",
            MetricType::Sum => "sum",
            MetricType::Histogram => "histogram",
            MetricType::ExponentialHistogram => "exponential_histogram",
            MetricType::Summary => "summary",
        }
    }

    /// Its tag in a metric.
    pub(super) const fn tag(self) -> u32 {
        wire::message(match self {
            MetricType::Gauge => 5,
            MetricType::Sum => 7,
            MetricType::Histogram => 9,
            MetricType::ExponentialHistogram => 10,
            MetricType::Summary => 11,
        })
    }
}

/// A metric. Ranges are into the vectors of its [`Metrics`].
#[derive(Clone, Debug, Default)]
pub(super) struct Metric {
    pub(super) name: Text,
    pub(super) description: Text,
    pub(super) unit: Text,
    pub(super) metadata: Range<usize>,
    pub(super) data: Option<MetricType>,
    pub(super) temporality: i32,
    pub(super) monotonic: bool,
    pub(super) points: Range<usize>,
    /// Why its points cannot be used.
    pub(super) refused: Option<DecodeError>,
}

/// A number that a point or an exemplar has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Number {
    #[default]
    None,
    Float(f64),
    Int(i64),
}

/// Buckets of one sign. The range is into [`Metrics::counts`].
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    pub(super) offset: i32,
    pub(super) counts: Range<usize>,
}

/// A data point of any type. Ranges are into the vectors of its [`Metrics`].
#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    pub(super) attributes: Range<usize>,
    pub(super) start: i64,
    pub(super) time: i64,
    pub(super) flags: u32,
    pub(super) value: Number,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) bounds: Range<usize>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    /// Of a histogram its only buckets.
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
    pub(super) quantiles: Range<usize>,
    pub(super) exemplars: Range<usize>,
}

/// An exemplar. The range is into [`Metrics::nested`].
#[derive(Clone, Debug, Default)]
pub(super) struct Exemplar {
    pub(super) time: i64,
    pub(super) value: Number,
    pub(super) trace_id: Text,
    pub(super) span_id: Text,
    pub(super) attributes: Range<usize>,
}

/// The metrics of a request.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) metrics: Vec<Metric>,
    pub(super) metadata: Vec<Attribute>,
    pub(super) points: Vec<Point>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) quantiles: Vec<(f64, f64)>,
    pub(super) exemplars: Vec<Exemplar>,
    /// The attributes of exemplars.
    pub(super) nested: Vec<Attribute>,
}
