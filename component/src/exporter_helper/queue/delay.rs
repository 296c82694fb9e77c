//! How long events take from their end to their destination.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use prometheus_client::metrics::histogram::Histogram;
use weir_pdata::{EventBatch, Signal};

use crate::Context;
use crate::telemetry::{Metric, MetricKind};

pub(crate) const DELAY: Metric = Metric {
    name: "weir_exporter_delay_seconds",
    help: "The time from the end of the oldest event of a batch until the destination has the batch. A window ends at its window_end.",
    kind: MetricKind::Histogram,
    labels: &["pipeline", "exporter", "signal"],
};

/// The delays of one pipeline to one exporter, by signal. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Delays([Histogram; Signal::ALL.len()]);

impl Delays {
    pub(crate) fn new(context: &Context, pipeline: &str) -> Delays {
        let exporter = context.id.to_string();
        let of = |signal: Signal| [pipeline, &exporter, signal.name()];
        Delays(Signal::ALL.map(|signal| context.telemetry.histogram(&DELAY, &of(signal))))
    }

    /// A batch that is on its way.
    pub(crate) fn start(&self, batch: &EventBatch) -> Option<PendingDelay> {
        let column = match batch.signal {
            Signal::Traces => "end_time",
            Signal::Logs | Signal::Metrics | Signal::Alarms => "time",
            Signal::Windows => "window_end",
        };
        let oldest = least(batch.as_columns()?, column)?;
        Some(PendingDelay { histogram: self.0[batch.signal as usize].clone(), oldest })
    }
}

/// A batch on its way.
pub(crate) struct PendingDelay {
    histogram: Histogram,
    /// The end of its oldest event, in nanoseconds.
    oldest: i64,
}

impl PendingDelay {
    /// The destination has the batch now.
    pub(crate) fn observe(self, now_ms: i64) {
        let delay = now_ms.saturating_mul(1_000_000).saturating_sub(self.oldest).max(0);
        self.histogram.observe(delay as f64 / 1e9);
    }
}

fn least(columns: &RecordBatch, name: &str) -> Option<i64> {
    let times = columns.column_by_name(name)?.as_primitive_opt::<TimestampNanosecondType>()?;
    arrow::compute::min(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;
    use arrow::array::{ArrayRef, TimestampNanosecondArray};
    use std::sync::Arc;
    use weir_pdata::{Ack, Origin};

    #[test]
    fn the_oldest_event_of_a_batch_counts() {
        let directory = tempfile::tempdir().unwrap();
        let context = testkit::context("nop", directory.path());
        let times = TimestampNanosecondArray::from(vec![1_000_000_000, 4_000_000_000]).with_timezone("UTC");
        let columns = RecordBatch::try_from_iter([("end_time", Arc::new(times) as ArrayRef)]).unwrap();
        let batch = EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none());
        Delays::new(&context, "main").start(&batch).unwrap().observe(3_000);
        let text = context.telemetry.encode();
        let labels = "pipeline=\"main\",exporter=\"nop\",signal=\"traces\"";
        assert!(text.contains(&format!("weir_exporter_delay_seconds_sum{{{labels}}} 2.0")), "{text}");
    }
}
