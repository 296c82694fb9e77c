//! Dead letters: input that no retry can save, kept with what is needed to send it again.
//!
//! One file a component, `<directory>/<component id>.jsonl`, one JSON object a line: `time` (RFC 3339),
//! `component`, `reason`, then what the caller adds (topic, partition, offset, `data` in base64, a row).
//! All files together stay below `max_bytes`; beyond it letters are counted and logged, not kept.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
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
    open: Mutex<Open>,
    log: LogLimit,
}

#[derive(Default)]
struct Open {
    files: HashMap<String, File>,
    /// Bytes in the directory; `None` until the first letter.
    bytes: Option<u64>,
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
                if let Some(more) = self.0.log.allow(self.0.clock.now_ms()) {
                    let directory = self.0.directory.display();
                    tracing::error!(component = id, %directory, %error, more, "a dead letter could not be kept");
                }
                false
            }
        }
    }

    fn count(&self, metric: &Metric, id: &str) -> Counter {
        self.0.telemetry.counter(metric, &[id])
    }

    fn append(&self, id: &str, line: &[u8]) -> std::io::Result<()> {
        let mut guard = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = &mut *guard;
        let used = match open.bytes {
            Some(bytes) => bytes,
            None => {
                std::fs::create_dir_all(&self.0.directory)?;
                directory_bytes(&self.0.directory)?
            }
        };
        let total = used + line.len() as u64;
        if total > self.0.max_bytes {
            open.bytes = Some(used);
            let message = format!(
                "the directory is full ({used} of {} bytes): replay and delete its files, or raise service.dead_letter.max_bytes",
                self.0.max_bytes
            );
            return Err(std::io::Error::new(std::io::ErrorKind::StorageFull, message));
        }
        let file = match open.files.get_mut(id) {
            Some(file) => file,
            None => {
                let path = self.0.directory.join(format!("{}.jsonl", id.replace('/', "-")));
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                open.files.entry(id.to_owned()).or_insert(file)
            }
        };
        file.write_all(line)?;
        open.bytes = Some(total);
        Ok(())
    }
}

fn directory_bytes(directory: &std::path::Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
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
}
