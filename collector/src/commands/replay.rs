//! `weir replay`: sends dead letters through again.
//!
//! A record that could not be decoded goes back to where its receiver reads: to its topic. A row that a
//! destination refused goes to the exporter that it was for. What fails again becomes a new letter at the end
//! of the same file.
//!
//! Beside each file, `NAME.jsonl.replayed` says up to which byte it has been sent. It is written after each
//! letter, so a replay that is cut off repeats one letter at most; and letters that a running gateway adds
//! meanwhile are for the next replay.

use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};
use weir_component::{DeadLetters, ExportError};
use weir_config::ComponentId;
use weir_pdata::json::JsonLines;
use weir_pdata::{Ack, EventBatch, Origin, Projection};

use crate::commands::config_args::ConfigArgs;
use crate::graph::Graph;

/// The arguments of `weir replay`.
#[derive(Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The directory of the dead letters; default: service.dead_letter.directory
    #[arg(long, value_name = "DIR")]
    dead_letter: Option<PathBuf>,
    /// Only letters of this component
    #[arg(long, value_name = "ID")]
    component: Option<ComponentId>,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
}

/// The outcome for the letters.
#[derive(Default)]
struct Counts {
    sent: u64,
    failed: u64,
}

/// Replays the letters of a configuration; tells what it did on `out`.
///
/// # Errors
/// When a letter failed again, or a destination cannot be reached.
pub(crate) async fn run(args: &ReplayArgs, graph: Graph, out: &mut impl Write) -> anyhow::Result<()> {
    let directory =
        args.dead_letter.clone().unwrap_or_else(|| graph.service.dead_letter.directory.clone().into());
    let files = letter_files(&directory)?;
    let most = graph.service.dead_letter.max_bytes.get();
    let letters = DeadLetters::new(&directory, most, graph.telemetry.clone());
    let mut total = Counts::default();
    for file in files {
        let counts = replay_file(&file, args, &graph, &letters).await?;
        let (verb, Counts { sent, failed }) = (if args.dry_run { "to send" } else { "sent" }, &counts);
        writeln!(out, "{}: {sent} {verb}, {failed} failed again", file.display())?;
        total.sent += counts.sent;
        total.failed += counts.failed;
    }
    if total.failed > 0 {
        bail!("{} letters failed again; their reasons are at the end of the files", total.failed);
    }
    Ok(())
}

/// The letter files of a directory, by name.
fn letter_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot read the dead letters in `{}`", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

async fn replay_file(
    file: &Path,
    args: &ReplayArgs,
    graph: &Graph,
    letters: &DeadLetters,
) -> anyhow::Result<Counts> {
    let mark = Mark::of(file)?;
    let mut input = BufReader::new(fs::File::open(file)?);
    // What comes from now on, also from this replay, is for the next one.
    let end = input.get_ref().metadata()?.len();
    input.seek(SeekFrom::Start(mark.position))?;
    let (mut counts, mut position, mut line) = (Counts::default(), mark.position, Vec::new());
    while position < end {
        line.clear();
        let read = input.read_until(b'\n', &mut line)? as u64;
        if !line.ends_with(b"\n") {
            break; // it is being written
        }
        position += read;
        // A crash may have cut a line off; the letters behind it are whole.
        let letter: Map<String, Value> = match serde_json::from_slice(&line) {
            Ok(letter) => letter,
            Err(error) => {
                let at = position - read;
                tracing::error!(
                    "{} at byte {at}: this is no letter and is left out: {error}",
                    file.display()
                );
                counts.failed += 1;
                if !args.dry_run {
                    mark.write(position)?;
                }
                continue;
            }
        };
        let id =
            component(&letter).with_context(|| format!("{} at byte {}", file.display(), position - read))?;
        if args.component.as_ref().is_some_and(|only| *only != id) {
            continue;
        }
        if args.dry_run {
            counts.sent += 1;
            continue;
        }
        match send(&id, &letter, graph).await? {
            Ok(()) => counts.sent += 1,
            Err(reason) => {
                counts.failed += 1;
                again(&id, letter, &reason, letters)?;
            }
        }
        mark.write(position)?;
    }
    Ok(counts)
}

fn component(letter: &Map<String, Value>) -> anyhow::Result<ComponentId> {
    let id = letter.get("component").and_then(Value::as_str).context("the letter names no component")?;
    id.parse().with_context(|| format!("`{id}` is no component"))
}

/// Sends one letter. The inner error: it was refused again.
async fn send(
    id: &ComponentId,
    letter: &Map<String, Value>,
    graph: &Graph,
) -> anyhow::Result<Result<(), String>> {
    if let Some(row) = letter.get("row").and_then(Value::as_str) {
        let found = graph.exporters.iter().find(|(context, _)| context.id == *id);
        let Some((_, built)) = found else {
            bail!("no pipeline of the configuration uses the exporter `{id}`")
        };
        let projection = Projection::everything();
        let lines = JsonLines::read([row.as_bytes()], &projection);
        if let Some(rejected) = lines.rejected.first() {
            return Ok(Err(rejected.reason.to_string()));
        }
        built.exporter.start().await?;
        let lane = letter.get("lane").and_then(Value::as_str).unwrap_or_default();
        for (signal, columns) in lines.batches {
            let batch = EventBatch::columns(signal, columns, Origin::lane(lane.into(), 0..0), Ack::none());
            match built.exporter.export(&[batch]).await {
                Ok(()) => {}
                Err(
                    ExportError::Permanent { reason, .. }
                    | ExportError::TooLarge { reason }
                    | ExportError::Partial { reason, .. },
                ) => {
                    return Ok(Err(reason));
                }
                Err(error @ ExportError::Retryable { .. }) => {
                    bail!("exporter `{id}`: {error}; nothing was lost, try again later")
                }
            }
        }
        return Ok(Ok(()));
    }
    let Some(built) = graph.receivers.iter().find(|built| built.context.id == *id) else {
        bail!("no pipeline of the configuration uses the receiver `{id}`");
    };
    built.receiver.replay(letter).await.map(Ok).map_err(Into::into)
}

/// Writes a letter that failed again.
fn again(
    id: &ComponentId,
    mut letter: Map<String, Value>,
    reason: &str,
    letters: &DeadLetters,
) -> anyhow::Result<()> {
    for key in ["time", "component", "reason"] {
        letter.remove(key);
    }
    match letters.write(id, reason, letter) {
        true => Ok(()),
        false => {
            bail!("a letter of `{id}` failed again ({reason}) and could not be kept: nothing more is sent")
        }
    }
}

/// Up to which byte a file has been sent.
struct Mark {
    path: PathBuf,
    position: u64,
}

impl Mark {
    fn of(file: &Path) -> anyhow::Result<Mark> {
        let mut name = file.as_os_str().to_owned();
        name.push(".replayed");
        let path = PathBuf::from(name);
        let position = match fs::read_to_string(&path) {
            Ok(text) => {
                text.trim().parse().with_context(|| format!("`{}` holds no position", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        // A file that is shorter is another one: the letters were deleted.
        let length = fs::metadata(file)?.len();
        Ok(Mark { path, position: if position <= length { position } else { 0 } })
    }

    fn write(&self, position: u64) -> anyhow::Result<()> {
        fs::write(&self.path, position.to_string())
            .with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_and_forgotten_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("clickhouse.jsonl");
        fs::write(&file, "0123456789").unwrap();
        let mark = Mark::of(&file).unwrap();
        assert_eq!(mark.position, 0);
        mark.write(7).unwrap();
        assert_eq!(Mark::of(&file).unwrap().position, 7);
        fs::write(&file, "012").unwrap();
        assert_eq!(Mark::of(&file).unwrap().position, 0, "the letters were deleted and others have come");
    }

    #[test]
    fn letters_are_the_files_that_end_in_jsonl() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.jsonl", "a.jsonl", "a.jsonl.replayed"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = letter_files(directory.path()).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.jsonl", "b.jsonl"]);
    }
}
