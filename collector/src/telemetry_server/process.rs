//! The process as the Collector's dashboards show it: from `/proc/self`, when the metrics are read.

use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use weir_component::telemetry::{Metric, MetricKind};

/// The declarations.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "otelcol_process_uptime",
        help: "Seconds since the program started.",
        kind: MetricKind::CollectorCounter,
        labels: &[],
    },
    Metric {
        name: "otelcol_process_cpu_seconds",
        help: "Seconds of CPU that the program has used, user and system.",
        kind: MetricKind::CollectorCounter,
        labels: &[],
    },
    Metric {
        name: "otelcol_process_memory_rss",
        help: "Bytes of memory that the program has resident.",
        kind: MetricKind::Gauge,
        labels: &[],
    },
];

/// Ticks of `/proc/self/stat` in a second, on every Linux.
const TICKS: f64 = 100.0;

/// Writes the metrics of this process.
#[derive(Debug)]
pub(super) struct Process {
    started: Instant,
}

impl Process {
    /// A process that has just started.
    pub(super) fn start() -> Process {
        Process { started: Instant::now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let values = [Some(self.started.elapsed().as_secs_f64()), cpu_seconds(), resident()];
        for (metric, value) in METRICS.iter().zip(values) {
            let kind = match metric.kind {
                MetricKind::Gauge => MetricType::Gauge,
                _ => MetricType::Unknown,
            };
            if let Some(value) = value {
                encoder.encode_descriptor(metric.name, metric.help, None, kind)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// Fields 14 and 15 of the line; the name in parentheses may have spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().ok());
    Some(ticks.sum::<Option<u64>>()? as f64 / TICKS)
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib as f64 * 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_used_some_time_and_memory() {
        assert!(cpu_seconds().is_some_and(|seconds| seconds < 1e6));
        assert!(resident().is_some_and(|bytes| bytes > 1e6));
    }
}
