//! Building and starting a configuration, as every command that runs pipelines does.

use std::io::Write;

use anyhow::Context;
use tokio::runtime::Runtime;
use weir_component::Registry;
use weir_config::{Diagnostics, Document, Severity};

use crate::graph::{self, Graph};
use crate::run::{self, Options};
use crate::{shutdown, telemetry_server};

/// Builds the graph and prints its warnings.
pub(crate) fn build(document: &Document, registry: &Registry) -> anyhow::Result<Graph> {
    let graph = graph::build(document, registry).map_err(|errors| rejected(&errors))?;
    if !graph.warnings.is_empty() {
        complain(graph.warnings.to_string().trim_end());
    }
    Ok(graph)
}

/// Prints the diagnostics; the error that is left says how many there were.
pub(crate) fn rejected(errors: &Diagnostics) -> anyhow::Error {
    complain(errors.to_string().trim_end());
    let count = errors.iter().filter(|error| error.severity == Severity::Error).count();
    let plural = if count == 1 { "" } else { "s" };
    anyhow::anyhow!("the configuration has {count} error{plural}")
}

/// Runs a graph in a new runtime until a signal or the end of its input.
pub(crate) fn start(graph: Graph, options: Options) -> anyhow::Result<()> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let stop = shutdown::on_signal().context("cannot handle signals")?;
        if let Some(address) = graph.service.telemetry.metrics.listen() {
            let (telemetry, traffic) = (graph.telemetry.clone(), graph.traffic.clone());
            telemetry_server::serve(address, telemetry, traffic, stop.clone()).await?;
        }
        let ended = run::run(graph, options, stop).await?;
        tracing::info!(?ended, "weir has stopped");
        Ok(())
    });
    // A thread that hangs in a read or write (a paused terminal, a pipe without data) does not keep the
    // program.
    runtime.shutdown_background();
    done
}

/// Writes to standard error. When it is closed, the text is lost.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
