//! The traffic as metrics, computed when they are read.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use weir_component::telemetry::{Metric, MetricKind};
use weir_pdata::Signal;

use super::Traffic;
use super::distances::{Distances, bound};
use super::flow::{Edge, Flow};

const INCOMING: Metric = items(
    "otelcol_processor_incoming_items",
    "Rows that came to a processor on lanes. A record that is not decoded counts as one row.",
);
const OUTGOING: Metric =
    items("otelcol_processor_outgoing_items", "Rows that a processor has passed on, on lanes.");
const DELAY: Metric = Metric {
    name: "weir_receiver_event_delay_seconds",
    help: "The time from an event to its arrival. The arrival is the append time of its record where the topic keeps it, else the time at which the gateway reads it.",
    kind: MetricKind::Histogram,
    labels: &["receiver", "signal"],
};
const DISORDER: Metric = Metric {
    name: "weir_receiver_event_disorder_seconds",
    help: "How far an event is behind the latest one of its signal that its lane brought before it. One that is ahead of its arrival counts as at its arrival.",
    kind: MetricKind::Histogram,
    labels: &["receiver", "signal"],
};
const ADVICE: Metric = Metric {
    name: "weir_receiver_advised_out_of_orderness_ms",
    help: "The out_of_orderness, in milliseconds, that would have kept 99.9 % of the events of the last one to two hours from being late, in windows of this signal.",
    kind: MetricKind::Gauge,
    labels: &["receiver", "signal"],
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[DELAY, DISORDER, ADVICE, INCOMING, OUTGOING];

/// The upper bounds of the buckets, as powers of two of milliseconds; one more holds what is longer.
const POWERS: [u32; 12] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22];

const fn items(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::CollectorCounter, labels: &["processor", "otel_signal"] }
}

/// Writes the metrics of this traffic.
#[derive(Debug)]
pub(crate) struct TrafficMetrics(pub(crate) Traffic);

impl Collector for TrafficMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let flows = self.0.flows();
        for (metric, further) in [(INCOMING, 0), (OUTGOING, 1)] {
            let mut encoder =
                encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Unknown)?;
            for (processor, signal, rows) in processors(flows.iter().map(AsRef::as_ref), further) {
                let labels = [("processor", processor), ("otel_signal", signal.name().to_owned())];
                encoder.encode_family(&labels)?.encode_gauge(&rows)?;
            }
        }
        let receivers = self.0.receivers();
        let disorders = || {
            let of_receivers = receivers.iter();
            of_receivers.flat_map(|(receiver, disorders)| {
                disorders.iter().map(move |(signal, disorder)| {
                    ([("receiver", receiver.clone()), ("signal", signal.name().to_owned())], disorder)
                })
            })
        };
        for metric in [DELAY, DISORDER] {
            let mut encoder =
                encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Histogram)?;
            for (labels, disorder) in disorders() {
                let of = if metric.name == DELAY.name { &disorder.delay } else { &disorder.behind };
                histogram(encoder.encode_family(&labels)?, of)?;
            }
        }
        let mut encoder = encoder.encode_descriptor(ADVICE.name, ADVICE.help, None, MetricType::Gauge)?;
        for (labels, disorder) in disorders() {
            if let Some(advice) = disorder.advice() {
                encoder.encode_family(&labels)?.encode_gauge(&advice)?;
            }
        }
        Ok(())
    }
}

/// Rows into (`further` 0) or out of (1) each processor, by signal of the Collector. A processor of several
/// pipelines is one to the Collector's dashboards.
fn processors<'a>(
    flows: impl Iterator<Item = &'a Flow>,
    further: usize,
) -> impl Iterator<Item = (String, Signal, u64)> {
    let mut found = std::collections::BTreeMap::<(String, Signal), u64>::new();
    for flow in flows {
        let edges = flow.lanes.iter().skip(further);
        for (processor, edge) in flow.processors.iter().zip(edges) {
            for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
                let (rows, batches) = Edge::get(edge, signal);
                if batches > 0 {
                    *found.entry((processor.clone(), signal)).or_default() += rows;
                }
            }
        }
    }
    found.into_iter().map(|((processor, signal), rows)| (processor, signal, rows))
}

fn histogram(mut encoder: MetricEncoder<'_>, distances: &Distances) -> Result<(), std::fmt::Error> {
    let counts = distances.counts();
    let mut buckets: Vec<(f64, u64)> =
        POWERS.iter().map(|power| ((1_u64 << power) as f64 / 1_000.0, 0)).collect();
    buckets.push((f64::MAX, 0));
    for (at, count) in counts.iter().enumerate() {
        let place = POWERS.iter().position(|power| bound(at).is_some_and(|bound| bound <= 1 << power));
        let place = place.unwrap_or(POWERS.len());
        buckets[place].1 += count;
    }
    let sum = distances.sum() as f64 / 1_000.0;
    encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
}
