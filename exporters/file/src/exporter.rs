//! Writing and rotating the file.
//!
//! An export is one write of whole lines. After an I/O error the file is opened again, and cut back to where
//! the failed write began, so a retry neither doubles a row nor leaves half a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_component::{ExportError, Exporter, StartError};
use weir_pdata::json::write_rows;
use weir_pdata::{Demand, EventBatch, Format, Signal, SignalSet, otlp};

use crate::config::{FileConfig, LineFormat};

/// Writes JSON lines to a file.
pub(crate) struct LineFile {
    config: FileConfig,
    open: Arc<Mutex<Option<OpenFile>>>,
}

/// The file and how many bytes of it are whole, delivered lines.
struct OpenFile {
    file: File,
    length: u64,
}

impl LineFile {
    /// A file that is opened at start.
    pub(crate) fn new(config: FileConfig) -> LineFile {
        LineFile { config, open: Arc::default() }
    }
}

#[async_trait]
impl Exporter for LineFile {
    fn signals(&self) -> SignalSet {
        self.config.signals.unwrap_or(self.config.format.signals())
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    async fn start(&self) -> Result<(), StartError> {
        let path = &self.config.path;
        let prepare = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            OpenOptions::new().create(true).write(true).truncate(!self.config.append).open(path).map(drop)
        };
        prepare().map_err(|error| {
            StartError(format!("cannot write {}: {error}; check `path` and its rights", path.display()))
        })
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let mut lines = Vec::new();
        for batch in batches {
            let Some(columns) = batch.as_columns() else { continue };
            match self.config.format {
                LineFormat::Json => write_rows(columns, batch.signal, &mut lines),
                LineFormat::OtlpJson => write_request(columns, batch.signal, &mut lines)?,
            }
        }
        let (config, open) = (self.config.clone(), Arc::clone(&self.open));
        let written = tokio::task::spawn_blocking(move || {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            append(&config, &mut open, &lines)
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(ExportError::retryable(format!("cannot write {}: {error}", self.config.path.display())))
            }
            Err(error) => Err(ExportError::retryable(format!("the write was interrupted: {error}"))),
        }
    }
}

/// Appends the rows as one line: a request.
fn write_request(columns: &RecordBatch, signal: Signal, lines: &mut Vec<u8>) -> Result<(), ExportError> {
    let Some(format) = Format::otlp(signal).filter(|_| columns.num_rows() > 0) else { return Ok(()) };
    let mut request = Vec::new();
    otlp::encode(signal, columns, &mut request).map_err(|error| ExportError::permanent(error.to_string()))?;
    otlp::to_json(format, &request, lines).map_err(|error| ExportError::permanent(error.to_string()))?;
    lines.push(b'\n');
    Ok(())
}

fn append(config: &FileConfig, slot: &mut Option<OpenFile>, lines: &[u8]) -> io::Result<()> {
    let limit = config.max_bytes.get();
    let full = |open: &OpenFile| limit > 0 && open.length > 0 && open.length + lines.len() as u64 > limit;
    if slot.as_ref().is_some_and(full) {
        *slot = None;
        rotate(&config.path, config.max_files)?;
    }
    let open = match slot {
        Some(open) => open,
        None => {
            let file = OpenOptions::new().create(true).append(true).open(&config.path)?;
            let length = file.metadata()?.len();
            slot.insert(OpenFile { file, length })
        }
    };
    let written =
        open.file.write_all(lines).and_then(|()| if config.sync { open.file.sync_data() } else { Ok(()) });
    match written {
        Ok(()) => {
            open.length += lines.len() as u64;
            Ok(())
        }
        Err(error) => {
            // If even this fails, the retry appends behind a torn line, which readers count and skip.
            let _ = open.file.set_len(open.length);
            *slot = None;
            Err(error)
        }
    }
}

/// `path` becomes `path.1`, `path.1` becomes `path.2`, …; the oldest beyond `keep` goes.
fn rotate(path: &Path, keep: usize) -> io::Result<()> {
    let numbered = |number: usize| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        if numbered(number).exists() {
            fs::rename(numbered(number), numbered(number + 1))?;
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringViewArray};
    use weir_component::testkit::check_exporter_contract;
    use weir_pdata::json::JsonLines;
    use weir_pdata::text::TextColumn;
    use weir_pdata::{Ack, Origin, Projection};

    fn batch(services: &[&str]) -> EventBatch {
        let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(services));
        let columns = RecordBatch::try_from_iter([("service", column)]).unwrap();
        EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none())
    }

    fn config(path: &Path, more: &str) -> FileConfig {
        let mut value = serde_json::json!({ "path": path });
        let more: serde_json::Value = serde_json::from_str(more).unwrap();
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test]
    async fn rows_become_lines_in_order_and_are_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/events.jsonl");
        let exporter = LineFile::new(config(&path, "{}"));
        exporter.start().await.unwrap();
        check_exporter_contract(Box::new(exporter), vec![batch(&["a", "b"]), batch(&["c"])]).await;
        let text = fs::read_to_string(path).unwrap();
        let services: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["service"].to_string())
            .collect();
        assert_eq!(services, ["\"a\"", "\"b\"", "\"c\""]);
    }

    #[tokio::test]
    async fn a_batch_is_a_request_that_reads_back_as_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otlp.jsonl");
        let exporter = LineFile::new(config(&path, r#"{"format": "otlp_json"}"#));
        assert!(
            exporter.signals().contains(Signal::Metrics) && !exporter.signals().contains(Signal::Windows)
        );
        exporter.start().await.unwrap();
        exporter.export(&[batch(&["a", "a", "b"]), batch(&["c"])]).await.unwrap();
        let text = fs::read_to_string(path).unwrap();
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let resources = first["resourceSpans"].as_array().unwrap();
        assert_eq!(resources.len(), 2);
        assert_eq!(resources[0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 2);
        let read = JsonLines::read(text.lines().map(str::as_bytes), &Projection::everything());
        assert_eq!((read.rejected.len(), read.batches.len()), (0, 1));
        let services = TextColumn::new(read.batches[0].1.column_by_name("service").unwrap()).unwrap();
        let services: Vec<_> = (0..4).map(|row| services.get(row)).collect();
        assert_eq!(services, [Some("a"), Some("a"), Some("b"), Some("c")]);
    }

    #[tokio::test]
    async fn a_full_file_is_set_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let exporter = LineFile::new(config(&path, r#"{"max_bytes": 60, "max_files": 2}"#));
        exporter.start().await.unwrap();
        for service in ["one", "two", "three", "four"] {
            exporter.export(&[batch(&[service])]).await.unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("events.jsonl").contains("four"));
        assert!(read("events.jsonl.1").contains("three"));
        assert!(read("events.jsonl.2").contains("two"));
        assert!(!folder.path().join("events.jsonl.3").exists());
    }

    #[tokio::test]
    async fn append_keeps_what_the_file_has_and_its_absence_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (append, expected) in [("true", 2), ("true", 3), ("false", 1)] {
            fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            if fs::metadata(&path).unwrap().len() == 0 {
                fs::write(&path, "{}\n").unwrap();
            }
            let exporter = LineFile::new(config(&path, &format!(r#"{{"append": {append}}}"#)));
            exporter.start().await.unwrap();
            exporter.export(&[batch(&["x"])]).await.unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), expected);
        }
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_written_is_said_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let exporter = LineFile::new(config(folder.path(), "{}"));
        let error = exporter.start().await.unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("path"), "{error}");
    }
}
