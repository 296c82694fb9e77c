//! Weir's own metrics.
//!
//! A metric is declared once, as a `const` [`Metric`] beside the code that counts it, and listed in its
//! component's factory. `docs/metrics.md` is generated from these declarations.
//! Names begin with `weir_`; those of the Collector, where they mean the same, with `otelcol_`
//! ([`collector_names`](crate::collector_names)). Counters end in `_total` on the wire, as OpenMetrics wants,
//! but for the Collector's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::bare_counter::Bare;

/// The declaration of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name, without `_total`.
    pub name: &'static str,
    /// One sentence for the reference.
    pub help: &'static str,
    /// Whether it only grows or goes up and down.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Only grows, and is written as the Collector writes its counters: without `_total`.
    CollectorCounter,
    /// Counts durations in seconds, in the buckets of [`SECONDS`].
    Histogram,
}

/// The upper bounds of the buckets of every histogram, in seconds; one more holds what is longer.
pub const SECONDS: [f64; 16] =
    [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0];

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Makes metrics and writes them as OpenMetrics text. Cheap to clone; clones share the metrics.
#[derive(Clone, Default)]
pub struct Telemetry(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    registry: Registry,
    counters: HashMap<&'static str, Family<Labels, Counter>>,
    bare: HashMap<&'static str, Family<Labels, Bare>>,
    gauges: HashMap<&'static str, Family<Labels, Gauge>>,
    histograms: HashMap<&'static str, Histograms>,
}

impl Telemetry {
    /// The counter of this metric with these label values, in the order of [`Metric::labels`].
    /// Keep the counter: this takes a lock, counting does not.
    #[must_use]
    pub fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, counters, bare, .. } = &mut *inner;
        if metric.kind == MetricKind::CollectorCounter {
            let family = bare.entry(metric.name).or_insert_with(|| {
                let family = Family::default();
                registry.register(metric.name, metric.help.trim_end_matches('.'), family.clone());
                family
            });
            return family.get_or_create(&labels(metric, values)).0.clone();
        }
        let family = counters.entry(metric.name).or_insert_with(|| {
            let family = Family::default();
            registry.register(metric.name, metric.help.trim_end_matches('.'), family.clone());
            family
        });
        family.get_or_create(&labels(metric, values)).clone()
    }

    /// The gauge of this metric with these label values, in the order of [`Metric::labels`].
    #[must_use]
    pub fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, gauges, .. } = &mut *inner;
        let family = gauges.entry(metric.name).or_insert_with(|| {
            let family = Family::default();
            registry.register(metric.name, metric.help.trim_end_matches('.'), family.clone());
            family
        });
        family.get_or_create(&labels(metric, values)).clone()
    }

    /// The histogram of this metric with these label values, in the order of [`Metric::labels`].
    #[must_use]
    pub fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, histograms, .. } = &mut *inner;
        let family = histograms.entry(metric.name).or_insert_with(|| {
            let new: fn() -> Histogram = || Histogram::new(SECONDS);
            let family = Family::new_with_constructor(new);
            registry.register(metric.name, metric.help.trim_end_matches('.'), family.clone());
            family
        });
        family.get_or_create(&labels(metric, values)).clone()
    }

    /// Says who writes the metrics: the labels of `target_info`.
    pub fn identify(&self, who: Vec<(&'static str, String)>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.registry.register("target", "Who writes these metrics", Info::new(who));
    }

    /// Adds what is computed whenever the metrics are written.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).registry.register_collector(collector);
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &inner.registry);
        text
    }
}

fn labels(metric: &Metric, values: &[&str]) -> Labels {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}: one value per label", metric.name);
    metric.labels.iter().zip(values).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Metric = Metric {
        name: "weir_test_seen",
        help: "Things seen.",
        kind: MetricKind::Counter,
        labels: &["component"],
    };

    #[test]
    fn a_histogram_counts_in_its_buckets() {
        let delay = Metric { name: "weir_test_delay_seconds", kind: MetricKind::Histogram, ..SEEN };
        let telemetry = Telemetry::default();
        telemetry.histogram(&delay, &["a"]).observe(0.03);
        telemetry.histogram(&delay, &["a"]).observe(10_000.0);
        let text = telemetry.encode();
        assert!(text.contains("weir_test_delay_seconds_bucket{le=\"0.05\",component=\"a\"} 1"), "{text}");
        assert!(text.contains("weir_test_delay_seconds_count{component=\"a\"} 2"), "{text}");
    }

    #[test]
    fn a_counter_of_the_collector_has_its_bare_name() {
        let spans = Metric { name: "otelcol_test_spans", kind: MetricKind::CollectorCounter, ..SEEN };
        let telemetry = Telemetry::default();
        telemetry.counter(&spans, &["a"]).inc_by(2);
        telemetry.counter(&spans, &["a"]).inc();
        let text = telemetry.encode();
        assert!(text.contains("# TYPE otelcol_test_spans unknown\n"), "{text}");
        assert!(text.contains("\notelcol_test_spans{component=\"a\"} 3\n"), "{text}");
    }

    #[test]
    fn the_same_labels_give_the_same_counter() {
        let telemetry = Telemetry::default();
        telemetry.counter(&SEEN, &["a"]).inc_by(2);
        telemetry.clone().counter(&SEEN, &["a"]).inc();
        telemetry.counter(&SEEN, &["b"]).inc();
        let text = telemetry.encode();
        assert!(text.contains("weir_test_seen_total{component=\"a\"} 3"), "{text}");
        assert!(text.contains("weir_test_seen_total{component=\"b\"} 1"), "{text}");
    }
}
