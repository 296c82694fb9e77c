//! Reference texts made from the declarations in the code: components and metrics.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use weir_component::Registry;
use weir_component::factory::Info;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{budget, collector_names, dead_letter, exporter_helper};

use crate::{run, traffic};

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
         format. Counters end in `_total` there, but for those that are *bare*: these have the names and the form of\n\
         the OpenTelemetry Collector, so that its dashboards show them. They are there beside Weir's own where they\n\
         mean the same: *accepted* is sent down lanes (of `otlp`: in requests that were answered with success), *send\n\
         failed* is refused for good and in the dead letters, and sizes of queues are bytes. `target_info` says who\n\
         writes them. Histograms are of seconds.\n\n\
         `GET /debug/pipelines` on the same address gives, as JSON or with `?format=text` as plain text, the rows and\n\
         batches that went over each edge of the pipelines, and for each receiver and each open lane how late events\n\
         are: the delay from their time to their arrival, the disorder (how far they are behind the latest event\n\
         that their lane brought before), and the `out_of_orderness` that would have kept 99.9 % of them from being\n\
         late, to the next of four steps for each power of two. Events are measured by `end_time`, else `time`, where\n\
         something reads such a column.\n",
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
