//! Counters in the form of the Collector's: without `_total` behind their names.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A counter that is written under its bare name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bare(pub(crate) Counter);

impl TypedMetric for Bare {
    const TYPE: MetricType = MetricType::Unknown;
}

impl EncodeMetric for Bare {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.0.get())
    }

    // In OpenMetrics a counter has `_total` behind its name.
    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
