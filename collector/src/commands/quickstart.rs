//! `weir quickstart`: the main job on generated data, with no server.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use weir_component::Registry;
use weir_config::{Document, SourceText};

use crate::program;
use crate::run::Options;

/// The configuration that runs: `examples/quickstart.yaml`.
const CONFIG: &str = include_str!("../../../examples/quickstart.yaml");

/// Options of `weir quickstart`.
#[derive(Args, Debug)]
pub(crate) struct QuickstartArgs {
    /// Stop after this many seconds; 0 runs until Ctrl-C
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the Parquet files go
    #[arg(long, default_value = "weir-data", value_name = "DIR")]
    data: PathBuf,
    /// Segments per second
    #[arg(long, default_value_t = 200)]
    rate: u64,
}

/// Runs the embedded configuration, then prints how to explore what was stored.
///
/// # Errors
/// When the pipeline cannot run.
pub(crate) fn run(args: &QuickstartArgs, registry: &Registry) -> anyhow::Result<()> {
    let set = |key: &str, value: &str| format!("{key}={value}");
    let directory = args.data.display().to_string();
    let sets = [
        set("exporters.local.directory", &format!("'{}'", directory.replace('\'', "''"))),
        set("receivers.generator.rate", &args.rate.to_string()),
        set("receivers.generator.duration", &format!("{}s", args.seconds)),
    ];
    let source = SourceText::new("examples/quickstart.yaml", CONFIG);
    let document = Document::load(vec![source], &sets, &|name| std::env::var(name).ok())
        .map_err(|errors| anyhow::anyhow!("the built-in configuration is wrong:\n{errors}"))?;
    let graph = program::build(&document, registry)?;
    crate::logging::start(&graph.service.telemetry.logs);
    let mut out = std::io::stdout();
    writeln!(out, "{}", opening(args))?;
    program::start(graph, Options { exit_on_end: true })?;
    writeln!(out, "{}", closing(&directory))?;
    Ok(())
}

fn opening(args: &QuickstartArgs) -> String {
    let until = match args.seconds {
        0 => "until Ctrl-C".to_owned(),
        seconds => format!("for {seconds} s, or until Ctrl-C"),
    };
    format!(
        "Weir quickstart: {} generated SkyWalking segments a second, {until}.\n\
         generator -> enrich -> aggregate (5 s windows) -> threshold -> Parquet files in {}\n",
        args.rate,
        args.data.display()
    )
}

fn closing(directory: &str) -> String {
    let queries = [
        "SELECT service, count(*) AS spans FROM traces GROUP BY service ORDER BY spans DESC",
        "SELECT window_start, service, operation, count, success_rate, p99_duration_ns / 1e6 AS p99_ms FROM windows ORDER BY p99_ms DESC LIMIT 10",
        "SELECT time, state, severity, rule, service, operation, message FROM alarms ORDER BY time",
    ];
    let data = if directory == "weir-data" { String::new() } else { format!("--data {directory} ") };
    // As this program was called, so that the lines can be pasted.
    let program = std::env::args().next().unwrap_or_else(|| "weir".to_owned());
    let mut text = String::from("\nStored. Explore it:\n");
    for query in queries {
        text.push_str(&format!("  {program} query {data}\"{query}\"\n"));
    }
    text
}
