//! `weir test` runs the tests of rules; `weir rules` checks rules.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use weir_processor_threshold::{check_rules, import_rules, run_tests};

use crate::commands::printable::printable;
use crate::program::complain;

/// The arguments of `weir test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Files of tests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// `weir rules`.
#[derive(Subcommand)]
pub(crate) enum RulesCommand {
    /// Check files of rules, or the rules of configurations: prints every error with its place and exits 1
    #[command(after_help = "Example:\n  weir rules check /etc/weir/rules.yaml")]
    Check(CheckArgs),
    /// Make rules out of SkyWalking's `alarm-settings.yml` or a rule file of Prometheus; what could not be
    /// taken is on standard error
    #[command(after_help = "Example:\n  weir rules import alarm-settings.yml > rules.yaml")]
    Import(ImportArgs),
}

/// The arguments of `weir rules import`.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The file
    file: PathBuf,
}

/// The arguments of `weir rules check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Files of rules, or configurations
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the tests of all files; tells on `out` what became of them.
///
/// # Errors
/// A file is wrong, or something is not as it is expected.
pub(crate) fn test(args: &TestArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut failed = 0;
    for file in &args.files {
        let shown = file.display();
        match run_tests(file) {
            Ok(report) if report.failures.is_empty() => {
                let tests = if report.tests == 1 { "1 test" } else { &format!("{} tests", report.tests) };
                writeln!(out, "{shown}: {tests}, all as expected")?;
            }
            Ok(report) => {
                failed += 1;
                writeln!(out, "{shown}: not as expected (- is missing, + is too much)")?;
                for failure in report.failures {
                    writeln!(out, "  {}", failure.replace('\n', "\n  "))?;
                }
            }
            Err(wrong) => {
                failed += 1;
                writeln!(out, "{shown}: wrong\n{wrong}")?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} files failed", args.files.len()),
    }
}

/// Runs `weir rules`.
///
/// # Errors
/// What is wrong.
pub(crate) fn run(command: &RulesCommand, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        RulesCommand::Check(args) => {
            let count = check_rules(&args.files).map_err(|wrong| anyhow!("the rules are wrong\n{wrong}"))?;
            let rules = if count == 1 { "1 rule" } else { &format!("{count} rules") };
            writeln!(out, "{rules}")?;
        }
        RulesCommand::Import(args) => {
            let name = args.file.display().to_string();
            let text = std::fs::read_to_string(&args.file).with_context(|| format!("reading {name}"))?;
            let imported = import_rules(&name, &text).map_err(|wrong| anyhow!("{wrong}"))?;
            out.write_all(imported.yaml.as_bytes())?;
            for (line, why) in imported.remarks {
                complain(&format!("{name}:{line}: {}", printable(&why)));
            }
        }
    }
    Ok(())
}
