//! Reference texts made from the declarations in the code: components and metrics.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use weir_component::Registry;
use weir_component::factory::Info;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{budget, collector_names, dead_letter, exporter_helper};

use crate::{run, telemetry_server, traffic};

/// The output of `weir components`.
#[must_use]
pub fn components(registry: &Registry) -> String {
    let mut text = String::new();
    for (title, infos) in sections(registry) {
        let _ = writeln!(text, "{title}:");
        for info in infos {
            let _ = writeln!(text, "  {:<18} {}", info.kind, info.summary);
        }
    }
    text
}

/// The pages of the repository at `root` that are made from the code, with their texts: `docs/metrics.md`,
/// and the tables of components in the README of each kind.
///
/// # Errors
/// A README that cannot be read or has no place for its table.
pub fn pages(root: &Path, registry: &Registry) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut pages = vec![(root.join("docs/metrics.md"), metrics(registry))];
    for (title, infos) in sections(registry) {
        let path = root.join(title).join("README.md");
        let page = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let (begin, end) = ("<!-- components, made by `make docs` -->\n", "<!-- /components -->");
        let parts = page.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
        let Some((before, after)) = parts else {
            anyhow::bail!("{}: no `{}` … `{end}`", path.display(), begin.trim());
        };
        ensure!(!after.contains(begin), "{}: two tables of components", path.display());
        let mut table = String::from("| component | what it does |\n|---|---|\n");
        for info in infos {
            let _ = writeln!(table, "| [`{kind}`]({kind}) | {} |", info.summary, kind = info.kind);
        }
        pages.push((path, format!("{before}{begin}{table}{end}{after}")));
    }
    Ok(pages)
}

/// The reference of metrics: `docs/metrics.md`.
#[must_use]
pub fn metrics(registry: &Registry) -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Made by `make docs` from the declarations in the code; do not edit.\n\n\
         `GET /metrics` on `service.telemetry.metrics.address` (default `127.0.0.1:8888`) gives them in the OpenMetrics\n\
         format. Histograms are of seconds. `target_info` names the program that writes the metrics. Counters end in\n\
         `_total` there, except those that are *bare*. Bare counters have the names and the form of the OpenTelemetry\n\
         Collector, so that its dashboards show them:\n\n\
         - *accepted*: items that receivers have sent down lanes; of `otlp` and `skywalking`, items of requests that\n  \
           were answered with success.\n\
         - *refused*: items of requests that a receiver has not taken. The client still has them.\n\
         - *sent*: items that the destination has taken.\n\
         - *send failed*: items that the destination has refused for good. They are in the dead letters, unless the\n  \
           destination does not say which items they are (`partial_success` of OTLP).\n\
         - Sizes of queues are bytes.\n\n\
         `GET /debug/pipelines` on the same address shows the traffic, as JSON, or as plain text with `?format=text`:\n\n\
         - the rows and batches that went over each edge of the pipelines;\n\
         - for each receiver and each open lane, by signal, how late the events of the last one to two hours are. The\n  \
           *delay* is the time from an event to its arrival. The *disorder* is how far an event is behind the latest\n  \
           one of its signal that its lane brought before it.\n\
         - the `out_of_orderness` that would have kept 99.9 % of these events from being late. It is rounded up: each\n  \
           power of two has four steps.\n\n\
         Events are measured by `end_time`, or by `time` where there is none. They are measured only where a component\n\
         reads such a column, and not at all when the address is `\"\"`.\n",
    );
    let mut table = |title: &str, metrics: &[Metric]| {
        if metrics.is_empty() {
            return;
        }
        let _ = write!(text, "\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        for metric in metrics {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::CollectorCounter => "counter, bare",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            let labels = metric.labels.join(", ");
            let _ = writeln!(text, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
        }
    };
    table("Pipelines", run::METRICS);
    table("Traffic", traffic::METRICS);
    table("Process", telemetry_server::METRICS);
    table("Items and queues, as the Collector names them", collector_names::METRICS);
    table("Memory", budget::METRICS);
    table("Every exporter", exporter_helper::METRICS);
    table("Dead letters", dead_letter::METRICS);
    for (title, infos) in sections(registry) {
        for info in infos {
            table(&format!("{title}: `{}`", info.kind), info.metrics);
        }
    }
    text
}

fn sections(registry: &Registry) -> [(&'static str, Vec<Info>); 4] {
    [
        ("receivers", registry.receivers.iter().map(|factory| factory.info).collect()),
        ("processors", registry.processors.iter().map(|factory| factory.info).collect()),
        ("exporters", registry.exporters.iter().map(|factory| factory.info).collect()),
        ("extensions", registry.extensions.iter().map(|factory| factory.info).collect()),
    ]
}
