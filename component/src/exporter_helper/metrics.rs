//! The metrics of every exporter.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_pdata::Signal;

use super::queue::delay::DELAY;
use crate::Context;
use crate::collector_names::{ItemCounters, QUEUE_CAPACITY, QUEUE_SIZE};
use crate::telemetry::{Metric, MetricKind};

const SENT: Metric = Metric {
    name: "weir_exporter_sent_rows",
    help: "Rows that the destination has taken.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const RETRIES: Metric = Metric {
    name: "weir_exporter_retries",
    help: "Exports that failed and are tried again.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const REJECTED: Metric = Metric {
    name: "weir_exporter_rejected_rows",
    help: "Rows that the destination will not take. They are in the dead letters, unless it does not say which they are.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const ABANDONED: Metric = Metric {
    name: "weir_exporter_abandoned_rows",
    help: "Rows that were not delivered when the program stopped. The next start reads their input again, or they are in the dead letters or on disk.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};
const QUEUE_BYTES: Metric = Metric {
    name: "weir_exporter_queue_bytes",
    help: "Bytes that wait in the queue or are being exported.",
    kind: MetricKind::Gauge,
    labels: &["exporter"],
};

const SUPPRESSED: Metric = Metric {
    name: "weir_exporter_suppressed_rows",
    help: "Rows read again that had been exported before, and were left out.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[SENT, RETRIES, REJECTED, ABANDONED, SUPPRESSED, DELAY, QUEUE_BYTES];

/// The metrics of one exporter.
#[derive(Clone)]
pub(crate) struct HelperMetrics {
    sent: Counter,
    pub retries: Counter,
    rejected: Counter,
    pub abandoned: Counter,
    pub suppressed: Counter,
    queue_bytes: Gauge,
    /// The same under the Collector's names.
    queue_size: Gauge,
    queue_capacity: Gauge,
    items_sent: ItemCounters,
    items_failed: ItemCounters,
}

impl HelperMetrics {
    pub(crate) fn new(context: &Context) -> HelperMetrics {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        HelperMetrics {
            sent: counter(&SENT),
            retries: counter(&RETRIES),
            rejected: counter(&REJECTED),
            abandoned: counter(&ABANDONED),
            suppressed: counter(&SUPPRESSED),
            queue_bytes: context.telemetry.gauge(&QUEUE_BYTES, &[&id]),
            queue_size: context.telemetry.gauge(&QUEUE_SIZE, &[&id]),
            queue_capacity: context.telemetry.gauge(&QUEUE_CAPACITY, &[&id]),
            items_sent: ItemCounters::sent(&context.telemetry, &id),
            items_failed: ItemCounters::send_failed(&context.telemetry, &id),
        }
    }

    /// The queue may have so many bytes.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.queue_capacity.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many bytes come into the queue, or leave it.
    pub(crate) fn change_queue(&self, bytes: i64) {
        self.queue_bytes.inc_by(bytes);
        self.queue_size.inc_by(bytes);
    }

    /// The destination has taken these rows, which have so many items, but for some of these items.
    pub(crate) fn delivered(&self, signal: Signal, rows: u64, items: u64, refused: u64) {
        let refused = refused.min(items);
        // A record that is not decoded is taken, though some of its items are not.
        let refused_rows = if rows == items { refused } else { 0 };
        self.sent.inc_by(rows - refused_rows);
        self.rejected.inc_by(refused_rows);
        self.items_sent.add(signal, items - refused);
        self.items_failed.add(signal, refused);
    }

    /// It will not take these rows, which have so many items.
    pub(crate) fn refused(&self, signal: Signal, rows: usize, items: usize) {
        self.rejected.inc_by(rows as u64);
        self.items_failed.add(signal, items as u64);
    }
}
