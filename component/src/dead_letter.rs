//! Dead letters: input that no retry can save, kept with what is needed to send it again.
//!
//! One file a component, `<directory>/<component id>.jsonl`, one JSON object a line: `time` (RFC 3339),
//! `component`, `reason`, then what the caller adds (topic, partition, offset, `data` in base64, a row). All
//! files together stay below `max_bytes`; beyond it letters are counted and logged, not kept, until there is
//! room again. Files may be moved away or deleted at any time: the next letter begins a new one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use weir_config::ComponentId;

use crate::telemetry::{Metric, MetricKind};
use crate::{Clock, LogLimit, SystemClock, Telemetry};

/// Letters written.
pub const WRITTEN: Metric = Metric {
    name: "weir_dead_letters",
    help: "Rejected records and rows written to the dead-letter files.",
    kind: MetricKind::Counter,
    labels: &["component"],
};

/// Letters that could not be kept.
pub const LOST: Metric = Metric {
    name: "weir_dead_letters_lost",
    help: "Rejected records and rows that could not be written to the dead-letter files: full, or an I/O error.",
    kind: MetricKind::Counter,
    labels: &["component"],
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[WRITTEN, LOST];

/// The dead-letter files of a program. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    max_bytes: u64,
    telemetry: Telemetry,
    clock: Arc<dyn Clock>,
    open: Mutex<OpenFiles>,
    log: LogLimit,
}

#[derive(Default)]
struct OpenFiles {
    files: HashMap<String, Letters>,
    /// Bytes in the directory; `None` when they must be counted.
    bytes: Option<u64>,
}

/// The open file of a component.
struct Letters {
    file: File,
    /// Device and number of the file, to see whether it is still the one that has the name.
    identity: (u64, u64),
}

impl DeadLetters {
    /// Files in `directory`, made when the first letter comes, `max_bytes` together.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, max_bytes: u64, telemetry: Telemetry) -> DeadLetters {
        DeadLetters(Arc::new(Shared {
            directory: directory.into(),
            max_bytes,
            telemetry,
            clock: Arc::new(SystemClock),
            open: Mutex::default(),
            log: LogLimit::every_ms(10_000),
        }))
    }

    /// Keeps one letter of `component`. Returns whether it was kept; if not it was counted and logged.
    pub fn write(&self, component: &ComponentId, reason: &str, fields: Map<String, Value>) -> bool {
        let id = component.to_string();
        let mut letter = Map::new();
        letter.insert("time".into(), rfc3339(self.0.clock.now_ms()).into());
        letter.insert("component".into(), id.clone().into());
        letter.insert("reason".into(), reason.into());
        letter.extend(fields);
        let mut line = Value::Object(letter).to_string();
        line.push('\n');
        match self.append(&id, line.as_bytes()) {
            Ok(()) => {
                self.count(&WRITTEN, &id).inc();
                true
            }
            Err(error) => {
                self.count(&LOST, &id).inc();
                if let Some(suppressed) = self.0.log.allow(self.0.clock.now_ms()) {
                    let directory = self.0.directory.display();
                    tracing::error!(component = id, %directory, %error, suppressed, "a dead letter could not be kept");
                }
                false
            }
        }
    }

    fn count(&self, metric: &Metric, id: &str) -> Counter {
        self.0.telemetry.counter(metric, &[id])
    }

    fn append(&self, id: &str, line: &[u8]) -> io::Result<()> {
        let mut guard = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let written = guard.append(&self.0.directory, self.0.max_bytes, id, line);
        if written.is_err() {
            // The file may end within a line: opening it again mends that.
            guard.files.remove(id);
        }
        written
    }
}

impl OpenFiles {
    fn append(&mut self, directory: &Path, max_bytes: u64, id: &str, line: &[u8]) -> io::Result<()> {
        let path = directory.join(format!("{}.jsonl", id.replace('/', "-")));
        let is_open = |letters: &Letters| {
            std::fs::metadata(&path).is_ok_and(|found| letters.identity == (found.dev(), found.ino()))
        };
        if !self.files.get(id).is_some_and(is_open) {
            self.files.remove(id);
            self.bytes = None; // room may have been made, or nothing is known yet
        }
        let length = line.len() as u64;
        let fits = |used: u64| used + length <= max_bytes;
        let used = match self.bytes.filter(|used| fits(*used)) {
            Some(used) => used,
            None => {
                std::fs::create_dir_all(directory)?;
                directory_bytes(directory)?
            }
        };
        self.bytes = Some(used);
        if !fits(used) {
            let message = format!(
                "the directory is full ({used} of {max_bytes} bytes): replay and delete its files, or raise service.dead_letter.max_bytes"
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        let letters = match self.files.get_mut(id) {
            Some(letters) => letters,
            None => self.files.entry(id.to_owned()).or_insert(Letters::open(&path)?),
        };
        letters.file.write_all(line)?;
        self.bytes = Some(used + length);
        Ok(())
    }
}

impl Letters {
    /// Opens a file, or makes one. What was replayed of an earlier file of that name does not count for a new
    /// one, and what a crash has left of a line is ended.
    fn open(path: &Path) -> io::Result<Letters> {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        let mut file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut replayed = path.as_os_str().to_owned();
                replayed.push(".replayed");
                match std::fs::remove_file(replayed) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => options.create(true).open(path)?,
                }
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if let Some(last) = metadata.len().checked_sub(1) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, last)?;
            if byte != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Letters { file, identity: (metadata.dev(), metadata.ino()) })
    }
}

fn directory_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        // A file may vanish between the list and the look.
        bytes += entry?.metadata().map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 });
    }
    Ok(bytes)
}

fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ComponentId {
        text.parse().unwrap()
    }

    #[test]
    fn letters_are_lines_of_json_in_a_file_per_component() {
        let directory = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(directory.path().join("dead"), 10_000, Telemetry::default());
        let fields = Map::from_iter([("offset".to_owned(), Value::from(7))]);
        assert!(letters.write(&id("file/one"), "not JSON", fields));
        let text = std::fs::read_to_string(directory.path().join("dead/file-one.jsonl")).unwrap();
        let letter: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(letter["reason"], "not JSON");
        assert_eq!(letter["component"], "file/one");
        assert_eq!(letter["offset"], 7);
    }

    #[test]
    fn a_full_directory_counts_what_it_cannot_keep() {
        let directory = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::default();
        let letters = DeadLetters::new(directory.path(), 150, telemetry.clone());
        assert!(letters.write(&id("file"), "first", Map::new()));
        assert!(!letters.write(&id("file"), &"x".repeat(100), Map::new()));
        assert!(letters.write(&id("file"), "", Map::new()) || telemetry.encode().contains("lost_total"));
        assert!(telemetry.encode().contains("weir_dead_letters_lost_total{component=\"file\"} 1"));
    }

    fn reasons(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let read =
            |line: &str| serde_json::from_str::<Value>(line).map(|letter| letter["reason"].to_string());
        text.lines().map(|line| read(line).unwrap_or_else(|_| "?".to_owned())).collect()
    }

    #[test]
    fn a_file_that_was_deleted_or_moved_away_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("dead");
        let path = folder.join("file.jsonl");
        let letters = DeadLetters::new(&folder, 10_000, Telemetry::default());
        assert!(letters.write(&id("file"), "1", Map::new()));
        std::fs::rename(&path, folder.join("file.jsonl.1")).unwrap();
        assert!(letters.write(&id("file"), "2", Map::new()));
        assert_eq!(reasons(&path), ["\"2\""]);
        assert_eq!(reasons(&folder.join("file.jsonl.1")), ["\"1\""]);
        std::fs::write(folder.join("file.jsonl.replayed"), "70").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(letters.write(&id("file"), "3", Map::new()));
        assert!(letters.write(&id("file"), "4", Map::new()));
        assert_eq!(reasons(&path), ["\"3\"", "\"4\""]);
        assert!(!folder.join("file.jsonl.replayed").exists(), "nothing of the new file has been replayed");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(letters.write(&id("file"), "5", Map::new()));
        assert_eq!(reasons(&path), ["\"5\""]);
    }

    #[test]
    fn when_space_is_freed_writing_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(directory.path(), 400, Telemetry::default());
        let long = "x".repeat(200);
        assert!(letters.write(&id("file/a"), &long, Map::new()));
        assert!(!letters.write(&id("file/b"), &long, Map::new()), "full");
        std::fs::remove_file(directory.path().join("file-a.jsonl")).unwrap();
        assert!(letters.write(&id("file/b"), &long, Map::new()));
        assert!(!letters.write(&id("file/b"), &long, Map::new()), "full again");
        // As `truncate` or `>` empty it.
        std::fs::write(directory.path().join("file-b.jsonl"), "").unwrap();
        assert!(letters.write(&id("file/b"), &long, Map::new()));
        assert_eq!(reasons(&directory.path().join("file-b.jsonl")).len(), 1);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_does_not_spoil_the_next_letter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.jsonl");
        std::fs::write(&path, "{\"time\":\"2026").unwrap();
        let letters = DeadLetters::new(directory.path(), 10_000, Telemetry::default());
        assert!(letters.write(&id("file"), "next", Map::new()));
        assert_eq!(reasons(&path), ["?", "\"next\""]);
    }
}
