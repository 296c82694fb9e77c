//! The commands of the program.

mod alarms;
mod clickhouse;
mod config_args;
mod ebpf;
mod printable;
pub mod query;
mod quickstart;
pub mod reference;
mod replay;
mod rules;
mod silence;
mod stored;
mod top;
mod trace;
mod webhook;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;
use weir_component::Registry;
use weir_config::{LogSettings, print_config};

use crate::logging;
use crate::program::{build, complain, start};
use crate::run::Options;
use alarms::AlarmsArgs;
use clickhouse::ClickHouseCommand;
use config_args::ConfigArgs;
use query::QueryArgs;
use quickstart::QuickstartArgs;
use replay::ReplayArgs;
use rules::{RulesCommand, TestArgs};
use silence::SilenceCommand;
use top::TopArgs;
use trace::TraceArgs;
use webhook::WebhookCommand;

/// Receives telemetry, computes exact event-time windows, evaluates them against rules, delivers the results.
#[derive(Parser)]
#[command(
    name = "weir",
    version,
    max_term_width = 100,
    after_help = "Example:\n  weir run --config gateway.yaml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the pipelines of a configuration
    #[command(
        after_help = "Example:\n  weir run --config base.yaml --config site.yaml --set exporters.clickhouse.database=weir"
    )]
    Run(RunArgs),
    /// Check a configuration: prints every error with its place and exits 1, or prints nothing and exits 0
    #[command(after_help = "Example:\n  weir validate --config gateway.yaml")]
    Validate(ConfigArgs),
    /// List the components of this program
    #[command(after_help = "Example:\n  weir components")]
    Components,
    /// Print the merged and expanded configuration, secrets redacted
    #[command(name = "print-config", after_help = "Example:\n  weir print-config --config gateway.yaml")]
    PrintConfig(PrintArgs),
    /// Query what the local exporter has stored, in SQL
    #[command(
        after_help = "Example:\n  weir query \"SELECT service, count(*) FROM traces GROUP BY service ORDER BY 2 DESC\""
    )]
    Query(QueryArgs),
    /// Draw a trace as a tree, from what the local exporter has stored or from ClickHouse
    #[command(
        after_help = "Example:\n  weir trace 5b8efff798038103d269b633813fc60c --clickhouse http://localhost:8123"
    )]
    Trace(TraceArgs),
    /// Show the services by requests, errors and latency, live, from what the local exporter has stored or
    /// from ClickHouse
    #[command(after_help = "Example:\n  weir top --clickhouse http://localhost:8123 --sort p99")]
    Top(TopArgs),
    /// Send dead letters through again: records to their topic, refused rows to their exporter
    #[command(
        after_help = "What was sent is marked in a file beside the letters, so that a second replay sends nothing.\n\nExample:\n  weir replay --config gateway.yaml --dry-run\n  weir replay --config gateway.yaml --component clickhouse"
    )]
    Replay(ReplayArgs),
    /// The tables of the `clickhouse` exporters of a configuration
    #[command(name = "clickhouse", subcommand)]
    ClickHouse(ClickHouseCommand),
    /// Try a webhook of a configuration
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Run tests of rules: windows that are given, and the alarms that have to fire
    #[command(after_help = "Example:\n  weir test rules_test.yaml")]
    Test(TestArgs),
    /// Check rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Show the alarms that fire, from what the local exporter has stored or from ClickHouse
    #[command(after_help = "Example:\n  weir alarms --clickhouse http://localhost:8123 --database weir")]
    Alarms(AlarmsArgs),
    /// Keep alarms from people for a while
    #[command(subcommand)]
    Silence(SilenceCommand),
    /// Run the main job on generated data, with no server: windows and alarms on the terminal, Parquet on
    /// disk
    #[command(after_help = "Example:\n  weir quickstart --seconds 30")]
    Quickstart(QuickstartArgs),
    /// What the receiver `ebpf` can see on this machine
    Ebpf {
        #[command(subcommand)]
        command: EbpfCommand,
    },
    /// Write the pages of the repository that are made from the code (`make docs`)
    #[command(hide = true)]
    Docs {
        /// The checkout
        root: PathBuf,
    },
}

#[derive(Subcommand)]
enum EbpfCommand {
    /// Try every place in the kernel: ok, or why not and what is lost
    #[command(after_help = "Example:\n  weir ebpf check")]
    Check,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// End when all input has ended (files, a generator with a count)
    #[arg(long)]
    exit_on_end: bool,
}

#[derive(Args)]
struct PrintArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print secrets too
    #[arg(long)]
    unredacted: bool,
}

/// Parses the command line and runs the command. Exit codes: 0 done, 1 an error, 2 a wrong command line.
#[must_use]
pub fn main(registry: &Registry) -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args, registry),
        Command::Validate(args) => validate(&args, registry),
        Command::Components => print(&format!("{}{}", reference::components(registry), ebpf::absence())),
        Command::Ebpf { command: EbpfCommand::Check } => ebpf::check().and_then(|table| print(&table)),
        Command::PrintConfig(args) => print_configuration(&args),
        Command::Query(args) => Runtime::new()
            .context("no runtime")
            .and_then(|runtime| runtime.block_on(query::run(args, &mut std::io::stdout().lock()))),
        Command::Trace(args) => Runtime::new()
            .context("no runtime")
            .and_then(|runtime| runtime.block_on(trace::run(args, &mut std::io::stdout().lock()))),
        Command::Top(args) => Runtime::new()
            .context("no runtime")
            .and_then(|runtime| runtime.block_on(top::run(args, &mut std::io::stdout().lock()))),
        Command::Alarms(args) => Runtime::new()
            .context("no runtime")
            .and_then(|runtime| runtime.block_on(alarms::run(args, &mut std::io::stdout().lock()))),
        Command::Replay(args) => replay(&args, registry),
        Command::ClickHouse(ClickHouseCommand::Ddl(args)) => print_ddl(&args),
        Command::Webhook(WebhookCommand::Test(args)) => test_webhook(&args, registry),
        Command::Test(args) => {
            logging::start(&LogSettings::default());
            rules::test(&args, &mut std::io::stdout().lock())
        }
        Command::Rules(command) => rules::run(&command, &mut std::io::stdout().lock()),
        Command::Silence(command) => silence::run(&command, &mut std::io::stdout().lock()),
        Command::Quickstart(args) => quickstart::run(&args, registry),
        Command::Docs { root } => write_docs(&root, registry),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn write_docs(root: &std::path::Path, registry: &Registry) -> anyhow::Result<()> {
    for (path, text) in reference::pages(root, registry)? {
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn run(args: &RunArgs, registry: &Registry) -> anyhow::Result<()> {
    let document = args.config.load()?;
    let graph = build(&document, registry)?;
    logging::start(&graph.service.telemetry.logs);
    start(graph, Options { exit_on_end: args.exit_on_end })
}

fn replay(args: &ReplayArgs, registry: &Registry) -> anyhow::Result<()> {
    let graph = build(&args.config.load()?, registry)?;
    logging::start(&graph.service.telemetry.logs);
    let runtime = Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(replay::run(args, graph, &mut std::io::stdout().lock()))
}

fn print_ddl(args: &clickhouse::DdlArgs) -> anyhow::Result<()> {
    clickhouse::ddl(args, &args.config.load()?, &mut std::io::stdout().lock())
}

fn test_webhook(args: &webhook::TestArgs, registry: &Registry) -> anyhow::Result<()> {
    let graph = build(&args.config.load()?, registry)?;
    let runtime = Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(webhook::test(args, &graph, &mut std::io::stdout().lock()))
}

fn validate(args: &ConfigArgs, registry: &Registry) -> anyhow::Result<()> {
    build(&args.load()?, registry).map(drop)
}

fn print_configuration(args: &PrintArgs) -> anyhow::Result<()> {
    print(&print_config(&args.config.load()?, !args.unredacted))
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
