//! `weir silence`: adds, shows and ends silences in a file that `notify.mute` of a webhook names.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use weir_component::{Clock, SystemClock};
use weir_config::Duration;
use weir_exporter_webhook::Silences;

use crate::commands::printable::printable;

/// `weir silence`.
#[derive(Subcommand)]
pub(crate) enum SilenceCommand {
    /// Add a silence; prints its id
    #[command(
        after_help = "Example:\n  weir silence add --file silences.yaml service=pay rule=slow --for 2h --comment \"ticket 17\""
    )]
    Add(AddArgs),
    /// Show the silences that hold
    #[command(after_help = "Example:\n  weir silence list --file silences.yaml")]
    List(ListArgs),
    /// End a silence now
    #[command(after_help = "Example:\n  weir silence expire s18bcfe56800 --file silences.yaml")]
    Expire(ExpireArgs),
}

/// The arguments of `weir silence add`.
#[derive(Args)]
pub(crate) struct AddArgs {
    /// Labels and their texts, `*` for any characters; all have to fit
    #[arg(required = true, value_name = "LABEL=TEXT")]
    labels: Vec<String>,
    /// The file, which `notify.mute` names
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// How long it holds
    #[arg(long = "for", value_name = "DURATION")]
    length: Duration,
    /// Why
    #[arg(long, default_value = "")]
    comment: String,
    /// Whose idea it is; default: the user of the system
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// The arguments of `weir silence list`.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// The file, which `notify.mute` names
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Show those that are over, too
    #[arg(long)]
    all: bool,
}

/// The arguments of `weir silence expire`.
#[derive(Args)]
pub(crate) struct ExpireArgs {
    /// Its id
    id: String,
    /// The file, which `notify.mute` names
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the arguments or the file.
pub(crate) fn run(command: &SilenceCommand, out: &mut impl Write) -> anyhow::Result<()> {
    let now = DateTime::from_timestamp_millis(SystemClock.now_ms()).context("the clock is wrong")?;
    match command {
        SilenceCommand::Add(args) => {
            let until = until(args.length, now)?;
            let by = args.by.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
            let file = Silences::of(&args.file);
            let id = file.add(labels(&args.labels)?, until, &args.comment, &by, now)?;
            writeln!(out, "{id}")?;
        }
        SilenceCommand::List(args) => {
            for silence in Silences::of(&args.file).list(now)? {
                let (id, text) = (printable(&silence.id), printable(&silence.text));
                if silence.holds {
                    writeln!(out, "{id}  {text}")?;
                } else if args.all {
                    writeln!(out, "{id}  over: {text}")?;
                }
            }
        }
        SilenceCommand::Expire(args) => Silences::of(&args.file).expire(&args.id, now)?,
    }
    Ok(())
}

fn until(length: Duration, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    let length = TimeDelta::from_std(length.get()).ok();
    length.and_then(|length| now.checked_add_signed(length)).context("`--for` is too long")
}

fn labels(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                labels.insert(name.to_owned(), value.to_owned());
            }
            _ => bail!("`{text}` is no label and text; write for example `service=pay`"),
        }
    }
    Ok(labels)
}
