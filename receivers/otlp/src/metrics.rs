//! What the receiver counts, besides what every server does.

use prometheus_client::metrics::counter::Counter;
use weir_component::collector_names::ItemCounters;
use weir_component::records::{BYTES, EMPTY, ESCAPED, RECORDS, REJECTED};
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{RecordCounters, Telemetry};
use weir_pdata::Signal;
use weir_server::metrics::{CONNECTIONS, REQUESTS, UNANSWERED, WAITING};

use crate::answer::Answer;

const REJECTED_ITEMS: Metric = Metric {
    name: "weir_receiver_rejected_items",
    help: "Items (spans, log records, data points) that cannot be decoded, of requests whose other items are taken.",
    kind: MetricKind::Counter,
    labels: &["receiver"],
};

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] =
    &[RECORDS, BYTES, REJECTED, REJECTED_ITEMS, ESCAPED, EMPTY, REQUESTS, UNANSWERED, CONNECTIONS, WAITING];

/// The items of requests by what they were answered, under the Collector's names.
pub(crate) struct AnsweredItems {
    accepted: ItemCounters,
    refused: ItemCounters,
}

impl AnsweredItems {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str, transport: &str) -> AnsweredItems {
        AnsweredItems {
            accepted: ItemCounters::accepted(telemetry, receiver, transport),
            refused: ItemCounters::refused(telemetry, receiver, transport),
        }
    }

    /// A request with so many items of a signal gets this answer.
    pub(crate) fn count(&self, signal: Signal, items: usize, answer: &Answer) {
        let items = items as u64;
        let refused = match answer {
            Answer::Taken => 0,
            Answer::Partly(partial) => items.min(partial.rejected),
            Answer::Refused(_) => items,
        };
        self.accepted.add(signal, items - refused);
        self.refused.add(signal, refused);
    }
}

/// What lanes count.
#[derive(Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) of_records: RecordCounters,
    pub(crate) rejected_items: Counter,
}

impl LaneMetrics {
    pub(crate) fn new(telemetry: &Telemetry, receiver: &str) -> LaneMetrics {
        LaneMetrics {
            of_records: RecordCounters::new(telemetry, receiver),
            rejected_items: telemetry.counter(&REJECTED_ITEMS, &[receiver]),
        }
    }
}
